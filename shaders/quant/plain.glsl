// One element of a type that is not quantized, to nearest, in integer arithmetic where the
// hardware's conversion may round otherwise.

// The 64-bit integer (high, low) as f32, to nearest, ties to even.
float RoundInteger(uint high, uint low, bool negative) {
  if ((high | low) == 0) return 0.0;
  // The leading one is moved to the top of 64 bits.
  const int top = high != 0 ? 32 + findMSB(high) : findMSB(low);
  const int up = 63 - top;
  if (up >= 32) {
    high = low << (up - 32);
    low = 0;
  } else if (up > 0) {
    high = high << up | low >> (32 - up);
    low <<= up;
  }
  uint bits = ((127u + uint(top)) << 23) | ((high >> 8) & 0x007FFFFFu);
  const uint rest = high & 0xFFu;
  const bool above_half = rest > 0x80u || (rest == 0x80u && low != 0);
  if (above_half || (rest == 0x80u && (bits & 1u) != 0)) ++bits;  // may carry into the exponent
  return uintBitsToFloat(bits | (negative ? 0x80000000u : 0u));
}
float RoundDouble(uint low, uint high) {
  const uint sign = high & 0x80000000u;
  const int exponent = int((high >> 20) & 0x7FFu) - 1023 + 127;
  const uint fraction = high & 0x000FFFFFu;
  if (exponent == 2047 - 1023 + 127) {
    return uintBitsToFloat(sign | ((fraction | low) != 0 ? 0x7FC00000u : 0x7F800000u));
  }
  if (exponent >= 255) return uintBitsToFloat(sign | 0x7F800000u);
  if (exponent < -23) return uintBitsToFloat(sign);
  uint significand = (1u << 23) | fraction << 3 | low >> 29;
  uint rest = low << 3;
  uint bits;
  if (exponent > 0) {
    bits = uint(exponent) << 23 | (significand & 0x007FFFFFu);
  } else {  // subnormal: a shift of 1 to 24, what falls out is kept as the rest
    const uint shift = uint(1 - exponent);
    rest = significand << (32 - shift) | (rest != 0 ? 1u : 0u);
    bits = significand >> shift;
  }
  if (rest > 0x80000000u || (rest == 0x80000000u && (bits & 1u) != 0)) ++bits;
  return uintBitsToFloat(sign | bits);
}

// Element `i` of the row at byte `at`.
float LoadPlain(uint at, uint i) {
  if (TYPE == kF32) return uintBitsToFloat(WORD((at >> 2) + i));
  if (TYPE == kF16) return LoadHalf(at + 2 * i);
  if (TYPE == kBF16) return uintBitsToFloat(LoadU16(at + 2 * i) << 16);
  if (TYPE == kF64) return RoundDouble(WORD((at >> 2) + 2 * i), WORD((at >> 2) + 2 * i + 1));
  if (TYPE == kI8) return float(LoadI8(at + i));
  if (TYPE == kI16) return float(bitfieldExtract(int(LoadU16(at + 2 * i)), 0, 16));
  if (TYPE == kI32) {
    const int x = int(WORD((at >> 2) + i));
    return RoundInteger(0, uint(abs(x)), x < 0);
  }
  uint low = WORD((at >> 2) + 2 * i), high = WORD((at >> 2) + 2 * i + 1);  // kI64
  const bool negative = int(high) < 0;
  if (negative) {
    high = ~high + (low == 0 ? 1u : 0u);
    low = ~low + 1;
  }
  return RoundInteger(high, low, negative);
}
