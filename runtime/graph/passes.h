// Graph -> Graph rewrites. Each takes a graph that Infer accepts and returns an inferred one that
// computes the same outputs; values no longer used stay in the value table but have no node.
// Graph outputs keep their ids, names and layouts. Errors are those of Infer.
#pragma once

#include "absl/status/statusor.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

// Drops nodes whose output nobody reads (a KV write is always kept).
absl::StatusOr<Graph> RemoveDeadNodes(const Graph& graph);
// View of a view becomes one view; a view or reshape that changes nothing disappears, unless it is
// a graph output.
absl::StatusOr<Graph> FoldViews(const Graph& graph);
// norm(x) * weight [+ bias] becomes one norm. Only what is a weight of the model: an activation of
// one row has the same shape.
absl::StatusOr<Graph> FuseNormScale(const Graph& graph);
// matmul(w, x) + bias, where bias is a weight of the model, and an activation over it, become one
// matmul.
absl::StatusOr<Graph> FuseBiasActivation(const Graph& graph);
// Matmuls that share x (Q, K and V; gate and up) become one with several parts, and their former
// outputs views of its output. Only matmuls that all lack a bias, or all have one, and that have no
// activation; and none whose output, or a view of it, is a graph output or cannot be expressed as a
// view of the common one (a reshape that joins rows).
absl::StatusOr<Graph> FuseParallelMatMuls(const Graph& graph);

// Keeps what every matmul and expert matmul multiplies its weights by, and the experts' ids,
// readable after a run, by adding them to the outputs (after those there are). For after Optimize:
// outputs get in the way of the fusions.
absl::StatusOr<Graph> KeepMatMulInputs(const Graph& graph);

// All of the above but the last, in the order that suits them.
absl::StatusOr<Graph> Optimize(const Graph& graph);

}  // namespace bantam::graph
