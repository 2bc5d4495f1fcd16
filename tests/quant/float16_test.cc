// 16-bit and 8-bit floats against values built from the definition of each format, in float64.
#include "runtime/quant/float16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace bantam::quant {
namespace {

struct Format {
  int exponent_bits, mantissa_bits;
};
constexpr Format kHalf{5, 10};
constexpr Format kBFloat16{8, 7};

// The value of a 16-bit float by the formula of IEEE 754.
double Value(Format format, uint16_t bits) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const int exponent = (bits >> format.mantissa_bits) & ((1 << format.exponent_bits) - 1);
  const int mantissa = bits & ((1 << format.mantissa_bits) - 1);
  double magnitude;
  if (exponent == (1 << format.exponent_bits) - 1) {
    magnitude = mantissa ? std::numeric_limits<double>::quiet_NaN()
                         : std::numeric_limits<double>::infinity();
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa, 1 - bias - format.mantissa_bits);
  } else {
    magnitude =
        std::ldexp((1 << format.mantissa_bits) | mantissa, exponent - bias - format.mantissa_bits);
  }
  return bits & 0x8000 ? -magnitude : magnitude;
}

// Rounds by search among all finite values, ties to the even encoding.
class Rounder {
 public:
  explicit Rounder(Format format) {
    for (uint32_t bits = 0; bits < 0x8000; ++bits) {
      const double value = Value(format, static_cast<uint16_t>(bits));
      if (!std::isfinite(value)) break;
      values_.push_back(value);
    }
    // Rounding treats infinity as the next value of the scale.
    values_.push_back(2 * values_.back() - values_[values_.size() - 2]);
  }

  uint16_t Round(double x) const {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    x = std::abs(x);
    const auto above = std::lower_bound(values_.begin(), values_.end(), x);
    if (above == values_.end()) return sign | static_cast<uint16_t>(values_.size() - 1);
    size_t i = above - values_.begin();
    if (i > 0) {
      const double to_above = values_[i] - x, to_below = x - values_[i - 1];
      if (to_below < to_above || (to_below == to_above && i % 2 == 1)) --i;
    }
    return sign | static_cast<uint16_t>(i);
  }

 private:
  std::vector<double> values_;  // by encoding
};

void CheckAllDecodings(Format format, float (*decode)(uint16_t)) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float actual = decode(static_cast<uint16_t>(bits));
    const double expected = Value(format, static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual)) << bits;
      EXPECT_EQ(std::signbit(actual), (bits & 0x8000) != 0) << bits;
    } else {
      EXPECT_EQ(std::bit_cast<uint64_t>(static_cast<double>(actual)),
                std::bit_cast<uint64_t>(expected))
          << bits;
    }
  }
}

// All values, all midpoints between neighbours and their next f32 above and below, and floats of
// random bits.
void CheckEncodings(Format format, float (*decode)(uint16_t), uint16_t (*encode)(float)) {
  const Rounder rounder(format);
  const auto check = [&](float x) {
    if (std::isnan(x)) {
      const uint16_t nan = encode(x);
      EXPECT_TRUE(std::isnan(decode(nan)));
      EXPECT_TRUE((nan >> (format.mantissa_bits - 1)) & 1) << "signalling";
      EXPECT_EQ((nan & 0x8000) != 0, std::signbit(x));
    } else {
      EXPECT_EQ(encode(x), rounder.Round(x)) << x;
    }
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (uint32_t bits = 0; bits < 0x8000; ++bits) {
    const float value = decode(static_cast<uint16_t>(bits));
    check(value);
    check(-value);
    if (!std::isfinite(value)) continue;
    const double next = Value(format, static_cast<uint16_t>(bits + 1));
    const double step = value - Value(format, static_cast<uint16_t>(bits == 0 ? 0 : bits - 1));
    const float middle = static_cast<float>(
        std::isfinite(next) ? (static_cast<double>(value) + next) / 2 : value + step / 2);
    for (const float x :
         {middle, std::nextafter(middle, kInfinity), std::nextafter(middle, -kInfinity)}) {
      check(x);
      check(-x);
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 300000; ++i) check(std::bit_cast<float>(static_cast<uint32_t>(random())));
  // Around the range of the format, where random bits of f32 rarely fall.
  for (int i = 0; i < 300000; ++i) {
    const uint32_t exponent = 127 - 27 + random() % 45;
    const uint32_t rest = static_cast<uint32_t>(random()) & 0x807FFFFFu;
    check(std::bit_cast<float>(exponent << 23 | rest));
  }
}

TEST(Float16Test, EveryHalfDecodes) { CheckAllDecodings(kHalf, HalfToFloat); }
TEST(Float16Test, EveryBFloat16Decodes) { CheckAllDecodings(kBFloat16, BFloat16ToFloat); }
TEST(Float16Test, HalfRoundsToNearestEven) { CheckEncodings(kHalf, HalfToFloat, FloatToHalf); }
TEST(Float16Test, BFloat16RoundsToNearestEven) {
  CheckEncodings(kBFloat16, BFloat16ToFloat, FloatToBFloat16);
}

TEST(Float16Test, KnownHalves) {
  EXPECT_EQ(FloatToHalf(1.0f), 0x3C00);
  EXPECT_EQ(FloatToHalf(-2.0f), 0xC000);
  EXPECT_EQ(FloatToHalf(kHalfMax), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(std::ldexp(1.0f, -25)), 0x0000);  // tie to even
  EXPECT_EQ(FloatToHalf(std::ldexp(3.0f, -25)), 0x0002);  // tie to even
  EXPECT_EQ(FloatToHalf(std::nextafter(std::ldexp(1.0f, -25), 1.0f)), 0x0001);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0x0000);
}

TEST(Float8Test, E8M0) {
  for (int e = 0; e < 256; ++e) {
    EXPECT_EQ(HalfOfE8M0ToFloat(static_cast<uint8_t>(e)), std::ldexp(1.0, e - 128)) << e;
  }
}

TEST(Float8Test, UE4M3) {
  for (int x = 0; x < 256; ++x) {
    const int exponent = (x >> 3) & 15, mantissa = x & 7;
    double expected =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    if (x == 0x7F) expected = 0;
    EXPECT_EQ(HalfOfUE4M3ToFloat(static_cast<uint8_t>(x)), expected / 2) << x;
  }
}

}  // namespace
}  // namespace bantam::quant
