// Decoding, bit by bit, against the golden data of tests/golden/quant.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"

namespace bantam::quant {
namespace {

using bantam::testing::ReadGolden;

constexpr int kDigestBlocks = 1024;  // DIGEST_BLOCKS of make.py

struct GoldenType {
  std::string name;
  uint32_t id;
  int32_t block_size, block_bytes;
  uint32_t digest;
};

std::vector<GoldenType> GoldenTypes() {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/quant/types.txt");
  std::vector<GoldenType> types;
  for (GoldenType t; in >> t.name >> std::dec >> t.id >> t.block_size >> t.block_bytes >>
                     std::hex >> t.digest >> std::dec;) {
    types.push_back(t);
  }
  return types;
}

// The generator of make.py (SplitMix64, least significant byte first).
std::vector<uint8_t> SplitMix(uint64_t seed, size_t count) {
  std::vector<uint8_t> bytes;
  while (bytes.size() < count) {
    uint64_t z = (seed += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    for (int i = 0; i < 8 && bytes.size() < count; ++i) {
      bytes.push_back(static_cast<uint8_t>(z >> 8 * i));
    }
  }
  return bytes;
}

// CRC-32 (IEEE 802.3, reflected) of the values' bits, every NaN as the same one.
uint32_t Digest(const std::vector<float>& values) {
  uint32_t crc = ~0u;
  for (const float value : values) {
    const uint32_t bits = std::isnan(value) ? 0x7FC00000u : std::bit_cast<uint32_t>(value);
    crc ^= bits;
    for (int i = 0; i < 32; ++i) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

// A NaN equals any NaN: which one an operation makes differs from machine to machine.
void ExpectSameBits(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(actual[i])) << "element " << i << " is " << actual[i];
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
          << "element " << i << " is " << actual[i] << ", expected " << expected[i];
    }
  }
}

class GoldenTest : public ::testing::TestWithParam<GoldenType> {
 protected:
  Type type() const { return static_cast<Type>(GetParam().id); }
  std::vector<uint8_t> Blocks() const {
    return ReadGolden<uint8_t>("quant/" + GetParam().name + ".blocks");
  }
  std::vector<float> Values() const {
    return ReadGolden<float>("quant/" + GetParam().name + ".f32");
  }
  int64_t Elements(const std::vector<uint8_t>& bytes) const {
    return static_cast<int64_t>(bytes.size()) / GetParam().block_bytes * GetParam().block_size;
  }
};

TEST_P(GoldenTest, TypeTableAgrees) {
  ASSERT_TRUE(IsValidType(GetParam().id));
  EXPECT_EQ(Name(type()), GetParam().name);
  EXPECT_EQ(TypeFromName(GetParam().name), type());
  EXPECT_EQ(Traits(type()).block_size, GetParam().block_size);
  EXPECT_EQ(Traits(type()).block_bytes, GetParam().block_bytes);
  EXPECT_EQ(Traits(type()).is_quantized, GetParam().block_size > 1);
}

TEST_P(GoldenTest, OrdinaryAndExtremeBlocks) {
  const std::vector<uint8_t> blocks = Blocks();
  std::vector<float> values(Elements(blocks));
  ASSERT_GT(values.size(), 0u);
  DecodeRow(type(), blocks.data(), values.data(), static_cast<int64_t>(values.size()));
  ExpectSameBits(values, Values());
}

TEST_P(GoldenTest, DigestOfRandomBlocks) {
  const std::vector<uint8_t> blocks =
      SplitMix(GetParam().id, kDigestBlocks * GetParam().block_bytes);
  std::vector<float> values(Elements(blocks));
  DecodeRow(type(), blocks.data(), values.data(), static_cast<int64_t>(values.size()));
  EXPECT_EQ(Digest(values), GetParam().digest);
}

TEST_P(GoldenTest, AnyAlignment) {
  const std::vector<uint8_t> blocks = Blocks();
  const std::vector<float> expected = Values();
  for (size_t shift = 1; shift < 8; ++shift) {
    std::vector<uint8_t> shifted(blocks.size() + shift);
    std::copy(blocks.begin(), blocks.end(), shifted.begin() + shift);
    std::vector<float> values(expected.size());
    DecodeRow(type(), shifted.data() + shift, values.data(), static_cast<int64_t>(values.size()));
    ExpectSameBits(values, expected);
  }
}

TEST_P(GoldenTest, WritesNoMoreThanItsElements) {
  const std::vector<uint8_t> blocks = Blocks();
  const int64_t n = GetParam().block_size;
  std::vector<float> values(n + 1, 42.0f);
  DecodeRow(type(), blocks.data(), values.data(), n);
  EXPECT_EQ(values[n], 42.0f);
  values.assign(n + 1, 42.0f);
  DecodeRow(type(), blocks.data(), values.data(), 0);
  EXPECT_EQ(values[0], 42.0f);
}

// The functions for one element and one group, which kernels use, agree with the whole block.
TEST_P(GoldenTest, ElementsAndGroups) {
  const std::vector<uint8_t> bytes = Blocks();
  const std::vector<float> expected = Values();
  bool found = false;
  AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    if (Block::kType != type()) return;
    found = true;
    static_assert(Block::kElements % Block::kGroup == 0);
    EXPECT_EQ(sizeof(Block), static_cast<size_t>(GetParam().block_bytes));
    EXPECT_EQ(Block::kElements, GetParam().block_size);
    std::vector<float> elements, groups;
    for (size_t at = 0; at + sizeof(Block) <= bytes.size(); at += sizeof(Block)) {
      Block block;
      memcpy(&block, bytes.data() + at, sizeof(Block));
      for (int i = 0; i < Block::kElements; ++i) elements.push_back(DecodeElement(block, i));
      for (int g = 0; g < Block::kElements / Block::kGroup; ++g) {
        float group[Block::kGroup];
        DecodeGroup(block, g, group);
        groups.insert(groups.end(), group, group + Block::kGroup);
      }
    }
    ExpectSameBits(elements, expected);
    ExpectSameBits(groups, expected);
  });
  EXPECT_EQ(found, Traits(type()).is_quantized);
}

