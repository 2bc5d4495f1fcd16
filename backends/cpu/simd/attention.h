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

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan/attention.h"
#include "backends/cpu/simd/dot.h"

namespace bantam::cpu::simd {

inline constexpr int64_t kRange = 256;
// Ranges become tasks for so many queries at most: more make tasks enough.
inline constexpr int64_t kSplitQueries = 8;

inline int64_t RangeCount(int64_t cells) { return (cells + kRange - 1) / kRange; }

struct SoftmaxState {
  float highest = -INFINITY;  // score so far
  float sum = 0;              // of exp(score - highest)
};

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

// Has rows of cells brought into the cache, as they lie in memory and a few lines at a time: the
// processor waits for a few dozen at once, and computes meanwhile only if it is not made to.
class Fetcher {
 public:
  Fetcher() = default;
  // K and V of `heads` heads from `head` on, of cells `begin` to `end`.
  Fetcher(const Step& step, int64_t head, int64_t heads, int64_t begin, int64_t end) {
    for (int i = 0; i < 2; ++i) {
      const Tensor& t = step.inputs[1 + i];
      if (begin >= end) continue;
      const int64_t bytes = (heads - 1) * t.strides[1] + quant::RowBytes(t.type, t.shape[0]);
      parts_[i] = {t.Row(head, begin, 0), bytes, t.strides[2], end - begin};
    }
  }
  void Fetch(int lines) {
    for (Part& part : parts_) {
      for (; lines > 0 && part.cells > 0; --lines) {
        __builtin_prefetch(part.row + part.at, 0, 2);
        part.at += 64;
        if (part.at < part.bytes) continue;
        part.row += part.stride;
        part.at = 0;
        --part.cells;
      }
    }
  }

 private:
  struct Part {
    const std::byte* row = nullptr;
    int64_t bytes = 0;  // of a row
    int64_t stride = 0;
    int64_t cells = 0;  // left
    int64_t at = 0;     // in the row
  };
  Part parts_[2];
};

// `Isa` is a set's description (avx2/set.h).
template <typename Isa>
class Attention : public AttentionView {
 public:
  Attention(const Step& step, const AttentionTask& task, float* scratch, const PairSums& sums)
      : AttentionView(step, task),
        sums_(sums),
        k_block_(scratch),
        v_block_(k_block_ + kCells * k().shape[0]),
        scores_(v_block_ + kCells * v().shape[0]) {}

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
  // Of a worker's scratch: K, V and scores of one block.
  static int64_t BlockFloats(const Step& step) {
    return kCells * (step.inputs[1].shape[0] + step.inputs[2].shape[0] + kMaxPairs);
  }

