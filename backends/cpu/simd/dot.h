// Dot products of rows of floating-point weights with rows of f32.
#pragma once

#include <cstdint>

#include "runtime/quant/type.h"

namespace bantam::cpu::simd {

// out[c][r] = sum over i < k of w[r][i] * x[c][i] for r < rows and c < columns, added to what is
// there. Each sum is made in interleaved partial sums, one for each lane of the set's registers, by
// fused multiply-adds, so that a result depends on its two rows alone, and not on the type that
// holds the same weights. `next` is where the rows of the next call begin, one after the other: for
// one column they are fetched meanwhile. Any address will do.
using DotFn = void (*)(const uint8_t* const* w, const float* const* x, float* const* out, int64_t k,
                       const uint8_t* next);

inline bool HasDot(quant::Type type) {
  return type == quant::Type::kF32 || type == quant::Type::kF16 || type == quant::Type::kBF16;
}

}  // namespace bantam::cpu::simd
