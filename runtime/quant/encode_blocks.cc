#include "runtime/quant/encode_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/quant/float16.h"

namespace bantam::quant {
namespace {

// floor(x) within [lo, hi]; lo for a NaN, which a range beyond f32 makes.
int FloorClamped(float x, int lo, int hi) {
  if (!(x > static_cast<float>(lo))) return lo;
  if (x >= static_cast<float>(hi)) return hi;
  return static_cast<int>(std::floor(x));
}

// x to the nearest integer within [lo, hi], halves away from zero.
int RoundClamped(float x, int lo, int hi) {
  if (!(x > static_cast<float>(lo))) return lo;
  if (x >= static_cast<float>(hi)) return hi;
  return static_cast<int>(std::round(x));
}

// 1 / x, or 0 for 0. Kept finite, so that 0 times it is 0.
float Inverse(float x) {
  constexpr float kMax = std::numeric_limits<float>::max();
  return x == 0 ? 0.0f : std::clamp(1.0f / x, -kMax, kMax);
}

// The first element of the greatest magnitude, with its sign.
float SignedMax(const float* x, int n) {
  float max = 0;
  for (int i = 0; i < n; ++i) {
    if (std::abs(x[i]) > std::abs(max)) max = x[i];
  }
  return max;
}

struct Range {
  float min, max;
};
Range MinMax(const float* x, int n) {
  const auto [min, max] = std::minmax_element(x, x + n);
  return {*min, *max};
}

// Two halves of 16 quants of 0..15 to the nibbles of 16 bytes.
void PackNibbles(const uint8_t* q, uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((q[j] & 15) | (q[16 + j] & 15) << 4);
}

// Bit 4 of 32 quants.
void PackFifthBits(const uint8_t* q, uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int i = 0; i < 32; ++i) qh[i / 8] |= static_cast<uint8_t>((q[i] >> 4) << (i % 8));
}

// Sets q[i] so that x[i] is about d (q[i] - half) and returns d. The extreme of the greater
// magnitude becomes quant 0, the end of the range that reaches further.
float QuantizeSymmetric(const float* x, int half, uint8_t* q) {
  const float d = SignedMax(x, 32) / static_cast<float>(-half);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<uint8_t>(
        FloorClamped(x[i] * inverse + (static_cast<float>(half) + 0.5f), 0, 2 * half - 1));
  }
  return d;
}

// Sets q[i] so that x[i] is about d q[i] + min, and returns d.
float QuantizeAsymmetric(const float* x, float min, float max, int top, uint8_t* q) {
  const float d = (max - min) / static_cast<float>(top);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) {
    q[i] = static_cast<uint8_t>(FloorClamped((x[i] - min) * inverse + 0.5f, 0, top));
  }
  return d;
}

float QuantizeInt8(const float* x, int n, int8_t* qs) {
  const float d = std::abs(SignedMax(x, n)) / 127.0f;
  const float inverse = Inverse(d);
  for (int i = 0; i < n; ++i) {
    qs[i] = static_cast<int8_t>(RoundClamped(x[i] * inverse, -127, 127));
  }
  return d;
}

// The index of the IQ4 level nearest to `x`.
int NearestIQ4(float x) {
  int best = 0;
  for (int i = 1; i < 16; ++i) {
    // The levels ascend: step up while `x` is beyond the middle of the next interval.
    if (x > 0.5f * static_cast<float>(LevelIQ4(i - 1) + LevelIQ4(i))) best = i;
  }
  return best;
}

constexpr int8_t kDoubledE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// The code of the E2M1 value nearest to x / scale, where `scale` is that of doubled values.
int NearestE2M1(float x, float scale) {
  int best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (int code = 0; code < 16; ++code) {
    const float error = std::abs(scale * static_cast<float>(kDoubledE2M1[code]) - x);
    if (error < least) {
      least = error;
      best = code;
    }
  }
  return best;
}

// The UE4M3 byte whose value (not halved) is nearest to `x` >= 0.
uint8_t NearestUE4M3(float x) {
  // The encodings ascend from 0 to 0x7E, so that the search is binary.
  int lo = 0, hi = 0x7E;
  while (hi - lo > 1) {
    const int mid = (lo + hi) / 2;
    (2 * HalfOfUE4M3ToFloat(static_cast<uint8_t>(mid)) <= x ? lo : hi) = mid;
  }
  const float below = 2 * HalfOfUE4M3ToFloat(static_cast<uint8_t>(lo));
  const float above = 2 * HalfOfUE4M3ToFloat(static_cast<uint8_t>(hi));
  return static_cast<uint8_t>(x - below < above - x ? lo : hi);
}

