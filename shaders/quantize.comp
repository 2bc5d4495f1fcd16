#version 450
// Rows of f32 to planes of int8 (planes.glsl). Eight invocations to 32 elements, four each.
#include "common.glsl"
#include "planes.glsl"

layout(push_constant) uniform Push {
  uvec4 shape;    // of x; x is a multiple of 32
  uvec4 strides;  // of x, in elements
  uint x_offset, out_offset;
} p;
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Out { uint planes[]; };

shared uint peaks[LOCAL];  // as bits, which order as magnitudes do, what is not finite last
shared int totals[LOCAL];

uint Pack(ivec4 v) {
  return (uint(v.x) & 0xFFu) | (uint(v.y) & 0xFFu) << 8 | (uint(v.z) & 0xFFu) << 16 |
         uint(v.w) << 24;
}

void main() {
  const uint thread = gl_LocalInvocationIndex, lane = thread % 8, first = thread - lane;
  const uint blocks = p.shape.x / 32;
  const uint block = ElementIndex() / 8;
  const bool inside = block < blocks * p.shape.y * p.shape.z * p.shape.w;
  vec4 v = vec4(0.0);
  if (inside) {
    uint row = block / blocks;
    uint from = p.x_offset + block % blocks * 32 + 4 * lane + row % p.shape.y * p.strides.y;
    row /= p.shape.y;
    from += row % p.shape.z * p.strides.z + row / p.shape.z * p.strides.w;
    v = vec4(x[from], x[from + 1], x[from + 2], x[from + 3]);
  }
  const uvec4 bits = floatBitsToUint(v) & 0x7FFFFFFFu;
  peaks[thread] = max(max(bits.x, bits.y), max(bits.z, bits.w));
  barrier();
  uint peak = 0;
  for (uint i = 0; i < 8; ++i) peak = max(peak, peaks[first + i]);
  // Below 1e-30 the inverse might not be a number; so little is nothing.
  const bool finite = peak < 0x7F800000u, some = finite && uintBitsToFloat(peak) > 1e-30;
  float scale = some ? uintBitsToFloat(peak) * (1.0 / 32512.0) : 0.0;
  if (!finite) scale = uintBitsToFloat(0x7FC00000u);
  ivec4 q = ivec4(0);
  if (some) q = ivec4(clamp(round(v * (32512.0 / uintBitsToFloat(peak))), -32512.0, 32512.0));
  const ivec4 high = (q + 128) >> 8;
  totals[thread] = q.x + q.y + q.z + q.w;
  barrier();
  if (!inside) return;
  const uint to = p.out_offset + block * kPlaneWords;
  planes[to + lane] = Pack(high);
  planes[to + 8 + lane] = Pack(q - (high << 8));
  if (lane == 0) {
    planes[to + 16] = floatBitsToUint(scale);
  } else if (lane < 3) {
    int total = 0;
    for (uint i = 0; i < 4; ++i) total += totals[first + 4 * (lane - 1) + i];
    planes[to + 16 + lane] = floatBitsToUint(scale * float(total));
  }
}
