// Elementwise nodes move into the node whose output they alone read. The joint node takes the place
// of the first, so that x is read no later than before.
#include "runtime/base/status.h"
#include "runtime/graph/passes.h"
#include "runtime/graph/rewrite.h"

namespace bantam::graph {
namespace {

// For the node `reader` = `value` op c (or c op value) where c is a weight of one number for each
// element of a row of `value`, known before node `before`: c. Else kNone.
ValueId PerElementWeight(const Graph& graph, NodeId reader, BinaryOp op, ValueId value,
                         NodeId before) {
  if (reader == kNone) return kNone;
  const Node& node = graph.nodes()[reader];
  if (node.op != Op::kBinary || std::get<BinaryAttrs>(node.attrs).op != op) return kNone;
  const ValueId other = node.inputs[0] == value ? node.inputs[1] : node.inputs[0];
  const Value& c = graph.value(other);
  if (graph.value(graph.RootOf(other)).storage != Storage::kWeight || c.producer >= before ||
      c.shape != Shape{graph.value(value).shape[0], 1, 1, 1} ||
      graph.value(node.output).shape != graph.value(value).shape) {
    return kNone;
  }
  return other;
}

}  // namespace

absl::StatusOr<Graph> FuseNormScale(const Graph& graph) {
  BANTAM_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::Create(graph));
  const Graph& old = rewriter.graph();
  for (NodeId n = 0; n < static_cast<NodeId>(old.nodes().size()); ++n) {
    Node norm = old.nodes()[n];
    if (norm.op != Op::kNorm) continue;
    for (BinaryOp op : {BinaryOp::kMul, BinaryOp::kAdd}) {
      const size_t wanted_inputs = op == BinaryOp::kMul ? 1 : 2;
      if (norm.inputs.size() != wanted_inputs) continue;
      const NodeId reader = rewriter.OnlyReader(norm.output);
      const ValueId c = PerElementWeight(old, reader, op, norm.output, n);
      if (c == kNone) continue;
      norm.inputs.push_back(c);
      norm.output = old.nodes()[reader].output;
      rewriter.Replace(reader, {});
    }
    rewriter.Replace(n, {norm});
  }
  return std::move(rewriter).Finish();
}

absl::StatusOr<Graph> FuseBiasActivation(const Graph& graph) {
  BANTAM_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::Create(graph));
  const Graph& old = rewriter.graph();
  for (NodeId n = 0; n < static_cast<NodeId>(old.nodes().size()); ++n) {
    Node matmul = old.nodes()[n];
    if (matmul.op != Op::kMatMul) continue;
    MatMulAttrs& attrs = std::get<MatMulAttrs>(matmul.attrs);
    if (attrs.activation != Activation::kNone) continue;
    if (attrs.parts == 1 && !attrs.has_bias) {
      const NodeId reader = rewriter.OnlyReader(matmul.output);
      const ValueId bias = PerElementWeight(old, reader, BinaryOp::kAdd, matmul.output, n);
      if (bias != kNone) {
        attrs.has_bias = true;
        matmul.inputs.push_back(bias);
        matmul.output = old.nodes()[reader].output;
        rewriter.Replace(reader, {});
      }
    }
    const NodeId reader = rewriter.OnlyReader(matmul.output);
    if (reader != kNone && old.nodes()[reader].op == Op::kUnary) {
      attrs.activation = std::get<ActivationAttrs>(old.nodes()[reader].attrs).activation;
      matmul.output = old.nodes()[reader].output;
      rewriter.Replace(reader, {});
    }
    rewriter.Replace(n, {matmul});
  }
  return std::move(rewriter).Finish();
}

}  // namespace bantam::graph
