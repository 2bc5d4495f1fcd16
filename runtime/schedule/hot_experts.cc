#include "runtime/schedule/hot_experts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::kNone;
using graph::Node;
using graph::NodeId;
using graph::Op;
using graph::Storage;
using graph::ValueId;

// The nodes from a layer's experts to their sum: what gives zeros where no expert is.
class ExpertNodes {
 public:
  ExpertNodes(const Graph& graph, int layer) : graph_(graph), prefix_(absl::StrCat("blk.", layer)) {
    is_of_value_.resize(graph.values().size(), false);
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (!Belongs(node)) continue;
      nodes.push_back(static_cast<NodeId>(n));
      is_of_value_[node.output] = true;
      if (node.op == Op::kMatMulExpert) ids = node.inputs[2];
    }
  }

  // What later nodes read: the sum. kNone where that is not one value.
  ValueId Sum() const {
    ValueId sum = kNone;
    if (ids == kNone) return kNone;
    const auto read = [&](ValueId id) {
      if (!is_of_value_[id]) return true;
      if (sum == kNone) sum = id;
      return sum == id;
    };
    for (size_t n = 0; n < graph_.nodes().size(); ++n) {
      if (std::binary_search(nodes.begin(), nodes.end(), static_cast<NodeId>(n))) continue;
      for (const ValueId id : graph_.nodes()[n].inputs) {
        if (!read(id) || (is_of_value_[id] && static_cast<NodeId>(n) < nodes.back())) return kNone;
      }
    }
    for (const ValueId id : graph_.outputs()) {
      if (!read(id)) return kNone;
    }
    return sum;
  }
  bool Has(ValueId id) const { return is_of_value_[id]; }

  std::vector<NodeId> nodes;  // in order
  ValueId ids = kNone;        // that the router chose

 private:
  bool IsExpertWeight(ValueId id) const {
    const graph::Value& value = graph_.value(id);
    return value.storage == Storage::kWeight && absl::StartsWith(value.name, prefix_ + ".") &&
           absl::StrContains(value.name, "_exps.");
  }
  bool Belongs(const Node& node) const {
    const auto is_of = [&](size_t i) { return is_of_value_[node.inputs[i]]; };
    switch (node.op) {
      case Op::kMatMulExpert:
      case Op::kGatherRows:
        return IsExpertWeight(node.inputs[0]);
      case Op::kReshape:
      case Op::kView:
      case Op::kUnary:
        return is_of(0);
      case Op::kGated:
        return is_of(0) && is_of(1);
      case Op::kScale:
        return is_of(0) && std::get<graph::ScaleAttrs>(node.attrs).bias == 0;
      case Op::kBinary:
        switch (std::get<graph::BinaryAttrs>(node.attrs).op) {
          case graph::BinaryOp::kAdd:
            return is_of(0) && is_of(1);
          case graph::BinaryOp::kMul:
            return is_of(0);
          default:
            return false;
        }
      default:
        return false;
    }
  }

  const Graph& graph_;
  const std::string prefix_;
  std::vector<bool> is_of_value_;
};

class Rewriter {
 public:
  Rewriter(const Graph& graph, std::span<const HotExperts> hot)
      : source_(graph), hot_(hot), out_(graph), instead_(graph.values().size(), kNone) {}

  absl::StatusOr<Graph> Run() {
    std::vector<ExpertNodes> layers;
    std::vector<int> layer_of(source_.nodes().size(), -1);
    for (const HotExperts& hot : hot_) {
      layers.emplace_back(source_, hot.layer);
      const ExpertNodes& experts = layers.back();
      if (experts.Sum() == kNone || !source_.value(experts.ids).IsContiguous()) {
        return absl::UnimplementedError(
            absl::StrCat("the experts of layer ", hot.layer, " cannot be on two devices"));
      }
      for (const NodeId n : experts.nodes) layer_of[n] = static_cast<int>(layers.size()) - 1;
    }
    out_.nodes().clear();
    for (size_t n = 0; n < source_.nodes().size(); ++n) {
      const int l = layer_of[n];
      if (l < 0) {
        Append(source_.nodes()[n]);
      } else if (static_cast<NodeId>(n) == layers[l].nodes.back()) {
        AddBothSides(layers[l], hot_[l]);
      }
    }
    for (ValueId& output : out_.outputs()) {
      if (instead_[output] != kNone) output = instead_[output];
    }
    BANTAM_RETURN_IF_ERROR(graph::Infer(out_));
    return std::move(out_);
  }

 private:
  void AddBothSides(const ExpertNodes& experts, const HotExperts& hot) {
    const ValueId sum = experts.Sum();
    // All that both sides read is made before them, so that neither waits for the other.
    const graph::Shape chosen = source_.value(experts.ids).shape;
    const ValueId in_a_row = NewValue(absl::StrCat("blk.", hot.layer, ".experts_in_a_row"));
    Append({Op::kReshape,
            {experts.ids},
            in_a_row,
            graph::ReshapeAttrs{{chosen[0] * chosen[1], 1, 1, 1}}});
    const ValueId near = AddSide(experts, hot, /*is_hot=*/true, sum, in_a_row);
    const ValueId far = AddSide(experts, hot, /*is_hot=*/false, sum, in_a_row);
    const ValueId both = NewValue(absl::StrCat("blk.", hot.layer, ".hot_and_cold"));
    Append({Op::kBinary, {near, far}, both, graph::BinaryAttrs{graph::BinaryOp::kAdd}});
    instead_[sum] = both;
  }

