#include "runtime/schedule/partition.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/text.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::kNone;
using graph::Node;
using graph::NodeId;
using graph::Op;
using graph::Storage;
using graph::ValueId;

class Splitter {
 public:
  Splitter(const Graph& graph, std::vector<int> devices, std::vector<int> units, int devices_count)
      : source_(graph),
        devices_count_(devices_count),
        devices_(std::move(devices)),
        units_(std::move(units)),
        packed_(graph.values().size(), kNone) {
    units_.resize(devices_.size(), -1);
    // A view stays with what it shows.
    for (size_t n = 0; n < devices_.size(); ++n) {
      const Node& node = graph.nodes()[n];
      if (node.op != Op::kView && node.op != Op::kReshape) continue;
      const NodeId maker = graph.value(graph.RootOf(node.inputs[0])).producer;
      if (maker == kNone || devices_[n] == devices_[maker]) continue;
      devices_[n] = devices_[maker];
      units_[n] = -1;
    }
  }

  absl::StatusOr<Partition> Run() {
    BANTAM_RETURN_IF_ERROR(CheckStates());
    out_.graph = source_;
    out_.graph.nodes().clear();
    FindPacked();
    const auto count = static_cast<NodeId>(source_.nodes().size());
    for (NodeId first = 0; first < count;) {
      const NodeId end = EndOfRun(first);
      const NodeId apart = FirstApart(first, end);
      if (apart > first) AddSegment(first, apart, apart);
      if (apart < end) AddSegment(apart, end, EndOfRun(end));
      first = end;
    }
    BANTAM_RETURN_IF_ERROR(graph::Infer(out_.graph));
    return std::move(out_);
  }

 private:
  NodeId EndOfRun(NodeId first) const {
    NodeId end = first;
    while (end < std::ssize(devices_) && devices_[end] == devices_[first] &&
           units_[end] == units_[first]) {
      ++end;
    }
    return end;
  }

  // Of the run [first, end) the first node after all that the next run waits for, if there are
  // products from there on; else `end`. Programs of the host, the last device, have run when they
  // were submitted: nothing runs beside them that is submitted later.
  NodeId FirstApart(NodeId first, NodeId end) const {
    const bool is_host = devices_[first] + 1 == devices_count_;
    const NodeId next_end = end < std::ssize(devices_) ? EndOfRun(end) : end;
    if (is_host || end == next_end || devices_[end] == devices_[first]) return end;
    if (units_[first] >= 0 || units_[end] >= 0) return end;
    NodeId apart = first;
    for (NodeId n = end; n < next_end; ++n) {
      for (ValueId id : source_.nodes()[n].inputs) {
        for (const ValueId needed : {id, source_.RootOf(id)}) {
          const NodeId maker = source_.value(needed).producer;
          if (maker != kNone && maker < end) apart = std::max(apart, maker + 1);
        }
      }
    }
    for (NodeId n = apart; n < end; ++n) {
      const Op op = source_.nodes()[n].op;
      if (op == Op::kMatMul || op == Op::kMatMulExpert) return apart;
    }
    return end;
  }

  // With what comes to the nodes up to `end_transfers`.
  void AddSegment(NodeId first, NodeId end, NodeId end_transfers) {
    Segment segment;
    segment.unit = units_[first];
    segment.device = devices_[first];
    segment.first_transfer = NodeCount();
    for (NodeId n = first; n < std::max(end, end_transfers); ++n) AddTransfers(n);
    segment.first_node = NodeCount();
    for (NodeId n = first; n < end; ++n) AddNode(n);
    segment.end_node = NodeCount();
    out_.segments.push_back(segment);
  }

  NodeId NodeCount() const { return static_cast<NodeId>(out_.graph.nodes().size()); }

  // Whether node `n` reads `id` from another device.
  bool Crosses(ValueId id, NodeId n) const {
    const ValueId root = source_.RootOf(id);
    return source_.value(root).storage == Storage::kTemp &&
           devices_[source_.value(root).producer] != devices_[n];
  }

