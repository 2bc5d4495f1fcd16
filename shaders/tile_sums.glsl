// The sums of a tile of matmul.comp in registers: an invocation's are THREAD_M x THREAD_N. Its rows
// and columns are THREADS apart, so that neighbours read neighbours.
layout(constant_id = 4) const uint THREAD_M = 4;
layout(constant_id = 5) const uint THREAD_N = 4;
const uint kThreadsM = TILE_M / THREAD_M, kThreadsN = TILE_N / THREAD_N;
#ifdef HALVES
#include "column_halves.glsl"
#endif
uint my_row, my_col;
float sums[THREAD_M * THREAD_N];

void BeginTile(bool exists) {
#ifdef HALVES
  LoadScales(exists);
  barrier();  // for StoreTile; a tile of no expert has no slices to wait for
#endif
  my_row = gl_LocalInvocationIndex % kThreadsM;
  my_col = gl_LocalInvocationIndex / kThreadsM;
  for (uint i = 0; i < THREAD_M * THREAD_N; ++i) sums[i] = 0.0;
}

void StoreTile() {
  for (uint j = 0; j < THREAD_N; ++j) {
    const uint col = my_col + j * kThreadsN;
    if (col >= cols_here) continue;
#ifdef HALVES
    const float scale = x_scales[col];
#else
    const float scale = 1.0;
#endif
    for (uint i = 0; i < THREAD_M; ++i) {
      const uint row = my_row + i * kThreadsM;
      if (row < rows_here) result[out_columns[col] + row] = scale * sums[i * THREAD_N + j];
    }
  }
  if (!Finishes()) return;
  for (uint i = 0; i < THREAD_M * THREAD_N; ++i) {
    FinishElement(my_row + i / THREAD_N * kThreadsM, my_col + i % THREAD_N * kThreadsN);
  }
}
