#version 450
// Rows of any type to f32: dequantize, and gather by ids. A run of 16 elements to an invocation.
#include "common.glsl"
#include "weights.glsl"

layout(push_constant) uniform Push {
  uvec4 shape;    // of the output; its y counts ids when gathering
  uvec4 strides;  // of the rows of the source, in bytes; z, w: 0 when gathering
  uint x_offset, ids_offset, out_offset;
  // This dispatch has the rows first_row .. first_row + rows of a table of all_rows; an id outside
  // the table is zeros, written by the dispatch with the first rows.
  uint first_row, rows, all_rows;
  uint gather;
} p;
layout(binding = 2) readonly buffer Ids { int ids[]; };
layout(binding = 3) writeonly buffer Out { float result[]; };

void main() {
  const uint k = p.shape.x;
  const uint runs = (k + 15) / 16;
  uint index = ElementIndex();
  if (index >= runs * p.shape.y * p.shape.z * p.shape.w) return;
  const uint run = index % runs;
  const uint row = index / runs;
  const uint to = p.out_offset + row * k + 16 * run;
  uint from = p.x_offset;
  bool exists = true;
  if (p.gather != 0) {
    const int id = ids[p.ids_offset + row];
    exists = id >= 0 && uint(id) < p.all_rows;
    if (exists && (uint(id) < p.first_row || uint(id) - p.first_row >= p.rows)) return;
    if (!exists && p.first_row != 0) return;
    from += (uint(id) - p.first_row) * p.strides.y;
  } else {
    from += row % p.shape.y * p.strides.y + row / p.shape.y % p.shape.z * p.strides.z +
            row / p.shape.y / p.shape.z * p.strides.w;
  }
  mat4 x = mat4(0.0);
  if (exists) x = DecodeRun(from, run, k);
  const uint count = min(16, k - 16 * run);
  for (uint i = 0; i < count; ++i) result[to + i] = x[i >> 2][i & 3];
}
