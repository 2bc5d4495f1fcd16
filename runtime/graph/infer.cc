#include "runtime/graph/infer.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/base/counters.h"
#include "runtime/base/status.h"
#include "runtime/graph/infer_node.h"
#include "runtime/graph/text.h"

namespace bantam::graph {
namespace {

// What provides its own memory is packed, and known before any node.
absl::Status CheckRoot(const Value& value) {
  std::string problem = PackedProblem(value.type, value.shape);
  if (problem.empty() && (!value.IsContiguous() || value.base != kNone || value.byte_offset != 0)) {
    problem = "is laid out as a view; expected a packed value";
  }
  if (problem.empty()) return absl::OkStatus();
  constexpr absl::string_view kRoles[] = {"weight", "input", "state"};
  return absl::InvalidArgumentError(absl::StrCat(kRoles[static_cast<size_t>(value.storage)], " ",
                                                 QuotedName(value.name), " ", problem));
}

}  // namespace

absl::Status Infer(Graph& graph) {
  ++counters.graphs;
  const auto value_count = static_cast<ValueId>(graph.values().size());
  const auto node_count = static_cast<NodeId>(graph.nodes().size());
  for (ValueId id = 0; id < value_count; ++id) {
    Value& value = graph.value(id);
    value.producer = kNone;
    if (value.storage < Storage::kTemp) {
      BANTAM_RETURN_IF_ERROR(CheckRoot(value));
    } else if (value.storage == Storage::kTemp) {
      value.base = kNone;
      value.byte_offset = 0;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("value ", QuotedName(value.name),
                                                     " has unknown storage ",
                                                     static_cast<int>(value.storage)));
    }
  }
  const auto exists = [&](ValueId id) { return id >= 0 && id < value_count; };
  const auto is_ready = [&](ValueId id) {
    return graph.value(id).storage != Storage::kTemp || graph.value(id).producer != kNone;
  };
  for (NodeId id = 0; id < node_count; ++id) {
    const Node& node = graph.nodes()[id];
    const auto error = [&](absl::string_view message) {
      const bool known = static_cast<int>(node.op) < kOpCount;
      return absl::InvalidArgumentError(absl::StrCat(
          "node ", id, ", ", known ? OpName(node.op) : "unknown op", " ",
          exists(node.output) ? QuotedName(graph.value(node.output).name) : "", ": ", message));
    };
    if (static_cast<int>(node.op) >= kOpCount) {
      return error(absl::StrCat("op ", static_cast<int>(node.op), " is unknown"));
    }
    if (!exists(node.output)) {
      return error(
          absl::StrCat("its output is %", node.output, "; the graph has ", value_count, " values"));
    }
    if (is_ready(node.output)) {
      return error("its output already has a value; expected one that no other node gives");
    }
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId input = node.inputs[i];
      if (!exists(input)) {
        return error(
            absl::StrCat("input ", i, " is %", input, "; the graph has ", value_count, " values"));
      }
      if (!is_ready(input)) {
        return error(absl::StrCat("input ", i, ", ", QuotedName(graph.value(input).name),
                                  ", is used before a node gives it a value"));
      }
    }
    BANTAM_RETURN_IF_ERROR(InferNode(graph, id));
    graph.value(node.output).producer = id;
  }
  for (ValueId id : graph.outputs()) {
    if (!exists(id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("a graph output is %", id, "; the graph has ", value_count, " values"));
    }
    if (!is_ready(id)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "graph output ", QuotedName(graph.value(id).name), " is given a value by no node"));
    }
  }
  return absl::OkStatus();
}

}  // namespace bantam::graph
