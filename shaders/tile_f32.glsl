// A slice of a tile of matmul.comp as f32.
layout(binding = 2) readonly buffer X { float x[]; };
shared float w_slice[kSlice * TILE_M];  // element k of row i at k * TILE_M + i
shared float x_slice[kSlice * TILE_N];

void LoadSlice(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < 2 * TILE_M; i += LOCAL) {
    const uint row = i % TILE_M, run = i / TILE_M;
    const uint elements = 2 * slice + run;
    mat4 w = mat4(0.0);
    if (row < rows_here && 16 * elements < p.k) {
      w = DecodeRun(w_start + row * p.w_row_stride, elements, p.k);
    }
    for (uint j = 0; j < 16; ++j) w_slice[(16 * run + j) * TILE_M + row] = w[j >> 2][j & 3];
  }
  for (uint i = gl_LocalInvocationIndex; i < kSlice * TILE_N; i += LOCAL) {
    const uint at = i % kSlice, col = i / kSlice;
    const bool inside = col < cols_here && kSlice * slice + at < p.k;
    x_slice[at * TILE_N + col] = inside ? x[x_columns[col] + kSlice * slice + at] : 0.0;
  }
}

void AddSlice() {
  for (uint at = 0; at < kSlice; ++at) {
    float w[THREAD_M], xs[THREAD_N];
    for (uint i = 0; i < THREAD_M; ++i) w[i] = w_slice[at * TILE_M + my_row + i * kThreadsM];
    for (uint j = 0; j < THREAD_N; ++j) xs[j] = x_slice[at * TILE_N + my_col + j * kThreadsN];
    for (uint i = 0; i < THREAD_M; ++i) {
      for (uint j = 0; j < THREAD_N; ++j) sums[i * THREAD_N + j] += w[i] * xs[j];
    }
  }
}
