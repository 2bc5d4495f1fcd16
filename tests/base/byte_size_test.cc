#include "runtime/base/byte_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bantam {
namespace {

TEST(ParseByteSize, Units) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"0", 0},
      {"1000000", 1000000},
      {"5b", 5},
      {"6GiB", uint64_t{6} << 30},
      {"6gib", uint64_t{6} << 30},
      {"6G", uint64_t{6} << 30},
      {"512 MB", 512000000},
      {"512 MiB", uint64_t{512} << 20},
      {"1.5g", uint64_t{3} << 29},
      {"  2 k ", 2048},
      {"2kb", 2000},
      {"2KiB", 2048},
      {"3m", uint64_t{3} << 20},
      {"1t", uint64_t{1} << 40},
      {"1TB", 1000000000000},
      {"0.5tib", uint64_t{1} << 39},
      {"0.1b", 0},
      // Needs all 64 bits.
      {"9007199254740993", 9007199254740993},
      {"18446744073709551615", 18446744073709551615u},
  };
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseByteSize(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseByteSize, Refused) {
  for (const char* text : {"", " ", "G", "-1", "+1", "1..5", ".", "1 2", "5 XB", "0x10", "nan",
                           "inf", "1e3", "6GiBs", "٣"}) {
    const auto parsed = ParseByteSize(text);
    ASSERT_FALSE(parsed.ok()) << text << " gave " << *parsed;
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status()));
    EXPECT_THAT(std::string(parsed.status().message()), ::testing::HasSubstr("6GiB"));
  }
  for (const char* text : {"18446744073709551616", "16777216T", "99999999999999999999999999999999",
                           "1e400", "1.8e19G", "99999999999999999999.5", "16777216.5T"}) {
    EXPECT_FALSE(ParseByteSize(text).ok()) << text;
  }
}

TEST(FormatByteSize, LargestUnitAtLeastOne) {
  const std::pair<uint64_t, const char*> cases[] = {
      {0, "0 B"},
      {1023, "1023 B"},
      {1024, "1.00 KiB"},
      {1536, "1.50 KiB"},
      {10 * 1024 - 1, "10.0 KiB"},  // 9.999 in two decimals would read 10.00
      {10 * 1024, "10.0 KiB"},
      {1024 * 1024 - 1, "1.00 MiB"},  // not 1024.0 KiB
      {102550733, "97.8 MiB"},
      {uint64_t{1} << 30, "1.00 GiB"},
      {uint64_t{5} << 40, "5.00 TiB"},
      {uint64_t{1} << 50, "1.00 PiB"},
      {~uint64_t{0}, "16.0 EiB"},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(FormatByteSize(bytes), text) << bytes;
}

}  // namespace
}  // namespace bantam
