// Weights of every type, chosen by the specialization constant TYPE (a quant::Type). Whatever the
// driver folds away was never there: one module serves all types.
//
// The unit is a *run*: 16 consecutive elements, over which every type has one scale and one
// offset: x = scale * quant + offset, as in runtime/quant/blocks.h. The includer defines WORD(i)
// (words.glsl), CODEBOOK(i) (iq.glsl) and TYPE.

const uint kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ8_0 = 8, kQ8_1 = 9,
           kQ2_K = 10, kQ3_K = 11, kQ4_K = 12, kQ5_K = 13, kQ6_K = 14, kQ8_K = 15, kIQ2_XXS = 16,
           kIQ2_XS = 17, kIQ3_XXS = 18, kIQ1_S = 19, kIQ4_NL = 20, kIQ3_S = 21, kIQ2_S = 22,
           kIQ4_XS = 23, kI8 = 24, kI16 = 25, kI32 = 26, kI64 = 27, kF64 = 28, kIQ1_M = 29,
           kBF16 = 30, kTQ1_0 = 34, kTQ2_0 = 35, kMXFP4 = 39, kNVFP4 = 40;

#include "words.glsl"
#include "lanes.glsl"
#include "simple.glsl"
#include "k.glsl"
#include "iq.glsl"
#include "plain.glsl"

// Switches, not expressions: glslang 11 makes invalid modules of specialization constants joined by
// && and ||.
bool IsPlain() {
  switch (TYPE) {
    case kF32: case kF16: case kBF16: case kF64: case kI8: case kI16: case kI32: case kI64:
      return true;
    default: return false;
  }
}
bool HasOffset() {
  switch (TYPE) {
    case kQ4_1: case kQ5_1: case kQ2_K: case kQ4_K: case kQ5_K: return true;
    default: return false;
  }
}
// Runs in a block, and bytes of it.
uint BlockRuns() {
  switch (TYPE) {
    case kQ4_0: case kQ4_1: case kQ5_0: case kQ5_1: case kQ8_0: case kQ8_1: case kIQ4_NL:
    case kMXFP4:
      return 2;
    case kNVFP4: return 4;
    default: return 16;
  }
}
uint BlockBytes() {
  switch (TYPE) {
    case kQ4_0: case kIQ4_NL: return 18;
    case kQ4_1: return 20;
    case kQ5_0: return 22;
    case kQ5_1: return 24;
    case kQ8_0: return 34;
    case kQ8_1: case kNVFP4: return 36;
    case kQ2_K: return 84;
    case kQ3_K: case kIQ3_S: return 110;
    case kQ4_K: return 144;
    case kQ5_K: return 176;
    case kQ6_K: return 210;
    case kQ8_K: return 292;
    case kIQ2_XXS: case kTQ2_0: return 66;
    case kIQ2_XS: return 74;
    case kIQ2_S: return 82;
    case kIQ3_XXS: return 98;
    case kIQ1_S: return 50;
    case kIQ1_M: return 56;
    case kIQ4_XS: return 136;
    case kTQ1_0: return 54;
    default: return 17;  // kMXFP4
  }
}

// The 16 quants of a run, as int8, the first in the lowest byte of x. `at` is the block's address.
uvec4 Quants(uint at, uint run) {
  const uint group = 2 * run;
  switch (TYPE) {
    case kQ4_0: return QuantsQ4_0(at, run);
    case kQ4_1: return QuantsQ4_1(at, run);
    case kQ5_0: return QuantsQ5_0(at, run);
    case kQ5_1: return QuantsQ5_1(at, run);
    case kQ8_0: return LoadU128(at + 2 + 16 * run);
    case kQ8_1: case kQ8_K: return LoadAligned(at + 4 + 16 * run);
    case kQ2_K: return QuantsQ2_K(at, run);
    case kQ3_K: return QuantsQ3_K(at, run);
    case kQ4_K: return QuantsQ4_K(at, run);
    case kQ5_K: return QuantsQ5_K(at, run);
    case kQ6_K: return QuantsQ6_K(at, run);
    case kIQ4_NL: return QuantsIQ4_NL(at, run);
    case kIQ4_XS: return QuantsIQ4_XS(at, run);
    case kTQ1_0: return QuantsTQ1_0(at, run);
    case kTQ2_0: return QuantsTQ2_0(at, run);
    case kMXFP4: return QuantsMXFP4(at, run);
    case kNVFP4: return QuantsNVFP4(at, run);
    case kIQ2_XXS: return uvec4(OctetIQ2_XXS(at, group), OctetIQ2_XXS(at, group + 1));
    case kIQ2_XS: return uvec4(OctetIQ2_XS(at, group), OctetIQ2_XS(at, group + 1));
    case kIQ2_S: return uvec4(OctetIQ2_S(at, group), OctetIQ2_S(at, group + 1));
    case kIQ3_XXS: return uvec4(OctetIQ3_XXS(at, group), OctetIQ3_XXS(at, group + 1));
    case kIQ3_S: return uvec4(OctetIQ3_S(at, group), OctetIQ3_S(at, group + 1));
    case kIQ1_S: return uvec4(OctetIQ1_S(at, group), OctetIQ1_S(at, group + 1));
    case kIQ1_M: return uvec4(OctetIQ1_M(at, group), OctetIQ1_M(at, group + 1));
    default: return uvec4(0);
  }
}

