// Integer matrix products: quantized weights times quantized activations, as a set of kernels
// provides them.
//
// A result is  sum over runs of  scale * d * (sum of quant * q) + min * total,  with the inner sums
// in exact integers and the outer one in f32, in order of the runs, each step one fused
// multiply-add; the same over the activations' rests is added at the end. So a result depends on
// its two rows alone: the two ways to compute it below give the same bits.
//
// A set describes its sizes in a type `Isa` (avx2/set.h):
//   kVectorRows, kVectorColumns   weight rows of one call of `vector`, most columns of one
//   kPanelRows, kPanelColumns     the same of `panel`
//   kPanelElements                of a panel's rows, a multiple of every type's block
#pragma once

#include <array>
#include <cstdint>

#include "backends/cpu/simd/activations.h"

namespace bantam::cpu::simd {

// Weights unpacked to bytes, in the order in which the set's `panel` reads them: an array of
// [run of 32 elements][four elements of the run][row] of quants, and of [group][row] of scales.
template <typename Isa>
struct alignas(64) Panel {
  int8_t quants[Isa::kPanelElements * Isa::kPanelRows];
  float scales[Isa::kPanelElements / 16 * Isa::kPanelRows];
  float mins[Isa::kPanelElements / 16 * Isa::kPanelRows];
};

template <typename Isa>
struct Int8Kernels {
  // Few columns: reads the weights once, unpacking in registers. out[c][r] for r < kVectorRows is
  // the product of rows[r] and columns[c]. `next` is where the rows of the next call begin, one
  // after the other: they are fetched meanwhile. Any address will do.
  using Vector = void (*)(const uint8_t* const* rows, int64_t k, const ActivationRow* columns,
                          float* const* out, const uint8_t* next);
  // Many columns: unpacks once to a panel ...
  using Pack = void (*)(const uint8_t* const* rows, int64_t first, int64_t count,
                        Panel<Isa>& panel);
  // ... and adds its products with columns, from element `first` on, to sums[c * kPanelRows + r].
  using Multiply = void (*)(const Panel<Isa>& panel, int64_t first, int64_t count,
                            const ActivationRow* columns, float* sums);
  // ... and those with rests of `width` columns: of column c from its rest begin[c] on to that
  // before end[c], which this finds, the first of a run that is not in the panel.
  using MultiplyRests = void (*)(const Panel<Isa>& panel, int64_t first, int64_t count,
                                 const ActivationRow* columns, int64_t width, const NextRest* begin,
                                 NextRest* end, float* sums);

  std::array<Vector, Isa::kVectorColumns> vector;  // for 1, 2, ... columns
  Pack pack;
  std::array<Multiply, Isa::kPanelColumns> panel;  // for 1, 2, ... columns
  MultiplyRests rests;
  int64_t panel_elements = Isa::kPanelElements;  // most of a row in a panel
};

// The same of interleaved weights (interleave.h): the results too, to the bit.
template <typename Isa>
struct InterleavedKernels {
  // out[c][r] for r < kInterleaved is the product of row r of the group and columns[c].
  using Vector = void (*)(const uint8_t* group, int64_t k, const ActivationRow* columns,
                          float* const* out);
  std::array<Vector, Isa::kVectorColumns> vector;
  // Reads of `rows` those where a group begins.
  typename Int8Kernels<Isa>::Pack pack;
};

}  // namespace bantam::cpu::simd
