// Attention over a KV cache with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// The cache is cut into ranges of kRange cells. Within a range the cells are folded, kCells at a
// time, into a running maximum, sum and weighted sum of V that start afresh; the states of the
// ranges are then joined in order. So a range may be a task of its own: long contexts are split
// over the workers even when one query is decoded (Dao et al. 2023, Flash-Decoding), and the result
// is the same whether they are or not.
//
// One task is one KV head, up to kMaxPairs pairs (query, query head of that KV head), and all
// ranges or one. K and V of a block of cells are decoded to f32 once for all pairs.

#include "backends/cpu/plan/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/avx2/dot.h"
#include "backends/cpu/avx2/kernels.h"
#include "backends/cpu/avx2/vector_ops.h"

namespace bantam::cpu::avx2 {
namespace {

constexpr int64_t kRange = 256;
// Ranges become tasks for so many queries at most: more make tasks enough.
constexpr int64_t kSplitQueries = 8;

int64_t RangeCount(int64_t cells) { return (cells + kRange - 1) / kRange; }

struct State {
  float highest = -INFINITY;  // score so far
  float sum = 0;              // of exp(score - highest)
};

// Adds `part`, of other cells, to `whole`: first states, then weighted sums.
void Join(State& whole, float* whole_out, const State& part, const float* part_out, int64_t n) {
  if (part.sum == 0.0f) return;
  const float highest = std::max(whole.highest, part.highest);
  const float keep = whole.sum == 0.0f ? 0.0f : std::exp(whole.highest - highest);
  const float take = std::exp(part.highest - highest);
  const float* factor = &take;
  Accumulate(&whole_out, 1, n, &keep, &factor, &part_out, 1);
  whole = {highest, whole.sum * keep + part.sum * take};
}

void Finish(const State& state, float* out, int64_t n) {
  if (state.sum != 0.0f) ScaleBy(out, 1.0f / state.sum, nullptr, out, n);  // else saw nothing
}

class Attention : public AttentionView {
 public:
  Attention(const Step& step, const AttentionTask& task, float* scratch)
      : AttentionView(step, task),
        step_(step),
        k_block_(scratch),
        v_block_(k_block_ + kCells * k().shape[0]),
        scores_(v_block_ + kCells * v().shape[0]),
        part_(scores_ + kMaxPairs * kCells) {}

  static int64_t ScratchBytes(int64_t head_dim, int64_t v_dim) {
    return (kCells * (head_dim + v_dim + kMaxPairs) + kMaxPairs * v_dim) *
           static_cast<int64_t>(sizeof(float));
  }

  // All ranges, to the output.
  void RunAll() {
    std::array<State, kMaxPairs> whole;
    for (int64_t p = task().begin; p < task().end; ++p) {
      whole[p - task().begin] = First(step_, Head(p));
      std::fill_n(Out(p), v().shape[0], 0.0f);
    }
    const int64_t length = KvLength(step_);
    for (int64_t range = 0; range < RangeCount(length); ++range) {
      RunRange(range, length);
      for (int64_t p = task().begin; p < task().end; ++p) {
        const int64_t i = p - task().begin;
        Join(whole[i], Out(p), states_[i], Part(p), v().shape[0]);
      }
    }
    for (int64_t p = task().begin; p < task().end; ++p) {
      Finish(whole[p - task().begin], Out(p), v().shape[0]);
    }
  }

  // One range, to states()[i] and Part(): sums of V for pair task.begin + i.
  void RunRange(int64_t range, int64_t length) {
    std::fill_n(states_.begin(), task().end - task().begin, State{});
    std::fill_n(part_, (task().end - task().begin) * v().shape[0], 0.0f);
    const int64_t end = std::min((range + 1) * kRange, length);
    for (int64_t cell = range * kRange; cell < end; cell += kCells) {
      if (cell + kCells < end) {
        Fetch(task().kv_head, cell + kCells, std::min(kCells, end - cell - kCells));
      } else if (task().kv_head + 1 < k().shape[1]) {
        Fetch(task().kv_head + 1, range * kRange, std::min(kCells, end - range * kRange));
      }
      RunBlock(cell, std::min(kCells, end - cell));
    }
  }
  const State& state(int64_t pair) const { return states_[pair - task().begin]; }
  float* Part(int64_t pair) const { return part_ + (pair - task().begin) * v().shape[0]; }

  // The state before any cell: a sink is a score without a V.
  static State First(const Step& step, int64_t head) {
    if (step.inputs.size() <= 6) return {};
    return {reinterpret_cast<const float*>(step.inputs[6].data)[head], 1.0f};
  }

