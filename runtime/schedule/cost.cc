#include "runtime/schedule/cost.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/model/architecture.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Node;
using graph::Op;
using graph::Storage;
using graph::Value;
using graph::ValueId;

struct Work {
  double bytes = 0;       // moved
  double operations = 0;  // additions and multiplications
};

double Bytes(const Value& value) { return static_cast<double>(value.SpanBytes()); }

Work WorkOf(const Graph& graph, const Node& node, int64_t depth) {
  const Value& output = graph.value(node.output);
  Work work;
  const auto input = [&](size_t i) -> const Value& { return graph.value(node.inputs[i]); };
  const auto output_elements = static_cast<double>(graph::ElementCount(output.shape));
  switch (node.op) {
    case Op::kReshape:
    case Op::kView:
    case Op::kTransfer:
      return work;
    case Op::kGatherRows:
      work.bytes = 2 * Bytes(output);  // a few rows of the table
      return work;
    case Op::kKvWrite:
      work.bytes = 2 * Bytes(input(1));
      return work;
    case Op::kAttention: {
      const Value &q = input(0), &k = input(1), &v = input(2);
      const double used =
          static_cast<double>(std::min(depth, k.shape[2])) / static_cast<double>(k.shape[2]);
      work.bytes = (Bytes(k) + Bytes(v)) * used + Bytes(q) + Bytes(output);
      work.operations = 2.0 * static_cast<double>(k.shape[2]) * used *
                        (static_cast<double>(graph::ElementCount(q.shape)) + output_elements);
      return work;
    }
    case Op::kMatMulExpert: {
      const Value &w = input(0), &x = input(1), &ids = input(2);
      // Of evenly liked experts, those that at least one of the tokens chose.
      const auto experts = static_cast<double>(w.shape[2]);
      const double missed = std::pow(1 - static_cast<double>(ids.shape[0]) / experts,
                                     static_cast<double>(x.shape[2]));
      work.bytes = Bytes(w) * (1 - missed) + Bytes(x) + Bytes(output);
      work.operations = 2.0 * static_cast<double>(w.shape[0]) * output_elements;
      return work;
    }
    default:
      for (size_t i = 0; i < node.inputs.size(); ++i) work.bytes += Bytes(input(i));
      work.bytes += Bytes(output);
      if (node.op == Op::kMatMul) {
        work.operations = 2.0 * static_cast<double>(input(0).shape[0]) * output_elements;
      }
      return work;
  }
}

}  // namespace

uint64_t DeviceProfile::PackedBytes(const Value& weight) const {
  if (device != nullptr) return device->PackedBytes(weight.type, weight.shape);
  return static_cast<uint64_t>(weight.SpanBytes());
}

double NodeSeconds(const Graph& graph, const Node& node, int64_t depth,
                   const DeviceProfile& profile) {
  const Work work = WorkOf(graph, node, depth);
  if (work.bytes == 0) return 0;
  return profile.node_seconds +
         std::max(work.bytes / profile.bandwidth, work.operations / profile.operations);
}

bool IsBoundByMemory(const Graph& graph, const Node& node, int64_t depth,
                     const DeviceProfile& profile) {
  const Work work = WorkOf(graph, node, depth);
  return work.bytes / profile.bandwidth >= work.operations / profile.operations;
}

int64_t RowsOf(const Graph& graph) {
  const ValueId tokens = graph.Find(model::kInputTokens);
  return tokens == graph::kNone ? 1 : graph.value(tokens).shape[0];
}

int64_t DepthInStep(int64_t depth, int64_t rows) {
  return rows == 1 ? depth : std::max(rows, (depth + rows) / 2);
}

std::string GroupKey(const Graph& graph, const Grouping& grouping, int group, int64_t depth) {
  std::string text;
  const auto add = [&](const Value& value, size_t dims) {
    absl::StrAppend(&text, " ", quant::Name(value.type));
    for (size_t i = 0; i < dims; ++i) absl::StrAppend(&text, i == 0 ? ":" : ",", value.shape[i]);
  };
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (grouping.of_node[n] != group) continue;
    const Node& node = graph.nodes()[n];
    absl::StrAppend(&text, graph::OpName(node.op));
    for (ValueId id : node.inputs) {
      const Value& root = graph.value(graph.RootOf(id));
      if (root.storage == Storage::kWeight) add(root, graph::kMaxDims);
      if (root.storage != Storage::kState) continue;
      add(root, 2);  // how many cells there are matters less than how many hold something
      absl::StrAppend(&text, "@", std::min(depth, root.shape[2]));
    }
    if (const auto* attention = std::get_if<graph::AttentionAttrs>(&node.attrs)) {
      absl::StrAppend(&text, "w", attention->window);
    }
    if (graph.value(graph.RootOf(node.output)).storage == Storage::kTemp) {
      text += " ->";
      add(graph.value(node.output), graph::kMaxDims);
    }
    text += ";";
  }
  // Keys are kept, so that they must be the same in every process, and short (FNV-1a).
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return absl::StrCat(PartName(grouping.groups[group].part), " ",
                      absl::Hex(hash, absl::kZeroPad16));
}

double GroupSeconds(const Graph& graph, const Grouping& grouping, int group, int64_t depth,
                    const DeviceProfile& profile) {
  if (!profile.measured.empty()) {
    const auto found = profile.measured.find(GroupKey(graph, grouping, group, depth));
    if (found != profile.measured.end()) return found->second;
  }
  double seconds = 0;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (grouping.of_node[n] != group) continue;
    seconds += NodeSeconds(graph, graph.nodes()[n], depth, profile);
  }
  return seconds;
}

double TransferSeconds(int64_t bytes, const DeviceProfile& from, const DeviceProfile& to) {
  const auto count = static_cast<double>(bytes);
  return from.transfer_seconds + to.transfer_seconds + count / from.transfer_bandwidth +
         count / to.transfer_bandwidth;
}

}  // namespace bantam::schedule