// Types of 256 elements whose value is Scale(run) * quant, with quant in [-half, half): the scale
// of each run of kRun elements is d times an integer in [-steps, steps), to `scales`.
template <int kRun>
uint16_t QuantizeScales(const float* x, int half, int steps, int* scales) {
  float wanted[256 / kRun];
  for (int r = 0; r < 256 / kRun; ++r) {
    wanted[r] = SignedMax(x + r * kRun, kRun) / static_cast<float>(-half);
  }
  const float d = SignedMax(wanted, 256 / kRun) / static_cast<float>(-steps);
  const float inverse = Inverse(d);
  for (int r = 0; r < 256 / kRun; ++r) {
    scales[r] = RoundClamped(wanted[r] * inverse, -steps, steps - 1);
  }
  return FloatToHalf(d);
}

// Types of 256 elements whose value is d scale quant - dmin min, with quant in [0, top] and the
// integers scale and min of each run of kRun elements in [0, steps].
template <int kRun>
struct Affine {
  uint16_t d, dmin;
  int scales[256 / kRun], mins[256 / kRun];

  Affine(const float* x, int top, int steps) {
    constexpr int kRuns = 256 / kRun;
    float wanted_scale[kRuns], wanted_min[kRuns];
    for (int r = 0; r < kRuns; ++r) {
      const auto [min, max] = MinMax(x + r * kRun, kRun);
      // An offset can only be subtracted.
      wanted_min[r] = std::max(-min, 0.0f);
      wanted_scale[r] = (max + wanted_min[r]) / static_cast<float>(top);
    }
    const float scale_step = MinMax(wanted_scale, kRuns).max / static_cast<float>(steps);
    const float min_step = MinMax(wanted_min, kRuns).max / static_cast<float>(steps);
    const float inverse_scale = Inverse(scale_step), inverse_min = Inverse(min_step);
    for (int r = 0; r < kRuns; ++r) {
      scales[r] = RoundClamped(wanted_scale[r] * inverse_scale, 0, steps);
      mins[r] = RoundClamped(wanted_min[r] * inverse_min, 0, steps);
    }
    d = FloatToHalf(scale_step);
    dmin = FloatToHalf(min_step);
  }
};

// With the scales of `block` in place, the quants of its elements by what they decode to.
template <typename Block>
void QuantizeUnderScales(const float* x, const Block& block, int lo, int hi, int* q) {
  for (int g = 0; g < Block::kElements / Block::kGroup; ++g) {
    const float inverse = Inverse(block.Scale(g));
    float offset = 0;
    if constexpr (HasOffset<Block>) offset = block.Offset(g);
    for (int j = 0; j < Block::kGroup; ++j) {
      const int i = g * Block::kGroup + j;
      q[i] = RoundClamped((x[i] - offset) * inverse, lo, hi);
    }
  }
}

// 256 quants of two bits, as Q2_K, Q3_K and TQ2_0 keep them.
void PackPairs(const int* q, uint8_t* qs) {
  for (int i = 0; i < 64; ++i) {
    const int* first = q + 128 * (i / 32) + i % 32;
    qs[i] = static_cast<uint8_t>((first[0] & 3) | (first[32] & 3) << 2 | (first[64] & 3) << 4 |
                                 (first[96] & 3) << 6);
  }
}

// 256 quants of four bits, as Q4_K and Q5_K keep them.
void PackNibblePairs(const int* q, uint8_t* qs) {
  for (int i = 0; i < 128; ++i) {
    const int* first = q + 64 * (i / 32) + i % 32;
    qs[i] = static_cast<uint8_t>((first[0] & 15) | (first[32] & 15) << 4);
  }
}

void PackSixBitScales(const Affine<32>& affine, uint8_t* scales) {
  for (int k = 0; k < 4; ++k) {
    const int scale = affine.scales[4 + k], min = affine.mins[4 + k];
    scales[k] = static_cast<uint8_t>(affine.scales[k] | (scale >> 4) << 6);
    scales[4 + k] = static_cast<uint8_t>(affine.mins[k] | (min >> 4) << 6);
    scales[8 + k] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}

}  // namespace