 private:
  // Has the rows of a block brought into the cache. A head's are a few lines each, far apart, which
  // the processor does not foresee.
  void Fetch(int64_t kv_head, int64_t first, int64_t count) const {
    for (const Tensor* t : {&k(), &v()}) {
      const int64_t bytes = quant::RowBytes(t->type, t->shape[0]);
      for (int64_t c = first; c < first + count; ++c) {
        const std::byte* row = t->Row(kv_head, c, 0);
        for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
      }
    }
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
      DecodeCacheRow(t.type, rows[c], to, n);
      rows[c] = reinterpret_cast<const uint8_t*>(to);
    }
  }
  quant::Type TypeOfRows(const Tensor& t) const { return IsDirect(t) ? t.type : quant::Type::kF32; }

  // scores_ of every pair and every cell of the block.
  void Score(int64_t count) {
    const int64_t head_dim = k().shape[0];
    const quant::Type type = TypeOfRows(k());
    for (int64_t p = task().begin; p < task().end; p += kDotColumns) {
      const int width = static_cast<int>(std::min<int64_t>(kDotColumns, task().end - p));
      const float* queries[kDotColumns];
      for (int j = 0; j < width; ++j) {
        queries[j] = Q(p + j);
        std::fill_n(ScoresOf(p + j), count, 0.0f);
      }
      for (int64_t c = 0; c < count; c += kDotRows) {
        const int height = static_cast<int>(std::min<int64_t>(kDotRows, count - c));
        float* to[kDotColumns];
        for (int j = 0; j < width; ++j) to[j] = ScoresOf(p + j) + c;
        DotOf(type, height, width)(k_rows_ + c, queries, to, head_dim, k_rows_[c]);
      }
    }
  }
  float* ScoresOf(int64_t pair) const { return scores_ + (pair - task().begin) * kCells; }
  const SeenCells& SeenBy(int64_t pair) const { return seen_[Query(pair) - Query(task().begin)]; }

  void RunBlock(int64_t first, int64_t count) {
    if (!FindSeen(first, count, seen_)) return;
    FindRows(k(), first, count, k_block_, k_rows_);
    FindRows(v(), first, count, v_block_, v_rows_);
    Score(count);
    for (int64_t p = task().begin; p < task().end;) {
      const SeenCells& seen = SeenBy(p);
      // Pairs that see the same cells go through V together.
      const bool two = p + 1 < task().end && SeenBy(p + 1).count == seen.count &&
                       (seen.count == count || Query(p) == Query(p + 1));
      Fold(p, two ? 2 : 1, seen, count);
      p += two ? 2 : 1;
    }
  }

  // Turns a pair's scores into weights, in place for the cells that it sees; what is to be kept of
  // the sums so far.
  float Weigh(int64_t pair, const SeenCells& seen, int64_t count) {
    State& state = states_[pair - task().begin];
    float* p = ScoresOf(pair);
    if (seen.count != count) {
      for (int64_t c = 0; c < seen.count; ++c) p[c] = p[seen.cells[c]];
    }
    float highest;
    if (attrs().softcap == 0) {
      highest = ScaleAndMax(p, seen.count, attrs().scale, state.highest);
    } else {
      highest = state.highest;
      for (int64_t c = 0; c < seen.count; ++c) {
        p[c] = attrs().softcap * std::tanh(p[c] * attrs().scale / attrs().softcap);
        highest = std::max(highest, p[c]);
      }
    }
    const float keep = state.sum == 0.0f ? 0.0f : std::exp(state.highest - highest);
    const float sum = Exponentials(p, seen.count, highest);
    state = {highest, state.sum * keep + sum};
    return keep;
  }

  // Adds the block's cells to the states of one pair or two.
  void Fold(int64_t pair, int pairs, const SeenCells& seen, int64_t count) {
    if (seen.count == 0) return;
    const uint8_t* seen_rows[kCells];
    const uint8_t* const* rows = v_rows_;
    if (seen.count != count) {
      for (int64_t c = 0; c < seen.count; ++c) seen_rows[c] = v_rows_[seen.cells[c]];
      rows = seen_rows;
    }
    float keep[kMostOutputs];
    const float* p[kMostOutputs];
    float* out[kMostOutputs];
    for (int i = 0; i < pairs; ++i) {
      keep[i] = Weigh(pair + i, seen, count);
      p[i] = ScoresOf(pair + i);
      out[i] = Part(pair + i);
    }
    if (TypeOfRows(v()) == quant::Type::kF16) {
      Accumulate(out, pairs, v().shape[0], keep, p, reinterpret_cast<const uint16_t* const*>(rows),
                 seen.count);
    } else {
      Accumulate(out, pairs, v().shape[0], keep, p, reinterpret_cast<const float* const*>(rows),
                 seen.count);
    }
  }

