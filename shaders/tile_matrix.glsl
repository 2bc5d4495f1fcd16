// A slice of a tile of matmul.comp as f16, for the matrix units of GPUs: cooperative matrices of
// MATRIX_M x MATRIX_K and MATRIX_K x MATRIX_N, whose product is summed in f32. A subgroup owns
// PART_M x PART_N of the tile, in matrices that its invocations hold together.
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#pragma use_vulkan_memory_model
layout(constant_id = 4) const uint PART_M = 32;
layout(constant_id = 5) const uint PART_N = 32;
layout(constant_id = 7) const uint MATRIX_M = 16;
layout(constant_id = 8) const uint MATRIX_N = 16;
layout(constant_id = 9) const uint MATRIX_K = 16;
#include "column_halves.glsl"

const uint kPartsM = TILE_M / PART_M, kPartsN = TILE_N / PART_N;
const uint kMatricesM = PART_M / MATRIX_M, kMatricesN = PART_N / MATRIX_N;
const uint kMatrixSize = MATRIX_M * MATRIX_N;
// Of a row in shared memory, in vectors: 16 bytes more than its halves, so that eight rows begin in
// different banks.
const uint kStride = kSlice / 4 + 2;
shared f16vec4 w_slice[TILE_M * kStride];  // rows
shared f16vec4 x_slice[TILE_N * kStride];  // columns
shared float stored[kPartsM * kPartsN * kMatrixSize];  // a matrix of sums of each subgroup
coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>
    sums[kMatricesM * kMatricesN];
uint part_row, part_col;  // of the subgroup

void BeginTile(bool exists) {
  part_row = gl_SubgroupID % kPartsM * PART_M;
  part_col = gl_SubgroupID / kPartsM * PART_N;
  LoadScales(exists);
  [[unroll]] for (uint i = 0; i < kMatricesM * kMatricesN; ++i) {
    sums[i] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
  }
}

void LoadSlice(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < 2 * TILE_M; i += LOCAL) {
    const uint row = i % TILE_M, run = i / TILE_M;
    const uint elements = 2 * slice + run;
    mat4 w = mat4(0.0);
    if (row < rows_here && 16 * elements < p.k) {
      w = DecodeRun(w_start + row * p.w_row_stride, elements, p.k);
    }
    for (uint j = 0; j < 4; ++j) {
      w_slice[row * kStride + 4 * run + j] = f16vec4(WeightFactor() * w[j]);
    }
  }
  for (uint i = gl_LocalInvocationIndex; i < 4 * TILE_N; i += LOCAL) {
    const uint at = i % 4, col = i / 4;
    const uvec4 eight = EightHalves(slice, col, at);
    const uint to = col * kStride + 2 * at;
    x_slice[to] = f16vec4(unpackFloat2x16(eight.x), unpackFloat2x16(eight.y));
    x_slice[to + 1] = f16vec4(unpackFloat2x16(eight.z), unpackFloat2x16(eight.w));
  }
}

void AddSlice() {
  [[unroll]] for (uint k = 0; k < kSlice; k += MATRIX_K) {
    coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> w[kMatricesM];
    [[unroll]] for (uint i = 0; i < kMatricesM; ++i) {
      coopMatLoad(w[i], w_slice, (part_row + i * MATRIX_M) * kStride + k / 4, kStride,
                  gl_CooperativeMatrixLayoutRowMajor);
    }
    [[unroll]] for (uint j = 0; j < kMatricesN; ++j) {
      coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> x;
      coopMatLoad(x, x_slice, (part_col + j * MATRIX_N) * kStride + k / 4, kStride,
                  gl_CooperativeMatrixLayoutColumnMajor);
      [[unroll]] for (uint i = 0; i < kMatricesM; ++i) {
        sums[i * kMatricesN + j] = coopMatMulAdd(w[i], x, sums[i * kMatricesN + j]);
      }
    }
  }
}

// By way of shared memory: which element an invocation holds is not known.
void StoreTile() {
  [[unroll]] for (uint i = 0; i < kMatricesM * kMatricesN; ++i) {
    const uint row = part_row + i / kMatricesN * MATRIX_M;
    const uint col = part_col + i % kMatricesN * MATRIX_N;
    const uint at = gl_SubgroupID * kMatrixSize;
    coopMatStore(sums[i], stored, at, MATRIX_M, gl_CooperativeMatrixLayoutColumnMajor);
    barrier();
    for (uint e = gl_SubgroupInvocationID; e < kMatrixSize; e += gl_SubgroupSize) {
      const uint my_row = row + e % MATRIX_M, my_col = col + e / MATRIX_M;
      if (my_row < rows_here && my_col < cols_here) {
        result[out_columns[my_col] + my_row] = x_scales[my_col] * stored[at + e];
      }
    }
    barrier();
  }
  if (!Finishes()) return;
  for (uint i = 0; i < kMatricesM * kMatricesN; ++i) {
    const uint row = part_row + i / kMatricesN * MATRIX_M;
    const uint col = part_col + i % kMatricesN * MATRIX_N;
    for (uint e = gl_SubgroupInvocationID; e < kMatrixSize; e += gl_SubgroupSize) {
      FinishElement(row + e % MATRIX_M, col + e / MATRIX_M);
    }
  }
}
