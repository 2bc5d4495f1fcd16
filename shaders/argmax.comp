#version 450
// top_k for one of a long row (the logits): a workgroup finds the first of one of `parts` parts of
// a row, and in a second dispatch the first of what was found in the parts.
#include "common.glsl"
#include "order.glsl"
layout(constant_id = 1) const uint JOIN = 0;  // 1: the second dispatch

layout(push_constant) uniform Push {
  uint width, rows, x_stride, x_offset, out_offset, parts;
} p;
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) buffer Found { uvec2 found[]; };
layout(binding = 2) writeonly buffer Out { int result[]; };

void main() {
  uint row = GroupIndex();
  const uint part = JOIN == 1 ? 0 : row % p.parts;
  if (JOIN == 0) row /= p.parts;
  if (row >= p.rows) return;
  uvec2 mine = kLast;
  if (JOIN == 1) {
    for (uint i = gl_LocalInvocationIndex; i < p.parts; i += LOCAL) {
      const uvec2 candidate = found[row * p.parts + i];
      if (Before(candidate, mine)) mine = candidate;
    }
  } else {
    const uint each = (p.width + p.parts - 1) / p.parts;
    const uint end = min(p.width, (part + 1) * each);
    for (uint i = part * each + gl_LocalInvocationIndex; i < end; i += LOCAL) {
      const uvec2 candidate = uvec2(Key(x[p.x_offset + row * p.x_stride + i]), i);
      if (Before(candidate, mine)) mine = candidate;
    }
  }
  const uvec2 first = WorkgroupFirst(mine);
  if (gl_LocalInvocationIndex != 0) return;
  if (JOIN == 1) {
    result[p.out_offset + row] = int(first.y);
  } else {
    found[row * p.parts + part] = first;
  }
}
