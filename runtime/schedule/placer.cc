#include "runtime/schedule/placer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "runtime/base/align.h"
#include "runtime/base/status.h"

namespace bantam::schedule {

using graph::Graph;
using graph::Node;
using graph::Storage;
using graph::Value;
using graph::ValueId;

namespace {

uint64_t InputBytes(const Graph& graph, uint64_t alignment) {
  uint64_t bytes = 0;
  for (const Value& value : graph.values()) {
    if (value.storage != Storage::kInput) continue;
    bytes = AlignUp(bytes + static_cast<uint64_t>(value.SpanBytes()), alignment);
  }
  return bytes;
}

std::vector<int> DevicesOf(const Grouping& grouping, const std::vector<int>& of_group) {
  std::vector<int> of_node;
  for (int group : grouping.of_node) of_node.push_back(of_group[group]);
  return of_node;
}

}  // namespace

absl::Status Placer::Init() {
  if (request_.steps.empty()) return absl::InternalError("a placement needs a graph");
  for (const Graph& step : request_.steps) {
    BANTAM_ASSIGN_OR_RETURN(Grouping grouping, FindGroups(step));
    if (!groupings_.empty() && grouping.groups != groupings_[0].groups) {
      return absl::InternalError("steps of one model differ in their tensor groups");
    }
    groupings_.push_back(std::move(grouping));
  }
  for (const DeviceProfile& device : devices_) alignments_.push_back(device.alignment);
  const size_t last = request_.steps.size() - 1;
  seconds_.resize(request_.steps.size());
  if (whole_ != nullptr) {
    for (size_t s = 0; s <= last; ++s) seconds_[s] = SecondsOfSplitGroups(s);
  } else {
    FindSeconds();
  }
  FindPossible();
  const Graph& graph = request_.steps.back();
  weight_bytes_.resize(groupings_[0].groups.size());
  const std::vector<std::vector<int>> users = UsersOfRoots(graph, groupings_.back());
  for (size_t v = 0; v < users.size(); ++v) {
    const Value& value = graph.value(static_cast<ValueId>(v));
    if (value.storage != Storage::kWeight) continue;
    for (const int g : users[v]) weight_bytes_[g] += static_cast<uint64_t>(value.SpanBytes());
  }
  return absl::OkStatus();
}

void Placer::FindSeconds() {
  const size_t last = request_.steps.size() - 1;
  seconds_[0] = SecondsOfGroups(0);
  if (last > 0) seconds_[last] = SecondsOfGroups(last);
  // Those in between lie in between: only the two may have been measured.
  const auto most = static_cast<double>(RowsOf(request_.steps[last]) - 1);
  for (size_t s = 1; s < last; ++s) {
    const double share = static_cast<double>(RowsOf(request_.steps[s]) - 1) / most;
    seconds_[s] = seconds_[0];
    for (size_t g = 0; g < seconds_[s].size(); ++g) {
      for (size_t d = 0; d < devices_.size(); ++d) {
        seconds_[s][g][d] += share * (seconds_[last][g][d] - seconds_[0][g][d]);
      }
    }
  }
}

std::vector<std::vector<double>> Placer::SecondsOfGroups(size_t s) const {
  const Graph& step = request_.steps[s];
  const int64_t depth = DepthInStep(request_.depth, RowsOf(step));
  std::vector<std::vector<double>> seconds(groupings_[s].groups.size());
  for (size_t g = 0; g < seconds.size(); ++g) {
    for (const DeviceProfile& device : devices_) {
      seconds[g].push_back(GroupSeconds(step, groupings_[s], static_cast<int>(g), depth, device));
    }
  }
  return seconds;
}

// As of the whole, but for the two sides of layers that are split.
std::vector<std::vector<double>> Placer::SecondsOfSplitGroups(size_t s) const {
  std::vector<std::vector<double>> seconds;
  for (const Group& group : groupings_[s].groups) {
    const bool is_hot = group.part == Part::kHotExperts;
    const int g = whole_->groupings_[s].Find(is_hot ? Group{Part::kExperts, group.layer} : group);
    const auto split = std::find_if(hot_.begin(), hot_.end(), [&](const HotExperts& hot) {
      return hot.layer == group.layer && (is_hot || group.part == Part::kExperts);
    });
    std::vector<double>& of_group = seconds.emplace_back(whole_->seconds_[s][g]);
    for (size_t d = 0; d < devices_.size() && split != hot_.end(); ++d) {
      of_group[d] = whole_->SideSeconds(s, g, split->experts, is_hot, static_cast<int>(d));
    }
  }
  return seconds;
}

double Placer::SideSeconds(size_t s, int group, std::span<const int32_t> hot, bool is_hot,
                           int device) const {
  const Graph& step = request_.steps[s];
  const int64_t depth = DepthInStep(request_.depth, RowsOf(step));
  const Node* product = nullptr;
  double fixed = 0;  // what nodes take however little they do
  for (size_t n = 0; n < step.nodes().size(); ++n) {
    if (groupings_[s].of_node[n] != group) continue;
    const Node& node = step.nodes()[n];
    if (product == nullptr && node.op == graph::Op::kMatMulExpert) product = &node;
    if (NodeSeconds(step, node, depth, devices_[device]) > 0)
      fixed += devices_[device].node_seconds;
  }
  const double whole = seconds_[s][group][device];
  if (product == nullptr) return whole;
  fixed = std::min(fixed, whole);
  // In a step of few tokens what counts is which experts are read at all, and of many how often
  // each is used.
  const bool by_bytes = IsBoundByMemory(step, *product, depth, devices_[device]);
  const graph::Shape chosen = step.value(product->inputs[2]).shape;
  const std::vector<double>& counts =
      request_.expert_use->counts[groupings_[s].groups[group].layer];
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  const auto weight = [&](size_t e) {
    const double use = std::min(1.0, static_cast<double>(chosen[0]) * counts[e] / sum);
    return by_bytes ? 1 - std::pow(1 - use, static_cast<double>(chosen[1])) : use;
  };
  double all = 0, some = 0;
  for (size_t e = 0; e < counts.size(); ++e) all += weight(e);
  for (const int32_t e : hot) some += weight(static_cast<size_t>(e));
  const double share = is_hot ? some / all : 1 - some / all;
  return fixed + share * (whole - fixed);
}

void Placer::FindPossible() {
  possible_.assign(groupings_[0].groups.size(), std::vector<bool>(devices_.size(), true));
  for (size_t g = 0; g < possible_.size() && !request_.allowed.empty(); ++g) {
    possible_[g] = request_.allowed[g];
  }
  for (size_t s = 0; s < request_.steps.size(); ++s) {
    const Graph& step = request_.steps[s];
    for (size_t n = 0; n < step.nodes().size(); ++n) {
      for (size_t d = 0; d < devices_.size(); ++d) {
        const device::Device* device = devices_[d].device;
        if (device != nullptr && !device->Supports(step, step.nodes()[n])) {
          possible_[groupings_[s].of_node[n]][d] = false;
        }
      }
    }
  }
}

absl::StatusOr<Placement> Placer::Evaluate(std::vector<int> device_of_group,
                                           const Streaming& streaming) {
  Placement result;
  result.groups = groupings_[0].groups;
  result.hot = hot_;
  result.device = std::move(device_of_group);
  result.memory.resize(devices_.size());
  result.streaming = streaming;
  std::vector<uint64_t> second(devices_.size());  // compute bytes of the largest step
  std::vector<uint64_t> shared(devices_.size());  // scratch of any step
  std::vector<device::Scratch> last(devices_.size());
  const bool is_doubled = IsDoubled(result);
  for (size_t s = 0; s < request_.steps.size(); ++s) {
    BANTAM_ASSIGN_OR_RETURN(const Partition partition, PartitionOf(s, result));
    for (size_t d = 0; d < devices_.size(); ++d) {
      // What follows it, scratch, begins aligned.
      second[d] = AlignUp(static_cast<uint64_t>(partition.plans[d].size), alignments_[d]);
      result.memory[d].compute = std::max(result.memory[d].compute, second[d]);
      BANTAM_ASSIGN_OR_RETURN(last[d], ScratchOf(s, partition, static_cast<int>(d)));
      shared[d] = std::max(shared[d], last[d].shared);
      result.memory[d].scratch += last[d].own;
    }
    const bool is_streamed = streaming.In(RowsOf(request_.steps[s]));
    if (is_streamed) {
      uint64_t& room = result.memory[streaming.device].streamed;
      room = std::max(room, 2 * UnitBytes(partition, devices_[streaming.device]));
    }
    if (s != 0 && s + 1 != request_.steps.size()) continue;
    const Times times = TimesOf(s, partition, result);
    if (s == 0) result.decode_seconds = times.sum;
    result.prompt_busy = times.busy;
    result.prompt_alone = is_doubled ? times.one_by_one : times.sum;
    result.prompt_seconds = is_streamed  ? times.streamed
                            : is_doubled ? std::max(times.busiest, times.one_by_one / 2)
                                         : times.sum;
  }
  const std::vector<int> of_node = DevicesOf(groupings_.back(), result.device);
  const Graph& graph = request_.steps.back();
  result.prompt_rows = RowsOf(graph);
  for (size_t d = 0; d < devices_.size(); ++d) {
    DeviceMemory& memory = result.memory[d];
    const int device = static_cast<int>(d);
    memory.weights = LayOutWeights(graph, of_node, device, devices_[d]).size;
    std::set<ValueId> states;
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      if (of_node[n] != device) continue;
      for (ValueId id : graph.nodes()[n].inputs) {
        if (graph.value(graph.RootOf(id)).storage == Storage::kState) {
          states.insert(graph.RootOf(id));
        }
      }
    }
    for (ValueId id : states) memory.kv_cache += StateBytes(graph.value(id), d);
    const bool computes = std::find(of_node.begin(), of_node.end(), device) != of_node.end() ||
                          (streaming.rows > 0 && streaming.device == device);
    if (!computes) continue;
    memory.inputs = InputsOn(d) * (is_doubled ? 2 : 1);
    memory.scratch += shared[d];
    if (!is_doubled) continue;
    memory.compute += second[d];
    memory.scratch += last[d].shared + last[d].own;
  }
  return result;
}

