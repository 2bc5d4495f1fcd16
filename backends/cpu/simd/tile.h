// What the ways of a matrix product (matmul.h) have in common: columns, and weights in tiles of
// rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/plan/tensor.h"
#include "backends/cpu/simd/activations.h"

namespace bantam::cpu::simd {

inline constexpr int64_t kFewColumns = 8;  // up to so many are another way than more

// The columns of a product: their activations and where their results go.
class Columns {
 public:
  virtual ~Columns() = default;
  virtual const float* X(int64_t c) const = 0;
  virtual ActivationRow Quantized(int64_t c) const = 0;
  virtual float* Out(int64_t c) const = 0;
  virtual int64_t XRow(int64_t c) const = 0;  // of the step's activations
};

// A part of one weight matrix. `Isa` is a set's description (avx2/set.h).
template <typename Isa>
struct Tile {
  static constexpr int64_t kRows = Isa::kPanelRows;

  quant::Type type;
  bool interleaved;            // all of its rows
  int64_t count;               // rows, at most kRows
  int64_t stride;              // bytes from row to row
  const uint8_t* rows[kRows];  // past `count` the last one again

  static constexpr bool kInterleaves = requires { &Isa::InterleavedKernelsOf; };
  static int64_t CountOf(int64_t rows) { return (rows + kRows - 1) / kRows; }

  static Tile Of(const Tensor& w, int64_t first, int64_t matrix) {
    const bool interleaved = w.interleaved && first + kRows <= InterleavedRows(w.shape[1]);
    Tile tile = {w.type, interleaved, std::min(kRows, w.shape[1] - first), w.strides[1], {}};
    for (int64_t r = 0; r < kRows; ++r) {
      tile.rows[r] =
          reinterpret_cast<const uint8_t*>(w.Row(first + std::min(r, tile.count - 1), matrix, 0));
    }
    return tile;
  }
};

// Tiles side by side.
template <typename Isa>
struct Tiles {
  static constexpr int64_t kMost = 2;
  int64_t count;
  Tile<Isa> tile[kMost];

  // `rows` rows from `first` on, at most kMost * Tile::kRows.
  static Tiles Of(const Tensor& w, int64_t first, int64_t rows, int64_t matrix) {
    Tiles tiles;
    tiles.count = Tile<Isa>::CountOf(rows);
    for (int64_t t = 0; t < tiles.count; ++t) {
      tiles.tile[t] = Tile<Isa>::Of(w, first + t * Tile<Isa>::kRows, matrix);
    }
    return tiles;
  }
};

}  // namespace bantam::cpu::simd