  const Step& step_;
  float* const k_block_;
  float* const v_block_;
  float* const scores_;
  float* const part_;
  std::array<State, kMaxPairs> states_;
  std::array<SeenCells, kMaxPairs> seen_;  // by query
  const uint8_t* k_rows_[kCells];          // of the block
  const uint8_t* v_rows_[kCells];
};

// The state of one range and pair, followed by its sums of V, in the shared scratch.
struct Stored {
  State* state;
  float* out;
};
int64_t StoredFloats(int64_t v_dim) { return static_cast<int64_t>(sizeof(State) / 4) + v_dim; }

Stored StoredAt(const RunContext& context, int64_t index, int64_t v_dim) {
  auto* at = reinterpret_cast<float*>(context.shared) + index * StoredFloats(v_dim);
  return {reinterpret_cast<State*>(at), at + sizeof(State) / 4};
}

void RunSplit(const Step& step, const RunContext& context) {
  const int64_t kv_heads = step.inputs[1].shape[1], v_dim = step.inputs[2].shape[0];
  const int64_t heads = step.inputs[0].shape[1], group = heads / kv_heads;
  const int64_t pairs = group * step.inputs[0].shape[2];
  const int64_t length = AttentionView::KvLength(step), ranges = RangeCount(length);
  const int64_t pieces = (pairs + kMaxPairs - 1) / kMaxPairs;
  context.pool.ParallelFor(
      ranges * kv_heads * pieces, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t range = t / (kv_heads * pieces), kv_head = t / pieces % kv_heads;
          const int64_t first = t % pieces * kMaxPairs;
          const AttentionTask task = {kv_head, first, std::min(first + kMaxPairs, pairs)};
          Attention attention(step, task, context.Scratch(worker));
          attention.RunRange(range, length);
          for (int64_t p = task.begin; p < task.end; ++p) {
            const Stored to = StoredAt(context, (range * kv_heads + kv_head) * pairs + p, v_dim);
            *to.state = attention.state(p);
            std::copy_n(attention.Part(p), v_dim, to.out);
          }
        }
      });
  context.pool.ParallelFor(
      kv_heads * pairs, Grain(ranges * v_dim), [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t kv_head = i / pairs, pair = i % pairs;
          const int64_t head = kv_head * group + pair % group;
          State whole = Attention::First(step, head);
          auto* out = reinterpret_cast<float*>(step.output.Row(head, pair / group, 0));
          std::fill_n(out, v_dim, 0.0f);
          for (int64_t range = 0; range < ranges; ++range) {
            const Stored part =
                StoredAt(context, (range * kv_heads + kv_head) * pairs + pair, v_dim);
            Join(whole, out, *part.state, part.out, v_dim);
          }
          Finish(whole, out, v_dim);
        }
      });
}

void RunAttention(const Step& step, const RunContext& context) {
  const AttentionTasks tasks(step, context.pool.size());
  const int64_t length = AttentionView::KvLength(step);
  if (step.shared_scratch != 0 && tasks.count < tasks.wanted && RangeCount(length) > 1) {
    RunSplit(step, context);
    return;
  }
  const int64_t task_cost =
      std::min(tasks.size, tasks.pairs) * length * step.inputs[0].shape[0] / 4;
  context.pool.ParallelFor(tasks.count, Grain(task_cost),
                           [&](int64_t begin, int64_t end, int worker) {
                             for (int64_t t = begin; t < end; ++t) {
                               Attention(step, tasks[t], context.Scratch(worker)).RunAll();
                             }
                           });
}

}  // namespace

void PrepareAttention(Step& step) {
  const Tensor& q = step.inputs[0];
  const Tensor& k = step.inputs[1];
  const Tensor& v = step.inputs[2];
  step.origin = "avx2";
  step.run = &RunAttention;
  step.kernel = absl::StrCat("attention K ", quant::Name(k.type), " V ", quant::Name(v.type));
  step.worker_scratch = Attention::ScratchBytes(k.shape[0], v.shape[0]);
  if (q.shape[2] <= kSplitQueries && RangeCount(k.shape[2]) > 1) {
    step.shared_scratch = RangeCount(k.shape[2]) * q.shape[1] * q.shape[2] *
                          StoredFloats(v.shape[0]) * static_cast<int64_t>(sizeof(float));
  }
}

}  // namespace bantam::cpu::avx2
