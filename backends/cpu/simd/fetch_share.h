// Fetching interleaved weights (plan/interleave.h) ahead of products that compute for longer than
// they wait for memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/simd/activations.h"

namespace bantam::cpu::simd {

// To be called with each run of a block: a few lines of those to come. Fields of a block are read
// by turns, which the processor does not foresee.
template <typename Block>
[[gnu::always_inline]] inline void FetchShare(const uint8_t* block, int run) {
  constexpr int64_t kBytes = kInterleaved * sizeof(Block);
  constexpr int64_t kShare = kBytes / (Block::kElements / kRun);
  // Far enough that lines at the end of a block, read first, have come too.
  constexpr int64_t kAhead = std::max<int64_t>(8192, 4 * kBytes);
  const uint8_t* const from = block + run * kShare + kAhead;
  for (int64_t line = 0; line < kShare; line += 64) __builtin_prefetch(from + line);
}

}  // namespace bantam::cpu::simd
