#include "runtime/base/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace bantam {
namespace {

TEST(Printable, KeepsTextOfEveryScript) {
  for (const char* text :
       {"blk.0.attn_q.weight", "größe", "日本語", "سلام", "👩‍👩‍👧"}) {
    EXPECT_EQ(Printable(text), text);
    EXPECT_TRUE(IsPlainText(text)) << text;
  }
}

TEST(Printable, EscapesWhatCouldHarmATerminalOrALine) {
  EXPECT_EQ(Printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(Printable("\x1b[31m"), "\\u{1b}[31m");
  EXPECT_EQ(Printable(absl::string_view("a\0b", 3)), "a\\u{0}b");
  EXPECT_EQ(Printable("\x7f"), "\\u{7f}");
  EXPECT_EQ(Printable("\xc2\x9b"), "\\u{9b}");  // C1: the 8-bit form of ESC [
  EXPECT_EQ(Printable("a\xe2\x80\xae"
                      "b"),
            "a\\u{202e}b");                           // right-to-left override
  EXPECT_EQ(Printable("\xe2\x80\xa8"), "\\u{2028}");  // line separator
  EXPECT_EQ(Printable("\xff"
                      "a\xc3"),
            "\\xffa\\xc3");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate is not UTF-8
  EXPECT_EQ(Printable("C:\\x"), "C:\\\\x");
  for (const char* text : {"\n", "\x1b", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\xff", "\xc3"}) {
    EXPECT_FALSE(IsPlainText(text)) << Printable(text);
  }
  EXPECT_TRUE(IsPlainText("C:\\x"));
  EXPECT_TRUE(IsPlainText(""));
}

TEST(Printable, CutsAtAWholeCharacter) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdef", 5), "abcde...");
  EXPECT_EQ(Printable("日本語", 4), "日...");
  EXPECT_EQ(Printable(std::string(1000, 'x')), std::string(80, 'x') + "...");
}

}  // namespace
}  // namespace bantam
