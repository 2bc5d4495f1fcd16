// Type and shape inference.
#pragma once

#include "absl/status/status.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

// Computes type, shape, strides, base and offset of every node's output, in node order, and checks
// every input against what the op takes (graph.h). On failure: kInvalidArgument naming the node,
// what was found and what was expected. Idempotent. Never reads tensor data.
absl::Status Infer(Graph& graph);

}  // namespace bantam::graph
