// A judge of memory plans that shares nothing with the planner: it looks at every pair of values.
#pragma once

#include <algorithm>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "runtime/graph/memory_plan.h"

namespace bantam::testing {

// What is wrong with the plan; else the bytes no plan can do without, those that must exist at the
// same time at some node (without padding).
inline absl::StatusOr<int64_t> CheckPlan(const graph::Graph& graph, const graph::MemoryPlan& plan,
                                         int64_t alignment) {
  using graph::ValueId;
  const auto count = static_cast<ValueId>(graph.values().size());
  const int nodes = static_cast<int>(graph.nodes().size());
  const auto error = [&](ValueId id, absl::string_view what) {
    return absl::InternalError(absl::StrCat("value ", id, " at ", plan.offsets[id], ": ", what));
  };
  if (static_cast<ValueId>(plan.offsets.size()) != count) return absl::InternalError("offsets");
  // alive[id][n]: node n runs while the value is needed. Marked use by use, filled in between.
  std::vector<std::vector<bool>> alive(count, std::vector<bool>(nodes + 1, false));
  std::vector<bool> planned(count, false);
  for (int n = 0; n < nodes; ++n) {
    const graph::Node& node = graph.nodes()[n];
    for (ValueId id : node.inputs) alive[graph.RootOf(id)][n] = true;
    alive[graph.RootOf(node.output)][n] = true;
    planned[node.output] = graph.value(node.output).base == graph::kNone;
  }
  for (ValueId id : graph.outputs()) alive[graph.RootOf(id)][nodes] = true;
  int64_t end = 0, bound = 0;
  std::vector<int64_t> bytes_at(nodes + 1, 0);
  for (ValueId id = 0; id < count; ++id) {
    if (planned[id] != (plan.offsets[id] >= 0)) return error(id, "planned or not");
    if (!planned[id]) continue;
    if (plan.offsets[id] % alignment != 0) return error(id, "is not aligned");
    auto first = std::find(alive[id].begin(), alive[id].end(), true);
    auto last = std::find(alive[id].rbegin(), alive[id].rend(), true).base();
    std::fill(first, last, true);
    const int64_t bytes = graph.value(id).SpanBytes();
    if (bytes > 0) end = std::max(end, plan.offsets[id] + bytes);
    for (int n = 0; n <= nodes; ++n) bytes_at[n] += alive[id][n] ? bytes : 0;
  }
  for (int64_t bytes : bytes_at) bound = std::max(bound, bytes);
  if (plan.size != end) return absl::InternalError(absl::StrCat(plan.size, " is not ", end));
  for (ValueId a = 0; a < count; ++a) {
    for (ValueId b = a + 1; b < count; ++b) {
      if (!planned[a] || !planned[b]) continue;
      bool together = false;
      for (int n = 0; n <= nodes; ++n) together |= alive[a][n] && alive[b][n];
      const int64_t a_end = plan.offsets[a] + graph.value(a).SpanBytes();
      const int64_t b_end = plan.offsets[b] + graph.value(b).SpanBytes();
      if (together && plan.offsets[a] < b_end && plan.offsets[b] < a_end &&
          graph.value(a).SpanBytes() > 0 && graph.value(b).SpanBytes() > 0) {
        return error(a, absl::StrCat("overlaps value ", b, " at ", plan.offsets[b]));
      }
    }
  }
  return bound;
}

}  // namespace bantam::testing