// Asked for again and again, of segments that are the same in many placements.
absl::StatusOr<device::Scratch> Placer::ScratchOf(size_t s, const Partition& partition, int index) {
  device::Scratch all;
  device::Device* device = devices_[index].device;
  for (const Segment& segment : partition.segments) {
    if (segment.device != index || device == nullptr) continue;
    const std::vector<Node>& nodes = partition.graph.nodes();
    const auto [known, is_new] = scratch_.try_emplace(
        {s, index, nodes[segment.first_node].output, nodes[segment.end_node - 1].output});
    if (is_new) {
      BANTAM_ASSIGN_OR_RETURN(known->second, SegmentScratch(partition, segment, *device));
    }
    all.shared = std::max(all.shared, known->second.shared);
    all.own += known->second.own;
  }
  return all;
}

absl::StatusOr<Partition> Placer::PartitionOf(size_t s, const Placement& placement) const {
  const NodePlaces places =
      PlaceNodes(request_.steps[s], groupings_[s], placement.device, placement.streaming);
  return Split(request_.steps[s], places.device, alignments_, places.unit);
}

uint64_t Placer::StateBytes(const Value& value, size_t d) const {
  return AlignUp(static_cast<uint64_t>(value.SpanBytes()), devices_[d].alignment);
}
uint64_t Placer::WeightBytes(const Value& value, size_t d) const {
  return AlignUp(devices_[d].PackedBytes(value), devices_[d].alignment);
}
uint64_t Placer::InputsOn(size_t d) const {
  if (request_.input_bytes > 0) return request_.input_bytes;
  return InputBytes(request_.steps.back(), devices_[d].alignment);
}

