// Products of F16 and BF16 weights with more than a few columns, in fixed point: an instruction
// that adds products of two pairs of 16 bits to each lane (vpdpwssd) does twice what a fused
// multiply-add does. Not of F32 weights: who has such wants them as they are.
//
// Rows of weights and columns alike are cut into runs of 32 elements, a run being a scale and
// numbers of 14 bits with their sign: the largest magnitude is 8191 at most, so that the sum of 32
// products fits 32 bits and is exact. Rounding costs each side a normalised squared error of 4e-9
// (uniform numbers) to 4e-8 (a run of one outlier). Scales of weights are powers of two, with which
// what is not much smaller than the largest is exact, and that is four times as much at worst. A
// run with a NaN or an infinity has the scale NaN, which every result that depends on it becomes.
//
// A result is  sum over runs of  (scale of w) (scale of x) (sum of products), the outer sum in f32
// in order of the runs, so it depends on its two rows alone.
//
// Weights are packed panel by panel, once for all columns of a step; columns once for all weights.
// Both in chunks of k, as many runs as keep a panel in the first-level cache.
//
// A set that has such products says so in its `Isa` (avx512/set.h):
//   kFixedColumns      the most columns of one call of `panel`
//   FixedKernelsOf     null for other types
//   PackFixedColumns   elements `first` to `end` of kFixedPacked columns
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/cpu/plan/step.h"
#include "backends/cpu/simd/activations.h"
#include "backends/cpu/simd/tile.h"
#include "runtime/quant/type.h"

namespace bantam::cpu::simd {

// The largest magnitude in a run, and where its scale is a power of two a power that is no larger.
inline constexpr float kFixedMost = 8191, kFixedPower = 4096;
inline constexpr int64_t kFixedPacked = 16;    // columns packed together: a multiple of all lanes
inline constexpr int64_t kMostChunkRuns = 16;  // 16 KiB or 32 of a panel
// Sums and scales of weights are this times smaller than they are, because a scale times a sum of
// products may be that much more than f32 can hold.
inline constexpr float kFixedUnit = 1 << 19;
// Smaller magnitudes are rounded as if this were the largest of the run: its inverse and its scale
// are still ordinary numbers.
inline constexpr float kFixedLeast = 0x1p-94f;

// A chunk of a panel of weight rows: [run][pair of elements][row] of pairs, and [run][row].
template <typename Isa>
struct alignas(64) FixedPanel {
  int16_t pairs[kMostChunkRuns * kRun * Isa::kPanelRows];
  float scales[kMostChunkRuns * Isa::kPanelRows];
};

// A chunk of a column.
struct FixedColumn {
  int16_t* numbers;  // kRun for each run, in the set's order
  float* scales;
};

template <typename Isa>
struct FixedKernels {
  // Elements `first` to `end` of a panel's rows; missing ones of the last run are zeros.
  using Pack = void (*)(const uint8_t* const* rows, int64_t first, int64_t end,
                        FixedPanel<Isa>& panel);
  // sums[column][row] becomes the products of a chunk, or has them added, in kFixedUnit.
  using Multiply = void (*)(const FixedPanel<Isa>& panel, int64_t runs, const FixedColumn* columns,
                            bool adds, float* sums);

  Pack pack;
  std::array<Multiply, Isa::kFixedColumns> panel;  // for 1, 2, ... columns
};

inline int64_t FixedRunsOf(int64_t k) { return (k + kRun - 1) / kRun; }

// Chunks of a row of k elements, all but the last as long.
struct FixedChunks {
  explicit FixedChunks(int64_t elements)
      : k(elements), count((FixedRunsOf(k) + kMostChunkRuns - 1) / kMostChunkRuns) {
    if (count > 0) runs = (FixedRunsOf(k) + count - 1) / count;
  }
  int64_t First(int64_t chunk) const { return std::min(k, chunk * runs * kRun); }

  int64_t k;
  int64_t count;
  int64_t runs = 0;  // of each
};

// The columns of a product, in memory by chunk, then by column: what a panel meets one after the
// other is one stretch.
struct FixedColumns {
  std::byte* data;  // 64-byte aligned
  int64_t count;
  FixedChunks chunks;

