// Which tokens the KV cache of layers with a sliding window holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace bantam::engine {

// A ring of cells: the token at position p is in cell p % size until the one at p + size takes its
// place. It writes the cells as kAttention reads them (graph.h), pairs of position and sequence.
class WindowRing {
 public:
  WindowRing() = default;
  // `cells`: 2 numbers for each, which must outlive this.
  WindowRing(std::span<int32_t> cells, int64_t window) : cells_(cells), window_(window) {
    Clear(0);
  }

  int64_t size() const { return static_cast<int64_t>(cells_.size()) / 2; }
  int64_t CellOf(int64_t position) const { return position % size(); }
  // Cells in use: none after them holds anything.
  int64_t length() const { return std::min(end_, size()); }
  // The earliest token from which on all are there.
  int64_t begin() const { return begin_; }

  // Whether the tokens are there that one at `position` looks back on.
  bool Covers(int64_t position) const {
    return begin_ <= std::max<int64_t>(0, position - window_ + 1);
  }

  // Holds nothing; the next token is at `begin`.
  void Clear(int64_t begin) {
    for (int64_t c = 0; c < size(); ++c) Set(c, 0, kEmpty);
    begin_ = end_ = begin;
  }
  // The tokens must follow those that are there.
  void Add(int64_t position) {
    Set(CellOf(position), position, 0);
    end_ = std::max(end_, position + 1);
    begin_ = std::max(begin_, end_ - size());
  }
  // Forgets the tokens from `position` on. Those that they took the place of stay lost.
  void Truncate(int64_t position) {
    for (int64_t p = std::max(position, begin_); p < end_; ++p) Set(CellOf(p), 0, kEmpty);
  }

 private:
  static constexpr int32_t kEmpty = -1;

  void Set(int64_t cell, int64_t position, int32_t sequence) {
    cells_[2 * cell] = static_cast<int32_t>(position);
    cells_[2 * cell + 1] = sequence;
  }

  std::span<int32_t> cells_;
  int64_t window_ = 0;
  int64_t begin_ = 0;
  int64_t end_ = 0;  // past the last token that was ever written since Clear
};

}  // namespace bantam::engine
