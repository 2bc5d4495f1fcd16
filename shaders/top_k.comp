#version 450
// The indices of the largest elements of a row: a workgroup to a row finds the first of what comes
// after the last one found, as often as are wanted.
#include "common.glsl"
#include "order.glsl"
#include "rows.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Out { int result[]; };

void main() {
  uint in_row, out_row;
  if (!FindRow(in_row, out_row, p.wanted)) return;
  uvec2 last = uvec2(0xFFFFFFFFu, 0);
  for (uint found = 0; found < p.wanted; ++found) {
    uvec2 mine = kLast;
    for (uint i = gl_LocalInvocationIndex; i < p.shape.x; i += LOCAL) {
      const uvec2 candidate = uvec2(Key(x[in_row + i]), i);
      if ((found == 0 || Before(last, candidate)) && Before(candidate, mine)) mine = candidate;
    }
    last = WorkgroupFirst(mine);
    if (gl_LocalInvocationIndex == 0) result[out_row + found] = int(last.y);
  }
}
