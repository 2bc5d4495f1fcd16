// Arithmetic on the four bytes of a word at once, as runtime/quant/codebooks.h does on eight.

const uint kOnes = 0x01010101u;

// x - k in each byte, as int8; x and k are below 128.
uvec4 MinusEach(uvec4 x, uint k) { return ((x | 0x80808080u) - k * kOnes) ^ 0x80808080u; }

// The low four bits of `bits`, one to a byte.
uint SpreadBits(uint bits) { return ((bits & 15u) * 0x00204081u) & kOnes; }
// 16 bits, one to a byte.
uvec4 SpreadBits16(uint bits) {
  return uvec4(SpreadBits(bits), SpreadBits(bits >> 4), SpreadBits(bits >> 8),
               SpreadBits(bits >> 12));
}
// The four 2-bit fields of the low byte, one to a byte.
uint SpreadPairs(uint code) {
  uint x = code & 0xFFu;
  x = (x | (x << 12)) & 0x000F000Fu;
  return (x | (x << 6)) & 0x03030303u;
}
// The four 4-bit fields of a half word, one to a byte.
uint SpreadNibbles(uint code) {
  uint x = code & 0xFFFFu;
  x = (x | (x << 8)) & 0x00FF00FFu;
  return (x | (x << 4)) & 0x0F0F0F0Fu;
}
// Negates the bytes whose bit in `signs` is set; no byte is 0.
uint NegateBytes(uint word, uint signs) {
  const uint negative = SpreadBits(signs);
  return (word ^ (negative * 0xFFu)) + negative;
}
// The eighth sign makes the number of minus signs even.
uint CompleteSigns(uint seven) { return seven | ((bitCount(seven) & 1u) << 7); }

vec4 UnpackI8(uint word) {
  const int x = int(word);
  return vec4(bitfieldExtract(x, 0, 8), bitfieldExtract(x, 8, 8), bitfieldExtract(x, 16, 8), x >> 24);
}
