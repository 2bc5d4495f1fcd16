#include "runtime/base/byte_size.h"

#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"

namespace bantam {
namespace {

struct Unit {
  absl::string_view name;
  uint64_t bytes;
};

constexpr std::array<Unit, 14> kUnits = {{
    {"", 1},
    {"b", 1},
    {"k", uint64_t{1} << 10},
    {"kib", uint64_t{1} << 10},
    {"kb", 1'000},
    {"m", uint64_t{1} << 20},
    {"mib", uint64_t{1} << 20},
    {"mb", 1'000'000},
    {"g", uint64_t{1} << 30},
    {"gib", uint64_t{1} << 30},
    {"gb", 1'000'000'000},
    {"t", uint64_t{1} << 40},
    {"tib", uint64_t{1} << 40},
    {"tb", 1'000'000'000'000},
}};

absl::Status NotASize(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not a size; write for example 6GiB, 512MiB or 1000000"));
}

}  // namespace

absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  const size_t digits = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const absl::string_view number = trimmed.substr(0, digits);
  const std::string name =
      absl::AsciiStrToLower(absl::StripAsciiWhitespace(trimmed.substr(digits)));
  const Unit* unit = nullptr;
  for (const Unit& candidate : kUnits) {
    if (candidate.name == name) unit = &candidate;
  }
  double value = 0;
  if (unit == nullptr || number.empty() || !absl::SimpleAtod(number, &value)) return NotASize(text);
  // Whole numbers are computed as such: a double has only 53 bits.
  if (uint64_t whole = 0; absl::SimpleAtoi(number, &whole)) {
    if (whole <= std::numeric_limits<uint64_t>::max() / unit->bytes) return whole * unit->bytes;
  } else {
    const double bytes = std::floor(value * static_cast<double>(unit->bytes));
    if (bytes < 18446744073709551616.0) return static_cast<uint64_t>(bytes);
  }
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is more than 2^64 bytes"));
}

std::string FormatByteSize(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kNames = {"B",   "KiB", "MiB", "GiB",
                                                        "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrFormat("%d B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // What would be printed as 1024.0 is 1.00 of the next unit.
  while (value >= 1023.95 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", value < 9.995 ? 2 : 1, value, kNames[unit]);
}

}  // namespace bantam
