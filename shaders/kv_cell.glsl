// Elements of a cell of the KV cache, of type CELL_TYPE, from the buffer of words CELL_WORD(i).
// Included once for K and once for V, which name the functions: CELL_NAME(x). With SMALL_STORAGE
// CELL_HALF(i) and CELL_BYTE(i) are half words and bytes.

// The half word at byte `at`, which is even; the byte.
#ifdef SMALL_STORAGE
uint CELL_NAME(Half)(uint at) { return uint(CELL_HALF(at >> 1)); }
uint CELL_NAME(Byte)(uint at) { return uint(CELL_BYTE(at)); }
#else
uint CELL_NAME(Half)(uint at) { return bitfieldExtract(CELL_WORD(at >> 2), int(at & 2u) << 3, 16); }
uint CELL_NAME(Byte)(uint at) { return bitfieldExtract(CELL_WORD(at >> 2), int(at & 3u) << 3, 8); }
#endif

// Element `i` of the row at byte `row`.
float CELL_NAME(Element)(uint row, uint i) {
  if (CELL_TYPE == kF32) return uintBitsToFloat(CELL_WORD((row >> 2) + i));
  if (CELL_TYPE == kF16) return unpackHalf2x16(CELL_NAME(Half)(row + 2 * i)).x;
  const uint in_block = i & 31u;
  if (CELL_TYPE == kQ8_0) {
    const uint at = row + 34 * (i >> 5);
    const int q = int(CELL_NAME(Byte)(at + 2 + in_block));
    return unpackHalf2x16(CELL_NAME(Half)(at)).x * float(bitfieldExtract(q, 0, 8));
  }
  const uint at = row + 18 * (i >> 5);  // kQ4_0
  const uint pair = CELL_NAME(Byte)(at + 2 + (in_block & 15u));
  const uint nibble = bitfieldExtract(pair, int(in_block >> 4) << 2, 4);
  return unpackHalf2x16(CELL_NAME(Half)(at)).x * float(int(nibble) - 8);
}

// Elements 4 i .. 4 i + 3.
vec4 CELL_NAME(Four)(uint row, uint i) {
  if (CELL_TYPE == kF32) {
    const uint at = (row >> 2) + 4 * i;
    return vec4(uintBitsToFloat(CELL_WORD(at)), uintBitsToFloat(CELL_WORD(at + 1)),
                uintBitsToFloat(CELL_WORD(at + 2)), uintBitsToFloat(CELL_WORD(at + 3)));
  }
  if (CELL_TYPE == kF16 && (row & 3u) == 0) {
    const uint at = (row >> 2) + 2 * i;
    return vec4(unpackHalf2x16(CELL_WORD(at)), unpackHalf2x16(CELL_WORD(at + 1)));
  }
  return vec4(CELL_NAME(Element)(row, 4 * i), CELL_NAME(Element)(row, 4 * i + 1),
              CELL_NAME(Element)(row, 4 * i + 2), CELL_NAME(Element)(row, 4 * i + 3));
}
