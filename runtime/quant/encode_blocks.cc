#include "runtime/quant/encode_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/quant/encoding.h"
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
  const int towards_zero = static_cast<int>(x);
  const float rest = x - static_cast<float>(towards_zero);  // exact
  return towards_zero + static_cast<int>(rest >= 0.5f) - static_cast<int>(rest <= -0.5f);
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
  Range range{x[0], x[0]};
  for (int i = 1; i < n; ++i) {
    range.min = x[i] < range.min ? x[i] : range.min;
    range.max = x[i] > range.max ? x[i] : range.max;
  }
  return range;
}

// Sets q[i] in [-half, half) so that x[i] is about d q[i] and returns d. The extreme of the greater
// magnitude becomes -half, the end of the range that reaches further.
float QuantizeSymmetric(const float* x, int half, int* q) {
  const float d = SignedMax(x, 32) / static_cast<float>(-half);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) {
    q[i] = FloorClamped(x[i] * inverse + (static_cast<float>(half) + 0.5f), 0, 2 * half - 1) - half;
  }
  return d;
}

// Sets q[i] so that x[i] is about d q[i] + min, and returns d.
float QuantizeAsymmetric(const float* x, float min, float max, int top, int* q) {
  const float d = (max - min) / static_cast<float>(top);
  const float inverse = Inverse(d);
  for (int i = 0; i < 32; ++i) {
    q[i] = FloorClamped((x[i] - min) * inverse + 0.5f, 0, top);
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

// Types of 256 elements whose value is Scale(run) * quant, with quant in [-half, half): the scale
// of each run of kRun elements is d times an integer in [-steps, steps), to `scales`. Returns d as
// an f16 holds it.
template <int kRun>
float QuantizeScales(const float* x, int half, int steps, int* scales) {
  float wanted[256 / kRun];
  for (int r = 0; r < 256 / kRun; ++r) {
    wanted[r] = SignedMax(x + r * kRun, kRun) / static_cast<float>(-half);
  }
  const float d = SignedMax(wanted, 256 / kRun) / static_cast<float>(-steps);
  const float inverse = Inverse(d);
  for (int r = 0; r < 256 / kRun; ++r) {
    scales[r] = RoundClamped(wanted[r] * inverse, -steps, steps - 1);
  }
  return HalfToFloat(FloatToHalf(d));
}

// The quants of a block of 256 whose scales are decided, by what they decode to.
template <int kRun>
void QuantizeUnderScales(const float* x, int lo, int hi, Encoding& e) {
  for (int i = 0; i < 256; ++i) {
    const int r = i / kRun;
    const float scale = e.d * static_cast<float>(e.scales[r]);
    const float min = e.dmin * static_cast<float>(e.mins[r]);
    e.quants[i] = RoundClamped((x[i] + min) * Inverse(scale), lo, hi);
  }
}

// Types of 256 elements whose value is d scale quant with quant in [-half, half).
template <typename Block>
void EncodeScaled(const float* x, int half, int steps, Block& block) {
  Encoding e;
  e.d = QuantizeScales<16>(x, half, steps, e.scales);
  QuantizeUnderScales<16>(x, -half, half - 1, e);
  Pack(e, block);
}

// Types of 256 elements whose value is d scale quant - dmin min, with quant in [0, top] and the
// integers scale and min of each run of kRun elements in [0, steps].
template <int kRun, typename Block>
void EncodeAffine(const float* x, int top, int steps, Block& block) {
  constexpr int kRuns = 256 / kRun;
  Encoding e;
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
    e.scales[r] = RoundClamped(wanted_scale[r] * inverse_scale, 0, steps);
    e.mins[r] = RoundClamped(wanted_min[r] * inverse_min, 0, steps);
  }
  e.d = HalfToFloat(FloatToHalf(scale_step));
  e.dmin = HalfToFloat(FloatToHalf(min_step));
  QuantizeUnderScales<kRun>(x, 0, top, e);
  Pack(e, block);
}

}  // namespace

