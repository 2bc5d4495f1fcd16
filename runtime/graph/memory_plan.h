// Offsets for the intermediate values of a graph in one buffer, shared by lifetime.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

struct MemoryPlan {
  // By ValueId: the byte offset of each kTemp value that has memory of its own; -1 for others.
  std::vector<int64_t> offsets;
  // Bytes of the one buffer that holds them all; exactly what is to be allocated.
  int64_t size = 0;
};

// Two values overlap in the plan only if no node from the first use of one to the last use of the
// other (through views too) needs both. Graph outputs stay live to the end. Offsets are multiples
// of `alignment` (a power of two).
//
// Only outputs of the nodes that `is_planned` says are planned, those of one device of several;
// every node counts as a use.
inline bool EveryNode(NodeId) { return true; }
MemoryPlan PlanMemory(const Graph& graph, int64_t alignment = 64,
                      absl::FunctionRef<bool(NodeId)> is_planned = EveryNode);

}  // namespace bantam::graph
