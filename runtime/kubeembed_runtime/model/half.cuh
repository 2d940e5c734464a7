// A 16-bit number by its bits, two of them in a word, and the product of small tiles. BFLOAT16 or float16.
//
// NVRTC has no headers in the image, and needs none for this.

typedef unsigned short Half;

#ifdef BFLOAT16
#define PAIR "bf16x2"
#define NUMBER "bf16"
#else
#define PAIR "f16x2"
#define NUMBER "f16"
#endif

__device__ float number(Half bits) {
#ifdef BFLOAT16
  return __uint_as_float((unsigned)bits << 16);
#else
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
#endif
}

__device__ void unpack(unsigned pair, float &low, float &high) {
  low = number(pair & 0xffff);
  high = number(pair >> 16);
}

__device__ unsigned pack(float low, float high) {
  unsigned pair;
  asm("cvt.rn." PAIR ".f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// sums (16, 8) += a (16, 8) b (8, 8), by a warp. Of each matrix a thread has the numbers in row lane / 4 (of a
// and sums also eight rows below) and columns 2 (lane % 4) and the next; of b it is the other way round.
__device__ void multiply(float (&sums)[4], unsigned upper, unsigned lower, unsigned b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." NUMBER "." NUMBER
               ".f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(upper), "r"(lower), "r"(b));
}
