// Encoding: equal to the PyPI package gguf where it encodes, within half a step of the source
// everywhere, and a clear status on what cannot be encoded.
#include "runtime/quant/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"
#include "tests/support/golden.h"

namespace bantam::quant {
namespace {

using ::bantam::testing::ReadGolden;
using ::testing::HasSubstr;

std::vector<uint8_t> Encode(Type type, const std::vector<float>& row) {
  std::vector<uint8_t> bytes(RowBytes(type, static_cast<int64_t>(row.size())));
  const absl::Status status =
      EncodeRow(type, row.data(), bytes.data(), static_cast<int64_t>(row.size()));
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}

std::vector<float> Decode(Type type, const std::vector<uint8_t>& bytes, size_t n) {
  std::vector<float> row(n);
  DecodeRow(type, bytes.data(), row.data(), static_cast<int64_t>(n));
  return row;
}

absl::Status TryEncode(Type type, const std::vector<float>& row) {
  std::vector<uint8_t> bytes(row.size() * 8 + 64);
  return EncodeRow(type, row.data(), bytes.data(), static_cast<int64_t>(row.size()));
}

std::string ParamName(const ::testing::TestParamInfo<Type>& param) {
  return std::string(Name(param.param));
}

class EncodeGoldenTest : public ::testing::TestWithParam<Type> {};

TEST_P(EncodeGoldenTest, SameBytes) {
  const std::vector<float> row = ReadGolden<float>("quant/encode.f32");
  ASSERT_EQ(row.size(), 768u);
  EXPECT_EQ(Encode(GetParam(), row),
            ReadGolden<uint8_t>("quant/" + std::string(Name(GetParam())) + ".encoded"));
}

INSTANTIATE_TEST_SUITE_P(Types, EncodeGoldenTest,
                         ::testing::Values(Type::kF16, Type::kBF16, Type::kQ4_0, Type::kQ4_1,
                                           Type::kQ5_0, Type::kQ5_1, Type::kQ8_0, Type::kTQ1_0,
                                           Type::kTQ2_0, Type::kMXFP4),
                         ParamName);

// The largest error a type may make, as a fraction of the largest magnitude of the 256 elements
// around: half a step of its quants (`quant`), plus half a step of its quantized scales, which
// moves the ends of the range (`scale`).
struct Bound {
  Type type;
  double quant, scale;
};

// An f16 scale is off by up to 2^-11 of itself, and as much for an offset.
constexpr double kHalfScale = 2.0 / 2048;

const Bound kBounds[] = {
    // [-8, 7] steps of max / 8: the end that is not the extreme is clamped at 7 of 8, a whole step.
    {Type::kQ4_0, 1.0 / 8, 0},
    {Type::kQ5_0, 1.0 / 16, 0},
    // (max - min) / 15 <= 2 max / 15, of which half is the error.
    {Type::kQ4_1, 1.0 / 15, 0},
    {Type::kQ5_1, 1.0 / 31, 0},
    {Type::kQ8_0, 0.5 / 127, 0},
    {Type::kQ8_1, 0.5 / 127, 0},
    {Type::kQ8_K, 0.5 / 127, 0},
    // Half of (max + min) / 3; scales and minimums in 15 steps, where a scale that is rounded down
    // by half a step of (2 max / 3) / 15 falls short three quants further on, and a minimum by half
    // of max / 15.
    {Type::kQ2_K, 1.0 / 3, 1.0 / 15 + 0.5 / 15},
    {Type::kQ4_K, 1.0 / 15, 1.0 / 63 + 0.5 / 63},
    {Type::kQ5_K, 1.0 / 31, 1.0 / 63 + 0.5 / 63},
    // One step of max / 4 as Q4_0, scales in 32 steps (31 upwards: a whole step).
    {Type::kQ3_K, 1.0 / 4, 1.0 / 32},
    {Type::kQ6_K, 1.0 / 32, 1.0 / 128},
    // The widest interval of the levels is 127 - 104 = 24 of 127, and the top one is 113 of 127.
    {Type::kIQ4_NL, 14.0 / 127, 0},
    {Type::kIQ4_XS, 14.0 / 127, 1.0 / 32},
    {Type::kTQ1_0, 0.5, 0},
    {Type::kTQ2_0, 0.5, 0},
    // The greatest magnitude is in [4, 8) of the scale, values end at 6, the last interval is 2.
    {Type::kMXFP4, 2.0 / 8, 0},
    // Half the last interval of 2 in 6; the scale has 4 significant bits.
    {Type::kNVFP4, 1.0 / 6, 1.0 / 16},
};

class RoundTripTest : public ::testing::TestWithParam<Bound> {};

void CheckRoundTrip(const Bound& bound, const std::vector<float>& row) {
  const std::vector<float> decoded = Decode(bound.type, Encode(bound.type, row), row.size());
  for (size_t begin = 0; begin < row.size(); begin += 256) {
    float max = 0;
    for (size_t i = begin; i < begin + 256; ++i) max = std::max(max, std::abs(row[i]));
    const double allowed = max * (bound.quant + bound.scale + kHalfScale);
    for (size_t i = begin; i < begin + 256; ++i) {
      ASSERT_LE(std::abs(static_cast<double>(decoded[i]) - row[i]), allowed)
          << Name(bound.type) << " element " << i << ": " << row[i] << " became " << decoded[i];
    }
  }
}

TEST_P(RoundTripTest, NormalValues) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> row(256 * 64);
  for (float& x : row) x = normal(random);
  CheckRoundTrip(GetParam(), row);
}

TEST_P(RoundTripTest, OneSidedValues) {
  std::mt19937 random(4);
  std::uniform_real_distribution<float> uniform(1.0f, 2.0f);
  for (const float sign : {-1.0f, 1.0f}) {
    std::vector<float> row(256 * 16);
    for (float& x : row) x = sign * uniform(random);
    CheckRoundTrip(GetParam(), row);
  }
}

TEST_P(RoundTripTest, SparseValuesAndZeroBlocks) {
  std::vector<float> row(256 * 4, 0.0f);
  row[5] = 1.0f;
  row[300] = -3.0f;
  row[511] = 0.25f;
  CheckRoundTrip(GetParam(), row);
  const std::vector<float> zeros(512, 0.0f);
  EXPECT_EQ(Decode(GetParam().type, Encode(GetParam().type, zeros), zeros.size()), zeros);
}

// A peak comes back where it was: the encoder and the decoder agree on where each
// bit goes. (A coarse bound would not notice two swapped elements of similar size.) The tolerance
// is what the scale of NVFP4, the coarsest, makes of a sixth: 11/64, 3 % more.
TEST_P(RoundTripTest, EveryPositionCounts) {
  const Type type = GetParam().type;
  for (int i = 0; i < 256; ++i) {
    std::vector<float> row(256, 0.0f);
    row[i] = 1.0f;
    const std::vector<float> decoded = Decode(type, Encode(type, row), row.size());
    for (int j = 0; j < 256; ++j) {
      EXPECT_NEAR(decoded[j], row[j], 0.05) << Name(type) << " element " << j << " of peak " << i;
    }
  }
}

// Values whose scales underflow vanish, whatever they are, and never grow.
TEST_P(RoundTripTest, TinyValues) {
  for (const float tiny : {1e-45f, 1e-40f, 1e-30f}) {
    std::vector<float> row(256, 0.0f);
    for (size_t i = 0; i < row.size(); i += 3) row[i] = i % 2 ? tiny : -tiny;
    const std::vector<float> decoded =
        Decode(GetParam().type, Encode(GetParam().type, row), row.size());
    for (size_t i = 0; i < row.size(); ++i) EXPECT_LE(std::abs(decoded[i] - row[i]), tiny);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, RoundTripTest, ::testing::ValuesIn(kBounds),
                         [](const auto& param) { return std::string(Name(param.param.type)); });

TEST(EncodeTest, PlainTypesAreExactOrRounded) {
  const std::vector<float> row = {0.0f, -0.5f, 1.5f, 2.5f, -128.0f, 127.0f};
  EXPECT_EQ(Decode(Type::kF32, Encode(Type::kF32, row), row.size()), row);
  EXPECT_EQ(Decode(Type::kF64, Encode(Type::kF64, row), row.size()), row);
  const std::vector<float> to_even = {0.0f, 0.0f, 2.0f, 2.0f, -128.0f, 127.0f};
  for (const Type type : {Type::kI8, Type::kI16, Type::kI32, Type::kI64}) {
    EXPECT_EQ(Decode(type, Encode(type, row), row.size()), to_even) << Name(type);
  }
}

TEST(EncodeTest, DotProductSums) {
  std::vector<float> row(256);
  for (int i = 0; i < 256; ++i) row[i] = static_cast<float>((i * 37) % 255 - 127);
  const std::vector<uint8_t> bytes = Encode(Type::kQ8_K, row);
  BlockQ8_K block;
  memcpy(&block, bytes.data(), sizeof(block));
  EXPECT_EQ(block.d, 1.0f);
  for (int k = 0; k < 16; ++k) {
    int sum = 0;
    for (int j = 0; j < 16; ++j) sum += static_cast<int>(row[16 * k + j]);
    EXPECT_EQ(block.bsums[k], sum);
  }
  row.resize(32);
  row[0] = 127;
  const std::vector<uint8_t> small = Encode(Type::kQ8_1, row);
  BlockQ8_1 block1;
  memcpy(&block1, small.data(), sizeof(block1));
  float sum = 0;
  for (const float x : row) sum += x;
  EXPECT_EQ(HalfToFloat(block1.s), sum);
}

TEST(EncodeTest, Unaligned) {
  std::vector<float> row(256);
  for (int i = 0; i < 256; ++i) row[i] = std::sin(static_cast<float>(i));
  for (const Bound& bound : kBounds) {
    const std::vector<uint8_t> expected = Encode(bound.type, row);
    std::vector<uint8_t> bytes(expected.size() + 1, 0xEE);
    ASSERT_TRUE(EncodeRow(bound.type, row.data(), bytes.data() + 1, 256).ok());
    EXPECT_EQ(bytes[0], 0xEE);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + 1));
  }
}

