// A slice of a tile of matmul.comp as int8, for dot products of four elements in one instruction.
// Weights are the quants they are; of x there are two planes (planes.glsl), so that what is lost of
// it is 2^-16 of the largest element of 32.
#include "planes.glsl"
layout(binding = 2) readonly buffer Planes { uint planes[]; };

// glslang of 2023 has no name for it: OpSDot is 4450, its last operand PackedVectorFormat4x8Bit (0),
// and it needs the capabilities DotProduct and DotProductInput4x8BitPacked.
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450)
int DotOfBytes(int a, int b, spirv_literal int format);
int Dot(uint a, uint b) { return DotOfBytes(int(a), int(b), 0); }

shared uint w_words[8 * TILE_M];   // word j (elements 4 j ..) of row i at j * TILE_M + i
shared vec2 w_scales[2 * TILE_M];  // scale and offset of each run
shared uint high_words[8 * TILE_N], low_words[8 * TILE_N];
shared float x_scales[TILE_N];
shared float x_sums[2 * TILE_N];  // of each run

void LoadSlice(uint slice) {
  for (uint i = gl_LocalInvocationIndex; i < 2 * TILE_M; i += LOCAL) {
    const uint row = i % TILE_M, run = i / TILE_M;
    uvec4 quants = uvec4(0);
    vec2 scales = vec2(0.0);
    if (row < rows_here) {
      const uint of_row = 2 * slice + run, in_block = of_row % BlockRuns();
      const uint at = w_start + row * p.w_row_stride + of_row / BlockRuns() * BlockBytes();
      quants = Quants(at, in_block);
      scales = vec2(Scale(at, in_block), HasOffset() ? Offset(at, in_block) : 0.0);
    }
    for (uint j = 0; j < 4; ++j) w_words[(4 * run + j) * TILE_M + row] = quants[j];
    w_scales[run * TILE_M + row] = scales;
  }
  for (uint i = gl_LocalInvocationIndex; i < 8 * TILE_N; i += LOCAL) {
    const uint word = i % 8, col = i / 8;
    const bool inside = col < cols_here;
    const uint from = inside ? x_columns[col] + slice * kPlaneWords : 0;
    high_words[word * TILE_N + col] = inside ? planes[from + word] : 0;
    low_words[word * TILE_N + col] = inside ? planes[from + 8 + word] : 0;
    if (word == 0) {
      x_scales[col] = inside ? uintBitsToFloat(planes[from + 16]) : 0.0;
    } else if (word < 3) {
      x_sums[(word - 1) * TILE_N + col] = inside ? uintBitsToFloat(planes[from + 16 + word]) : 0.0;
    }
  }
}

void AddSlice() {
  for (uint run = 0; run < 2; ++run) {
    uint w[THREAD_M * 4];
    for (uint i = 0; i < THREAD_M; ++i) {
      for (uint j = 0; j < 4; ++j) {
        w[4 * i + j] = w_words[(4 * run + j) * TILE_M + my_row + i * kThreadsM];
      }
    }
    for (uint n = 0; n < THREAD_N; ++n) {
      const uint col = my_col + n * kThreadsN;
      uvec4 high, low;
      for (uint j = 0; j < 4; ++j) {
        high[j] = high_words[(4 * run + j) * TILE_N + col];
        low[j] = low_words[(4 * run + j) * TILE_N + col];
      }
      const float x_scale = x_scales[col];
      for (uint i = 0; i < THREAD_M; ++i) {
        int coarse = 0, fine = 0;
        for (uint j = 0; j < 4; ++j) {
          coarse += Dot(w[4 * i + j], high[j]);
          fine += Dot(w[4 * i + j], low[j]);
        }
        // At most 16 * 128 * 2^15: 26 bits.
        const vec2 scales = w_scales[run * TILE_M + my_row + i * kThreadsM];
        sums[i * THREAD_N + n] += scales.x * (x_scale * float(coarse * 256 + fine));
        if (HasOffset()) sums[i * THREAD_N + n] += scales.y * x_sums[run * TILE_N + col];
      }
    }
  }
}
