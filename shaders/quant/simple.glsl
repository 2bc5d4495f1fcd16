// Blocks of one scale; drawn in runtime/quant/blocks_simple.h. See decode.glsl for what a run is.

uvec4 QuantsQ4_0(uint at, uint run) {
  return MinusEach((LoadU128(at + 2) >> 4 * run) & 0x0F0F0F0Fu, 8);
}
uvec4 QuantsQ4_1(uint at, uint run) { return (LoadAligned(at + 4) >> 4 * run) & 0x0F0F0F0Fu; }
uvec4 FiveBits(uvec4 low, uint high, uint run) {
  return ((low >> 4 * run) & 0x0F0F0F0Fu) | (SpreadBits16(high >> 16 * run) << 4);
}
uvec4 QuantsQ5_0(uint at, uint run) {
  return MinusEach(FiveBits(LoadU128(at + 6), LoadU32(at + 2), run), 16);
}
uvec4 QuantsQ5_1(uint at, uint run) {
  return FiveBits(LoadAligned(at + 8), WORD((at + 4) >> 2), run);
}

// A byte holds ternary digits as a fraction: times three carries the next one out.
uint TernaryDigits(uint word, uint power) {
  const uint even = (((word & 0x00FF00FFu) * power) & 0x00FF00FFu) * 3;
  const uint odd = ((((word >> 8) & 0x00FF00FFu) * power) & 0x00FF00FFu) * 3;
  return ((even >> 8) & 0x00030003u) | (odd & 0x03000300u);
}
uint PowerOf3(uint n) { return n == 4 ? 81u : (0x1B090301u >> 8 * n) & 0xFFu; }
uvec4 QuantsTQ1_0(uint at, uint run) {
  uvec4 digits;
  if (run < 15) {
    const uvec4 bytes = LoadU128(at + (run < 10 ? 16 * (run & 1u) : 32u));
    const uint power = PowerOf3(run < 10 ? run >> 1 : run - 10);
    for (int i = 0; i < 4; ++i) digits[i] = TernaryDigits(bytes[i], power);
  } else {
    const uint bytes = LoadU32(at + 48);
    for (int i = 0; i < 4; ++i) digits[i] = TernaryDigits(bytes, PowerOf3(i));
  }
  return MinusEach(digits, 1);
}
uvec4 QuantsTQ2_0(uint at, uint run) {
  const uint group = run >> 1;
  const uvec4 bytes = LoadU128(at + 32 * (group >> 2) + 16 * (run & 1u));
  return MinusEach((bytes >> 2 * (group & 3u)) & 0x03030303u, 1);
}

// Twice the value of E2M1 codes (OCP Microscaling 1.0, section 5.3.3): 0 1 2 3 4 6 8 12, signed.
uvec4 DoubledE2M1(uvec4 codes) {
  const uvec4 c = codes & 0x07070707u;
  const uvec4 above_4 = ((c + 3 * kOnes) >> 3) & kOnes;
  const uvec4 above_5 = ((c + 2 * kOnes) >> 3) & kOnes;
  const uvec4 above_6 = ((c + kOnes) >> 3) & kOnes;
  const uvec4 negative = ((codes & (c + 7 * kOnes)) >> 3) & kOnes;
  return ((c + above_4 + above_5 + 3 * above_6) ^ (negative * 0xFFu)) + negative;
}
uvec4 QuantsMXFP4(uint at, uint run) { return DoubledE2M1(LoadU128(at + 1) >> 4 * run); }
uvec4 QuantsNVFP4(uint at, uint run) {
  const uint i = (at + 4 + 8 * run) >> 2;
  const uint low = WORD(i), high = WORD(i + 1);
  return DoubledE2M1(uvec4(low, high, low >> 4, high >> 4));
}
// E8M0 halved, 2^(e - 128).
float HalfOfE8M0(uint e) {
  return uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}
// UE4M3 halved; 0x7F stands for 0.
float HalfOfUE4M3(uint x) {
  const uint magnitude = x & 0x7Fu;
  if (x == 0x7Fu) return 0.0;
  if (magnitude < 8) return float(magnitude) * (1.0 / 1024.0);
  return uintBitsToFloat((magnitude << 20) + ((127u - 8u) << 23));
}
