// Blocks that index a codebook; drawn in runtime/quant/blocks_iq.h. The includer defines
// CODEBOOK(i), the i-th word of the codebooks, which the host lays out as codebooks.cc says: the 16
// levels of IQ4, one to a byte, then the points, two to a word.

const uint kCodesIQ2_XXS = 0, kCodesIQ2_XS = 256, kCodesIQ2_S = 768, kCodesIQ3_XXS = 1792,
           kCodesIQ3_S = 2048, kCodesIQ1 = 2560;
uint Code(uint index) {
  return bitfieldExtract(CODEBOOK(4 + (index >> 1)), int(index & 1u) << 4, 16);
}

uint LevelsIQ4(uint nibbles) {
  uint levels = 0;
  for (int i = 0; i < 4; ++i) {
    const uint nibble = (nibbles >> 8 * i) & 15u;
    levels |= bitfieldExtract(CODEBOOK(nibble >> 2), int(nibble & 3u) << 3, 8) << 8 * i;
  }
  return levels;
}
uvec4 LevelsIQ4x16(uvec4 nibbles) {
  return uvec4(LevelsIQ4(nibbles.x), LevelsIQ4(nibbles.y), LevelsIQ4(nibbles.z),
               LevelsIQ4(nibbles.w));
}
uvec4 QuantsIQ4_NL(uint at, uint run) { return LevelsIQ4x16(LoadU128(at + 2) >> 4 * run); }
uvec4 QuantsIQ4_XS(uint at, uint run) {
  return LevelsIQ4x16(LoadAligned(at + 8 + 16 * (run >> 1)) >> 4 * (run & 1u));
}

uint MagnitudesIQ2(uint code) {
  const uint c = SpreadPairs(code);
  return 8 * kOnes + 17 * c + ((c >> 1) & kOnes);
}
uvec2 PointIQ2(uint code, uint signs) {
  return uvec2(NegateBytes(MagnitudesIQ2(code), signs),
               NegateBytes(MagnitudesIQ2(code >> 8), signs >> 4));
}
uint MagnitudesIQ3_XXS(uint code) {
  const uint c = SpreadNibbles(code);
  return 4 * kOnes + 8 * c + 2 * (((c + kOnes) >> 3) & kOnes);
}
uint MagnitudesIQ3_S(uint code) { return 2 * SpreadNibbles(code) + kOnes; }
uvec2 PointIQ1(uint code, bool down) {
  const uvec2 c = uvec2(SpreadPairs(code), SpreadPairs(code >> 8));
  return (8 * c + (down ? 0x77u : 0x79u) * kOnes) ^ 0x80808080u;
}

uvec2 OctetIQ2_XXS(uint at, uint group) {
  const uint in_run = group & 3u;
  const uint run = at + 2 + 8 * (group >> 2);
  const uint signs = (LoadU32(run + 4) >> 7 * in_run) & 127u;
  return PointIQ2(Code(kCodesIQ2_XXS + LoadU8(run + in_run)), CompleteSigns(signs));
}
uvec2 OctetIQ2_XS(uint at, uint group) {
  const uint q = LoadU16(at + 2 + 2 * group);
  return PointIQ2(Code(kCodesIQ2_XS + (q & 511u)), CompleteSigns(q >> 9));
}
uvec2 OctetIQ2_S(uint at, uint group) {
  const uint high = (LoadU8(at + 66 + (group >> 2)) >> 2 * (group & 3u)) & 3u;
  return PointIQ2(Code(kCodesIQ2_S + (LoadU8(at + 2 + group) | high << 8)),
                  LoadU8(at + 34 + group));
}
uvec2 OctetIQ3_XXS(uint at, uint group) {
  const uint indices = LoadU16(at + 2 + 2 * group);
  const uint signs =
      CompleteSigns((LoadU32(at + 66 + 4 * (group >> 2)) >> 7 * (group & 3u)) & 127u);
  return uvec2(NegateBytes(MagnitudesIQ3_XXS(Code(kCodesIQ3_XXS + (indices & 0xFFu))), signs),
               NegateBytes(MagnitudesIQ3_XXS(Code(kCodesIQ3_XXS + (indices >> 8))), signs >> 4));
}
uvec2 OctetIQ3_S(uint at, uint group) {
  const uint indices = LoadU16(at + 2 + 2 * group);
  const uint high = LoadU8(at + 66 + (group >> 2)) >> 2 * (group & 3u);
  const uint first = (indices & 0xFFu) | (high & 1u) << 8;
  const uint second = (indices >> 8) | (high & 2u) << 7;
  const uint signs = LoadU8(at + 74 + group);
  return uvec2(NegateBytes(MagnitudesIQ3_S(Code(kCodesIQ3_S + first)), signs),
               NegateBytes(MagnitudesIQ3_S(Code(kCodesIQ3_S + second)), signs >> 4));
}
uvec2 OctetIQ1_S(uint at, uint group) {
  const uint high = LoadU16(at + 34 + 2 * (group >> 2));
  const uint index = LoadU8(at + 2 + group) | ((high >> 3 * (group & 3u)) & 7u) << 8;
  return PointIQ1(Code(kCodesIQ1 + index), (high & 0x8000u) != 0);
}
uvec2 OctetIQ1_M(uint at, uint group) {
  const uint high = LoadU8(at + 32 + (group >> 1)) >> 4 * (group & 1u);
  return PointIQ1(Code(kCodesIQ1 + (LoadU8(at + group) | (high & 7u) << 8)), (high & 8u) != 0);
}

float ScaleIQ4_XS(uint at, uint run) {
  const uint group = run >> 1;
  const uint low = (LoadU8(at + 4 + (group >> 1)) >> 4 * (group & 1u)) & 15u;
  const uint high = (LoadU16(at + 2) >> 2 * group) & 3u;
  return LoadHalf(at) * float(int(low | high << 4) - 32);
}
// IQ2_XS and IQ2_S: four bits for each run, from `scales`.
float ScaleIQ2(uint at, uint scales, uint run) {
  const uint scale = (LoadU8(scales + (run >> 1)) >> 4 * (run & 1u)) & 15u;
  return LoadHalf(at) * (0.5 + float(scale)) * 0.25;
}
float ScaleIQ3_S(uint at, uint run) {
  const uint scale = (LoadU8(at + 106 + (run >> 2)) >> 4 * ((run >> 1) & 1u)) & 15u;
  return LoadHalf(at) * float(1 + 2 * scale);
}
float ScaleIQ1_S(uint at, uint run) {
  const uint scale = (LoadU16(at + 34 + 2 * (run >> 1)) >> 12) & 7u;
  return LoadHalf(at) * float(1 + 2 * scale) * 0.125;
}
float ScaleIQ1_M(uint at, uint run) {
  const uint scales = at + 48;
  const uint d = LoadU16(scales) >> 12 | (LoadU16(scales + 2) >> 12) << 4 |
                 (LoadU16(scales + 4) >> 12) << 8 | (LoadU16(scales + 6) >> 12) << 12;
  const uint scale = (LoadU16(scales + 2 * (run >> 2)) >> 3 * (run & 3u)) & 7u;
  return unpackHalf2x16(d).x * float(1 + 2 * scale) * 0.125;
}
