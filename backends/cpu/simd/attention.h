// Attention over a KV cache with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// The cache is cut into ranges of kRange cells. Within a range the cells are folded, kCells at a
// time, into a running maximum, sum and weighted sum of V that start afresh; the states of the
// ranges are then joined in order. So a range may be a task of its own: long contexts are split
// over the workers even when one query is decoded (Dao et al. 2023, Flash-Decoding), and the result
// is the same whether they are or not.
//
// With few queries a task is a range and several KV heads, if there are ranges enough all of them.
// What a cell keeps for one head is a few lines of memory, for all heads a long stretch: the heads
// take turns with each block of cells, and meanwhile the next block is fetched from end to end.
//
// With many queries a task is one KV head and up to kMaxPairs pairs (query, query head of that KV
// head). K and V of a block of cells are decoded to f32 once for all pairs.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/container/fixed_array.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/plan/attention.h"
#include "backends/cpu/simd/cells.h"

namespace bantam::cpu::simd {

inline constexpr int64_t kRange = 256;
// Ranges become tasks for so many queries at most: more make tasks enough.
inline constexpr int64_t kSplitQueries = 8;

inline int64_t RangeCount(int64_t cells) { return (cells + kRange - 1) / kRange; }

// For each of several pairs a state, followed by the weighted sum of V so far.
struct PairSums {
  float* data;
  int64_t v_dim;

  static constexpr int64_t kStateFloats = sizeof(SoftmaxState) / sizeof(float);
  static int64_t Floats(int64_t v_dim) { return kStateFloats + v_dim; }
  SoftmaxState& State(int64_t i) const {
    return *reinterpret_cast<SoftmaxState*>(data + i * Floats(v_dim));
  }
  float* Out(int64_t i) const { return data + i * Floats(v_dim) + kStateFloats; }
  PairSums From(int64_t i) const { return {data + i * Floats(v_dim), v_dim}; }
};

// KV heads.
struct HeadRange {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// `Isa` is a set's description (avx2/set.h).
template <typename Isa>
class Attention : public AttentionView {
 public:
  // For pairs of a task; its KV head is said block by block.
  Attention(const Step& step, const AttentionTask& task, float* scratch)
      : AttentionView(step, task),
        keys_(k(), scratch, pairs()),
        values_(v(), scratch + kCells * k().shape[0], pairs()),
        scores_(scratch + kCells * (k().shape[0] + v().shape[0])),
        packed_(scores_ + kCells * kMaxPairs),
        head_bytes_(group() * q().strides[1]) {
    const int64_t first = Query(task.begin);
    for (int64_t i = 0; i < pairs(); ++i) {
      const int64_t query = Query(task.begin + i), member = task.begin + i - query * group();
      queries_[i] = static_cast<uint8_t>(query - first);
      q_[i] = q().Row(member, query, 0);
    }
  }

  static void Prepare(Step& step) {
    const Tensor& q = step.inputs[0];
    const Tensor& k = step.inputs[1];
    const Tensor& v = step.inputs[2];
    const int64_t floats = sizeof(float);
    step.origin = Isa::kName;
    step.run = &RunAttention;
    step.kernel = absl::StrCat("attention K ", quant::Name(k.type), " V ", quant::Name(v.type));
    step.worker_scratch = (BlockFloats(step) + kMaxPairs * PairSums::Floats(v.shape[0])) * floats;
    if (q.shape[2] <= kSplitQueries && RangeCount(k.shape[2]) > 1) {
      step.shared_scratch =
          RangeCount(k.shape[2]) * q.shape[1] * q.shape[2] * PairSums::Floats(v.shape[0]) * floats;
    }
  }

 private:
  // Of a worker's scratch: K, V and scores of one block, and queries.
  static int64_t BlockFloats(const Step& step) {
    const int64_t k_dim = step.inputs[1].shape[0], v_dim = step.inputs[2].shape[0];
    return kCells * (k_dim + v_dim + kMaxPairs) + Isa::kMostQueries * ((k_dim + 15) / 16 * 16);
  }

  static uintptr_t Address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

