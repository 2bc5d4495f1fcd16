// Reading bytes, at any byte address, from a buffer of 32-bit words. The includer defines
// WORD(i), the i-th word; and, where buffers may hold such, BYTE(i) and HALF_WORD(i) as uint.

// The byte at `at`, and the two bytes; `at` is even then.
#ifdef BYTE
uint LoadU8(uint at) { return BYTE(at); }
uint LoadU16(uint at) { return HALF_WORD(at >> 1); }
#else
uint LoadU8(uint at) { return bitfieldExtract(WORD(at >> 2), int(at & 3u) << 3, 8); }
uint LoadU16(uint at) { return bitfieldExtract(WORD(at >> 2), int(at & 2u) << 3, 16); }
#endif
int LoadI8(uint at) { return bitfieldExtract(int(LoadU8(at)), 0, 8); }

// Four bytes, at any address.
uint LoadU32(uint at) {
  const uint i = at >> 2, shift = (at & 3u) << 3;
  const uint low = WORD(i);
  return shift == 0 ? low : (low >> shift) | (WORD(i + 1) << (32 - shift));
}

// Eight and sixteen bytes, at any address.
uvec2 LoadU64(uint at) {
  const uint i = at >> 2, shift = (at & 3u) << 3;
  const uvec2 low = uvec2(WORD(i), WORD(i + 1));
  if (shift == 0) return low;
  return (low >> shift) | (uvec2(low.y, WORD(i + 2)) << (32 - shift));
}
uvec4 LoadU128(uint at) {
  const uint i = at >> 2, shift = (at & 3u) << 3;
  const uvec4 low = uvec4(WORD(i), WORD(i + 1), WORD(i + 2), WORD(i + 3));
  if (shift == 0) return low;
  return (low >> shift) | (uvec4(low.yzw, WORD(i + 4)) << (32 - shift));
}
// The same where `at` is known to be a multiple of 4.
uvec4 LoadAligned(uint at) {
  const uint i = at >> 2;
  return uvec4(WORD(i), WORD(i + 1), WORD(i + 2), WORD(i + 3));
}

float LoadHalf(uint at) { return unpackHalf2x16(LoadU16(at)).x; }
