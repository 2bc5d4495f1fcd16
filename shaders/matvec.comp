#version 450
// out[i, j] = activation(sum_k w[k, i] * x[k, j] + bias[i]) for few columns j, limited by reading w.
//
// A team of TEAM invocations owns ROWS rows i; its invocations take the runs of 16 elements of the
// rows in turn, each decoded once for COLS columns. With experts a column is a pair (slot, token)
// and has rows of its own expert, COLS being 1. ROWS * COLS is at most TEAM: in the end each
// invocation finishes one sum.
#include "common.glsl"
#include "weights.glsl"
layout(constant_id = 2) const uint TEAM = 32;
layout(constant_id = 3) const uint ROWS = 2;
layout(constant_id = 4) const uint COLS = 1;
#include "activation.glsl"
#include "reduce.glsl"

layout(push_constant) uniform Push {
  uint k, m;            // m: rows in this dispatch
  uint cols[3];           // columns by dimension of x (1, 2, 3); with experts slots, tokens, 1
  uint x_strides[3];      // in elements; with experts the first is 0 where all slots share x
  uint out_strides[3];
  uint w_row_stride, w_expert_stride;  // bytes
  uint w_offset, x_offset, out_offset, bias_offset, ids_offset;
  // As the rows of decode.comp; all_experts is 0 where there are none.
  uint first_expert, experts, all_experts;
  uint activation, has_bias;
  uint w_address[2];  // where weights are not bound: low, high
} p;
layout(binding = 2) readonly buffer X { float x[]; };
layout(binding = 3) readonly buffer Bias { float bias[]; };
layout(binding = 4) readonly buffer Ids { int ids[]; };
layout(binding = 5) writeonly buffer Out { float result[]; };
#include "weight_rows.glsl"

void main() {
  const uint teams = LOCAL / TEAM;
  const uint row_groups = (p.m + teams * ROWS - 1) / (teams * ROWS);
  const uint col_groups = (p.cols[0] + COLS - 1) / COLS;
  uint group = GroupIndex();
  const uint first_row = (group % row_groups * teams + Team()) * ROWS;
  group /= row_groups;
  const uint first_col = group % col_groups * COLS;
  group /= col_groups;
  if (group >= p.cols[1] * p.cols[2]) return;
  const uvec2 outer = uvec2(group % p.cols[1], group / p.cols[1]);

  uint expert = 0;
  bool exists = true;
  if (p.all_experts != 0) {
    const int id = ids[p.ids_offset + outer.x * p.cols[0] + first_col];
    exists = id >= 0 && uint(id) < p.all_experts;
    const bool here = exists ? uint(id) >= p.first_expert && uint(id) - p.first_expert < p.experts
                             : p.first_expert == 0;
    if (!here) return;
    if (exists) expert = uint(id) - p.first_expert;
  }
  uint w_rows[ROWS], x_cols[COLS];
  const uint from_row = min(first_row, p.m - 1), w_start = BeginRows(expert, from_row);
  for (uint r = 0; r < ROWS; ++r) {
    w_rows[r] = w_start + (min(first_row + r, p.m - 1) - from_row) * p.w_row_stride;
  }
  for (uint c = 0; c < COLS; ++c) {
    x_cols[c] = p.x_offset + min(first_col + c, p.cols[0] - 1) * p.x_strides[0] +
                outer.x * p.x_strides[1] + outer.y * p.x_strides[2];
  }
  float sums[ROWS * COLS];
  for (uint i = 0; i < ROWS * COLS; ++i) sums[i] = 0.0;
  const uint runs = exists ? (p.k + 15) / 16 : 0;
  for (uint run = Lane(); run < runs; run += TEAM) {
    mat4 w[ROWS];
    for (uint r = 0; r < ROWS; ++r) w[r] = DecodeRun(w_rows[r], run, p.k);
    const bool whole = 16 * run + 16 <= p.k;
    for (uint c = 0; c < COLS; ++c) {
      for (uint i = 0; i < 4; ++i) {
        const uint at = x_cols[c] + 16 * run + 4 * i;
        vec4 part = vec4(0.0);
        if (whole) {
          part = vec4(x[at], x[at + 1], x[at + 2], x[at + 3]);
        } else {
          for (uint j = 0; j < 4; ++j) {
            if (16 * run + 4 * i + j < p.k) part[j] = x[at + j];
          }
        }
        for (uint r = 0; r < ROWS; ++r) sums[r * COLS + c] += dot(w[r][i], part);
      }
    }
  }
  float mine = 0.0;
  for (uint i = 0; i < ROWS * COLS; ++i) {
    const float sum = TeamSum(sums[i]);
    if (Lane() == i) mine = sum;
  }
  const uint row = first_row + Lane() / COLS, col = first_col + Lane() % COLS;
  if (Lane() >= ROWS * COLS || row >= p.m || col >= p.cols[0]) return;
  if (p.has_bias != 0) mine += bias[p.bias_offset + row];
  result[p.out_offset + row + col * p.out_strides[0] + outer.x * p.out_strides[1] +
         outer.y * p.out_strides[2]] = Activate(p.activation, mine);
}
