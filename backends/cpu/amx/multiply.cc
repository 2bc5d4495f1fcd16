// The inner loop: 32 columns times 32 weight rows in four tiles of sums, each tile of operands used
// twice. A step of it is four loads, of 16 lines each, and four products of 16 cycles.

#include <array>

#include "backends/cpu/amx/operands.h"

BANTAM_AMX_BEGIN

namespace bantam::cpu::amx {
namespace {

// Tiles 0 to 3 are sums, 4 and 5 columns, 6 and 7 weights.
constexpr int64_t kSumStride = kPanelRows * sizeof(float);

template <bool kTwo>
inline void LoadColumns(const std::byte* const* columns, int64_t at) {
  LoadStream<4>(columns[0] + at, 64);
  if constexpr (kTwo) LoadStream<5>(columns[1] + at, 64);
}
inline void LoadWeights(const std::byte* weights) {
  Load<6>(weights, 64);
  Load<7>(weights + kTileBytes, 64);
}
template <bool kTwo>
inline void AddAll() {
  AddDots<0, 4, 6>();
  AddDots<1, 4, 7>();
  if constexpr (kTwo) {
    AddDots<2, 5, 6>();
    AddDots<3, 5, 7>();
  }
}

template <bool kTwo, int kColumnTerms, int kWeightTerms>
void MultiplyChunk(const ChunkProduct& product) {
  float* const sums = product.sums;
  float* const more = sums + kTileRows * kPanelRows;
  if (product.adds) {
    Load<0>(sums, kSumStride);
    Load<1>(sums + kTileRows, kSumStride);
    if constexpr (kTwo) {
      Load<2>(more, kSumStride);
      Load<3>(more + kTileRows, kSumStride);
    }
  } else {
    Zero<0>();
    Zero<1>();
    if constexpr (kTwo) {
      Zero<2>();
      Zero<3>();
    }
  }
  const std::byte* const columns[] = {product.columns[0], product.columns[1]};
  const std::byte* weights = product.weights.data;
  const int64_t stride = product.column_terms * kTileBytes, end = product.steps * stride;
  for (int64_t at = 0; at < end; at += stride) {
    // Small products first: of the columns' second term, which meets the weights' first, and of the
    // weights' second. That of both is below what is kept.
    LoadWeights(weights);
    if constexpr (kColumnTerms == 2) {
      LoadColumns<kTwo>(columns, at + kTileBytes);
      AddAll<kTwo>();
    }
    LoadColumns<kTwo>(columns, at);
    AddAll<kTwo>();
    if constexpr (kWeightTerms == 2) {
      LoadWeights(weights + 2 * kTileBytes);
      AddAll<kTwo>();
    }
    weights += kWeightTerms * 2 * kTileBytes;
  }
  Store<0>(sums, kSumStride);
  Store<1>(sums + kTileRows, kSumStride);
  if constexpr (kTwo) {
    Store<2>(more, kSumStride);
    Store<3>(more + kTileRows, kSumStride);
  }
}

template <int kColumnTerms, int kWeightTerms>
void MultiplyTerms(const ChunkProduct& product) {
  if (product.columns[1] != nullptr) {
    MultiplyChunk<true, kColumnTerms, kWeightTerms>(product);
  } else {
    MultiplyChunk<false, kColumnTerms, kWeightTerms>(product);
  }
}

}  // namespace

void Multiply(const Weights& weights, const ChunkProduct& product) {
  if (weights.terms == 2) {
    MultiplyTerms<2, 2>(product);
  } else if (weights.column_terms == 2) {
    MultiplyTerms<2, 1>(product);
  } else {
    MultiplyTerms<1, 1>(product);
  }
}

}  // namespace bantam::cpu::amx

BANTAM_AMX_END
