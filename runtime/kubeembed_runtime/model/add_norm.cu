// A row of two matrices added and normalised: a = norm(a + b) * weight + bias, in place.
//
// A warp has a row and keeps it in registers, so each number is read once and written once. Sums are float32.
// HIDDEN: numbers in a row, a multiple of 8. half.cuh: what a 16-bit number is.

constexpr int WIDE = 8;  // numbers in 16 bytes, which a thread reads at once
constexpr int PARTS = (HIDDEN + 32 * WIDE - 1) / (32 * WIDE);

__device__ float summed(float x) {
  for (int far = 16; far > 0; far /= 2) x += __shfl_xor_sync(0xffffffff, x, far);
  return x;
}

__device__ bool within(int part) { return (part * 32 + threadIdx.x) * WIDE < HIDDEN; }

__device__ void read(float *into, const Half *row, int part) {
  uint4 packed = reinterpret_cast<const uint4 *>(row)[part * 32 + threadIdx.x];
  const unsigned pairs[4] = {packed.x, packed.y, packed.z, packed.w};
  for (int i = 0; i < 4; ++i) unpack(pairs[i], into[2 * i], into[2 * i + 1]);
}

extern "C" __global__ void add_norm(Half *a, const Half *b, const Half *weight, const Half *bias,
                                    int rows, float epsilon) {
  const int row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  a += (long long)row * HIDDEN;
  b += (long long)row * HIDDEN;
  float x[PARTS][WIDE], other[PARTS][WIDE];
#pragma unroll
  for (int part = 0; part < PARTS; ++part) {
    if (!within(part)) continue;
    read(x[part], a, part);
    read(other[part], b, part);
  }
  float sum = 0, squares = 0;
#pragma unroll
  for (int part = 0; part < PARTS; ++part)
    if (within(part))
      for (int i = 0; i < WIDE; ++i) sum += x[part][i] += other[part][i];
  const float mean = summed(sum) / HIDDEN;
#pragma unroll
  for (int part = 0; part < PARTS; ++part)
    if (within(part))
      for (int i = 0; i < WIDE; ++i) squares += (x[part][i] - mean) * (x[part][i] - mean);
  const float scale = rsqrtf(summed(squares) / HIDDEN + epsilon);
#pragma unroll
  for (int part = 0; part < PARTS; ++part) {
    if (!within(part)) continue;
    float w[WIDE], c[WIDE];
    unsigned pairs[4];
    read(w, weight, part);
    read(c, bias, part);
    for (int i = 0; i < WIDE; ++i) x[part][i] = (x[part][i] - mean) * scale * w[i] + c[i];
    for (int i = 0; i < 4; ++i) pairs[i] = pack(x[part][2 * i], x[part][2 * i + 1]);
    reinterpret_cast<uint4 *>(a)[part * 32 + threadIdx.x] =
        make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}