  static int64_t Stride(int64_t runs) {
    const int64_t bytes =
        runs * (kRun * static_cast<int64_t>(sizeof(int16_t)) + static_cast<int64_t>(sizeof(float)));
    return (bytes + 63) / 64 * 64;
  }
  static int64_t Bytes(int64_t k, int64_t count) {
    const FixedChunks chunks(k);
    return chunks.count * count * Stride(chunks.runs);
  }
  FixedColumn At(int64_t column, int64_t chunk) const {
    std::byte* const at = data + (chunk * count + column) * Stride(chunks.runs);
    auto* numbers = reinterpret_cast<int16_t*>(at);
    return {numbers, reinterpret_cast<float*>(numbers + chunks.runs * kRun)};
  }
};

// What a worker needs; for each of Tiles::kMost tiles kPanelRows sums of each column of a block
// follow.
template <typename Isa>
struct alignas(64) FixedScratch {
  static constexpr int64_t kMostColumns = 256;  // of a block
  FixedPanel<Isa> panel;

  float* sums(int64_t tile, int64_t width) {
    return reinterpret_cast<float*>(this + 1) + tile * width * Isa::kPanelRows;
  }
  static int64_t Bytes(int64_t columns) {
    return static_cast<int64_t>(sizeof(FixedScratch)) +
           Tiles<Isa>::kMost * std::min(kMostColumns, columns) * Isa::kPanelRows *
               static_cast<int64_t>(sizeof(float));
  }
};

// What a step has for such products; without if the set has none.
template <typename Isa, bool kHas>
class FixedStep {
 public:
  static void Reserve(Step&) {}
  FixedStep(const Step& step, const RunContext&) : shared_before_(step.shared_scratch) {}
  int64_t shared_before() const { return shared_before_; }
  bool Has(quant::Type) const { return false; }
  void PackColumns(const Tensor&, const RunContext&) const {}
  void Multiply(const Tiles<Isa>&, const Columns&, int64_t, int64_t, std::byte*) const {}

 private:
  const int64_t shared_before_;
};

template <typename Isa>
class FixedStep<Isa, true> {
 public:
  // Asks for memory behind what the step needs already.
  static void Reserve(Step& step) {
    if (!IsUsed(step)) return;
    const Tensor& x = XOf(step);
    step.worker_scratch =
        WholeLines(step.worker_scratch) + FixedScratch<Isa>::Bytes(MostColumns(step));
    step.shared_scratch += FixedColumns::Bytes(x.shape[0], x.rows());
  }

  FixedStep(const Step& step, const RunContext& context)
      : is_used_(IsUsed(step)),
        columns_{nullptr, XOf(step).rows(), FixedChunks(XOf(step).shape[0])} {
    shared_before_ = step.shared_scratch;
    if (!is_used_) return;
    shared_before_ -= FixedColumns::Bytes(columns_.chunks.k, columns_.count);
    columns_.data = context.shared + shared_before_;
    at_ = step.worker_scratch - FixedScratch<Isa>::Bytes(MostColumns(step));
  }
  int64_t shared_before() const { return shared_before_; }
  bool Has(quant::Type type) const { return is_used_ && Isa::FixedKernelsOf(type) != nullptr; }

  void PackColumns(const Tensor& x, const RunContext& context) const {
    if (!is_used_) return;
    const FixedChunks& chunks = columns_.chunks;
    const int64_t groups = (columns_.count + kFixedPacked - 1) / kFixedPacked;
    auto pack = [&](int64_t group, int64_t chunk) {
      const float* from[kFixedPacked];
      FixedColumn to[kFixedPacked];
      for (int64_t i = 0; i < kFixedPacked; ++i) {
        // Past the last the last again.
        const int64_t c = std::min(group * kFixedPacked + i, columns_.count - 1);
        from[i] = x.RowAs<const float>(c);
        to[i] = columns_.At(c, chunk);
      }
      Isa::PackFixedColumns(from, chunks.First(chunk), chunks.First(chunk + 1), to);
    };
    context.pool.ParallelFor(groups * chunks.count, Grain(kFixedPacked * chunks.runs * kRun),
                             [&](int64_t begin, int64_t end, int) {
                               for (int64_t i = begin; i < end; ++i) {
                                 pack(i / chunks.count, i % chunks.count);
                               }
                             });
  }

  // columns.Out(c)[r] = product of row r of the tiles and column c, for columns `begin` to `end`.
  void Multiply(const Tiles<Isa>& tiles, const Columns& columns, int64_t begin, int64_t end,
                std::byte* memory) const {
    constexpr int64_t kMost = FixedScratch<Isa>::kMostColumns;
    auto& scratch = *reinterpret_cast<FixedScratch<Isa>*>(memory + at_);
    for (; begin < end; begin += kMost) {
      MultiplyBlock(tiles, columns, begin, std::min(begin + kMost, end), scratch);
    }
  }