TEST(EncodeTest, TypesWithoutEncoder) {
  for (const Type type : {Type::kIQ1_S, Type::kIQ1_M, Type::kIQ2_XXS, Type::kIQ2_XS, Type::kIQ2_S,
                          Type::kIQ3_XXS, Type::kIQ3_S}) {
    const absl::Status status = TryEncode(type, std::vector<float>(256));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(status.message(), HasSubstr(std::string(Name(type))));
  }
}

TEST(EncodeTest, PartialBlocks) {
  EXPECT_TRUE(TryEncode(Type::kQ4_0, {}).ok());
  for (const size_t n : {1u, 31u, 33u}) {
    const absl::Status status = TryEncode(Type::kQ4_0, std::vector<float>(n));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("multiple of 32"));
  }
  const float x = 0;
  uint8_t byte = 0;
  EXPECT_EQ(EncodeRow(Type::kI8, &x, &byte, -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TryEncode(Type::kQ6_K, std::vector<float>(128)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(EncodeTest, NotFinite) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> row(256, 1.0f);
    row[77] = bad;
    for (const Bound& bound : kBounds) {
      const absl::Status status = TryEncode(bound.type, row);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << Name(bound.type);
      EXPECT_THAT(status.message(), HasSubstr("element 77"));
    }
    EXPECT_EQ(TryEncode(Type::kI32, row).code(), absl::StatusCode::kInvalidArgument);
    for (const Type type : {Type::kF32, Type::kF16, Type::kBF16, Type::kF64}) {
      const float back = Decode(type, Encode(type, row), row.size())[77];
      EXPECT_TRUE(std::isnan(bad) ? std::isnan(back) : back == bad) << Name(type);
    }
  }
}

TEST(EncodeTest, TooLarge) {
  std::vector<float> row(256, 1.0f);
  row[9] = 3e38f;
  row[10] = -3e38f;
  for (const Bound& bound : kBounds) {
    const absl::Status status = TryEncode(bound.type, row);
    if (bound.type == Type::kMXFP4 || bound.type == Type::kQ8_K) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << Name(bound.type);
      EXPECT_THAT(status.message(), HasSubstr("3e+38"));
    }
  }
  EXPECT_EQ(TryEncode(Type::kI8, {127.6f}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(TryEncode(Type::kI8, {-129.0f}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(TryEncode(Type::kI64, {9.3e18f}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(TryEncode(Type::kI64, {-9223372036854775808.0f}).ok());
}

}  // namespace
}  // namespace bantam::quant
