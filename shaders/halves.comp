#version 450
// Rows of f32 to f16, each times a power of two that brings its largest element to 2^14 .. 2^15: a
// workgroup to a row. In vectors of four words a row is
//
//   0        the inverse of that power, f32; NaN where an element is not finite; three not used
//   1 ..     elements, eight to a vector, rounded to nearest even; zeros up to a multiple of 32
#include "common.glsl"
#include "half.glsl"
#include "workgroup_reduce.glsl"
#include "rows.glsl"

layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Out { uint halves[]; };

const uint kHeader = 4;

void main() {
  const uint k = p.shape.x, words = (k + 31) / 32 * 16;
  uint in_row, out_row;
  if (!FindRow(in_row, out_row, kHeader + words)) return;
  float peak = 0.0;
  for (uint i = gl_LocalInvocationIndex; i < k; i += LOCAL) {
    const uint bits = floatBitsToUint(x[in_row + i]) & 0x7FFFFFFFu;
    peak = max(peak, uintBitsToFloat(min(bits, 0x7F800000u)));  // NaN as infinity
  }
  peak = WorkgroupMax(peak);
  const bool finite = floatBitsToUint(peak) < 0x7F800000u;
  // So little is nothing, as in quantize.comp.
  const bool some = finite && peak > 1e-30;
  const uint exponent = floatBitsToUint(peak) >> 23;
  const float power = some ? uintBitsToFloat((127u + 127u + 14u - exponent) << 23) : 0.0;
  if (gl_LocalInvocationIndex == 0) {
    halves[out_row] = !finite ? 0x7FC00000u : some ? (exponent - 14u) << 23 : 0u;
  }
  for (uint i = gl_LocalInvocationIndex; i < words; i += LOCAL) {
    uint word = 0;
    if (some && 2 * i < k) word = ToHalf(x[in_row + 2 * i] * power);
    if (some && 2 * i + 1 < k) word |= ToHalf(x[in_row + 2 * i + 1] * power) << 16;
    halves[out_row + kHeader + i] = word;
  }
}
