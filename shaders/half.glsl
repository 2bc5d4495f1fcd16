// f32 to the bits of f16.

// To nearest, ties to even, whatever the driver's packHalf2x16 does.
uint ToHalf(float value) {
  const uint bits = floatBitsToUint(value);
  const uint sign = (bits >> 16) & 0x8000u;
  const uint magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return sign | 0x7E00u | ((magnitude >> 13) & 0x01FFu);
  if (magnitude >= 0x477FF000u) return sign | 0x7C00u;
  if (magnitude >= 0x38800000u) {
    const uint rebiased = magnitude - ((127u - 15u) << 23);
    return sign | ((rebiased + 0x0FFFu + ((rebiased >> 13) & 1u)) >> 13);
  }
  const uint exponent = magnitude >> 23;
  if (exponent < 126 - 24) return sign;
  const uint shift = 126 - exponent;
  const uint significand = (magnitude & 0x007FFFFFu) | 0x00800000u;
  return sign | ((significand + (1u << (shift - 1)) - 1 + ((significand >> shift) & 1u)) >> shift);
}
