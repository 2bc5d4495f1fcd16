// Joining neighbouring symbols, best pair first: what byte-pair encoding and SentencePiece's BPE
// have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace bantam::tokenizer {

// A merge of two symbols: the lowest rank goes first. No merge: rank < 0.
struct MergeRule {
  int32_t rank = -1;
  int32_t id = -1;  // of the merged symbol
};

// A stretch of the word being encoded. `id` is what the caller uses to recognise it.
struct Symbol {
  int32_t prev;
  int32_t next;  // -1 at the end
  uint32_t begin;
  uint32_t length;  // 0 once merged into its left neighbour
  int32_t id;
};

// Reused from word to word for its memory. Time is O(n log n) in the number of symbols.
class Merger {
 public:
  // Words are cut to this many bytes, so that positions fit.
  static constexpr size_t kMaxWord = size_t{1} << 30;

  void Clear() { symbols_.clear(); }
  void Add(uint32_t begin, uint32_t length, int32_t id) {
    const auto index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({index - 1, -1, begin, length, id});
  }

  // Merges by `rule(left, right)`; of pairs of the same rank the leftmost goes first.
  template <typename Rule>
  void Merge(const Rule& rule) {
    queue_.clear();
    for (size_t i = 1; i < symbols_.size(); ++i) {
      Propose(rule, static_cast<int32_t>(i - 1), static_cast<int32_t>(i));
    }
    std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
    while (!queue_.empty()) {
      const Pair pair = queue_.front();
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
      queue_.pop_back();
      const auto left_index = static_cast<int32_t>(pair.order & 0xFFFFFFFF);
      Symbol& left = symbols_[left_index];
      Symbol& right = symbols_[pair.right];
      // Either symbol may have been merged since.
      if (left.length == 0 || right.length == 0 || left.length + right.length != pair.length) {
        continue;
      }
      left.length = pair.length;
      left.id = pair.id;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) symbols_[left.next].prev = left_index;
      Push(rule, left.prev, left_index);
      Push(rule, left_index, left.next);
    }
  }

  // Calls `each` with what is left, in order.
  template <typename Each>
  void ForEach(const Each& each) const {
    if (symbols_.empty()) return;
    for (int32_t i = 0; i >= 0; i = symbols_[i].next) each(symbols_[i]);
  }

 private:
  struct Pair {
    uint64_t order;  // rank, then index of the left symbol: no two pairs alive are equal
    int32_t right;
    uint32_t length;  // of both together, to see whether the pair is still there
    int32_t id;
    bool operator>(const Pair& other) const { return order > other.order; }
  };

  template <typename Rule>
  bool Propose(const Rule& rule, int32_t left, int32_t right) {
    const MergeRule found = rule(symbols_[left], symbols_[right]);
    if (found.rank < 0) return false;
    queue_.push_back({static_cast<uint64_t>(found.rank) << 32 | static_cast<uint32_t>(left), right,
                      symbols_[left].length + symbols_[right].length, found.id});
    return true;
  }
  template <typename Rule>
  void Push(const Rule& rule, int32_t left, int32_t right) {
    if (left < 0 || right < 0 || !Propose(rule, left, right)) return;
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
  }

  std::vector<Symbol> symbols_;
  std::vector<Pair> queue_;
};

}  // namespace bantam::tokenizer
