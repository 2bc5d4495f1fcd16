// Integer matrix products: quantized weights times quantized activations.
//
// A result is  sum over runs of  scale * d * (sum of quant * q) + min * total,  with the inner sums
// in exact integers and the outer one in f32, in order of the runs, each step one fused
// multiply-add. So a result depends on its two rows alone: the two ways to compute it below give
// the same bits.
#pragma once

#include <cstdint>

#include "backends/cpu/avx2/activations.h"
#include "runtime/quant/type.h"

namespace bantam::cpu::avx2 {

// Rows of one call of either way.
inline constexpr int kVectorRows = 8;
inline constexpr int kPanelRows = 16;
// Most columns of one call.
inline constexpr int kVectorColumns = 4;
inline constexpr int kPanelColumns = 2;
// Elements of a panel's rows, a multiple of every type's block: 16 KiB of quants stay in the
// first-level cache.
inline constexpr int64_t kPanelElements = 1024;

struct alignas(64) Panel {
  int8_t quants[kPanelElements * kPanelRows];
  float scales[kPanelElements / 16 * kPanelRows];
  float mins[kPanelElements / 16 * kPanelRows];
};

struct Int8Kernels {
  // Few columns: reads the weights once, unpacking in registers. out[c][r] for r < kVectorRows is
  // the product of rows[r] and columns[c]. `next` is where the rows of the next call begin, one
  // after the other: they are fetched meanwhile. Any address will do.
  void (*vector[kVectorColumns])(const uint8_t* const* rows, int64_t k,
                                 const ActivationRow* columns, float* const* out,
                                 const uint8_t* next);
  // Many columns: unpacks once to a panel ...
  void (*pack)(const uint8_t* const* rows, int64_t first, int64_t count, Panel& panel);
  // ... and adds its products with columns, from element `first` on, to out[c][r], r < kPanelRows.
  void (*panel[kPanelColumns])(const Panel& panel, int64_t first, int64_t count,
                               const ActivationRow* columns, float* const* out);
};

// Null for the types that are not quantized.
const Int8Kernels* Int8KernelsOf(quant::Type type);

}  // namespace bantam::cpu::avx2
