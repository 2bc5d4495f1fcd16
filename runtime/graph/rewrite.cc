#include "runtime/graph/rewrite.h"

#include "runtime/base/status.h"
#include "runtime/graph/infer.h"

namespace bantam::graph {

absl::StatusOr<Rewriter> Rewriter::Create(const Graph& graph) {
  Graph inferred = graph;
  BANTAM_RETURN_IF_ERROR(Infer(inferred));
  return Rewriter(std::move(inferred));
}

Rewriter::Rewriter(Graph graph)
    : graph_(std::move(graph)),
      is_output_(graph_.values().size(), false),
      readers_(graph_.values().size()) {
  for (ValueId id : graph_.outputs()) is_output_[id] = true;
  for (size_t n = 0; n < graph_.nodes().size(); ++n) {
    replacements_.push_back({graph_.nodes()[n]});
    for (ValueId id : graph_.nodes()[n].inputs) readers_[id].push_back(static_cast<NodeId>(n));
  }
}

NodeId Rewriter::OnlyReader(ValueId id) const {
  return readers_[id].size() == 1 && !is_output_[id] ? readers_[id][0] : kNone;
}

bool Rewriter::CanReadEarlier(ValueId id, NodeId from, NodeId to) const {
  if (graph_.value(id).producer >= to) return false;
  const ValueId root = graph_.RootOf(id);
  if (graph_.value(root).storage != Storage::kState) return true;
  for (NodeId n = to; n < from; ++n) {
    const Node& node = graph_.nodes()[n];
    if (node.op == Op::kKvWrite && graph_.RootOf(node.output) == root) return false;
  }
  return true;
}

ValueId Rewriter::NewValue(absl::string_view name) {
  // Only a node brings a value into being.
  const ValueId id = graph_.Add(Op::kReshape, {}, name);
  graph_.nodes().pop_back();
  return id;
}

absl::StatusOr<Graph> Rewriter::Finish() && {
  std::vector<Node> nodes;
  for (std::vector<Node>& replacement : replacements_) {
    for (Node& node : replacement) nodes.push_back(std::move(node));
  }
  graph_.nodes() = std::move(nodes);
  BANTAM_RETURN_IF_ERROR(Infer(graph_));
  return std::move(graph_);
}

}  // namespace bantam::graph