 private:
  static int64_t WholeLines(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  static bool IsExpert(const Step& step) { return step.op == graph::Op::kMatMulExpert; }
  static int64_t PartsOf(const Step& step) {
    return IsExpert(step) ? 1 : std::get<graph::MatMulAttrs>(step.attrs).parts;
  }
  static const Tensor& XOf(const Step& step) { return step.inputs[PartsOf(step)]; }
  // Columns that one matrix may meet.
  static int64_t MostColumns(const Step& step) {
    return IsExpert(step) ? step.inputs[2].shape[0] * step.inputs[2].shape[1] : XOf(step).rows();
  }
  static bool IsUsed(const Step& step) {
    const int64_t matrices = IsExpert(step) ? step.inputs[0].shape[2] : 1;
    if (MostColumns(step) <= kFewColumns * matrices) return false;
    for (int64_t p = 0; p < PartsOf(step); ++p) {
      if (Isa::FixedKernelsOf(step.inputs[p].type) != nullptr) return true;
    }
    return false;
  }

  // Tiles take turns with each chunk, so that it comes from the second-level cache for all but the
  // first.
  void MultiplyBlock(const Tiles<Isa>& tiles, const Columns& columns, int64_t begin, int64_t end,
                     FixedScratch<Isa>& scratch) const {
    constexpr int64_t kRows = Isa::kPanelRows;
    const FixedKernels<Isa>& kernels = *Isa::FixedKernelsOf(tiles.tile[0].type);
    const FixedChunks& chunks = columns_.chunks;
    // Columns go through the kernel in groups of about the same size.
    const int64_t width = end - begin;
    const int64_t groups = (width + Isa::kFixedColumns - 1) / Isa::kFixedColumns;
    for (int64_t turn = 0; turn < chunks.count * tiles.count; ++turn) {
      const int64_t chunk = turn / tiles.count, t = turn % tiles.count;
      const Tile<Isa>& tile = tiles.tile[t];
      float* const sums = scratch.sums(t, width);
      kernels.pack(tile.rows, chunks.First(chunk), chunks.First(chunk + 1), scratch.panel);
      const int64_t runs = FixedRunsOf(chunks.First(chunk + 1) - chunks.First(chunk));
      const Next next = NextOf(tiles, turn + 1);
      int64_t fetched = 0;  // rows
      for (int64_t g = 0; g < groups; ++g) {
        for (; fetched < kRows * (g + 1) / groups; ++fetched) next.Fetch(fetched);
        const int64_t from = width * g / groups, count = width * (g + 1) / groups - from;
        FixedColumn x[Isa::kFixedColumns];
        for (int64_t c = 0; c < count; ++c) {
          x[c] = columns_.At(columns.XRow(begin + from + c), chunk);
        }
        kernels.panel[count - 1](scratch.panel, runs, x, chunk != 0, sums + from * kRows);
        // At once, so that waiting for the memory of results passes behind the next products.
        if (chunk + 1 < chunks.count) continue;
        for (int64_t c = from; c < from + count; ++c) {
          float* const out = columns.Out(begin + c) + t * kRows;
          for (int64_t r = 0; r < tile.count; ++r) out[r] = sums[c * kRows + r] * kFixedUnit;
        }
      }
    }
    if (chunks.count != 0) return;
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t t = 0; t < tiles.count; ++t) {
        std::fill_n(columns.Out(c) + t * kRows, tiles.tile[t].count, 0.0f);
      }
    }
  }

  // What is packed next: a chunk of a tile, or the first one of what follows the tiles in memory.
  // It is fetched to the second-level cache.
  struct Next {
    const uint8_t* const* rows;
    int64_t begin, end;  // bytes from there
    void Fetch(int64_t row) const {
      for (int64_t i = begin; i < end; i += 64) __builtin_prefetch(rows[row] + i, 0, 2);
    }
  };
  Next NextOf(const Tiles<Isa>& tiles, int64_t turn) const {
    const FixedChunks& chunks = columns_.chunks;
    const bool is_past = turn == chunks.count * tiles.count;
    const Tile<Isa>& tile = tiles.tile[turn % tiles.count];
    const int64_t chunk = is_past ? 0 : turn / tiles.count;
    const int64_t at = is_past ? tiles.count * Isa::kPanelRows * tile.stride : 0;
    const auto bytes = static_cast<int64_t>(quant::RowBytes(tile.type, 1));  // of an element
    return {tile.rows, at + chunks.First(chunk) * bytes, at + chunks.First(chunk + 1) * bytes};
  }

  const bool is_used_;
  FixedColumns columns_;
  int64_t shared_before_ = 0,
          at_ = 0;  // where the step's own memory ends: all workers', and each's
};

}  // namespace bantam::cpu::simd
