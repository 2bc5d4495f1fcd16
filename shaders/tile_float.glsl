// A slice of a tile of matmul.comp as floating-point numbers: f32, or, with HALVES, pairs of f16,
// which are half as much to read from shared memory, where a tile of f32 spends its time. Products
// of f16 are exact in f32 and summed there: GPUs with f16 arithmetic multiply and add so in one
// instruction. Sums in f16 would overflow, or lose what is small beside what is large.
#ifdef HALVES
#define Element f16vec2
const uint kWide = 2;  // of k in an element
#else
#define Element float
const uint kWide = 1;
layout(binding = 2) readonly buffer X { float x[]; };
#endif
shared Element w_slice[kSlice / kWide * TILE_M];  // element k of row i at k * TILE_M + i
shared Element x_slice[kSlice / kWide * TILE_N];

#ifdef HALVES
void StoreRun(uint to, mat4 w) {
  w *= WeightFactor();
  for (uint j = 0; j < 8; ++j) {
    const uint at = 2 * (j & 1);
    w_slice[to + j * TILE_M] = f16vec2(w[j >> 1][at], w[j >> 1][at + 1]);
  }
}
void LoadColumns(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < 4 * TILE_N; i += LOCAL) {
    const uint at = i % 4, col = i / 4;
    const uvec4 eight = EightHalves(slice, col, at);
    for (uint j = 0; j < 4; ++j) x_slice[(4 * at + j) * TILE_N + col] = unpackFloat2x16(eight[j]);
  }
}
float AddProduct(float sum, f16vec2 a, f16vec2 b) {
  return sum + float(a.x) * float(b.x) + float(a.y) * float(b.y);
}
#else
void StoreRun(uint to, mat4 w) {
  for (uint j = 0; j < 16; ++j) w_slice[to + j * TILE_M] = w[j >> 2][j & 3];
}
void LoadColumns(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < kSlice * TILE_N; i += LOCAL) {
    const uint at = i % kSlice, col = i / kSlice;
    const bool inside = col < cols_here && kSlice * slice + at < p.k;
    x_slice[at * TILE_N + col] = inside ? x[x_columns[col] + kSlice * slice + at] : 0.0;
  }
}
float AddProduct(float sum, float a, float b) { return sum + a * b; }
#endif

void LoadSlice(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < 2 * TILE_M; i += LOCAL) {
    const uint row = i % TILE_M, run = i / TILE_M;
    const uint elements = 2 * slice + run;
    mat4 w = mat4(0.0);
    if (row < rows_here && 16 * elements < p.k) {
      w = DecodeRun(w_start + row * p.w_row_stride, elements, p.k);
    }
    StoreRun(16 / kWide * run * TILE_M + row, w);
  }
  LoadColumns(slice);
}

void AddSlice() {
  for (uint at = 0; at < kSlice / kWide; ++at) {
    Element w[THREAD_M], xs[THREAD_N];
    for (uint i = 0; i < THREAD_M; ++i) w[i] = w_slice[at * TILE_M + my_row + i * kThreadsM];
    for (uint j = 0; j < THREAD_N; ++j) xs[j] = x_slice[at * TILE_N + my_col + j * kThreadsN];
    for (uint i = 0; i < THREAD_M; ++i) {
      for (uint j = 0; j < THREAD_N; ++j) {
        sums[i * THREAD_N + j] = AddProduct(sums[i * THREAD_N + j], w[i], xs[j]);
      }
    }
  }
}