  // K or V of a block of cells.
  class Cache {
   public:
    // `block` has room for the block, decoded.
    Cache(const Tensor& t, float* block, int64_t pairs)
        : t_(t), row_bytes_(quant::RowBytes(t.type, t.shape[0])), block_(block) {
      // Cells are used where they lie if few pairs would not pay for decoding them.
      constexpr int64_t kFewPairs = 8;
      const bool is_block = t.type == quant::Type::kQ8_0 || t.type == quant::Type::kQ4_0;
      const bool is_read = t.type == quant::Type::kF16 || (Isa::kReadsBlocks && is_block);
      is_direct_ = t.type == quant::Type::kF32 || (is_read && pairs <= kFewPairs);
      for (int64_t c = 0; c < kCells; ++c) {
        decoded_[c] = reinterpret_cast<const uint8_t*>(block + c * t.shape[0]);
      }
    }

    // Goes to the block of `count` cells from `first`, which `next` cells follow that are to be
    // fetched.
    void Find(int64_t first, int64_t count, int64_t next) {
      const auto* row = reinterpret_cast<const uint8_t*>(t_.Row(0, first, 0));
      for (int64_t c = 0; c < count; ++c) rows_[c] = row + c * t_.strides[2];
      std::fill(rows_ + count, rows_ + kCells, row);
      count_ = count;
      next_ = next;
    }

    // One of the heads that take turns, decoded where need be.
    CellRows OfHead(int64_t head, const HeadRange& heads) const {
      CellRows cells = {t_.type, rows_, head * t_.strides[1], count_};
      const uintptr_t ahead = Address(rows_[0]) + kCells * t_.strides[2];
      if (t_.strides[1] == row_bytes_ && t_.strides[2] == heads.count() * row_bytes_ && next_ > 0) {
        // Heads and cells without gaps: one stretch, from end to end.
        cells.step = row_bytes_ * next_ / kCells;
        cells.ahead = ahead + (head - heads.begin) * kCells * cells.step;
      } else if (next_ == kCells) {
        cells.step = t_.strides[2];
        cells.ahead = ahead + cells.offset;
      } else {
        FetchNoMore(cells);
      }
      if (is_direct_) return cells;
      Isa::DecodeCells(cells, t_.shape[0], block_);
      cells = {quant::Type::kF32, decoded_, 0, count_};
      FetchNoMore(cells);
      return cells;
    }
    // Fetches the block itself, for which nothing did. Too many fetches at once are dropped, so
    // each row's last line is read.
    void FetchNow(const HeadRange& heads) const {
      const int64_t begin = heads.begin * t_.strides[1];
      const int64_t end = (heads.end - 1) * t_.strides[1] + row_bytes_;
      for (int64_t c = 0; c < count_; ++c) {
        for (int64_t at = begin; at < end; at += 64) __builtin_prefetch(rows_[c] + at);
        static_cast<void>(*static_cast<const volatile uint8_t*>(rows_[c] + end - 1));
      }
    }
    static void FetchNoMore(CellRows& cells) {
      cells.ahead = Address(cells.rows[0] + cells.offset);
      cells.step = 0;
    }

   private:
    const Tensor& t_;
    const int64_t row_bytes_;  // of one head
    float* const block_;
    bool is_direct_;
    int64_t count_ = 0, next_ = 0;
    const uint8_t* rows_[kCells];  // of KV head 0
    const uint8_t* decoded_[kCells];
  };

  // What a state's sums are to be multiplied by when `highest`, no lower than its own, takes over.
  static float Keep(const SoftmaxState& state, float highest) {
    if (state.sum == 0.0f) return 0.0f;
    return state.highest == highest ? 1.0f : std::exp(state.highest - highest);
  }

