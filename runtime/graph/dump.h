// A graph as text a person can read and diff.
#pragma once

#include <string>

#include "runtime/graph/graph.h"

namespace bantam::graph {

// One line per value with memory of its own that is no node's output, then one line per node, in
// order, then the outputs. Stable: tests compare it.
std::string Dump(const Graph& graph);

}  // namespace bantam::graph
