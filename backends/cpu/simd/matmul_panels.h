// Products of quantized weights with many columns, through panels (matmul_int8.h).
//
// A panel is unpacked once for a block of columns. Sums of a block stay here until they are
// complete: results lie a row of the output apart, often a power of two, and would push each other
// out of the caches. Tiles side by side meet a part of the columns' elements one after the other,
// so that it comes from the second-level cache for all but the first. Weights are many short
// streams, which the processor does not foresee: what follows the tiles in memory is fetched
// meanwhile.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/simd/matmul_int8.h"
#include "backends/cpu/simd/tile.h"

namespace bantam::cpu::simd {

template <typename Isa>
class PanelProducts {
 public:
  // out(c)[r] = product of row r of the tiles and column c, for columns `begin` to `end`.
  void Multiply(const Int8Kernels<Isa>& kernels, const Tiles<Isa>& tiles, int64_t k,
                const Columns& columns, int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block += kBlock) {
      const int64_t width = std::min(kBlock, end - block);
      for (int64_t c = 0; c < width; ++c) {
        rows_[c] = columns.Quantized(block + c);
        rest_[c] = NextRestOf(rows_[c], static_cast<int32_t>(k / kRun));
      }
      for (int64_t t = 0; t < tiles.count; ++t) {
        std::fill_n(sums_[t][0], width * kRows, 0.0f);
        std::fill_n(rest_sums_[t][0], width * kRows, 0.0f);
      }
      const int64_t tile_bytes = kRows * tiles.tile[0].stride;
      const uint8_t* next = tiles.tile[0].rows[0] + tiles.count * tile_bytes;
      int64_t first = 0;
      do {  // once even for k = 0, whose sums are 0
        const int64_t length = std::min(kernels.panel_elements, k - first);
        // To fetch with each kPanelColumns columns.
        const int64_t share =
            tile_bytes * length / std::max<int64_t>(1, k) * Isa::kPanelColumns / width;
        for (int64_t t = 0; t < tiles.count; ++t) {
          Pack(kernels, tiles.tile[t], first, length);
          kernels.rests(panel_, first, length, rows_, width, rest_, next_rest_, rest_sums_[t][0]);
          for (int64_t c = 0; c < width; c += Isa::kPanelColumns) {
            const int64_t some = std::min<int64_t>(Isa::kPanelColumns, width - c);
            for (const uint8_t* const end = next + share; next < end; next += 64) {
              __builtin_prefetch(next, 0, 2);  // to the second-level cache
            }
            kernels.panel[some - 1](panel_, first, length, rows_ + c, sums_[t][c]);
            for (int64_t j = c; j < c + some; ++j) {
              // At once, so that waiting for the memory of results passes behind the next products.
              if (first + length < k) continue;
              float* const out = columns.Out(block + j) + t * kRows;
              for (int64_t r = 0; r < tiles.tile[t].count; ++r) {
                out[r] = sums_[t][j][r] + rest_sums_[t][j][r];
              }
            }
          }
        }
        std::copy_n(next_rest_, width, rest_);
        first += length;
      } while (first < k);
    }
  }

 private:
  static constexpr int64_t kRows = Isa::kPanelRows, kBlock = 256;

  void Pack(const Int8Kernels<Isa>& kernels, const Tile<Isa>& tile, int64_t first, int64_t length) {
    auto pack = kernels.pack;
    if constexpr (Tile<Isa>::kInterleaves) {
      if (tile.interleaved) pack = Isa::InterleavedKernelsOf(tile.type)->pack;
    }
    pack(tile.rows, first, length, panel_);
  }

  Panel<Isa> panel_;
  alignas(64) float sums_[Tiles<Isa>::kMost][kBlock][kRows];
  alignas(64) float rest_sums_[Tiles<Isa>::kMost][kBlock][kRows];
  ActivationRow rows_[kBlock];
  // Of each column: the first from this panel on, and after it. Beside each other, since in many
  // panels most columns have none.
  NextRest rest_[kBlock], next_rest_[kBlock];
};

}  // namespace bantam::cpu::simd
