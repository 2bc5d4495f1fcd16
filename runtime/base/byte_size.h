// Byte counts as people write them: "6GiB", "512 MB", "1.5g".
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bantam {

// Parses a non-negative number with an optional unit. KB, MB, GB, TB are powers of 1000; KiB, MiB,
// GiB, TiB and the bare letters K, M, G, T are powers of 1024; no unit means bytes. Case is
// ignored.
absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text);

// "97.8 MiB": the largest binary unit that keeps the number at 1 or more.
std::string FormatByteSize(uint64_t bytes);

}  // namespace bantam
