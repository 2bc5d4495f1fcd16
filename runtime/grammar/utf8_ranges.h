// A range of characters as ranges of bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/grammar/syntax.h"

namespace bantam::grammar {

// Strings of `length` bytes whose i-th byte is between first[i] and last[i]: the UTF-8 of some
// characters, all of the same length.
struct Utf8Range {
  int length = 0;
  std::array<uint8_t, 4> first{}, last{};
};

// Appends byte ranges that together stand for exactly the characters of `range`, which has no
// surrogates.
void AppendUtf8Ranges(CharRange range, std::vector<Utf8Range>& out);

}  // namespace bantam::grammar
