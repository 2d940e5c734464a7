// What LoRA adapters add at one site: y[rows] += x[rows] down up, for tiles of rows of one adapter each.
//
// A block has a tile of up to ROWS rows. Its warps share the inputs of the narrow product, and then the columns
// of the wide one. Both are computed in blocks of WIDE columns: a thread reads four neighbours of them at once,
// so the first of four products has every fourth column, and so on, and of the result a thread has eight
// neighbours. half.cuh: what a 16-bit number is.

constexpr int ROWS = 16, WIDE = 32, WARPS = 16;
constexpr int STRIDE = MOST_RANKS + 8;  // of a row of `low`: no two rows begin in the same bank
constexpr int WORDS = 4 + 5 * PARTS;    // of a site in an adapter's table

struct Tile {
  const Half *flat;  // the adapter's numbers
  const int *table;  // where they lie, by site
  long long first, rows;
};

struct Up {
  int start, rank, ranks, column, columns;
};

struct Place {
  int inputs, ranks, start, ups;
  Up up[PARTS];
};

__device__ int warp() { return threadIdx.x / 32; }
__device__ int row() { return threadIdx.x % 32 / 4; }
__device__ int column() { return threadIdx.x % 4 * 2; }

__device__ unsigned pair(const Half *left) { return *reinterpret_cast<const unsigned *>(left); }

// The thread's part of b (8, WIDE): of its two rows, four neighbours in each; 0 where there are none.
struct Wide {
  uint2 upper, lower;

  __device__ void read(const Half *b, int stride, int columns) {
    upper = lower = make_uint2(0, 0);
    if (row() * 4 >= columns) return;
    b += (long long)column() * stride + row() * 4;
    upper = *reinterpret_cast<const uint2 *>(b);
    lower = *reinterpret_cast<const uint2 *>(b + stride);
  }

  // sums (16, WIDE) += a (16, 8) b.
  __device__ void multiply_by(float (&sums)[4][4], unsigned a_upper, unsigned a_lower) const {
    multiply(sums[0], a_upper, a_lower, __byte_perm(upper.x, lower.x, 0x5410));
    multiply(sums[1], a_upper, a_lower, __byte_perm(upper.x, lower.x, 0x7632));
    multiply(sums[2], a_upper, a_lower, __byte_perm(upper.y, lower.y, 0x5410));
    multiply(sums[3], a_upper, a_lower, __byte_perm(upper.y, lower.y, 0x7632));
  }
};

// low (ROWS, ranks) = x down. x: (rows, inputs); down: (inputs, ranks).
__device__ void narrow(Half *low, const Half *x, int stride, int rows, const Half *down, int inputs, int ranks) {
  __shared__ float parts[WARPS][ROWS][WIDE];
  const Half *upper = x + (long long)min(row(), rows - 1) * stride + column();
  const Half *lower = x + (long long)min(row() + 8, rows - 1) * stride + column();
  for (int rank = 0; rank < ranks; rank += WIDE) {
    float sums[4][4] = {};
#pragma unroll 4
    for (int k = warp() * 8; k < inputs; k += WARPS * 8) {
      Wide b;
      b.read(down + (long long)k * ranks + rank, ranks, ranks - rank);
      b.multiply_by(sums, pair(upper + k), pair(lower + k));
    }
    for (int i = 0; i < 8; ++i) {
      parts[warp()][row()][column() * 4 + i] = sums[i % 4][i / 4];
      parts[warp()][row() + 8][column() * 4 + i] = sums[i % 4][2 + i / 4];
    }
    __syncthreads();
    const int into = threadIdx.x / WIDE, at = threadIdx.x % WIDE;
    float sum = 0;
    for (int i = 0; i < WARPS; ++i) sum += parts[i][into][at];
    if (rank + at < ranks) low[into * STRIDE + rank + at] = pack(sum, 0);
    __syncthreads();
  }
}

// Eight neighbours of y += those of a row of the sums, which begin at `half`: 0, or 2 for the row below.
__device__ void add(uint4 &y, const float (&sums)[4][4], int half) {
  unsigned *pairs = reinterpret_cast<unsigned *>(&y);
  for (int i = 0; i < 4; ++i) {
    const int first = 2 * i % 4, at = half + i / 2;
    float left, right;
    unpack(pairs[i], left, right);
    pairs[i] = pack(left + sums[first][at], right + sums[first + 1][at]);
  }
}

// y (rows, columns) += low up. up: (ranks, columns).
__device__ void widen(Half *y, int stride, int rows, const Half *low, const Half *up, int ranks, int columns) {
  low += row() * STRIDE + column();
  y += (long long)row() * stride + column() * 4;
  for (int n = warp() * WIDE; n < columns; n += WARPS * WIDE) {
    const bool within = n + column() * 4 < columns, above = within && row() < rows;
    const bool below = within && row() + 8 < rows;
    uint4 *upper = reinterpret_cast<uint4 *>(y + n), *lower = reinterpret_cast<uint4 *>(y + n + 8LL * stride);
    uint4 first, second;
    if (above) first = *upper;
    if (below) second = *lower;
    float sums[4][4] = {};
#pragma unroll 2
    for (int k = 0; k < ranks; k += 8) {
      Wide b;
      b.read(up + (long long)k * columns + n, columns, columns - n);
      b.multiply_by(sums, pair(low + k), pair(low + k + 8 * STRIDE));
    }
    if (above) add(first, sums, 0), *upper = first;
    if (below) add(second, sums, 2), *lower = second;
  }
}

extern "C" __global__ __launch_bounds__(WARPS * 32, 2) void add_adapters(
    Half *y, const Half *x, const Tile *tiles, int y_stride, int x_stride, int site) {
  __shared__ __align__(16) Half low[ROWS * STRIDE];
  const Tile tile = tiles[blockIdx.x];
  if (tile.rows == 0) return;
  const Place place = *reinterpret_cast<const Place *>(tile.table + (long long)site * WORDS);
  if (place.ups == 0) return;
  x += tile.first * x_stride;
  y += tile.first * y_stride;
  narrow(low, x, x_stride, tile.rows, tile.flat + place.start, place.inputs, place.ranks);
#pragma unroll
  for (int i = 0; i < PARTS; ++i) {
    const Up up = place.up[i];
    if (i < place.ups)
      widen(y + up.column, y_stride, tile.rows, low + up.rank, tile.flat + up.start, up.ranks, up.columns);
  }
}