void EncodeBlock(const float* x, BlockQ4_0& block) {
  Encoding e;
  e.d = QuantizeSymmetric(x, 8, e.quants);
  Pack(e, block);
}

void EncodeBlock(const float* x, BlockQ4_1& block) {
  Encoding e;
  const auto [min, max] = MinMax(x, 32);
  e.d = QuantizeAsymmetric(x, min, max, 15, e.quants);
  e.dmin = min;
  Pack(e, block);
}

void EncodeBlock(const float* x, BlockQ5_0& block) {
  Encoding e;
  e.d = QuantizeSymmetric(x, 16, e.quants);
  Pack(e, block);
}

void EncodeBlock(const float* x, BlockQ5_1& block) {
  Encoding e;
  const auto [min, max] = MinMax(x, 32);
  e.d = QuantizeAsymmetric(x, min, max, 31, e.quants);
  e.dmin = min;
  Pack(e, block);
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

void EncodeBlock(const float* x, BlockQ2_K& block) { EncodeAffine<16>(x, 3, 15, block); }
void EncodeBlock(const float* x, BlockQ4_K& block) { EncodeAffine<32>(x, 15, 63, block); }
void EncodeBlock(const float* x, BlockQ5_K& block) { EncodeAffine<32>(x, 31, 63, block); }

void EncodeBlock(const float* x, BlockQ3_K& block) { EncodeScaled(x, 4, 32, block); }
void EncodeBlock(const float* x, BlockQ6_K& block) { EncodeScaled(x, 32, 128, block); }

void EncodeBlock(const float* x, BlockIQ4_NL& block) {
  Encoding e;
  e.d = SignedMax(x, 32) / static_cast<float>(LevelIQ4(0));
  const float inverse = Inverse(e.d);
  for (int i = 0; i < 32; ++i) e.quants[i] = NearestIQ4(x[i] * inverse);
  Pack(e, block);
}

void EncodeBlock(const float* x, BlockIQ4_XS& block) {
  Encoding e;
  e.d = QuantizeScales<32>(x, -LevelIQ4(0), 32, e.scales);
  for (int i = 0; i < 256; ++i) {
    e.quants[i] = NearestIQ4(x[i] * Inverse(e.d * static_cast<float>(e.scales[i / 32])));
  }
  Pack(e, block);
}

template <typename Block>
void EncodeTernary(const float* x, Block& block) {
  Encoding e;
  e.d = std::abs(SignedMax(x, 256));
  const float inverse = Inverse(e.d);
  for (int i = 0; i < 256; ++i) e.quants[i] = RoundClamped(x[i] * inverse, -1, 1);
  Pack(e, block);
}
void EncodeBlock(const float* x, BlockTQ1_0& block) { EncodeTernary(x, block); }
void EncodeBlock(const float* x, BlockTQ2_0& block) { EncodeTernary(x, block); }

void EncodeBlock(const float* x, BlockMXFP4& block) {
  // The power of two that puts the greatest magnitude in [4, 8): specification 1.0, section 6.3.
  const float max = std::abs(SignedMax(x, 32));
  Encoding e;
  if (max > 0) e.scales[0] = std::clamp(std::ilogb(max) - 2 + 127, 0, 254);
  const float scale = HalfOfE8M0ToFloat(static_cast<uint8_t>(e.scales[0]));
  for (int i = 0; i < 32; ++i) e.quants[i] = NearestE2M1(x[i], scale);
  Pack(e, block);
}

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

void EncodeBlock(const float* x, BlockNVFP4& block) {
  Encoding e;
  for (int s = 0; s < 4; ++s) {
    // 6 is the greatest E2M1 value.
    const float max = std::abs(SignedMax(x + 16 * s, 16));
    const uint8_t d = NearestUE4M3(max / 6.0f);
    e.scales[s] = d;
    const float scale = HalfOfUE4M3ToFloat(d);
    for (int j = 16 * s; j < 16 * (s + 1); ++j) e.quants[j] = NearestE2M1(x[j], scale);
  }
  Pack(e, block);
}

}  // namespace bantam::quant