void EncodeBlock(const float* x, BlockQ4_0& block) {
  uint8_t q[32];
  block.d = FloatToHalf(QuantizeSymmetric(x, 8, q));
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ4_1& block) {
  uint8_t q[32];
  const auto [min, max] = MinMax(x, 32);
  block.d = FloatToHalf(QuantizeAsymmetric(x, min, max, 15, q));
  block.m = FloatToHalf(min);
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ5_0& block) {
  uint8_t q[32];
  block.d = FloatToHalf(QuantizeSymmetric(x, 16, q));
  PackNibbles(q, block.qs);
  PackFifthBits(q, block.qh);
}

void EncodeBlock(const float* x, BlockQ5_1& block) {
  uint8_t q[32];
  const auto [min, max] = MinMax(x, 32);
  block.d = FloatToHalf(QuantizeAsymmetric(x, min, max, 31, q));
  block.m = FloatToHalf(min);
  PackNibbles(q, block.qs);
  PackFifthBits(q, block.qh);
}

void EncodeBlock(const float* x, BlockQ8_0& block) {
  block.d = FloatToHalf(QuantizeInt8(x, 32, block.qs));
}

void EncodeBlock(const float* x, BlockQ8_1& block) {
  const float d = QuantizeInt8(x, 32, block.qs);
  int sum = 0;
  for (const int8_t q : block.qs) sum += q;
  block.d = FloatToHalf(d);
  block.s = FloatToHalf(d * static_cast<float>(sum));
}

void EncodeBlock(const float* x, BlockQ8_K& block) {
  block.d = QuantizeInt8(x, 256, block.qs);
  for (int k = 0; k < 16; ++k) {
    int sum = 0;
    for (int j = 0; j < 16; ++j) sum += block.qs[16 * k + j];
    block.bsums[k] = static_cast<int16_t>(sum);
  }
}

