#include "runtime/graph/passes.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/rewrite.h"

namespace bantam::graph {
namespace {

bool SameLayout(const Value& a, const Value& b) {
  return a.type == b.type && a.shape == b.shape && a.strides == b.strides &&
         a.byte_offset == b.byte_offset;
}

// The attributes that make `view` of `source`, whose memory it shares.
Node ViewOf(const Graph& graph, ValueId source, ValueId view) {
  const Value& from = graph.value(source);
  const Value& to = graph.value(view);
  if (from.IsContiguous() && to.IsContiguous() && from.byte_offset == to.byte_offset &&
      ElementCount(from.shape) == ElementCount(to.shape)) {
    return {Op::kReshape, {source}, view, ReshapeAttrs{to.shape}};
  }
  return {Op::kView,
          {source},
          view,
          ViewAttrs{to.shape, to.strides, to.byte_offset - from.byte_offset}};
}

}  // namespace

absl::StatusOr<Graph> RemoveDeadNodes(const Graph& graph) {
  BANTAM_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::Create(graph));
  const std::vector<Node>& nodes = rewriter.graph().nodes();
  std::vector<bool> needed(rewriter.graph().values().size(), false);
  for (NodeId n = static_cast<NodeId>(nodes.size()) - 1; n >= 0; --n) {
    const Node& node = nodes[n];
    if (!needed[node.output] && !rewriter.IsOutput(node.output) && node.op != Op::kKvWrite) {
      rewriter.Replace(n, {});
      continue;
    }
    for (ValueId id : node.inputs) needed[id] = true;
  }
  return std::move(rewriter).Finish();
}

absl::StatusOr<Graph> FoldViews(const Graph& graph) {
  BANTAM_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::Create(graph));
  const Graph& old = rewriter.graph();
  const auto node_count = static_cast<NodeId>(old.nodes().size());
  // For each value, the one that is no view and shares its memory; and what to read in its place.
  std::vector<ValueId> source(old.values().size()), instead(old.values().size());
  for (ValueId id = 0; id < static_cast<ValueId>(source.size()); ++id)
    source[id] = instead[id] = id;
  std::vector<bool> is_read(old.values().size(), false);
  std::vector<Node> rewritten = old.nodes();
  for (NodeId n = 0; n < node_count; ++n) {
    Node& node = rewritten[n];
    const ValueId out = node.output;
    if (IsViewOp(node.op)) {
      const ValueId from = source[out] = source[node.inputs[0]];
      if (SameLayout(old.value(from), old.value(out)) && !rewriter.IsOutput(out)) {
        instead[out] = from;
      }
      if (from != node.inputs[0]) node = ViewOf(old, from, out);
      continue;  // what a view reads is read when the view is
    }
    for (ValueId& id : node.inputs) {
      id = instead[id];
      is_read[id] = true;
    }
  }
  for (NodeId n = 0; n < node_count; ++n) {
    const bool unread_view = IsViewOp(rewritten[n].op) && !is_read[rewritten[n].output] &&
                             !rewriter.IsOutput(rewritten[n].output);
    rewriter.Replace(n, unread_view ? std::vector<Node>{} : std::vector<Node>{rewritten[n]});
  }
  return std::move(rewriter).Finish();
}

absl::StatusOr<Graph> KeepMatMulInputs(const Graph& graph) {
  Graph result = graph;
  auto keep = [&result](ValueId id) {
    std::vector<ValueId>& outputs = result.outputs();
    if (std::find(outputs.begin(), outputs.end(), id) == outputs.end()) outputs.push_back(id);
  };
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::kMatMul) {
      keep(node.inputs[std::get<MatMulAttrs>(node.attrs).parts]);
    } else if (node.op == Op::kMatMulExpert) {
      keep(node.inputs[1]);
      keep(node.inputs[2]);
    }
  }
  BANTAM_RETURN_IF_ERROR(Infer(result));
  return result;
}

absl::StatusOr<Graph> Optimize(const Graph& graph) {
  // Views first, so that what shares memory shares an id; dead nodes before the fusions, which
  // count readers. Fusing matmuls makes views, and may leave some unread.
  absl::StatusOr<Graph> result = FoldViews(graph);
  for (auto pass : {RemoveDeadNodes, FuseNormScale, FuseBiasActivation, FuseParallelMatMuls,
                    FoldViews, RemoveDeadNodes}) {
    if (!result.ok()) return result;
    result = pass(*result);
  }
  return result;
}

}  // namespace bantam::graph
