// A graph as text a person can read and diff.
#pragma once

#include <string>

#include "runtime/graph/graph.h"

namespace bantam::graph {

// One line per value with memory of its own that is no node's output, then one line per node, in
// order, then the outputs:
//
//   %0 = weight "blk.0.attn_q.weight" : q4_0 [64, 64]
//   %1 = input "x" : f32 [64, 5]
//   %2 = matmul(%0 "blk.0.attn_q.weight", %1 "x") activation=silu : f32 [64, 5] "q"
//   %3 = view(%2) : f32 [32, 5] in %2 + 128, strides [4, 256] "half"
//   output %3
//
// Attributes at their default are left out, and so is what follows from the rest: trailing sizes of
// 1, an offset of 0, the strides of a packed value. Stable: tests compare it. Takes any graph, also
// one that Infer refuses.
std::string Dump(const Graph& graph);

}  // namespace bantam::graph