float Scale(uint at, uint run) {
  switch (TYPE) {
    case kQ8_K: return uintBitsToFloat(WORD(at >> 2));
    case kQ2_K: return LoadHalf(at + 80) * float(LoadU8(at + run) & 15u);
    case kQ3_K: return ScaleQ3_K(at, run);
    case kQ4_K: case kQ5_K: return LoadHalf(at) * float(SixBitScale(at + 4, run >> 1));
    case kQ6_K: return LoadHalf(at + 208) * float(LoadI8(at + 192 + run));
    case kIQ4_XS: return ScaleIQ4_XS(at, run);
    case kTQ1_0: return LoadHalf(at + 52);
    case kTQ2_0: return LoadHalf(at + 64);
    case kMXFP4: return HalfOfE8M0(LoadU8(at));
    case kNVFP4: return HalfOfUE4M3(LoadU8(at + run));
    case kIQ2_XXS:
      return LoadHalf(at) * (0.5 + float(LoadU16(at + 8 + 8 * (run >> 1)) >> 12)) * 0.25;
    case kIQ2_XS: return ScaleIQ2(at, at + 66, run);
    case kIQ2_S: return ScaleIQ2(at, at + 74, run);
    case kIQ3_XXS:
      return LoadHalf(at) * (0.5 + float(LoadU16(at + 68 + 4 * (run >> 1)) >> 12)) * 0.5;
    case kIQ3_S: return ScaleIQ3_S(at, run);
    case kIQ1_S: return ScaleIQ1_S(at, run);
    case kIQ1_M: return ScaleIQ1_M(at, run);
    default: return LoadHalf(at);
  }
}

// Only where HasOffset.
float Offset(uint at, uint run) {
  switch (TYPE) {
    case kQ2_K: return -(LoadHalf(at + 82) * float(LoadU8(at + run) >> 4));
    case kQ4_K: case kQ5_K: return -(LoadHalf(at + 2) * float(SixBitMin(at + 4, run >> 1)));
    default: return LoadHalf(at + 2);
  }
}

// The 16 elements of run `run` of the row of `k` elements at byte `row`; zeros past its end.
mat4 DecodeRun(uint row, uint run, uint k) {
  mat4 x;
  if (IsPlain()) {
    const uint first = 16 * run;
    if (TYPE == kF16 && (k & 15u) == 0) {
      const uvec4 a = LoadU128(row + 2 * first), b = LoadU128(row + 2 * first + 16);
      return mat4(unpackHalf2x16(a.x), unpackHalf2x16(a.y), unpackHalf2x16(a.z),
                  unpackHalf2x16(a.w), unpackHalf2x16(b.x), unpackHalf2x16(b.y),
                  unpackHalf2x16(b.z), unpackHalf2x16(b.w));
    }
    for (uint i = 0; i < 16; ++i) {
      // A choice, not a branch.
      const float element = LoadPlain(row, min(first + i, k - 1));
      x[i >> 2][i & 3] = first + i < k ? element : 0.0;
    }
    return x;
  }
  const uint at = row + run / BlockRuns() * BlockBytes();
  const uint in_block = run % BlockRuns();
  const uvec4 quants = Quants(at, in_block);
  const float scale = Scale(at, in_block);
  for (int i = 0; i < 4; ++i) x[i] = scale * UnpackI8(quants[i]);
  if (HasOffset()) {
    const float offset = Offset(at, in_block);
    for (int i = 0; i < 4; ++i) x[i] += offset;
  }
  return x;
}