  // Adds `part`, of other cells, to `whole`: first states, then weighted sums.
  static void Join(SoftmaxState& whole, float* whole_out, const SoftmaxState& part,
                   const float* part_out, int64_t n) {
    if (part.sum == 0.0f) return;
    const float highest = std::max(whole.highest, part.highest);
    const float keep = Keep(whole, highest), take = Keep(part, highest);
    const float* factor = &take;
    const auto* row = reinterpret_cast<const uint8_t*>(part_out);
    Isa::Accumulate({quant::Type::kF32, &row, 0, 1, Address(row), 0}, n, &keep, &factor, &whole_out,
                    1);
    whole = {highest, whole.sum * keep + part.sum * take};
  }
  static void Finish(const SoftmaxState& state, float* out, int64_t n) {
    // Otherwise it saw nothing.
    if (state.sum != 0.0f) Isa::ScaleBy(out, 1.0f / state.sum, nullptr, out, n);
  }
  // The state before any cell: a sink is a score without a V.
  static SoftmaxState First(const Step& step, int64_t head) {
    if (step.inputs.size() <= 6) return {};
    return {reinterpret_cast<const float*>(step.inputs[6].data)[head], 1.0f};
  }

  // What the ranges of up to kMaxPairs pairs are joined to, in order.
  class Results {
   public:
    explicit Results(const Step& step) : step_(step), v_dim_(step.inputs[2].shape[0]) {}
    // A pair of this head of this query.
    void Add(int64_t head, int64_t query) {
      whole_[count_] = First(step_, head);
      out_[count_] = reinterpret_cast<float*>(step_.output.Row(head, query, 0));
      std::fill_n(out_[count_++], v_dim_, 0.0f);
    }
    // A range's sums of all pairs added.
    void JoinRange(const PairSums& sums) {
      for (int64_t i = 0; i < count_; ++i) {
        Join(whole_[i], out_[i], sums.State(i), sums.Out(i), v_dim_);
      }
    }
    void FinishAll() const {
      for (int64_t i = 0; i < count_; ++i) Finish(whole_[i], out_[i], v_dim_);
    }

   private:
    const Step& step_;
    const int64_t v_dim_;
    int64_t count_ = 0;
    std::array<SoftmaxState, kMaxPairs> whole_;
    std::array<float*, kMaxPairs> out_;
  };

  static void RunAttention(const Step& step, const RunContext& context) {
    const AttentionTasks tasks(step, context.pool.size());
    const int64_t length = KvLength(step);
    if (step.shared_scratch != 0 && RangeCount(length) > 1) {
      RunSplit(step, context, tasks.wanted);
      return;
    }
    const int64_t task_cost =
        std::min(tasks.size, tasks.pairs) * length * step.inputs[0].shape[0] / 4;
    context.pool.ParallelFor(
        tasks.count, Grain(task_cost), [&](int64_t begin, int64_t end, int worker) {
          for (int64_t t = begin; t < end; ++t) {
            float* const scratch = context.Scratch(worker);
            const PairSums sums = {scratch + BlockFloats(step), step.inputs[2].shape[0]};
            Attention(step, tasks[t], scratch).RunAll(tasks[t].kv_head, sums);
          }
        });
  }

  // Ranges as tasks of their own. Their sums, of range, KV head and pair, are in the shared
  // scratch.
  static void RunSplit(const Step& step, const RunContext& context, int64_t wanted) {
    const int64_t kv_heads = step.inputs[1].shape[1], v_dim = step.inputs[2].shape[0];
    const int64_t heads = step.inputs[0].shape[1], group = heads / kv_heads;
    const int64_t pairs = group * step.inputs[0].shape[2];
    const int64_t ranges = RangeCount(KvLength(step));
    const PairSums sums = {reinterpret_cast<float*>(context.shared), v_dim};
    const int64_t parts = std::clamp((wanted + ranges - 1) / ranges, int64_t{1}, kv_heads);
    const int64_t width = (kv_heads + parts - 1) / parts;  // heads in a task
    // Smaller than keeping every worker busy takes: who comes last holds up all by up to a chunk.
    constexpr int64_t kChunksPerWanted = 4;
    // By worker, the task whose first block it has fetched: the one after its last.
    absl::FixedArray<int64_t, 64> fetched(context.pool.size(), -1);
    context.pool.ParallelFor(
        ranges * parts, std::max<int64_t>(1, ranges * parts / (kChunksPerWanted * wanted)),
        [&](int64_t begin, int64_t end, int worker) {
          // Part after part, so that a worker's ranges follow each other, from loop to loop too.
          for (int64_t t = begin; t < end; ++t) {
            const int64_t range = t % ranges, first = t / ranges * width;
            const HeadRange heads_of_task = {first, std::min(first + width, kv_heads)};
            const bool is_cold = fetched[worker] != t || range == 0;
            RunRange(step, context.Scratch(worker), range, heads_of_task, is_cold,
                     sums.From((range * kv_heads + first) * pairs));
            fetched[worker] = t + 1;
          }
        });
    context.pool.ParallelFor(kv_heads * pairs, Grain(ranges * v_dim),
                             [&](int64_t begin, int64_t end, int) {
                               for (int64_t i = begin; i < end; i += kMaxPairs) {
                                 JoinRanges(step, i, std::min(i + kMaxPairs, end), ranges, sums);
                               }
                             });
  }

