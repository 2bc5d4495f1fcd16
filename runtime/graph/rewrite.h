// What the passes share: who reads a value, and rebuilding a graph with some nodes replaced.
#pragma once

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

// Changes no memory, only how it is looked at. (A KV write is no view in this sense: its output
// stands for the memory after the write.)
inline bool IsViewOp(Op op) { return op == Op::kView || op == Op::kReshape; }

class Rewriter {
 public:
  // Infers a copy of `graph`.
  static absl::StatusOr<Rewriter> Create(const Graph& graph);

  // The graph as it was before any replacement, with the new values.
  const Graph& graph() const { return graph_; }
  bool IsOutput(ValueId id) const { return is_output_[id]; }
  // The nodes that read a value, one entry for each time.
  const std::vector<NodeId>& Readers(ValueId id) const { return readers_[id]; }
  // The node that alone reads a value, once; kNone if there is none or the value is a graph output.
  NodeId OnlyReader(ValueId id) const;
  // Whether reading `id` before node `to` gives what reading it before the later node `from` does.
  bool CanReadEarlier(ValueId id, NodeId from, NodeId to) const;

  // A new value, for a node to produce.
  ValueId NewValue(absl::string_view name);
  // Puts `nodes` in the place of a node. An empty list removes it.
  void Replace(NodeId id, std::vector<Node> nodes) { replacements_[id] = std::move(nodes); }

  // The graph with the replacements made, inferred.
  absl::StatusOr<Graph> Finish() &&;

 private:
  explicit Rewriter(Graph graph);

  Graph graph_;
  std::vector<bool> is_output_;
  std::vector<std::vector<NodeId>> readers_;
  std::vector<std::vector<Node>> replacements_;
};

}  // namespace bantam::graph
