#version 450
// Joins the parts of attention.comp: for each (query, head), `splits` times (peak, total,
// sums[v_dim]). A workgroup to a (query, head).
#include "common.glsl"

layout(push_constant) uniform Push {
  uint v_dim, heads, rows, splits;
  uint parts_offset, sinks_offset, out_offset;
  uint has_sinks;
} p;
layout(binding = 0) readonly buffer Parts { float parts[]; };
layout(binding = 1) readonly buffer Sinks { float sinks[]; };
layout(binding = 2) writeonly buffer Out { float result[]; };

void main() {
  const uint row = GroupIndex();
  if (row >= p.rows) return;
  const uint part = p.v_dim + 2;
  const uint from = p.parts_offset + row * p.splits * part;
  float peak = -kInfinity;
  for (uint s = 0; s < p.splits; ++s) peak = max(peak, parts[from + s * part]);
  const bool nothing = peak == -kInfinity;
  float total = 0.0;
  if (p.has_sinks != 0 && !nothing) {
    const float sink = sinks[p.sinks_offset + row % p.heads];
    peak = max(peak, sink);
    total = exp(sink - peak);
  }
  if (!nothing) {
    for (uint s = 0; s < p.splits; ++s) {
      total += parts[from + s * part + 1] * exp(parts[from + s * part] - peak);
    }
  }
  for (uint d = gl_LocalInvocationIndex; d < p.v_dim; d += LOCAL) {
    float sum = 0.0;
    if (!nothing) {
      for (uint s = 0; s < p.splits; ++s) {
        sum += parts[from + s * part + 2 + d] * exp(parts[from + s * part] - peak);
      }
    }
    result[p.out_offset + row * p.v_dim + d] = nothing ? 0.0 : sum / total;
  }
}
