// Dynamic storage allocation: lifetimes are intervals of nodes, and intervals that meet need
// disjoint memory. The optimum is NP-hard; placing values one by one, each in the tightest gap the
// values placed before leave it (greedy by size, Pisarchyk and Lee 2020), comes close. What that
// misses, a few retries recover: the value that sticks out furthest is placed earlier.
#include "runtime/graph/memory_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace bantam::graph {
namespace {

constexpr int kMaxRetries = 64;

struct Item {
  ValueId value;
  int64_t bytes;
  NodeId first, last;  // nodes, both included
};

int64_t SaturatingAdd(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

class Planner {
 public:
  Planner(const Graph& graph, int64_t alignment, absl::FunctionRef<bool(NodeId)> is_planned)
      : graph_(graph), alignment_(alignment) {
    CollectItems(is_planned);
    CollectConflicts();
  }

  MemoryPlan Plan() {
    std::vector<int> order(items_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [this](int a, int b) { return items_[a].bytes > items_[b].bytes; });
    std::vector<int64_t> best = Place(order);
    int64_t best_size = SizeOf(best);
    std::vector<int64_t> offsets = best;
    const int64_t bound = LowerBound();
    for (int retry = 0; retry < kMaxRetries && best_size > bound; ++retry) {
      // Placed first, the highest value gets offset 0, and those around it settle above.
      const auto highest = std::max_element(order.begin(), order.end(), [&](int a, int b) {
        return End(offsets, a) < End(offsets, b);
      });
      std::rotate(order.begin(), highest, highest + 1);
      offsets = Place(order);
      if (SizeOf(offsets) < best_size) {
        best = offsets;
        best_size = SizeOf(offsets);
      }
    }
    MemoryPlan plan;
    plan.size = best_size;
    plan.offsets.assign(graph_.values().size(), -1);
    for (size_t i = 0; i < items_.size(); ++i) plan.offsets[items_[i].value] = best[i];
    return plan;
  }

 private:
  void CollectItems(absl::FunctionRef<bool(NodeId)> is_planned) {
    const auto node_count = static_cast<NodeId>(graph_.nodes().size());
    std::vector<NodeId> last(graph_.values().size(), kNone);  // by root
    for (NodeId n = 0; n < node_count; ++n) {
      const Node& node = graph_.nodes()[n];
      for (ValueId id : node.inputs) last[graph_.RootOf(id)] = n;
      last[graph_.RootOf(node.output)] = n;
    }
    for (ValueId id : graph_.outputs()) last[graph_.RootOf(id)] = node_count;
    for (NodeId n = 0; n < node_count; ++n) {
      if (!is_planned(n)) continue;
      const ValueId id = graph_.nodes()[n].output;
      const Value& value = graph_.value(id);
      if (value.base != kNone || value.storage != Storage::kTemp) continue;
      items_.push_back({id, value.SpanBytes(), n, last[id]});
    }
  }

  // Items are in the order they come to life.
  void CollectConflicts() {
    conflicts_.resize(items_.size());
    std::vector<int> live;
    for (int i = 0; i < static_cast<int>(items_.size()); ++i) {
      if (items_[i].bytes == 0) continue;  // no memory, no conflict
      std::erase_if(live, [&](int other) { return items_[other].last < items_[i].first; });
      for (int other : live) {
        conflicts_[i].push_back(other);
        conflicts_[other].push_back(i);
      }
      live.push_back(i);
    }
  }

  int64_t AlignUp(int64_t bytes) const {
    return SaturatingAdd(bytes, alignment_ - 1) & -alignment_;
  }
  int64_t End(const std::vector<int64_t>& offsets, int i) const {
    return SaturatingAdd(offsets[i], items_[i].bytes);
  }
  int64_t SizeOf(const std::vector<int64_t>& offsets) const {
    int64_t size = 0;
    for (int i = 0; i < static_cast<int>(items_.size()); ++i) {
      if (items_[i].bytes > 0) size = std::max(size, End(offsets, i));
    }
    return size;
  }

  // What is alive at once must fit: the largest sum over all nodes, where only the last of the
  // values side by side is spared the padding (and that with the most, here).
  int64_t LowerBound() const {
    int64_t bound = 0;
    std::vector<int> live;
    for (int i = 0; i < static_cast<int>(items_.size()); ++i) {
      std::erase_if(live, [&](int other) { return items_[other].last < items_[i].first; });
      live.push_back(i);
      int64_t sum = 0, spared = 0;
      for (int item : live) {
        sum = SaturatingAdd(sum, AlignUp(items_[item].bytes));
        spared = std::max(spared, AlignUp(items_[item].bytes) - items_[item].bytes);
      }
      bound = std::max(bound, sum - spared);
    }
    return bound;
  }

  // Offsets by item: each in turn goes to the smallest gap between the placed values it conflicts
  // with that holds it, else on top of them.
  std::vector<int64_t> Place(const std::vector<int>& order) const {
    std::vector<int64_t> offsets(items_.size(), -1);
    std::vector<std::pair<int64_t, int64_t>> taken;  // [from, to)
    for (int item : order) {
      taken.clear();
      for (int other : conflicts_[item]) {
        if (offsets[other] >= 0) taken.emplace_back(offsets[other], End(offsets, other));
      }
      std::sort(taken.begin(), taken.end());
      int64_t top = 0, best = -1, best_gap = 0;
      for (const auto& [from, to] : taken) {
        const int64_t gap = from - top;
        if (gap >= items_[item].bytes && (best < 0 || gap < best_gap)) {
          best = top;
          best_gap = gap;
        }
        top = std::max(top, AlignUp(to));
      }
      offsets[item] = best >= 0 ? best : top;
    }
    return offsets;
  }

  const Graph& graph_;
  const int64_t alignment_;
  std::vector<Item> items_;                  // by first node
  std::vector<std::vector<int>> conflicts_;  // by item: the items alive together with it
};

}  // namespace

MemoryPlan PlanMemory(const Graph& graph, int64_t alignment,
                      absl::FunctionRef<bool(NodeId)> is_planned) {
  return Planner(graph, alignment, is_planned).Plan();
}

}  // namespace bantam::graph
