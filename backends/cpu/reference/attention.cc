// Attention over a KV cache with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// One task is one KV head and up to kMaxPairs pairs (query, query head of that KV head). It walks
// the cache in blocks of kCells cells: decodes K and V of the block to f32 once for all pairs,
// computes every score, and for each pair folds the cells it sees into a running maximum, sum and
// weighted sum of V. The blocks lie at fixed cells and a pair skips what it does not see, so its
// result does not depend on what else is in the batch.

#include "backends/cpu/plan/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/reference/dot.h"
#include "backends/cpu/reference/kernels.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::reference {
namespace {

// out[i] = out[i] * keep + sum over c of p[c] * v[cells[c] * n + i]
void Accumulate(float* out, int64_t n, float keep, const float* p, const float* v,
                const uint8_t* cells, int64_t count) {
  // As many sums as stay in registers while the cells go by.
  constexpr int64_t kWidth = 16;
  int64_t begin = 0;
  for (; begin + kWidth <= n; begin += kWidth) {
    float sum[kWidth];
    for (int64_t i = 0; i < kWidth; ++i) sum[i] = out[begin + i] * keep;
    for (int64_t c = 0; c < count; ++c) {
      const float* row = v + cells[c] * n + begin;
      for (int64_t i = 0; i < kWidth; ++i) sum[i] += p[c] * row[i];
    }
    std::memcpy(out + begin, sum, sizeof(sum));
  }
  for (; begin < n; ++begin) {
    float sum = out[begin] * keep;
    for (int64_t c = 0; c < count; ++c) sum += p[c] * v[cells[c] * n + begin];
    out[begin] = sum;
  }
}

class Attention : AttentionView {
 public:
  Attention(const Step& step, const AttentionTask& task, float* scratch)
      : AttentionView(step, task),
        sinks_(step.inputs.size() > 6 ? reinterpret_cast<const float*>(step.inputs[6].data)
                                      : nullptr),
        length_(KvLength(step)),
        k_block_(scratch),
        v_block_(k_block_ + kCells * k().shape[0]),
        scores_(v_block_ + kCells * v().shape[0]) {}

  static int64_t ScratchBytes(int64_t head_dim, int64_t v_dim) {
    return kCells * (head_dim + v_dim + kMaxPairs) * static_cast<int64_t>(sizeof(float));
  }

  void Run() {
    const int64_t v_dim = v().shape[0];
    for (int64_t p = task().begin; p < task().end; ++p) {
      State& state = states_[p - task().begin];
      state = {-INFINITY, 0.0f};
      if (sinks_ != nullptr) state = {sinks_[Head(p)], 1.0f};
      std::fill_n(Out(p), v_dim, 0.0f);
    }
    for (int64_t cell = 0; cell < length_; cell += kCells) {
      RunBlock(cell, std::min(kCells, length_ - cell));
    }
    for (int64_t p = task().begin; p < task().end; ++p) {
      const float sum = states_[p - task().begin].sum;
      if (sum == 0.0f) continue;  // saw nothing
      const float inverse = 1.0f / sum;
      float* out = Out(p);
      for (int64_t i = 0; i < v_dim; ++i) out[i] *= inverse;
    }
  }

 private:
  struct State {
    float highest;  // score so far
    float sum;      // of exp(score - highest)
  };

  void Decode(const Tensor& t, int64_t first, int64_t count, float* to) const {
    const quant::DecodeFn decode = quant::Decoder(t.type);
    const int64_t n = t.shape[0];
    for (int64_t c = 0; c < count; ++c) decode(t.Row(task().kv_head, first + c, 0), to + c * n, n);
  }

  void RunBlock(int64_t first, int64_t count) {
    if (!FindSeen(first, count, seen_)) return;
    Decode(k(), first, count, k_block_);
    Decode(v(), first, count, v_block_);
    const int64_t head_dim = k().shape[0];
    for (int64_t p = task().begin; p < task().end; p += kDotColumns) {
      const int width = static_cast<int>(std::min<int64_t>(kDotColumns, task().end - p));
      std::array<const float*, kDotColumns> queries{};
      std::array<float*, kDotColumns> scores{};
      for (int j = 0; j < width; ++j) {
        queries[j] = Q(p + j);
        scores[j] = scores_ + (p + j - task().begin) * kCells;
      }
      DotPanel(k_block_, head_dim, count, queries.data(), scores.data(), width, head_dim, false);
    }
    for (int64_t p = task().begin; p < task().end; ++p) {
      Fold(p, seen_[Query(p) - Query(task().begin)], scores_ + (p - task().begin) * kCells);
    }
  }

  // Adds the block's cells to the state of a pair.
  void Fold(int64_t pair, const SeenCells& seen, const float* scores) {
    if (seen.count == 0) return;
    State& state = states_[pair - task().begin];
    std::array<float, kCells> p;
    float highest = state.highest;
    for (int64_t c = 0; c < seen.count; ++c) {
      float score = scores[seen.cells[c]] * attrs().scale;
      if (attrs().softcap != 0) score = attrs().softcap * std::tanh(score / attrs().softcap);
      p[c] = score;
      highest = std::max(highest, score);
    }
    const float keep = state.sum == 0.0f ? 0.0f : std::exp(state.highest - highest);
    float sum = state.sum * keep;
    for (int64_t c = 0; c < seen.count; ++c) {
      p[c] = std::exp(p[c] - highest);
      sum += p[c];
    }
    state = {highest, sum};
    Accumulate(Out(pair), v().shape[0], keep, p.data(), v_block_, seen.cells.data(), seen.count);
  }

  const float* const sinks_;  // [heads], or null
  const int64_t length_;      // cells in use
  float* const k_block_;      // [kCells][head_dim]
  float* const v_block_;      // [kCells][v_dim]
  float* const scores_;       // [pairs][kCells]
  std::array<State, kMaxPairs> states_;
  std::array<SeenCells, kMaxPairs> seen_;
};

void RunAttention(const Step& step, const RunContext& context) {
  const AttentionTasks tasks(step, context.pool.size());
  const int64_t task_cost =
      std::min(tasks.size, tasks.pairs) * AttentionView::KvLength(step) * step.inputs[0].shape[0];
  context.pool.ParallelFor(tasks.count, Grain(task_cost),
                           [&](int64_t begin, int64_t end, int worker) {
                             for (int64_t t = begin; t < end; ++t) {
                               Attention(step, tasks[t], context.Scratch(worker)).Run();
                             }
                           });
}

}  // namespace

void PrepareAttention(Step& step) {
  const Tensor& k = step.inputs[1];
  const Tensor& v = step.inputs[2];
  step.run = &RunAttention;
  step.kernel = absl::StrCat("attention K ", quant::Name(k.type), " V ", quant::Name(v.type));
  step.worker_scratch = Attention::ScratchBytes(k.shape[0], v.shape[0]);
}

}  // namespace bantam::cpu::reference