  absl::Status CheckStates() const {
    std::vector<int> device(source_.values().size(), -1);
    for (size_t n = 0; n < source_.nodes().size(); ++n) {
      for (ValueId id : source_.nodes()[n].inputs) {
        const ValueId root = source_.RootOf(id);
        if (source_.value(root).storage != Storage::kState) continue;
        if (device[root] < 0) device[root] = devices_[n];
        if (device[root] != devices_[n]) {
          return absl::InvalidArgumentError(
              absl::StrCat("state ", graph::QuotedName(source_.value(root).name),
                           " is used on the devices ", device[root], " and ", devices_[n]));
        }
      }
    }
    return absl::OkStatus();
  }

  void Append(Node node, int device) {
    out_.graph.nodes().push_back(std::move(node));
    out_.device_of_node.push_back(device);
  }

  ValueId NewValue(ValueId like) {
    const ValueId id = out_.graph.Add(Op::kReshape, {}, source_.value(like).name);
    out_.graph.nodes().pop_back();  // only a node brings a value into being
    return id;
  }

  // Views with gaps that cross are packed right after they are made, so that this adds no segment.
  void FindPacked() {
    for (size_t n = 0; n < source_.nodes().size(); ++n) {
      for (ValueId id : source_.nodes()[n].inputs) {
        if (packed_[id] == kNone && Crosses(id, static_cast<NodeId>(n)) &&
            !source_.value(id).IsContiguous()) {
          packed_[id] = NewValue(id);
        }
      }
    }
  }

  void AddTransfers(NodeId n) {
    for (ValueId id : source_.nodes()[n].inputs) {
      if (!Crosses(id, n)) continue;
      const auto [entry, added] = moved_.try_emplace({id, devices_[n]}, kNone);
      if (!added) continue;
      entry->second = NewValue(id);
      const ValueId from = packed_[id] == kNone ? id : packed_[id];
      Append({Op::kTransfer, {from}, entry->second, graph::TransferAttrs{devices_[n]}},
             devices_[n]);
    }
  }

  void AddNode(NodeId n) {
    Node node = source_.nodes()[n];
    for (ValueId& id : node.inputs) {
      if (Crosses(id, n)) id = moved_.at({id, devices_[n]});
    }
    const ValueId output = node.output;
    Append(std::move(node), devices_[n]);
    if (packed_[output] != kNone) {
      Append({Op::kDequantize, {output}, packed_[output], {}}, devices_[n]);
    }
  }

  const Graph& source_;
  const int devices_count_;
  std::vector<int> devices_, units_;
  Partition out_;
  std::vector<ValueId> packed_;                       // by value: its packed copy
  std::map<std::pair<ValueId, int>, ValueId> moved_;  // by value and device: its copy there
};

}  // namespace

absl::StatusOr<Partition> Split(const Graph& graph, const std::vector<int>& device_of_node,
                                std::span<const uint64_t> alignments,
                                const std::vector<int>& unit_of_node) {
  if (device_of_node.size() != graph.nodes().size()) {
    return absl::InternalError("a partition needs one device for each node");
  }
  BANTAM_ASSIGN_OR_RETURN(
      Partition result,
      Splitter(graph, device_of_node, unit_of_node, static_cast<int>(alignments.size())).Run());
  for (size_t d = 0; d < alignments.size(); ++d) {
    result.plans.push_back(graph::PlanMemory(
        result.graph, static_cast<int64_t>(alignments[d]),
        [&](NodeId n) { return result.device_of_node[n] == static_cast<int>(d); }));
  }
  return result;
}

absl::StatusOr<device::Scratch> SegmentScratch(const Partition& partition, const Segment& segment,
                                               device::Device& device) {
  return device.PredictScratch({.graph = partition.graph,
                                .plan = partition.plans[segment.device],
                                .first_node = segment.first_node,
                                .end_node = segment.end_node});
}

}  // namespace bantam::schedule
