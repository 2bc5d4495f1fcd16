// Attention over a KV cache with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// One task is one KV head and up to kMaxPairs pairs (query, query head of that KV head). It walks
// the cache in blocks of kCells cells: decodes K and V of the block to f32 once for all pairs,
// computes every score, and for each pair folds the cells it sees into a running maximum, sum and
// weighted sum of V. The blocks lie at fixed cells and a pair skips what it does not see, so its
// result does not depend on what else is in the batch.

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

constexpr int64_t kMaxPairs = 64;
constexpr int64_t kCells = 64;

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

int64_t KvLength(const Step& step) {
  const int64_t length = *reinterpret_cast<const int32_t*>(step.inputs[5].data);
  return std::clamp<int64_t>(length, 0, step.inputs[1].shape[2]);
}

struct Task {
  int64_t kv_head;
  int64_t begin, end;  // pairs
};

class Attention {
 public:
  Attention(const Step& step, const Task& task, float* scratch)
      : step_(step),
        attrs_(std::get<graph::AttentionAttrs>(step.attrs)),
        task_(task),
        group_(q().shape[1] / k().shape[1]),
        k_block_(scratch),
        v_block_(k_block_ + kCells * k().shape[0]),
        scores_(v_block_ + kCells * v().shape[0]) {}

  static int64_t ScratchBytes(int64_t head_dim, int64_t v_dim) {
    return kCells * (head_dim + v_dim + kMaxPairs) * static_cast<int64_t>(sizeof(float));
  }

  void Run() {
    const int64_t v_dim = v().shape[0];
    for (int64_t p = task_.begin; p < task_.end; ++p) {
      State& state = states_[p - task_.begin];
      state = {-INFINITY, 0.0f};
      if (step_.inputs.size() > 6) {
        state = {reinterpret_cast<const float*>(step_.inputs[6].data)[Head(p)], 1.0f};
      }
      std::fill_n(Out(p), v_dim, 0.0f);
    }
    const int64_t length = KvLength(step_);
    for (int64_t cell = 0; cell < length; cell += kCells) {
      RunBlock(cell, std::min(kCells, length - cell));
    }
    for (int64_t p = task_.begin; p < task_.end; ++p) {
      const float sum = states_[p - task_.begin].sum;
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
  struct Seen {  // by one query, in this block
    int64_t count;
    std::array<uint8_t, kCells> cells;
  };

  const Tensor& q() const { return step_.inputs[0]; }
  const Tensor& k() const { return step_.inputs[1]; }
  const Tensor& v() const { return step_.inputs[2]; }
  int64_t Query(int64_t pair) const { return pair / group_; }
  int64_t Head(int64_t pair) const { return task_.kv_head * group_ + pair % group_; }
  float* Out(int64_t pair) const {
    return reinterpret_cast<float*>(step_.output.Row(Head(pair), Query(pair), 0));
  }

  void FindSeen(int64_t query, int64_t first, int64_t count, Seen& seen) const {
    const auto* of_query = step_.inputs[3].RowAs<const int32_t>(query);
    const int64_t position = of_query[0];
    seen.count = 0;
    if (of_query[1] == -1) return;
    for (int64_t c = 0; c < count; ++c) {
      const auto* cell = step_.inputs[4].RowAs<const int32_t>(first + c);
      const bool sees = cell[1] == of_query[1] && (!attrs_.causal || cell[0] <= position) &&
                        (attrs_.window == 0 || cell[0] > position - attrs_.window);
      seen.cells[seen.count] = static_cast<uint8_t>(c);
      seen.count += sees;
    }
  }

  void Decode(const Tensor& t, int64_t first, int64_t count, float* to) const {
    const quant::DecodeFn decode = quant::Decoder(t.type);
    const int64_t n = t.shape[0];
    for (int64_t c = 0; c < count; ++c) decode(t.Row(task_.kv_head, first + c, 0), to + c * n, n);
  }

  void RunBlock(int64_t first, int64_t count) {
    const int64_t first_query = Query(task_.begin);
    const int64_t last_query = Query(task_.end - 1);
    bool any = false;
    for (int64_t i = first_query; i <= last_query; ++i) {
      FindSeen(i, first, count, seen_[i - first_query]);
      any |= seen_[i - first_query].count != 0;
    }
    if (!any) return;
    Decode(k(), first, count, k_block_);
    Decode(v(), first, count, v_block_);
    const int64_t head_dim = k().shape[0];
    for (int64_t p = task_.begin; p < task_.end; p += kDotColumns) {
      const int width = static_cast<int>(std::min<int64_t>(kDotColumns, task_.end - p));
      std::array<const float*, kDotColumns> queries{};
      std::array<float*, kDotColumns> scores{};
      for (int j = 0; j < width; ++j) {
        queries[j] = reinterpret_cast<const float*>(q().Row(Head(p + j), Query(p + j), 0));
        scores[j] = scores_ + (p + j - task_.begin) * kCells;
      }
      DotPanel(k_block_, head_dim, count, queries.data(), scores.data(), width, head_dim, false);
    }
    for (int64_t p = task_.begin; p < task_.end; ++p) {
      Fold(p, seen_[Query(p) - first_query], scores_ + (p - task_.begin) * kCells);
    }
  }

  // Adds the block's cells to the state of a pair.
  void Fold(int64_t pair, const Seen& seen, const float* scores) {
    if (seen.count == 0) return;
    State& state = states_[pair - task_.begin];
    std::array<float, kCells> p;
    float highest = state.highest;
    for (int64_t c = 0; c < seen.count; ++c) {
      float score = scores[seen.cells[c]] * attrs_.scale;
      if (attrs_.softcap != 0) score = attrs_.softcap * std::tanh(score / attrs_.softcap);
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

  const Step& step_;
  const graph::AttentionAttrs& attrs_;
  const Task task_;
  const int64_t group_;   // query heads per KV head
  float* const k_block_;  // [kCells][head_dim]
  float* const v_block_;  // [kCells][v_dim]
  float* const scores_;   // [pairs][kCells]
  std::array<State, kMaxPairs> states_;
  std::array<Seen, kMaxPairs> seen_;
};

void RunAttention(const Step& step, const RunContext& context) {
  const Tensor& q = step.inputs[0];
  const int64_t kv_heads = step.inputs[1].shape[1];
  const int64_t pairs = q.shape[1] / kv_heads * q.shape[2];
  // Large tasks decode the cache less often, small ones keep every worker busy.
  constexpr int64_t kLeastPairs = 8, kTasksPerWorker = 4;
  const int64_t wanted = kTasksPerWorker * context.pool.size();
  const int64_t size = std::clamp((kv_heads * pairs + wanted - 1) / wanted, kLeastPairs, kMaxPairs);
  const int64_t tasks_per_head = (pairs + size - 1) / size;
  const int64_t task_cost = std::min(size, pairs) * KvLength(step) * q.shape[0];
  context.pool.ParallelFor(
      kv_heads * tasks_per_head, Grain(task_cost), [&](int64_t begin, int64_t end, int worker) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t first = t % tasks_per_head * size;
          const Task task = {t / tasks_per_head, first, std::min(first + size, pairs)};
          Attention(step, task, context.Scratch(worker)).Run();
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
