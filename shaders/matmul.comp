#version 450
// The same product for many columns. A workgroup owns a tile of TILE_M rows of w and TILE_N columns
// of x and walks along k in slices of 32: both slices go to shared memory as f32, w decoded once
// for all columns; an invocation sums THREAD_M x THREAD_N of the tile in registers.
#include "common.glsl"
#include "weights.glsl"
layout(constant_id = 2) const uint TILE_M = 64;
layout(constant_id = 3) const uint TILE_N = 64;
layout(constant_id = 4) const uint THREAD_M = 4;
layout(constant_id = 5) const uint THREAD_N = 4;
#include "activation.glsl"

layout(push_constant) uniform Push {
  uint k, m;
  uint cols[3];
  uint x_strides[3];
  uint out_strides[3];
  uint w_row_stride, w_expert_stride;
  uint w_offset, x_offset, out_offset, bias_offset, ids_offset;
  uint first_expert, experts, all_experts;  // not read: pushed as for matvec.comp
  uint activation, has_bias;
} p;
layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(binding = 4) readonly buffer Ids { int ids[]; };
layout(binding = 5) buffer Out { float result[]; };

const uint kSlice = 32;
shared float w_slice[kSlice * TILE_M];  // element k of row i at k * TILE_M + i
shared float x_slice[kSlice * TILE_N];

void main() {
  const uint row_groups = (p.m + TILE_M - 1) / TILE_M;
  const uint col_groups = (p.cols[0] + TILE_N - 1) / TILE_N;
  uint group = GroupIndex();
  const uint first_row = group % row_groups * TILE_M;
  group /= row_groups;
  const uint first_col = group % col_groups * TILE_N;
  group /= col_groups;
  if (group >= p.cols[1] * p.cols[2]) return;
  const uvec2 outer = uvec2(group % p.cols[1], group / p.cols[1]);
  const uint x_start = p.x_offset + outer.x * p.x_strides[1] + outer.y * p.x_strides[2];
  const uint thread = gl_LocalInvocationIndex;
  // An invocation's rows and columns are THREADS apart, so that neighbours read neighbours.
  const uint threads_m = TILE_M / THREAD_M, threads_n = TILE_N / THREAD_N;
  const uint my_row = thread % threads_m, my_col = thread / threads_m;

  float sums[THREAD_M * THREAD_N];
  for (uint i = 0; i < THREAD_M * THREAD_N; ++i) sums[i] = 0.0;
  const uint slices = (p.k + kSlice - 1) / kSlice;
  for (uint slice = 0; slice < slices; ++slice) {
    for (uint i = thread; i < 2 * TILE_M; i += LOCAL) {
      const uint row = i % TILE_M, run = i / TILE_M;
      const uint elements = 2 * slice + run;
      mat4 w = mat4(0.0);
      if (first_row + row < p.m && 16 * elements < p.k) {
        w = DecodeRun(p.w_offset + (first_row + row) * p.w_row_stride, elements, p.k);
      }
      for (uint j = 0; j < 16; ++j) w_slice[(16 * run + j) * TILE_M + row] = w[j >> 2][j & 3];
    }
    for (uint i = thread; i < kSlice * TILE_N; i += LOCAL) {
      const uint at = i % kSlice, col = i / kSlice;
      const bool inside = first_col + col < p.cols[0] && kSlice * slice + at < p.k;
      x_slice[at * TILE_N + col] =
          inside ? x[x_start + (first_col + col) * p.x_strides[0] + kSlice * slice + at] : 0.0;
    }
    barrier();
    for (uint at = 0; at < kSlice; ++at) {
      float w[THREAD_M], xs[THREAD_N];
      for (uint i = 0; i < THREAD_M; ++i) w[i] = w_slice[at * TILE_M + my_row + i * threads_m];
      for (uint j = 0; j < THREAD_N; ++j) xs[j] = x_slice[at * TILE_N + my_col + j * threads_n];
      for (uint i = 0; i < THREAD_M; ++i) {
        for (uint j = 0; j < THREAD_N; ++j) sums[i * THREAD_N + j] += w[i] * xs[j];
      }
    }
    barrier();
  }
  const uint out_start = p.out_offset + first_row + my_row + outer.x * p.out_strides[1] +
                         outer.y * p.out_strides[2] + (first_col + my_col) * p.out_strides[0];
  for (uint j = 0; j < THREAD_N; ++j) {
    if (first_col + my_col + j * threads_n >= p.cols[0]) continue;
    for (uint i = 0; i < THREAD_M; ++i) {
      if (first_row + my_row + i * threads_m >= p.m) continue;
      result[out_start + i * threads_m + j * threads_n * p.out_strides[0]] =
          sums[i * THREAD_N + j];
    }
  }
  if (p.has_bias == 0 && p.activation == 0) return;
  // Over its own sums again, in a loop: inlined for each register, the activations would be most of
  // the shader.
  for (uint i = 0; i < THREAD_M * THREAD_N; ++i) {
    const uint row = my_row + i / THREAD_N * threads_m, col = i % THREAD_N * threads_n;
    if (first_row + row >= p.m || first_col + my_col + col >= p.cols[0]) continue;
    const uint at = out_start + row - my_row + col * p.out_strides[0];
    float sum = result[at];
    if (p.has_bias != 0) sum += bias[p.bias_offset + first_row + row];
    result[at] = Activate(p.activation, sum);
  }
}
