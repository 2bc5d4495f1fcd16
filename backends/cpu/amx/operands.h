// What tiles multiply: columns (rows of activations) and weight rows, as numbers of bf16.
//
// bf16 has the exponents of f32 and 8 bits of significand: rounding to it costs a normalised
// squared error of 2e-6, a tenth of what int8 in runs of 32 costs. Where that is too much, for
// weights that are not quantized, a number is the sum of two of bf16, its terms, which hold 16 bits
// of it.
//
// Elements are taken in steps of 32, the width of a tile, and steps in chunks of 8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backends/cpu/amx/tiles.h"
#include "backends/cpu/avx512/set.h"
#include "runtime/quant/type.h"

namespace bantam::cpu::amx {

inline constexpr int64_t kStep = 32;
inline constexpr int64_t kChunkSteps = 8;
inline constexpr int64_t kChunk = kStep * kChunkSteps;          // a multiple of every type's block
inline constexpr int64_t kPanelRows = avx512::Isa::kPanelRows;  // two tiles
static_assert(kPanelRows == 2 * kTileRows && kChunk <= avx512::Isa::kPanelElements);

inline int64_t StepsOf(int64_t k) { return (k + kStep - 1) / kStep; }
inline int64_t TilesOf(int64_t columns) { return (columns + kTileRows - 1) / kTileRows; }

// Tiles of 16 columns by a step, in memory by chunk, then by columns, then by step and term, so
// that what a panel of weights meets one after the other is one stretch. Missing elements are
// zeros.
struct ColumnTiles {
  std::byte* data;  // 64-byte aligned
  int64_t count;    // of 16 columns each
  int64_t steps;    // of a column
  int64_t terms;

  static int64_t Bytes(int64_t count, int64_t steps, int64_t terms) {
    return count * steps * terms * kTileBytes;
  }
  // Of a chunk's first step.
  std::byte* At(int64_t tile, int64_t chunk) const {
    const int64_t first = chunk * kChunkSteps, length = std::min(kChunkSteps, steps - first);
    return data + (first * count + tile * length) * terms * kTileBytes;
  }
};

// Elements `first` up of 16 columns, as many of them as the chunk has, in one term or two. A null
// column is zeros.
void PackColumns(const float* const* columns, int64_t first, int64_t elements, int64_t terms,
                 std::byte* to);

// A chunk of a panel of weight rows: by step, then term, then rows 0 to 15 and 16 to 31, tiles with
// two elements of each row in a row of theirs.
struct alignas(64) WeightTiles {
  std::byte data[kChunkSteps * 2 * 2 * kTileBytes];

  // The first term's; the second's is two tiles on.
  std::byte* Piece(int64_t piece, int64_t terms) {
    return data + (piece / 2 * terms * 2 + piece % 2) * kTileBytes;
  }
};

// Memory to work in.
union alignas(64) PackScratch {
  simd::Panel<avx512::Isa> panel;
  float decoded[kPanelRows * kChunk];
};

// A panel of weight rows, and the elements of it that are a chunk.
struct WeightChunk {
  quant::Type type;
  bool interleaved;  // all rows (plan/interleave.h)
  const uint8_t* rows[kPanelRows];
  int64_t first;
  int64_t elements;

  int64_t pieces() const { return 2 * StepsOf(elements); }
};

// How a type's weights become tiles: piece by piece, 16 rows of a step each, in order, so that it
// can go on between products, whose tiles take their time.
struct Weights {
  int terms;         // of a weight
  int column_terms;  // that columns need
  // `scratch` is kept from piece to piece.
  void (*pack)(const WeightChunk& chunk, int64_t piece, PackScratch& scratch, WeightTiles& to);
};
const Weights& WeightsOf(quant::Type type);

// The products of a chunk. sums[column * kPanelRows + row], for 16 columns or 32, become them, or
// have them added.
struct ChunkProduct {
  const std::byte* columns[2];  // tiles of 16 columns each; the second may be null
  int64_t column_terms;         // as they lie there
  const WeightTiles& weights;
  int64_t steps;
  bool adds;
  float* sums;
};
// Tiles are configured. `weights` says how many terms are met.
void Multiply(const Weights& weights, const ChunkProduct& product);

}  // namespace bantam::cpu::amx
