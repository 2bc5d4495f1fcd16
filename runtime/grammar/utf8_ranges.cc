#include "runtime/grammar/utf8_ranges.h"

#include <string>

namespace bantam::grammar {

void AppendUtf8Ranges(CharRange range, std::vector<Utf8Range>& out) {
  // Cut where the length changes ...
  for (const char32_t last : {U'\x7F', U'\u07FF', U'\uFFFF'}) {
    if (range.first <= last && range.last > last) {
      AppendUtf8Ranges({range.first, last}, out);
      AppendUtf8Ranges({last + 1, range.last}, out);
      return;
    }
  }
  // ... and where the bytes after one that differs would not run from 0x80 to 0xBF.
  for (int shift = 6; shift <= 18 && range.first > 0x7F; shift += 6) {
    const char32_t low = (char32_t{1} << shift) - 1;
    if ((range.first & ~low) == (range.last & ~low)) break;
    if ((range.first & low) != 0) {
      AppendUtf8Ranges({range.first, range.first | low}, out);
      AppendUtf8Ranges({(range.first | low) + 1, range.last}, out);
      return;
    }
    if ((range.last & low) != low) {
      AppendUtf8Ranges({range.first, (range.last & ~low) - 1}, out);
      AppendUtf8Ranges({range.last & ~low, range.last}, out);
      return;
    }
  }
  std::string first, last;
  AppendUtf8(range.first, first);
  AppendUtf8(range.last, last);
  Utf8Range bytes;
  bytes.length = static_cast<int>(first.size());
  for (size_t i = 0; i < first.size() && i < bytes.first.size(); ++i) {
    bytes.first[i] = static_cast<uint8_t>(first[i]);
    bytes.last[i] = static_cast<uint8_t>(last[i]);
  }
  out.push_back(bytes);
}

}  // namespace bantam::grammar
