#include "runtime/schedule/cost.h"

#include <algorithm>
#include <cmath>

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Node;
using graph::Op;
using graph::Value;

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

double TransferSeconds(int64_t bytes, const DeviceProfile& from, const DeviceProfile& to) {
  const auto count = static_cast<double>(bytes);
  return from.transfer_seconds + to.transfer_seconds + count / from.transfer_bandwidth +
         count / to.transfer_bandwidth;
}

}  // namespace bantam::schedule
