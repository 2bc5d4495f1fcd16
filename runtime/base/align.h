// Rounding sizes and offsets.
#pragma once

#include <cstdint>

namespace bantam {

// Rounds up to a multiple of `alignment`, a power of two. `value` is at most 2^64 - alignment.
inline uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace bantam