void EncodeBlock(const float* x, BlockQ2_K& block) {
  const Affine<16> affine(x, 3, 15);
  block.d = affine.d;
  block.dmin = affine.dmin;
  for (int s = 0; s < 16; ++s) {
    block.scales[s] = static_cast<uint8_t>(affine.scales[s] | affine.mins[s] << 4);
  }
  int q[256];
  QuantizeUnderScales(x, block, 0, 3, q);
  PackPairs(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ3_K& block) {
  int scales[16];
  block.d = QuantizeScales<16>(x, 4, 32, scales);
  std::memset(block.scales, 0, sizeof(block.scales));
  for (int s = 0; s < 16; ++s) {
    const int scale = scales[s] + 32;
    block.scales[s & 7] |= static_cast<uint8_t>((scale & 15) << 4 * (s >> 3));
    block.scales[8 + (s & 3)] |= static_cast<uint8_t>((scale >> 4) << 2 * (s >> 2));
  }
  int q[256];
  QuantizeUnderScales(x, block, -4, 3, q);
  std::memset(block.hmask, 0, sizeof(block.hmask));
  for (int i = 0; i < 256; ++i) {
    q[i] += 4;
    block.hmask[i % 32] |= static_cast<uint8_t>((q[i] >> 2) << (i / 32));
  }
  PackPairs(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ4_K& block) {
  const Affine<32> affine(x, 15, 63);
  block.d = affine.d;
  block.dmin = affine.dmin;
  PackSixBitScales(affine, block.scales);
  int q[256];
  QuantizeUnderScales(x, block, 0, 15, q);
  PackNibblePairs(q, block.qs);
}

void EncodeBlock(const float* x, BlockQ5_K& block) {
  const Affine<32> affine(x, 31, 63);
  block.d = affine.d;
  block.dmin = affine.dmin;
  PackSixBitScales(affine, block.scales);
  int q[256];
  QuantizeUnderScales(x, block, 0, 31, q);
  PackNibblePairs(q, block.qs);
  std::memset(block.qh, 0, sizeof(block.qh));
  for (int i = 0; i < 256; ++i) block.qh[i % 32] |= static_cast<uint8_t>((q[i] >> 4) << (i / 32));
}

void EncodeBlock(const float* x, BlockQ6_K& block) {
  int scales[16];
  block.d = QuantizeScales<16>(x, 32, 128, scales);
  std::copy(scales, scales + 16, block.scales);
  int q[256];
  QuantizeUnderScales(x, block, -32, 31, q);
  std::memset(block.qh, 0, sizeof(block.qh));
  std::memset(block.ql, 0, sizeof(block.ql));
  for (int i = 0; i < 256; ++i) {
    const int value = q[i] + 32, half = i / 128, at = i % 128;
    block.ql[64 * half + at % 64] |= static_cast<uint8_t>((value & 15) << 4 * (at / 64));
    block.qh[32 * half + at % 32] |= static_cast<uint8_t>((value >> 4) << 2 * (at / 32));
  }
}

void EncodeBlock(const float* x, BlockIQ4_NL& block) {
  const float d = SignedMax(x, 32) / static_cast<float>(LevelIQ4(0));
  const float inverse = Inverse(d);
  uint8_t q[32];
  for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(NearestIQ4(x[i] * inverse));
  block.d = FloatToHalf(d);
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockIQ4_XS& block) {
  int scales[8];
  block.d = QuantizeScales<32>(x, -LevelIQ4(0), 32, scales);
  block.scales_h = 0;
  std::memset(block.scales_l, 0, sizeof(block.scales_l));
  for (int r = 0; r < 8; ++r) {
    const int scale = scales[r] + 32;
    block.scales_l[r / 2] |= static_cast<uint8_t>((scale & 15) << 4 * (r % 2));
    block.scales_h |= static_cast<uint16_t>((scale >> 4) << 2 * r);
  }
  for (int r = 0; r < 8; ++r) {
    const float inverse = Inverse(block.Scale(2 * r));
    uint8_t q[32];
    for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(NearestIQ4(x[32 * r + i] * inverse));
    PackNibbles(q, block.qs + 16 * r);
  }
}

void EncodeBlock(const float* x, BlockTQ1_0& block) {
  const float d = std::abs(SignedMax(x, 256));
  const float inverse = Inverse(d);
  // `count` digits of the elements i, i + step, i + 2 step, ...
  const auto pack = [&](int i, int step, int count) {
    int number = 0;
    for (int k = 0; k < 5; ++k) {
      number *= 3;
      if (k < count) number += RoundClamped(x[i + k * step] * inverse, -1, 1) + 1;
    }
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  };
  for (int j = 0; j < 32; ++j) block.qs[j] = pack(j, 32, 5);
  for (int j = 0; j < 16; ++j) block.qs[32 + j] = pack(160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) block.qh[j] = pack(240 + j, 4, 4);
  block.d = FloatToHalf(d);
}

void EncodeBlock(const float* x, BlockTQ2_0& block) {
  const float d = std::abs(SignedMax(x, 256));
  const float inverse = Inverse(d);
  int q[256];
  for (int i = 0; i < 256; ++i) q[i] = RoundClamped(x[i] * inverse, -1, 1) + 1;
  PackPairs(q, block.qs);
  block.d = FloatToHalf(d);
}

void EncodeBlock(const float* x, BlockMXFP4& block) {
  // The power of two that puts the greatest magnitude in [4, 8): specification 1.0, section 6.3.
  const float max = std::abs(SignedMax(x, 32));
  int e = 0;
  if (max > 0) e = std::clamp(std::ilogb(max) - 2 + 127, 0, 254);
  block.e = static_cast<uint8_t>(e);
  const float scale = block.Scale(0);
  uint8_t q[32];
  for (int i = 0; i < 32; ++i) q[i] = static_cast<uint8_t>(NearestE2M1(x[i], scale));
  PackNibbles(q, block.qs);
}

void EncodeBlock(const float* x, BlockNVFP4& block) {
  for (int s = 0; s < 4; ++s) {
    // 6 is the greatest E2M1 value.
    const float max = std::abs(SignedMax(x + 16 * s, 16));
    block.d[s] = NearestUE4M3(max / 6.0f);
    const float scale = block.Scale(2 * s);
    for (int j = 0; j < 8; ++j) {
      const int lo = NearestE2M1(x[16 * s + j], scale);
      const int hi = NearestE2M1(x[16 * s + 8 + j], scale);
      block.qs[8 * s + j] = static_cast<uint8_t>(lo | hi << 4);
    }
  }
}

}  // namespace bantam::quant
