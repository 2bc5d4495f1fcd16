// What attention is whatever computes it: which cells a query sees, and the tasks it is cut into.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "backends/cpu/plan/step.h"

namespace bantam::cpu {

inline constexpr int64_t kMaxPairs = 64;  // (query, query head of a KV head) in one task
inline constexpr int64_t kCells = 64;     // of the cache, in one block

// One KV head and the pairs `begin` to `end` of it.
struct AttentionTask {
  int64_t kv_head;
  int64_t begin, end;
};

// Cells of one block that one query sees.
struct SeenCells {
  int64_t count;
  std::array<uint8_t, kCells> cells;
};

// What the cells of one block have in common.
struct CellBlock {
  int64_t first, count;
  int32_t sequence;         // of all of them; -1 where they differ or are empty
  int32_t lowest, highest;  // position
};

// A task's view of its step.
class AttentionView {
 public:
  AttentionView(const Step& step, const AttentionTask& task)
      : step_(step),
        attrs_(std::get<graph::AttentionAttrs>(step.attrs)),
        task_(task),
        group_(q().shape[1] / k().shape[1]) {}

  // Cells in use.
  static int64_t KvLength(const Step& step) {
    const int64_t length = *reinterpret_cast<const int32_t*>(step.inputs[5].data);
    return std::clamp<int64_t>(length, 0, step.inputs[1].shape[2]);
  }

  const Step& step() const { return step_; }
  const Tensor& q() const { return step_.inputs[0]; }
  const Tensor& k() const { return step_.inputs[1]; }
  const Tensor& v() const { return step_.inputs[2]; }
  const graph::AttentionAttrs& attrs() const { return attrs_; }
  const AttentionTask& task() const { return task_; }
  int64_t group() const { return group_; }
  int64_t Query(int64_t pair) const { return pair / group_; }
  int64_t Head(int64_t pair) const { return task_.kv_head * group_ + pair % group_; }
  const float* Q(int64_t pair) const {
    return reinterpret_cast<const float*>(q().Row(Head(pair), Query(pair), 0));
  }
  float* Out(int64_t pair) const {
    return reinterpret_cast<float*>(step_.output.Row(Head(pair), Query(pair), 0));
  }

  // What each query of the task sees of `count` cells from `first`, the task's first query in
  // seen[0]. False when none sees anything.
  bool FindSeen(int64_t first, int64_t count, std::array<SeenCells, kMaxPairs>& seen) const {
    bool any = false;
    const CellBlock block = Summarise(first, count);
    const int64_t first_query = Query(task_.begin);
    for (int64_t i = first_query; i <= Query(task_.end - 1); ++i) {
      FindSeenBy(i, block, seen[i - first_query]);
      any |= seen[i - first_query].count != 0;
    }
    return any;
  }

 private:
  const int32_t* Cell(int64_t c) const {
    return reinterpret_cast<const int32_t*>(step_.inputs[4].Row(c, 0, 0));
  }

  CellBlock Summarise(int64_t first, int64_t count) const {
    // Pairs that follow each other, as they nearly always do, go through registers several at once.
    const bool is_packed = step_.inputs[4].strides[1] == 2 * sizeof(int32_t);
    return is_packed ? Summarise<2>(first, count, 2)
                     : Summarise<0>(first, count, step_.inputs[4].strides[1] / 4);
  }
  template <int kStride>
  CellBlock Summarise(int64_t first, int64_t count, int64_t stride) const {
    if constexpr (kStride != 0) stride = kStride;
    const int32_t* cell = Cell(first);
    const int32_t sequence = cell[1];
    int32_t lowest = cell[0], highest = cell[0], difference = 0;
    for (int64_t c = 1; c < count; ++c) {
      lowest = std::min(lowest, cell[c * stride]);
      highest = std::max(highest, cell[c * stride]);
      difference |= cell[c * stride + 1] ^ sequence;
    }
    return {first, count, difference == 0 ? sequence : -1, lowest, highest};
  }

  void FindSeenBy(int64_t query, const CellBlock& block, SeenCells& seen) const {
    const auto* of_query = step_.inputs[3].RowAs<const int32_t>(query);
    const int64_t position = of_query[0];
    seen.count = 0;
    if (of_query[1] == -1) return;
    // Most blocks are seen whole, or not at all.
    if (attrs_.causal && block.lowest > position) return;
    if (attrs_.window != 0 && block.highest <= position - attrs_.window) return;
    if (block.sequence == of_query[1] && (!attrs_.causal || block.highest <= position) &&
        (attrs_.window == 0 || block.lowest > position - attrs_.window)) {
      seen.count = block.count;
      seen.cells = kEveryCell;
      return;
    }
    for (int64_t c = 0; c < block.count; ++c) {
      const int32_t* cell = Cell(block.first + c);
      const bool sees = cell[1] == of_query[1] && (!attrs_.causal || cell[0] <= position) &&
                        (attrs_.window == 0 || cell[0] > position - attrs_.window);
      seen.cells[seen.count] = static_cast<uint8_t>(c);
      seen.count += sees;
    }
  }

  static constexpr std::array<uint8_t, kCells> kEveryCell = [] {
    std::array<uint8_t, kCells> cells{};
    for (size_t c = 0; c < kCells; ++c) cells[c] = static_cast<uint8_t>(c);
    return cells;
  }();

  const Step& step_;
  const graph::AttentionAttrs& attrs_;
  const AttentionTask task_;
  const int64_t group_;  // query heads of a KV head
};

// How the pairs of a step are cut into tasks.
struct AttentionTasks {
  int64_t pairs;     // of one KV head
  int64_t size;      // pairs in a task
  int64_t per_head;  // tasks of one KV head
  int64_t count;
  int64_t wanted;  // tasks that keep every worker busy

  AttentionTasks(const Step& step, int workers) {
    constexpr int64_t kLeastPairs = 8, kTasksPerWorker = 4;
    const Tensor& q = step.inputs[0];
    const int64_t kv_heads = step.inputs[1].shape[1];
    pairs = q.shape[1] / kv_heads * q.shape[2];
    wanted = kTasksPerWorker * workers;
    // Large tasks decode the cache less often, small ones keep every worker busy.
    size = std::clamp((kv_heads * pairs + wanted - 1) / wanted, kLeastPairs, kMaxPairs);
    per_head = (pairs + size - 1) / size;
    count = kv_heads * per_head;
  }
  AttentionTask operator[](int64_t i) const {
    const int64_t first = i % per_head * size;
    return {i / per_head, first, std::min(first + size, pairs)};
  }
};

}  // namespace bantam::cpu
