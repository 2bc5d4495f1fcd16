#version 450
// RMS and layer norm: a workgroup to a row.
#include "common.glsl"
layout(constant_id = 1) const bool LAYER = false;
layout(constant_id = 2) const uint VECTORS = 0;  // weight, bias
#include "workgroup_reduce.glsl"
#include "rows.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Weight { float weight[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) writeonly buffer Out { float result[]; };

void main() {
  uint in_row, out_row;
  if (!FindRow(in_row, out_row, p.shape.x)) return;
  const uint k = p.shape.x;
  float mean = 0.0;
  if (LAYER) {
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) sum += x[in_row + i];
    mean = WorkgroupSum(sum) / float(k);
  }
  float squares = 0.0;
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    const float centred = x[in_row + i] - mean;
    squares += centred * centred;
  }
  const float inverse = 1.0 / sqrt(WorkgroupSum(squares) / float(k) + p.scale);
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    float value = (x[in_row + i] - mean) * inverse;
    if (VECTORS > 0) value *= weight[p.extra_offsets[0] + i];
    if (VECTORS > 1) value += bias[p.extra_offsets[1] + i];
    result[out_row + i] = value;
  }
}
