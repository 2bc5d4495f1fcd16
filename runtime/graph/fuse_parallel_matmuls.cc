// Matmuls of the same x become one, whose output has their rows side by side. What was a packed
// output is now a view with gaps between the rows; every view of it is redone on the common output.
#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/graph/passes.h"
#include "runtime/graph/rewrite.h"

namespace bantam::graph {
namespace {

struct Part {
  NodeId node;
  ValueId output;
  std::vector<NodeId> views;  // nodes that are views, or views of views, of the output
};

// Matmuls in node order; the joint one takes the place of the first.
using Group = std::vector<Part>;

// How memory with rows of `old_row` bytes looks through `view` once each row starts at a multiple
// of `new_row` bytes. Nothing when a row of the view runs over the end of a row of the memory.
std::optional<ViewAttrs> WithWiderRows(const Value& view, int64_t old_row, int64_t new_row) {
  ViewAttrs attrs{view.shape, view.strides, 0};
  if (ElementCount(view.shape) == 0) return attrs;
  // Each step is so many rows and so many bytes within a row. As long as the bytes never add up to
  // a whole row, they and the rows go their own ways.
  int64_t within = view.byte_offset % old_row + quant::RowBytes(view.type, view.shape[0]);
  for (int d = 1; d < kMaxDims; ++d) {
    if (view.shape[d] == 1) continue;
    within += view.strides[d] % old_row * (view.shape[d] - 1);
    attrs.strides[d] = view.strides[d] / old_row * new_row + view.strides[d] % old_row;
  }
  if (within > old_row) return std::nullopt;
  attrs.byte_offset = view.byte_offset / old_row * new_row + view.byte_offset % old_row;
  return attrs;
}

class ParallelMatMuls {
 public:
  explicit ParallelMatMuls(Rewriter rewriter) : rewriter_(std::move(rewriter)) {}

  absl::StatusOr<Graph> Run() && {
    for (NodeId n = 0; n < static_cast<NodeId>(graph().nodes().size()); ++n) {
      if (graph().nodes()[n].op == Op::kMatMul) AddToGroup(n);
    }
    for (const auto& [key, groups] : groups_) {
      for (const Group& group : groups) {
        if (group.size() > 1) Fuse(group);
      }
    }
    return std::move(rewriter_).Finish();
  }

 private:
  const Graph& graph() const { return rewriter_.graph(); }
  const MatMulAttrs& AttrsOf(NodeId n) const {
    return std::get<MatMulAttrs>(graph().nodes()[n].attrs);
  }
  int64_t RowBytesOf(ValueId id) const { return graph().value(id).strides[1]; }

  void AddToGroup(NodeId n) {
    const Node& node = graph().nodes()[n];
    const MatMulAttrs& attrs = AttrsOf(n);
    if (attrs.activation != Activation::kNone) return;
    const std::optional<Part> part = MakePart(n);
    if (!part) return;
    std::vector<Group>& groups = groups_[{node.inputs[attrs.parts], attrs.has_bias}];
    const bool joins =
        !groups.empty() && std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
          return rewriter_.CanReadEarlier(id, n, groups.back()[0].node);
        });
    if (!joins) groups.emplace_back();
    groups.back().push_back(*part);
  }

  // Nothing when the output of the matmul must stay packed.
  std::optional<Part> MakePart(NodeId n) const {
    const ValueId output = graph().nodes()[n].output;
    const int64_t row = RowBytesOf(output);
    if (row == 0 || rewriter_.IsOutput(output)) return std::nullopt;
    Part part{n, output, {}};
    std::vector<ValueId> pending = {output};
    while (!pending.empty()) {
      const ValueId value = pending.back();
      pending.pop_back();
      for (NodeId reader : rewriter_.Readers(value)) {
        if (!IsViewOp(graph().nodes()[reader].op)) continue;
        const ValueId view = graph().nodes()[reader].output;
        // Any width that is larger will do for this check.
        if (rewriter_.IsOutput(view) || !WithWiderRows(graph().value(view), row, 2 * row)) {
          return std::nullopt;
        }
        part.views.push_back(reader);
        pending.push_back(view);
      }
    }
    return part;
  }

  void Fuse(const Group& group) {
    const NodeId first = group[0].node;
    const bool has_bias = AttrsOf(first).has_bias;
    Node joint{Op::kMatMul, {}, kNone, MatMulAttrs{0, has_bias}};
    std::vector<ValueId> biases;
    std::string name;
    int64_t new_row = 0;
    for (const Part& part : group) {
      const auto& inputs = graph().nodes()[part.node].inputs;
      const int32_t parts = AttrsOf(part.node).parts;
      std::get<MatMulAttrs>(joint.attrs).parts += parts;
      joint.inputs.insert(joint.inputs.end(), inputs.begin(), inputs.begin() + parts);
      biases.insert(biases.end(), inputs.begin() + parts + 1, inputs.end());
      absl::StrAppend(&name, name.empty() ? "" : " + ", graph().value(part.output).name);
      new_row += RowBytesOf(part.output);
    }
    joint.inputs.push_back(graph().nodes()[first].inputs[AttrsOf(first).parts]);
    joint.inputs.insert(joint.inputs.end(), biases.begin(), biases.end());
    joint.output = rewriter_.NewValue(name);

    int64_t part_offset = 0;
    for (const Part& part : group) {
      const int64_t old_row = RowBytesOf(part.output);
      const auto view_node = [&](ValueId view) {
        ViewAttrs attrs = *WithWiderRows(graph().value(view), old_row, new_row);
        attrs.byte_offset += part_offset;
        return Node{Op::kView, {joint.output}, view, attrs};
      };
      std::vector<Node> in_place;
      if (part.node == first) in_place.push_back(joint);
      const auto& readers = rewriter_.Readers(part.output);
      if (std::any_of(readers.begin(), readers.end(),
                      [&](NodeId n) { return !IsViewOp(graph().nodes()[n].op); })) {
        in_place.push_back(view_node(part.output));
      }
      rewriter_.Replace(part.node, std::move(in_place));
      for (NodeId n : part.views) rewriter_.Replace(n, {view_node(graph().nodes()[n].output)});
      part_offset += old_row;
    }
  }

  Rewriter rewriter_;
  std::map<std::pair<ValueId, bool>, std::vector<Group>> groups_;  // by x and having a bias
};

}  // namespace

absl::StatusOr<Graph> FuseParallelMatMuls(const Graph& graph) {
  BANTAM_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::Create(graph));
  return ParallelMatMuls(std::move(rewriter)).Run();
}

}  // namespace bantam::graph
