#include "runtime/tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace bantam::tokenizer {
namespace {

std::string Encode(uint32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  if (c < 0x10000) {
    return {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
            static_cast<char>(0x80 | (c & 63))};
  }
  return {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
          static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
}

TEST(Utf8, EveryCharacterIsValidAndItsPrefixesAreIncomplete) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    const std::string text = Encode(c);
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(IsUtf8(text), !surrogate) << c;
    if (surrogate) continue;
    const Utf8Step step = NextUtf8(text + "x", 0);
    ASSERT_EQ(step.state, Utf8State::kValid) << c;
    ASSERT_EQ(step.length, text.size()) << c;
    for (size_t n = 1; n < text.size(); ++n) {
      const Utf8Step part = NextUtf8(text.substr(0, n), 0);
      ASSERT_EQ(part.state, Utf8State::kIncomplete) << c;
      ASSERT_EQ(part.length, n) << c;
    }
    ASSERT_EQ(RepairUtf8(text), text) << c;
  }
}

// Unicode 15, section 3.9, tables 3-8 to 3-11.
TEST(Utf8, IllFormedTextFallsIntoMaximalSubparts) {
  const auto lengths = [](const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      const Utf8Step step = NextUtf8(text, i);
      out += std::to_string(step.length) + (step.state == Utf8State::kValid ? "v " : "i ");
      i += step.length;
    }
    return out;
  };
  EXPECT_EQ(lengths("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "1i 1i 1i 1i 1i 1i 1i 1i 1v ");
  EXPECT_EQ(lengths("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "1i 1i 1i 1i 1i 1i 1i 1i 1v ");
  EXPECT_EQ(lengths("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "1i 1i 1i 1i 1i 1v 1i 1i 1v ");
  EXPECT_EQ(lengths("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "2i 1i 3i 2i 1v ");
}

TEST(Utf8, IsUtf8LooksAtEveryByte) {
  for (size_t n = 0; n < 40; ++n) {
    std::string text(40, 'a');
    text[n] = '\x80';
    EXPECT_FALSE(IsUtf8(text)) << n;
  }
}

TEST(Utf8, RepairCountsTheShapeOfASequence) {
  EXPECT_EQ(RepairUtf8("a\xFF"
                       "b\x80"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  EXPECT_EQ(RepairUtf8("\xE2\x96"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(RepairUtf8("\xE2\x96x"), "\xEF\xBF\xBD\xEF\xBF\xBDx");
  EXPECT_EQ(RepairUtf8("\xC1\x81\xE0\x81\x81"), "AA");
  EXPECT_EQ(RepairUtf8("\xED\xA0\x80"), "\xED\xA0\x80");
  // Beyond U+10FFFF: byte by byte.
  EXPECT_EQ(RepairUtf8("\xF4\x90\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(RepairUtf8("\xF8\x88"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Utf8, WithoutSurrogatesKeepsLengths) {
  EXPECT_EQ(WithoutSurrogates("a\xED\xA0\x80\xED\xBF\xBF\xED\x9F\xBF"),
            "a\xEE\x80\x80\xEE\x80\x80\xED\x9F\xBF");
  EXPECT_TRUE(IsUtf8(WithoutSurrogates(RepairUtf8("\xED\xA0\x80 \xF7\xBF\xBF\xBF\xED"))));
}

}  // namespace
}  // namespace bantam::tokenizer
