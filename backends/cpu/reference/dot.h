// Dot products of rows of f32: the arithmetic of matmul and attention.
#pragma once

#include <cstdint>

namespace bantam::cpu::reference {

// Most columns of one call.
inline constexpr int kDotColumns = 4;

// out[c][r] = sum over i < k of w[r * w_stride + i] * x[c][i], for r < rows and c < columns; with
// `accumulate` the sum is added to what is there.
//
// Each sum is made in four interleaved partial sums, lane l taking elements l, l + 4, l + 8, ..,
// which are joined as (0 + 2) + (1 + 3). So a result depends on its two rows alone, never on
// how many rows or columns are computed together or by which thread.
void DotPanel(const float* w, int64_t w_stride, int64_t rows, const float* const* x,
              float* const* out, int columns, int64_t k, bool accumulate);

}  // namespace bantam::cpu::reference
