#version 450
// The indices of the largest elements of a row, descending, equal ones by index: a workgroup to a
// row finds the best of what comes after the last one found, as often as are wanted. With one
// wanted it is argmax.
#include "common.glsl"
#include "rows.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Out { int result[]; };

shared uvec2 best[LOCAL];

// A number that orders as the float does; 0, the least, for NaN. Both zeros are equal.
uint Key(float value) {
  if (IsNan(value)) return 0;
  const uint bits = floatBitsToUint(value == 0.0 ? 0.0 : value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
// Whether candidate a = (key, index) comes before b.
bool Before(uvec2 a, uvec2 b) { return a.x > b.x || (a.x == b.x && a.y < b.y); }

void main() {
  uint in_row, out_row;
  if (!FindRow(in_row, out_row, p.wanted)) return;
  uvec2 last = uvec2(0xFFFFFFFFu, 0);
  const uvec2 kNone = uvec2(0, 0xFFFFFFFFu);
  for (uint found = 0; found < p.wanted; ++found) {
    uvec2 mine = kNone;
    for (uint i = gl_LocalInvocationIndex; i < p.shape.x; i += LOCAL) {
      const uvec2 candidate = uvec2(Key(x[in_row + i]), i);
      if ((found == 0 || Before(last, candidate)) && Before(candidate, mine)) mine = candidate;
    }
    barrier();
    best[gl_LocalInvocationIndex] = mine;
    for (uint width = LOCAL / 2; width > 0; width /= 2) {
      barrier();
      if (gl_LocalInvocationIndex < width) {
        const uvec2 other = best[gl_LocalInvocationIndex + width];
        if (Before(other, best[gl_LocalInvocationIndex])) best[gl_LocalInvocationIndex] = other;
      }
    }
    barrier();
    last = best[0];
    if (gl_LocalInvocationIndex == 0) result[out_row + found] = int(last.y);
  }
}