  // Adds `part`, of other cells, to `whole`: first states, then weighted sums.
  static void Join(SoftmaxState& whole, float* whole_out, const SoftmaxState& part,
                   const float* part_out, int64_t n) {
    if (part.sum == 0.0f) return;
    const float highest = std::max(whole.highest, part.highest);
    const float keep = whole.sum == 0.0f ? 0.0f : std::exp(whole.highest - highest);
    const float take = std::exp(part.highest - highest);
    const float* factor = &take;
    Isa::Accumulate(&whole_out, 1, n, &keep, &factor, &part_out, 1);
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
            Attention(step, tasks[t], scratch, sums).RunAll();
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
    context.pool.ParallelFor(
        ranges * parts, std::max<int64_t>(1, ranges * parts / wanted),
        [&](int64_t begin, int64_t end, int worker) {
          // Part after part, so that a worker's ranges follow each other.
          for (int64_t t = begin; t < end; ++t) {
            const int64_t range = t % ranges, first = t / ranges * width;
            const HeadRange heads_of_task = {first, std::min(first + width, kv_heads)};
            RunRange(step, context.Scratch(worker), range, heads_of_task, t + 1 < end,
                     sums.From((range * kv_heads + first) * pairs));
          }
        });
    context.pool.ParallelFor(
        kv_heads * pairs, Grain(ranges * v_dim), [&](int64_t begin, int64_t end, int) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t kv_head = i / pairs, pair = i % pairs;
            const int64_t head = kv_head * group + pair % group;
            SoftmaxState whole = First(step, head);
            auto* out = reinterpret_cast<float*>(step.output.Row(head, pair / group, 0));
            std::fill_n(out, v_dim, 0.0f);
            for (int64_t range = 0; range < ranges; ++range) {
              const PairSums part = sums.From(range * kv_heads * pairs + i);
              Join(whole, out, part.State(0), part.Out(0), v_dim);
            }
            Finish(whole, out, v_dim);
          }
        });
  }

  struct HeadRange {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
  };

  // One range of some heads, to `sums`, head after head. `goes_on`: the next range is next.
  static void RunRange(const Step& step, float* scratch, int64_t range, const HeadRange& heads,
                       bool goes_on, const PairSums& sums) {
    const int64_t length = KvLength(step);
    const int64_t end = std::min((range + 1) * kRange, length);
    const int64_t fetched_end = goes_on ? length : end;
    const int64_t pairs =
        step.inputs[0].shape[1] / step.inputs[1].shape[1] * step.inputs[0].shape[2];
    for (int64_t i = 0; i < heads.count() * pairs; ++i) {
      sums.State(i) = {};
      std::fill_n(sums.Out(i), sums.v_dim, 0.0f);
    }
    for (int64_t cell = range * kRange; cell < end; cell += kCells) {
      const int64_t next = cell + kCells;
      Fetcher fetcher(step, heads.begin, heads.count(), next, std::min(next + kCells, fetched_end));
      for (int64_t head = heads.begin; head < heads.end; ++head) {
        for (int64_t p = 0; p < pairs; p += kMaxPairs) {
          const AttentionTask task = {head, p, std::min(p + kMaxPairs, pairs)};
          Attention(step, task, scratch, sums.From((head - heads.begin) * pairs + p))
              .RunBlock(cell, std::min(kCells, end - cell), fetcher);
        }
      }
    }
  }

  // All ranges, to the output.
  void RunAll() {
    const int64_t count = task().end - task().begin, n = v().shape[0], length = KvLength(step());
    std::array<SoftmaxState, kMaxPairs> whole;
    for (int64_t i = 0; i < count; ++i) {
      whole[i] = First(step(), Head(task().begin + i));
      std::fill_n(Out(task().begin + i), n, 0.0f);
    }
    for (int64_t first = 0; first < length; first += kRange) {
      for (int64_t i = 0; i < count; ++i) {
        sums_.State(i) = {};
        std::fill_n(sums_.Out(i), n, 0.0f);
      }
      const int64_t end = std::min(first + kRange, length);
      for (int64_t cell = first; cell < end; cell += kCells) {
        Fetcher none;
        RunBlock(cell, std::min(kCells, end - cell), none);
      }
      for (int64_t i = 0; i < count; ++i) {
        Join(whole[i], Out(task().begin + i), sums_.State(i), sums_.Out(i), n);
      }
    }
    for (int64_t i = 0; i < count; ++i) Finish(whole[i], Out(task().begin + i), n);
  }

  // Whether the cells are used where they lie: few pairs would not pay for decoding them.
  bool IsDirect(const Tensor& t) const {
    constexpr int64_t kFewPairs = 8;
    return t.type == quant::Type::kF32 ||
           (t.type == quant::Type::kF16 && task().end - task().begin <= kFewPairs);
  }

  // The block's rows of K or V: in the cache, or decoded to f32.
  void FindRows(const Tensor& t, int64_t first, int64_t count, float* decoded,
                const uint8_t** rows) const {
    const int64_t n = t.shape[0];
    for (int64_t c = 0; c < count; ++c) {
      const std::byte* row = t.Row(task().kv_head, first + c, 0);
      rows[c] = reinterpret_cast<const uint8_t*>(row);
      if (IsDirect(t)) continue;
      float* to = decoded + c * n;
      Isa::DecodeCacheRow(t.type, rows[c], to, n);
      rows[c] = reinterpret_cast<const uint8_t*>(to);
    }
  }
  quant::Type TypeOfRows(const Tensor& t) const { return IsDirect(t) ? t.type : quant::Type::kF32; }

  // scores_ of every pair and every cell of the block.
  void Score(int64_t count, Fetcher& fetcher) {
    const int64_t head_dim = k().shape[0];
    const quant::Type type = TypeOfRows(k());
    // As many as the keys have that are scored: about half of what there is.
    const int lines =
        static_cast<int>(Isa::kDotRows * ((quant::RowBytes(k().type, head_dim) + 63) / 64));
    for (int64_t p = task().begin; p < task().end; p += Isa::kDotColumns) {
      const int width = static_cast<int>(std::min<int64_t>(Isa::kDotColumns, task().end - p));
      const float* queries[Isa::kDotColumns];
      for (int j = 0; j < width; ++j) {
        queries[j] = Q(p + j);
        std::fill_n(ScoresOf(p + j), count, 0.0f);
      }
      for (int64_t c = 0; c < count; c += Isa::kDotRows) {
        const int height = static_cast<int>(std::min<int64_t>(Isa::kDotRows, count - c));
        float* to[Isa::kDotColumns];
        for (int j = 0; j < width; ++j) to[j] = ScoresOf(p + j) + c;
        Isa::DotOf(type, height, width)(k_rows_ + c, queries, to, head_dim, k_rows_[c]);
        fetcher.Fetch(lines);
      }
    }
  }
  float* ScoresOf(int64_t pair) const { return scores_ + (pair - task().begin) * kCells; }
  const SeenCells& SeenBy(int64_t pair) const { return seen_[Query(pair) - Query(task().begin)]; }

  // Folds a block of cells into the sums.
  void RunBlock(int64_t first, int64_t count, Fetcher& fetcher) {
    if (!FindSeen(first, count, seen_)) return;
    FindRows(k(), first, count, k_block_, k_rows_);
    FindRows(v(), first, count, v_block_, v_rows_);
    Score(count, fetcher);
    for (int64_t p = task().begin; p < task().end;) {
      const SeenCells& seen = SeenBy(p);
      // Pairs that see the same cells go through V together.
      int pairs = 1;
      while (pairs < Isa::kMostOutputs && p + pairs < task().end &&
             SeenBy(p + pairs).count == seen.count &&
             (seen.count == count || Query(p) == Query(p + pairs))) {
        ++pairs;
      }
      Fold(p, pairs, seen, count, fetcher);
      p += pairs;
    }
  }

  // Turns a pair's scores into weights, in place for the cells that it sees; what is to be kept of
  // the sums so far.
  float Weigh(int64_t pair, const SeenCells& seen, int64_t count) {
    SoftmaxState& state = sums_.State(pair - task().begin);
    float* p = ScoresOf(pair);
    if (seen.count != count) {
      for (int64_t c = 0; c < seen.count; ++c) p[c] = p[seen.cells[c]];
    }
    float highest;
    if (attrs().softcap == 0) {
      highest = Isa::ScaleAndMax(p, seen.count, attrs().scale, state.highest);
    } else {
      highest = state.highest;
      for (int64_t c = 0; c < seen.count; ++c) {
        p[c] = attrs().softcap * std::tanh(p[c] * attrs().scale / attrs().softcap);
        highest = std::max(highest, p[c]);
      }
    }
    const float keep = state.sum == 0.0f ? 0.0f : std::exp(state.highest - highest);
    const float sum = Isa::Exponentials(p, seen.count, highest);
    state = {highest, state.sum * keep + sum};
    return keep;
  }

  // Adds the block's cells to the sums of some pairs.
  void Fold(int64_t pair, int pairs, const SeenCells& seen, int64_t count, Fetcher& fetcher) {
    if (seen.count == 0) return;
    const uint8_t* seen_rows[kCells];
    const uint8_t* const* rows = v_rows_;
    if (seen.count != count) {
      for (int64_t c = 0; c < seen.count; ++c) seen_rows[c] = v_rows_[seen.cells[c]];
      rows = seen_rows;
    }
    float keep[Isa::kMostOutputs];
    const float* p[Isa::kMostOutputs];
    float* out[Isa::kMostOutputs];
    for (int i = 0; i < pairs; ++i) {
      keep[i] = Weigh(pair + i, seen, count);
      p[i] = ScoresOf(pair + i);
      out[i] = sums_.Out(pair + i - task().begin);
    }
    constexpr int64_t kPart = 16;  // cells
    const int lines =
        static_cast<int>(kPart * ((quant::RowBytes(v().type, v().shape[0]) + 63) / 64));
    for (int64_t c = 0; c < seen.count; c += kPart) {
      const int64_t part = std::min(kPart, seen.count - c);
      if (TypeOfRows(v()) == quant::Type::kF16) {
        Isa::Accumulate(out, pairs, v().shape[0], keep, p,
                        reinterpret_cast<const uint16_t* const*>(rows + c), part);
      } else {
        Isa::Accumulate(out, pairs, v().shape[0], keep, p,
                        reinterpret_cast<const float* const*>(rows + c), part);
      }
      fetcher.Fetch(lines);
      for (int i = 0; i < pairs; ++i) {
        keep[i] = 1.0f;
        p[i] += part;
      }
    }
  }

  const PairSums sums_;  // of the task's pairs
  float* const k_block_;
  float* const v_block_;
  float* const scores_;
  std::array<SeenCells, kMaxPairs> seen_;  // by query
  const uint8_t* k_rows_[kCells];          // of the block
  const uint8_t* v_rows_[kCells];
};

}  // namespace bantam::cpu::simd
