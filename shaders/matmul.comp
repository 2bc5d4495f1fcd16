#version 450
// The product of matvec.comp for many columns. A workgroup owns a tile of TILE_M rows of w and
// TILE_N columns of x and walks along k in slices of 32, which go to shared memory, w decoded once
// for all columns. What a slice is, how it is multiplied and where the sums are is in tile_float.glsl,
// tile_int8.glsl and tile_matrix.glsl.
//
// With experts a column is a pair (slot, token); group_experts.comp has made the list of tiles,
// each of columns of one expert.
#include "common.glsl"
#include "weights.glsl"
layout(constant_id = 2) const uint TILE_M = 64;
layout(constant_id = 3) const uint TILE_N = 64;
layout(constant_id = 6) const uint EXPERTS = 0;  // 1: with experts; 4, 5 and 7 on: how it is cut
#include "activation.glsl"

layout(push_constant) uniform Push {
  uint k, m;
  uint cols[3];       // columns by dimension of x (1, 2, 3); with experts slots, tokens, 1
  // In elements, words of the planes or vectors of halves; 0 where all slots share x.
  uint x_strides[3];
  uint out_strides[3];
  uint w_row_stride, w_expert_stride;  // bytes
  uint w_offset, x_offset, out_offset, bias_offset, tiles_offset;
  uint first_expert, experts, all_experts;  // of this dispatch, of all
  uint activation, has_bias;
  uint w_address[2];  // where weights are not bound: low, high
} p;
layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(binding = 4) readonly buffer Tiles { uint tiles[]; };  // as group_experts.comp writes it
layout(binding = 5) buffer Out { float result[]; };
#include "weight_rows.glsl"

const uint kSlice = 32;
uint rows_here, cols_here;  // of the tile
uint first_row;
uint w_start;               // of its first row
shared uint x_columns[TILE_N], out_columns[TILE_N];  // where columns are, in the tile's first row

// Once the sums are stored, the rest over them again, in a loop: inlined for each register, the
// activations would be most of the shader. Each element by the invocation that stored it.
bool Finishes() { return p.has_bias != 0 || p.activation != 0; }
void FinishElement(uint row, uint col) {
  if (row >= rows_here || col >= cols_here) return;
  const uint at = out_columns[col] + row;
  float sum = result[at];
  if (p.has_bias != 0) sum += bias[p.bias_offset + first_row + row];
  result[at] = Activate(p.activation, sum);
}

#ifdef MATRIX
#include "tile_matrix.glsl"
#else
#include "tile_sums.glsl"
#ifdef INT8
#include "tile_int8.glsl"
#else
#include "tile_float.glsl"
#endif
#endif

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const uint row_groups = (p.m + TILE_M - 1) / TILE_M;
  uint group = GroupIndex();
  first_row = group % row_groups * TILE_M;
  group /= row_groups;
  rows_here = min(TILE_M, p.m - first_row);
  uint expert_here = 0;
  bool exists = true;
  if (EXPERTS == 1) {
    if (group >= tiles[p.tiles_offset]) return;
    const uint tile = p.tiles_offset + 1 + 3 * group;
    const uint expert = tiles[tile];
    exists = expert < p.all_experts;
    if (exists) {
      if (expert < p.first_expert || expert - p.first_expert >= p.experts) return;
      expert_here = expert - p.first_expert;
    } else if (p.first_expert != 0) {
      return;
    }
    cols_here = tiles[tile + 2];
    for (uint i = thread; i < cols_here; i += LOCAL) {
      const uint pair = tiles[tiles[tile + 1] + i];
      const uvec2 at = uvec2(pair % p.cols[0], pair / p.cols[0]);
      x_columns[i] = p.x_offset + at.x * p.x_strides[0] + at.y * p.x_strides[1];
      out_columns[i] = p.out_offset + first_row + at.x * p.out_strides[0] + at.y * p.out_strides[1];
    }
  } else {
    const uint col_groups = (p.cols[0] + TILE_N - 1) / TILE_N;
    const uint first_col = group % col_groups * TILE_N;
    group /= col_groups;
    if (group >= p.cols[1] * p.cols[2]) return;
    const uvec2 outer = uvec2(group % p.cols[1], group / p.cols[1]);
    cols_here = min(TILE_N, p.cols[0] - first_col);
    for (uint i = thread; i < cols_here; i += LOCAL) {
      x_columns[i] = p.x_offset + (first_col + i) * p.x_strides[0] + outer.x * p.x_strides[1] +
                     outer.y * p.x_strides[2];
      out_columns[i] = p.out_offset + first_row + (first_col + i) * p.out_strides[0] +
                       outer.x * p.out_strides[1] + outer.y * p.out_strides[2];
    }
  }
  w_start = BeginRows(expert_here, first_row);
  barrier();

  BeginTile(exists);
  const uint slices = exists ? (p.k + kSlice - 1) / kSlice : 0;
  for (uint slice = 0; slice < slices; ++slice) {
    LoadSlice(slice);
    barrier();
    AddSlice();
    barrier();
  }
  StoreTile();
}
