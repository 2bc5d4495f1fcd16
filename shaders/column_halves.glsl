// Columns of x as halves.comp rounded them, each with a power of two of its own, for tiles of
// matmul.comp whose products are of f16. Weights are rounded as they are decoded; those that are
// quantized are made larger first, for most are so small that f16 would have few bits for them. One
// of more than 1023 is infinite then, and shows in the result.
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(binding = 2) readonly buffer Halves { uvec4 halves[]; };
shared float x_scales[TILE_N];  // what sums are to be multiplied by

float WeightFactor() { return IsPlain() ? 1.0 : 64.0; }

void LoadScales(bool exists) {
  for (uint i = gl_LocalInvocationIndex; i < cols_here; i += LOCAL) {
    x_scales[i] = exists ? uintBitsToFloat(halves[x_columns[i]].x) * (1.0 / WeightFactor()) : 0.0;
  }
}
// Elements 8 at .. 8 at + 7 of a column's slice of 32.
uvec4 EightHalves(uint slice, uint col, uint at) {
  return col < cols_here ? halves[x_columns[col] + 1 + 4 * slice + at] : uvec4(0);
}
