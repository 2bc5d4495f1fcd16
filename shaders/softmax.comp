#version 450
// softmax(x * scale): a workgroup to a row.
#include "common.glsl"
#include "workgroup_reduce.glsl"
#include "rows.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Out { float result[]; };

void main() {
  uint in_row, out_row;
  if (!FindRow(in_row, out_row, p.shape.x)) return;
  const uint k = p.shape.x;
  float highest = -kInfinity;
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    highest = max(highest, x[in_row + i] * p.scale);
  }
  highest = WorkgroupMax(highest);
  float sum = 0.0;
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    sum += exp(x[in_row + i] * p.scale - highest);
  }
  const float inverse = 1.0 / WorkgroupSum(sum);
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    result[out_row + i] = exp(x[in_row + i] * p.scale - highest) * inverse;
  }
}
