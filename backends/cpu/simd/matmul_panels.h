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
        next_rest_[c] = static_cast<int32_t>(k / kRun);
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
        SortRests(width, first / kRun, (first + length) / kRun);
        for (int64_t t = 0; t < tiles.count; ++t) {
          Pack(kernels, tiles.tile[t], first, length);
          MultiplyRests(kernels, length / kRun, rest_sums_[t]);
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

  // Finds the rests of runs from `begin` to `end` of all columns, in order of the runs.
  void SortRests(int64_t width, int64_t begin, int64_t end) {
    std::fill_n(rests_end_, end - begin + 1, 0);
    for (int64_t c = 0; c < width; ++c) {
      ForRests(next_rest_[c], c, end, [&](int64_t run, int32_t) { ++rests_end_[run - begin + 1]; });
    }
    for (int64_t run = 0; run < end - begin; ++run) rests_end_[run + 1] += rests_end_[run];
    for (int64_t c = 0; c < width; ++c) {
      next_rest_[c] = ForRests(next_rest_[c], c, end, [&](int64_t run, int32_t i) {
        rests_[rests_end_[run - begin]++] = {static_cast<int32_t>(c), i};
      });
    }
  }

  // Calls f(run, i) for the rests i of column c up to those of run `end`; returns the next.
  template <typename F>
  int32_t ForRests(int32_t i, int64_t c, int64_t end, const F& f) const {
    const RunOfActivations* const runs = rows_[c].runs;
    for (; runs[i].rest != kNoRest && RunOfRest(runs[i]) < end; ++i) f(RunOfRest(runs[i]), i);
    return i;
  }

  // Adds the panel's products with all rests of its runs.
  void MultiplyRests(const Int8Kernels<Isa>& kernels, int64_t runs, float (*sums)[kRows]) {
    int32_t i = 0;
    for (int64_t run = 0; run < runs; ++run) {
      while (i < rests_end_[run]) {
        const int32_t some = std::min<int32_t>(Isa::kPanelColumns, rests_end_[run] - i);
        RestOfRun rests[Isa::kPanelColumns];
        float* to[Isa::kPanelColumns];
        for (int32_t j = 0; j < some; ++j, ++i) {
          const ActivationRow& row = rows_[rests_[i].column];
          rests[j] = {row.quants + rests_[i].rest * kRun, row.runs + rests_[i].rest};
          to[j] = sums[rests_[i].column];
        }
        kernels.rests[some - 1](panel_, run, rests, to);
      }
    }
  }

  struct Rest {
    int32_t column, rest;
  };
  static constexpr int64_t kPanelRuns = Isa::kPanelElements / kRun;

  Panel<Isa> panel_;
  alignas(64) float sums_[Tiles<Isa>::kMost][kBlock][kRows];
  alignas(64) float rest_sums_[Tiles<Isa>::kMost][kBlock][kRows];
  ActivationRow rows_[kBlock];
  int32_t next_rest_[kBlock];          // of each column
  int32_t rests_end_[kPanelRuns + 1];  // of each run of the panel, in
  Rest rests_[kPanelRuns * kBlock];
};

}  // namespace bantam::cpu::simd