  void Append(Node node) {
    for (ValueId& id : node.inputs) {
      if (id < std::ssize(instead_) && instead_[id] != kNone) id = instead_[id];
    }
    out_.nodes().push_back(std::move(node));
  }

  ValueId NewValue(absl::string_view name) {
    const ValueId id = out_.Add(Op::kReshape, {}, name);
    out_.nodes().pop_back();  // only a node brings a value into being
    return id;
  }

  // One side of the layer; what it adds up to.
  ValueId AddSide(const ExpertNodes& experts, const HotExperts& hot, bool is_hot, ValueId sum,
                  ValueId in_a_row) {
    const absl::string_view side = is_hot ? ".hot" : ".cold";
    const auto map = [&](ValueId id) {
      const auto found = std::find_if(copies_.begin(), copies_.end(),
                                      [&](const auto& copy) { return copy.first == id; });
      return found == copies_.end() ? id : found->second;
    };
    const auto add = [&](Op op, std::vector<ValueId> inputs, graph::Attrs attrs) {
      const ValueId made = NewValue(absl::StrCat("blk.", hot.layer, ".expert_slots", side));
      Append({op, std::move(inputs), made, std::move(attrs)});
      return made;
    };
    copies_.clear();
    const graph::Shape chosen = source_.value(experts.ids).shape;
    const ValueId table =
        out_.AddWeight(SlotsName(hot.layer, is_hot), quant::Type::kI32, {hot.count, 1, 1, 1});
    const ValueId flat = add(Op::kGatherElements, {table, in_a_row}, {});
    const ValueId slots = add(Op::kReshape, {flat}, graph::ReshapeAttrs{chosen});
    for (const NodeId n : experts.nodes) {
      Node node = source_.nodes()[n];
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const graph::Value& value = source_.value(node.inputs[i]);
        const bool is_table = node.op == Op::kMatMulExpert || node.op == Op::kGatherRows;
        if (is_table && i == 0) {
          if (is_hot || hot.cold_apart) node.inputs[i] = SideWeight(node, hot, is_hot);
        } else if (source_.RootOf(node.inputs[i]) == source_.RootOf(experts.ids)) {
          node.inputs[i] = value.shape == chosen ? slots : flat;
        } else {
          node.inputs[i] = map(node.inputs[i]);
        }
      }
      const ValueId made = NewValue(absl::StrCat(source_.value(node.output).name, side));
      copies_.emplace_back(node.output, made);
      node.output = made;
      Append(std::move(node));
    }
    return map(sum);
  }

  ValueId SideWeight(const Node& node, const HotExperts& hot, bool is_hot) {
    const graph::Value& whole = source_.value(node.inputs[0]);
    const auto some = static_cast<int64_t>(hot.experts.size());
    graph::Shape shape = whole.shape;
    shape[node.op == Op::kMatMulExpert ? 2 : 1] = is_hot ? some : hot.count - some;
    return out_.AddWeight(SideName(whole.name, is_hot), whole.type, shape);
  }

  const Graph& source_;
  const std::span<const HotExperts> hot_;
  Graph out_;
  std::vector<std::pair<ValueId, ValueId>> copies_;  // of the side that is being made
  std::vector<ValueId> instead_;                     // by value of the source: what is read for it
};

}  // namespace

std::vector<int32_t> ExpertsOf(const HotExperts& hot, bool is_hot) {
  if (is_hot) return hot.experts;
  std::vector<int32_t> cold;
  for (int32_t e = 0; e < hot.count; ++e) {
    const auto found = std::find(hot.experts.begin(), hot.experts.end(), e);
    if (found == hot.experts.end()) cold.push_back(e);
  }
  return cold;
}

std::string SideName(absl::string_view weight, bool hot) {
  return absl::StrReplaceAll(weight, {{"_exps.", hot ? "_exps.hot." : "_exps.cold."}});
}

std::string SlotsName(int layer, bool hot) {
  return absl::StrCat("blk.", layer, ".ffn_exps.", hot ? "hot" : "cold", "_slots");
}

std::vector<int32_t> Slots(const HotExperts& hot, bool is_hot) {
  std::vector<int32_t> slots(hot.count, -1);
  const std::vector<int32_t> experts = ExpertsOf(hot, is_hot);
  for (size_t i = 0; i < experts.size(); ++i) {
    const bool is_apart = is_hot || hot.cold_apart;
    slots[experts[i]] = is_apart ? static_cast<int32_t>(i) : experts[i];
  }
  return slots;
}

absl::StatusOr<Graph> SplitExperts(const Graph& graph, std::span<const HotExperts> hot) {
  if (hot.empty()) return graph;
  return Rewriter(graph, hot).Run();
}

}  // namespace bantam::schedule
