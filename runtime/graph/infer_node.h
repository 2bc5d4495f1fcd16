// One step of inference.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

// What is wrong with a packed tensor of this type and shape ("has shape [-3]; expected ..."); empty
// when nothing is.
std::string PackedProblem(quant::Type type, const Shape& shape);

// Checks the node against its inputs, whose types and shapes are known, and sets its output.
absl::Status InferNode(Graph& graph, NodeId id);

}  // namespace bantam::graph