  // The pairs of all KV heads from `begin` on, kMaxPairs at most, of all ranges, to the output.
  static void JoinRanges(const Step& step, int64_t begin, int64_t end, int64_t ranges,
                         const PairSums& sums) {
    const int64_t kv_heads = step.inputs[1].shape[1], heads = step.inputs[0].shape[1];
    const int64_t group = heads / kv_heads, pairs = group * step.inputs[0].shape[2];
    Results results(step);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t pair = i % pairs;
      results.Add(i / pairs * group + pair % group, pair / group);
    }
    // Range after range, as they lie in memory.
    for (int64_t range = 0; range < ranges; ++range) {
      results.JoinRange(sums.From(range * kv_heads * pairs + begin));
    }
    results.FinishAll();
  }

  // One range of some heads, to `sums`, head after head. is_cold: its first block was not fetched.
  static void RunRange(const Step& step, float* scratch, int64_t range, const HeadRange& heads,
                       bool is_cold, const PairSums& sums) {
    const int64_t end = std::min((range + 1) * kRange, KvLength(step));
    const int64_t pairs =
        step.inputs[0].shape[1] / step.inputs[1].shape[1] * step.inputs[0].shape[2];
    for (int64_t i = 0; i < heads.count() * pairs; ++i) {
      sums.State(i) = {};
      std::fill_n(sums.Out(i), sums.v_dim, 0.0f);
    }
    for (int64_t p = 0; p < pairs; p += kMaxPairs) {
      Attention part(step, {heads.begin, p, std::min(p + kMaxPairs, pairs)}, scratch);
      if (is_cold) part.FetchFirst(range * kRange, std::min(kCells, end - range * kRange), heads);
      is_cold = false;
      for (int64_t cell = range * kRange; cell < end; cell += kCells) {
        part.RunBlock(cell, std::min(kCells, end - cell), heads, sums.From(p), pairs);
      }
    }
  }

  // All ranges of one head, to the output.
  void RunAll(int64_t kv_head, const PairSums& sums) {
    const int64_t n = v().shape[0], length = KvLength(step());
    Results results(step());
    for (int64_t pair = task().begin; pair < task().end; ++pair) {
      results.Add(Head(pair), Query(pair));
    }
    for (int64_t first = 0; first < length; first += kRange) {
      for (int64_t i = 0; i < pairs(); ++i) {
        sums.State(i) = {};
        std::fill_n(sums.Out(i), n, 0.0f);
      }
      const int64_t end = std::min(first + kRange, length);
      for (int64_t cell = first; cell < end; cell += kCells) {
        RunBlock(cell, std::min(kCells, end - cell), {kv_head, kv_head + 1}, sums, 0);
      }
      results.JoinRange(sums);
    }
    results.FinishAll();
  }

  int64_t pairs() const { return task().end - task().begin; }

  void FetchFirst(int64_t first, int64_t count, const HeadRange& heads) {
    keys_.Find(first, count, 0);
    keys_.FetchNow(heads);
    values_.Find(first, count, 0);
    values_.FetchNow(heads);
  }