bool Placer::RunBeside(int card, int other) const {
  return card != other && card != host() &&
         !(devices_[card].is_processor && devices_[other].is_processor);
}

bool Placer::IsDoubled(const Placement& placement) const {
  return request_.two_in_flight && !placement.streaming.In(RowsOf(request_.steps.back())) &&
         std::any_of(placement.device.begin(), placement.device.end(),
                     [&](int d) { return d != placement.device[0]; });
}

Placer::Times Placer::TimesOf(size_t s, const Partition& partition,
                              const Placement& placement) const {
  Times times;
  const Graph& step = request_.steps[s];
  const std::vector<std::vector<double>>& of_group = seconds_[s];
  std::vector<double> busy(devices_.size(), 0);
  double processor = 0;
  std::vector<int> device = placement.device;
  for (size_t g = 0; g < of_group.size(); ++g) {
    const bool is_brought =
        placement.streaming.In(RowsOf(step)) && placement.streaming.is_streamed[g];
    if (is_brought) device[g] = placement.streaming.device;
    const int d = device[g];
    (devices_[d].is_processor ? processor : busy[d]) += of_group[g][d];
    times.sum += of_group[g][d];
  }
  for (size_t d = 0; d < busy.size(); ++d) {
    times.busy.push_back(devices_[d].is_processor ? processor : busy[d]);
  }
  times.busiest = *std::max_element(times.busy.begin(), times.busy.end());
  double beside = 0;
  for (const HotExperts& hot : placement.hot) {
    const int h = groupings_[s].Find({Part::kHotExperts, hot.layer});
    const int c = groupings_[s].Find({Part::kExperts, hot.layer});
    if (h >= 0 && c >= 0 && RunBeside(device[h], device[c])) {
      beside += std::min(of_group[h][device[h]], of_group[c][device[c]]);
    }
  }
  std::vector<double> of_node(partition.graph.nodes().size(), 0);
  for (size_t n = 0; n < of_node.size(); ++n) {
    const Node& node = partition.graph.nodes()[n];
    if (node.op != graph::Op::kTransfer) continue;
    const ValueId root = partition.graph.RootOf(node.inputs[0]);
    const int from = partition.device_of_node[partition.graph.value(root).producer];
    of_node[n] = TransferSeconds(partition.graph.value(node.output).SpanBytes(), devices_[from],
                                 devices_[partition.device_of_node[n]]);
    times.sum += of_node[n];
  }
  times.one_by_one = times.sum;
  times.sum -= beside;
  if (!placement.streaming.In(RowsOf(step))) return times;
  // A group's time, spread over its nodes as speeds have it.
  const int64_t depth = DepthInStep(request_.depth, RowsOf(step));
  std::vector<double> shares(of_group.size(), 0);
  const auto share = [&](size_t n) {
    return NodeSeconds(step, step.nodes()[n], depth, devices_[device[groupings_[s].of_node[n]]]);
  };
  for (size_t n = 0; n < step.nodes().size(); ++n) shares[groupings_[s].of_node[n]] += share(n);
  for (size_t n = 0; n < of_node.size(); ++n) {
    const Node& node = partition.graph.nodes()[n];
    if (node.op == graph::Op::kTransfer) continue;
    if (node.output >= static_cast<ValueId>(step.values().size())) continue;  // packs
    const auto source = static_cast<size_t>(step.value(node.output).producer);
    const int g = groupings_[s].of_node[source];
    if (shares[g] > 0) of_node[n] = of_group[g][device[g]] * share(source) / shares[g];
  }
  times.streamed = StreamedSeconds(partition, of_node, devices_);
  return times;
}

}  // namespace bantam::schedule