INSTANTIATE_TEST_SUITE_P(Types, GoldenTest, ::testing::ValuesIn(GoldenTypes()),
                         [](const auto& param) { return param.param.name; });

TEST(TypesTest, GoldenDataCoversEveryType) {
  std::map<uint32_t, std::string> golden;
  for (const GoldenType& t : GoldenTypes()) golden[t.id] = t.name;
  for (uint32_t id = 0; id < 2 * kTypeIdLimit; ++id) {
    EXPECT_EQ(IsValidType(id), golden.contains(id)) << id;
  }
  EXPECT_FALSE(IsValidType(0xFFFFFFFFu));
  EXPECT_EQ(golden.size(), 33u);
}

TEST(TypesTest, Names) {
  EXPECT_EQ(TypeFromName("q4_k"), Type::kQ4_K);
  EXPECT_EQ(TypeFromName("Q4_K_M"), std::nullopt);
  EXPECT_EQ(TypeFromName(""), std::nullopt);
  EXPECT_EQ(RowBytes(Type::kQ4_K, 4096), 4096 / 256 * 144);
}

// Every point of every codebook, in the order of the indices.
template <typename PointOf>
void ExpectGrid(const std::string& name, int points, PointOf point_of) {
  const std::vector<uint8_t> expected = ReadGolden<uint8_t>("quant/" + name + ".grid");
  ASSERT_EQ(expected.size() % points, 0u);
  const size_t width = expected.size() / points;
  for (int i = 0; i < points; ++i) {
    const uint64_t word = point_of(i);
    for (size_t j = 0; j < width; ++j) {
      EXPECT_EQ(static_cast<uint8_t>(word >> 8 * j), expected[i * width + j])
          << name << " point " << i << " element " << j;
    }
  }
}

TEST(CodebookTest, EveryPoint) {
  ExpectGrid("IQ2_XXS", 256, [](int i) { return PointIQ2(CodeIQ2_XXS(i)); });
  ExpectGrid("IQ2_XS", 512, [](int i) { return PointIQ2(CodeIQ2_XS(i)); });
  ExpectGrid("IQ2_S", 1024, [](int i) { return PointIQ2(CodeIQ2_S(i)); });
  ExpectGrid("IQ3_XXS", 256, [](int i) { return PointIQ3_XXS(CodeIQ3_XXS(i), 0); });
  ExpectGrid("IQ3_S", 512, [](int i) { return PointIQ3_S(CodeIQ3_S(i), 0); });
  for (const bool down : {false, true}) {
    // The golden points are -1, 0, 1; ours are eighths and shifted.
    ExpectGrid("IQ1_S", 2048, [down](int i) {
      const uint64_t word = PointIQ1(CodeIQ1(i), down);
      uint64_t point = 0;
      for (int j = 0; j < 8; ++j) {
        const int eighths = static_cast<int8_t>(word >> 8 * j) - (down ? -1 : 1);
        EXPECT_EQ(eighths % 8, 0);
        point |= static_cast<uint64_t>(static_cast<uint8_t>(eighths / 8)) << 8 * j;
      }
      return point;
    });
  }
}

TEST(CodebookTest, Signs) {
  for (uint32_t seven = 0; seven < 128; ++seven) {
    const uint8_t signs = CompleteSigns(seven);
    EXPECT_EQ(signs & 127u, seven);
    EXPECT_EQ(std::popcount(signs) % 2, 0);
  }
  for (int signs = 0; signs < 256; ++signs) {
    const uint64_t bits = SpreadBits(static_cast<uint8_t>(signs));
    const uint64_t word = NegateBytes(0x7F3E2B1908040101u, static_cast<uint8_t>(signs));
    for (int j = 0; j < 8; ++j) {
      const bool minus = (signs >> j) & 1;
      EXPECT_EQ((bits >> 8 * j) & 0xFF, minus ? 1u : 0u);
      const int magnitude = static_cast<int8_t>(0x7F3E2B1908040101u >> 8 * j);
      EXPECT_EQ(static_cast<int8_t>(word >> 8 * j), minus ? -magnitude : magnitude);
    }
  }
}

}  // namespace
}  // namespace bantam::quant
