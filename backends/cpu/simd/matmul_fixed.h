// Products of plain floating-point weights (F32, F16, BF16) with more than a few columns, in fixed
// point: an instruction that adds products of two pairs of 16 bits to each lane (vpdpwssd) does
// twice what a fused multiply-add does.
//
// Rows of weights and columns alike are cut into runs of 32 elements, a run being a scale and
// numbers of 14 bits with their sign: the largest magnitude is 8191 at most, so that the sum of 32
// products fits 32 bits and is exact. Rounding costs each side a normalised squared error of 4e-9
// (uniform numbers) to 4e-8 (a run of one outlier). Scales of F16 and BF16 weights are powers of
// two, with which what is not much smaller than the largest is exact, and that is four times as
// much at worst. A run with a NaN or an infinity has the scale NaN, which every result that depends
// on it becomes.
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
#include "runtime/quant/type.h"

namespace bantam::cpu::simd {

inline constexpr int64_t kFewColumns = 8;  // up to so many: other ways (matmul.h)

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

// What a worker needs; kPanelRows sums for each column of a block follow.
template <typename Isa>
struct alignas(64) FixedScratch {
  static constexpr int64_t kMostColumns = 512;  // of a block
  FixedPanel<Isa> panel;

  float* sums() { return reinterpret_cast<float*>(this + 1); }
  static int64_t Bytes(int64_t columns) {
    return static_cast<int64_t>(sizeof(FixedScratch)) +
           std::min(kMostColumns, columns) * Isa::kPanelRows * static_cast<int64_t>(sizeof(float));
  }
};

// A panel of weight rows. The next one begins `skip` bytes on.
struct FixedRows {
  const uint8_t* const* rows;  // Isa::kPanelRows, past the last one again
  int64_t count;
  int64_t skip;
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
  template <typename Columns>
  void Multiply(quant::Type, const FixedRows&, const Columns&, int64_t, int64_t, std::byte*) const {
  }

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

  // columns.Out(c)[r] = product of weight row r and column c, for columns `begin` to `end`.
  template <typename Columns>
  void Multiply(quant::Type type, const FixedRows& weights, const Columns& columns, int64_t begin,
                int64_t end, std::byte* memory) const {
    constexpr int64_t kMost = FixedScratch<Isa>::kMostColumns;
    auto& scratch = *reinterpret_cast<FixedScratch<Isa>*>(memory + at_);
    for (; begin < end; begin += kMost) {
      MultiplyBlock(type, weights, columns, begin, std::min(begin + kMost, end), scratch);
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

  template <typename Columns>
  void MultiplyBlock(quant::Type type, const FixedRows& weights, const Columns& columns,
                     int64_t begin, int64_t end, FixedScratch<Isa>& scratch) const {
    const FixedKernels<Isa>& kernels = *Isa::FixedKernelsOf(type);
    const FixedChunks& chunks = columns_.chunks;
    const auto bytes = static_cast<int64_t>(quant::RowBytes(type, 1));  // of an element
    // Columns go through the kernel in groups of about the same size.
    const int64_t width = end - begin,
                  groups = (width + Isa::kFixedColumns - 1) / Isa::kFixedColumns;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      const int64_t first = chunks.First(chunk), last = chunks.First(chunk + 1);
      kernels.pack(weights.rows, first, last, scratch.panel);
      // Meanwhile what is packed next is fetched: the next chunk of the rows, or of the next rows
      // the first.
      const bool is_last = chunk + 1 == chunks.count;
      const int64_t next = is_last ? weights.skip : last * bytes;
      const int64_t next_end =
          is_last ? next + chunks.First(1) * bytes : chunks.First(chunk + 2) * bytes;
      int64_t fetched = 0;  // rows
      for (int64_t g = 0; g < groups; ++g) {
        for (; fetched < Isa::kPanelRows * (g + 1) / groups; ++fetched) {
          for (int64_t i = next; i < next_end; i += 64) {
            __builtin_prefetch(weights.rows[fetched] + i, 0, 2);
          }
        }
        const int64_t from = width * g / groups, count = width * (g + 1) / groups - from;
        FixedColumn x[Isa::kFixedColumns];
        for (int64_t c = 0; c < count; ++c) {
          x[c] = columns_.At(columns.XRow(begin + from + c), chunk);
        }
        kernels.panel[count - 1](scratch.panel, FixedRunsOf(last - first), x, chunk != 0,
                                 scratch.sums() + from * Isa::kPanelRows);
      }
    }
    if (chunks.count == 0) std::fill_n(scratch.sums(), width * Isa::kPanelRows, 0.0f);
    for (int64_t c = 0; c < width; ++c) {
      float* const out = columns.Out(begin + c);
      const float* const sums = scratch.sums() + c * Isa::kPanelRows;
      for (int64_t r = 0; r < weights.count; ++r) out[r] = sums[r] * kFixedUnit;
    }
  }

  const bool is_used_;
  FixedColumns columns_;
  int64_t shared_before_ = 0,
          at_ = 0;  // where the step's own memory ends: all workers', and each's
};

}  // namespace bantam::cpu::simd