  // Folds a block of cells into the sums of some heads, which lie `per_head` pairs apart.
  void RunBlock(int64_t first, int64_t count, const HeadRange& heads, const PairSums& sums,
                int64_t per_head) {
    if (!FindSeen(first, count, seen_)) return;
    const int64_t next = std::min(KvLength(step()) - first - kCells, kCells);
    keys_.Find(first, count, next);
    values_.Find(first, count, next);
    for (int64_t head = heads.begin; head < heads.end; ++head) {
      const PairSums sums_of_head = sums.From((head - heads.begin) * per_head);
      CellRows keys = keys_.OfHead(head, heads);
      Score(head, keys);
      CellRows values = values_.OfHead(head, heads);
      for (int64_t p = 0, same; p < pairs(); p += same) {
        // Pairs that see the same cells go through V together.
        const SeenCells& seen = seen_[queries_[p]];
        auto sees_the_same = [&](int64_t other) {
          return queries_[other] == queries_[p] ||
                 (seen.count == count && seen_[queries_[other]].count == count);
        };
        same = 1;
        while (p + same < pairs() && sees_the_same(p + same)) ++same;
        if (seen.count == count) {
          FoldAll(p, same, values, sums_of_head);
        } else if (seen.count != 0) {
          FoldSeen(p, same, seen, values, sums_of_head);
        }
      }
    }
  }

  float* ScoresOf(int64_t pair) const { return scores_ + pair * kCells; }

  // Scores of every pair and every cell of the block.
  void Score(int64_t head, CellRows& cells) {
    for (int64_t p = 0; p < pairs();) {
      const float* queries[Isa::kMostQueries];
      float* out[Isa::kMostQueries];
      const int64_t left = pairs() - p;
      const int64_t columns = left <= Isa::kMostQueries       ? left
                              : left <= 2 * Isa::kBestQueries ? (left + 1) / 2
                                                              : Isa::kBestQueries;
      for (int64_t j = 0; j < columns; ++j) {
        queries[j] = reinterpret_cast<const float*>(q_[p + j] + head * head_bytes_);
        out[j] = ScoresOf(p + j);
      }
      Isa::Scores(cells, k().shape[0], queries, static_cast<int>(columns), packed_, out);
      Cache::FetchNoMore(cells);
      p += columns;
    }
  }

  // Adds cells of the block to the sums of `same` pairs that see the same of them.
  void FoldSeen(int64_t pair, int64_t same, const SeenCells& seen, const CellRows& cells,
                const PairSums& sums) const {
    const uint8_t* rows[kCells];
    for (int64_t c = 0; c < seen.count; ++c) rows[c] = cells.rows[seen.cells[c]];
    for (int64_t i = pair; i < pair + same; ++i) {
      for (int64_t c = 0; c < seen.count; ++c) ScoresOf(i)[c] = ScoresOf(i)[seen.cells[c]];
    }
    CellRows of_pairs = cells;
    of_pairs.rows = rows;
    of_pairs.count = seen.count;
    FoldAll(pair, same, of_pairs, sums);
  }

  // As FoldSeen, of `cells` whose scores come first.
  void FoldAll(int64_t pair, int64_t same, CellRows& cells, const PairSums& sums) const {
    for (int64_t parts = (same + Isa::kMostOutputs - 1) / Isa::kMostOutputs; parts > 0; --parts) {
      float keep[Isa::kMostOutputs];
      float* p[Isa::kMostOutputs];
      float* out[Isa::kMostOutputs];
      SoftmaxState* states[Isa::kMostOutputs];
      const int64_t outputs = (same + parts - 1) / parts;
      for (int64_t i = 0; i < outputs; ++i) {
        p[i] = ScoresOf(pair + i);
        out[i] = sums.Out(pair + i);
        states[i] = &sums.State(pair + i);
      }
      Isa::Weigh(p, cells.count, attrs().scale, attrs().softcap, static_cast<int>(outputs), states,
                 keep);
      Isa::Accumulate(cells, v().shape[0], keep, p, out, static_cast<int>(outputs));
      Cache::FetchNoMore(cells);
      pair += outputs;
      same -= outputs;
    }
  }

  Cache keys_, values_;
  float* const scores_;                        // [pairs][kCells]
  float* const packed_;                        // queries, for Isa::Scores
  const int64_t head_bytes_;                   // from a KV head's queries to the next one's
  std::array<uint8_t, kMaxPairs> queries_;     // by pair, counted from the task's first
  std::array<const std::byte*, kMaxPairs> q_;  // by pair, of KV head 0
  std::array<SeenCells, kMaxPairs> seen_;      // by query
};

}  // namespace bantam::cpu::simd
