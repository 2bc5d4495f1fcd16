// Shaders in which a workgroup owns a row: where it starts in x and in the (contiguous) output.
layout(push_constant) uniform Push {
  uvec4 shape;
  uvec4 strides;  // of x, in elements
  uint x_offset, out_offset;
  uint extra_offsets[2];
  float scale;  // or epsilon
  uint wanted;
} p;

// False for a workgroup past the end of the grid.
bool FindRow(out uint x_row, out uint out_row, uint out_width) {
  uint row = GroupIndex();
  if (row >= p.shape.y * p.shape.z * p.shape.w) return false;
  out_row = p.out_offset + row * out_width;
  x_row = p.x_offset + row % p.shape.y * p.strides.y;
  row /= p.shape.y;
  x_row += row % p.shape.z * p.strides.z + row / p.shape.z * p.strides.w;
  return true;
}
