#include "runtime/schedule/placement.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/model/architecture.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Storage;
using graph::Value;
using graph::ValueId;

// The groups that each root is used by, in the order of the groups.
std::vector<std::vector<int>> UsersOfRoots(const Graph& graph, const Grouping& grouping) {
  std::vector<std::vector<int>> users(graph.values().size());
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    for (ValueId id : graph.nodes()[n].inputs)
      users[graph.RootOf(id)].push_back(grouping.of_node[n]);
  }
  for (std::vector<int>& groups : users) {
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  }
  return users;
}

uint64_t InputBytes(const Graph& graph, uint64_t alignment) {
  uint64_t bytes = 0;
  for (const Value& value : graph.values()) {
    if (value.storage != Storage::kInput) continue;
    bytes = AlignUp(bytes + static_cast<uint64_t>(value.SpanBytes()), alignment);
  }
  return bytes;
}

class Placer {
 public:
  Placer(const PlacementRequest& request, std::span<const DeviceProfile> devices)
      : request_(request), devices_(devices) {}

  absl::Status Init() {
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

  absl::StatusOr<Placement> Place() {
    BANTAM_RETURN_IF_ERROR(CheckPossible());
    BANTAM_ASSIGN_OR_RETURN(Placement best, PlaceFor({}));
    if (!request_.may_stream || request_.steps.size() < 2) return best;
    for (int card = 0; card + 1 < static_cast<int>(devices_.size()); ++card) {
      for (const bool with_experts : {false, true}) {
        const StreamWish wish{card, with_experts};
        if (Candidates(best.device, wish).empty()) continue;
        const auto other = PlaceFor(wish);
        if (other.ok() && other->streaming.rows > 0 && Cost(*other) < Cost(best)) best = *other;
      }
    }
    return best;
  }

  absl::StatusOr<Placement> Evaluate(std::vector<int> device_of_group, const Streaming& streaming) {
    Placement result;
    result.groups = groupings_[0].groups;
    result.device = std::move(device_of_group);
    result.memory.resize(devices_.size());
    result.streaming = streaming;
    std::vector<uint64_t> second(devices_.size());  // compute bytes of the largest step
    const bool is_doubled = IsDoubled(result);
    for (size_t s = 0; s < request_.steps.size(); ++s) {
      BANTAM_ASSIGN_OR_RETURN(const Partition partition, PartitionOf(s, result));
      for (size_t d = 0; d < devices_.size(); ++d) {
        second[d] = static_cast<uint64_t>(partition.plans[d].size);
        result.memory[d].compute = std::max(result.memory[d].compute, second[d]);
      }
      const bool is_streamed = streaming.In(RowsOf(request_.steps[s]));
      if (is_streamed) {
        uint64_t& room = result.memory[streaming.device].streamed;
        room = std::max(room, 2 * UnitBytes(partition, devices_[streaming.device]));
      }
      if (s != 0 && s + 1 != request_.steps.size()) continue;
      const Times times = TimesOf(s, partition, result);
      if (s == 0) result.decode_seconds = times.sum;
      result.prompt_seconds = is_streamed  ? times.streamed
                              : is_doubled ? std::max(times.busiest, times.sum / 2)
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
      if (is_doubled) memory.compute += second[d];
    }
    return result;
  }

 private:
  // To which card weights may be brought; -1: to none.
  struct StreamWish {
    int card = -1;
    bool with_experts = false;
  };

  std::vector<std::vector<double>> SecondsOfGroups(size_t s) const {
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

  // Whether each group may be on each device, and can be in every step.
  void FindPossible() {
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

  absl::StatusOr<Placement> PlaceFor(const StreamWish& wish) {
    Problem problem = Build(wish);
    const std::vector<uint64_t> base = std::move(problem.capacity);
    std::vector<uint64_t> compute(devices_.size(), 0);
    for (;;) {
      problem.capacity = base;
      for (size_t d = 0; d < devices_.size(); ++d) {
        if (base[d] == kUnlimited) continue;
        problem.capacity[d] -= std::min(base[d], compute[d]);
        if (problem.capacity[d] > 0) continue;
        for (Problem::Item& item : problem.items) item.seconds[d] = kImpossible;
      }
      const std::optional<Solution> solution = Solve(problem);
      if (!solution.has_value()) return DoesNotFit(problem);
      BANTAM_ASSIGN_OR_RETURN(const Streaming streaming, ChooseStreaming(solution->device, wish));
      BANTAM_ASSIGN_OR_RETURN(Placement placement, Evaluate(solution->device, streaming));
      bool fits = true;
      for (size_t d = 0; d < devices_.size(); ++d) {
        const DeviceMemory& memory = placement.memory[d];
        if (memory.total() <= devices_[d].capacity) continue;
        if (base[d] <= compute[d]) return DoesNotFit(problem);
        // What is to grow must: inputs and all else were counted before.
        compute[d] = std::max(compute[d] + 1, memory.compute + memory.streamed);
        fits = false;
      }
      if (fits) return placement;
    }
  }

  // Groups with weights on the last device that the card may compute. Of a table rows are gathered
  // and of the head one row is computed: neither is worth it.
  std::vector<StreamCandidate> Candidates(const std::vector<int>& device_of_group,
                                          const StreamWish& wish) const {
    std::vector<StreamCandidate> candidates;
    const int host = static_cast<int>(devices_.size()) - 1;
    if (wish.card < 0) return candidates;
    const DeviceProfile& card = devices_[wish.card];
    for (size_t g = 0; g < device_of_group.size(); ++g) {
      const Part part = groupings_[0].groups[g].part;
      const bool is_worth_it = part == Part::kAttention || part == Part::kFeedForward ||
                               (part == Part::kExperts && wish.with_experts);
      if (device_of_group[g] != host || !is_worth_it || !possible_[g][wish.card]) continue;
      StreamCandidate candidate;
      candidate.group = static_cast<int>(g);
      candidate.link =
          card.transfer_seconds + static_cast<double>(weight_bytes_[g]) / card.transfer_bandwidth;
      candidate.saved = seconds_.back()[g][host] - seconds_.back()[g][wish.card];
      candidates.push_back(candidate);
    }
    return candidates;
  }

  absl::StatusOr<Streaming> ChooseStreaming(const std::vector<int>& device_of_group,
                                            const StreamWish& wish) {
    Streaming streaming;
    const std::vector<StreamCandidate> candidates = Candidates(device_of_group, wish);
    double sum = 0;
    for (size_t g = 0; g < device_of_group.size(); ++g) {
      sum += seconds_.back()[g][device_of_group[g]];
    }
    const std::vector<int> chosen = WorthStreaming(candidates, sum);
    if (chosen.empty()) return streaming;
    streaming.device = wish.card;
    streaming.is_streamed.assign(device_of_group.size(), false);
    for (const int g : chosen) streaming.is_streamed[g] = true;
    Placement streamed;
    streamed.device = device_of_group;
    Placement plain = streamed;
    streamed.streaming = streaming;
    for (size_t s = request_.steps.size(); s-- > 1;) {
      const int64_t rows = RowsOf(request_.steps[s]);
      streamed.streaming.rows = rows;
      BANTAM_ASSIGN_OR_RETURN(const Partition with, PartitionOf(s, streamed));
      BANTAM_ASSIGN_OR_RETURN(const Partition without, PartitionOf(s, plain));
      if (TimesOf(s, with, streamed).streamed >= TimesOf(s, without, plain).sum) break;
      streaming.rows = rows;
    }
    return streaming;
  }

  // What the choice between streaming and not goes by.
  double Cost(const Placement& placement) const {
    const double prompt = placement.prompt_seconds / static_cast<double>(placement.prompt_rows);
    return request_.prefer == Prefer::kPrompt ? prompt : prompt + placement.decode_seconds / 2;
  }

  absl::StatusOr<Partition> PartitionOf(size_t s, const Placement& placement) const {
    const NodePlaces places =
        PlaceNodes(request_.steps[s], groupings_[s], placement.device, placement.streaming);
    return Split(request_.steps[s], places.device, alignments_, places.unit);
  }

  static std::vector<int> DevicesOf(const Grouping& grouping, const std::vector<int>& of_group) {
    std::vector<int> of_node;
    for (int group : grouping.of_node) of_node.push_back(of_group[group]);
    return of_node;
  }

  uint64_t StateBytes(const Value& value, size_t d) const {
    return AlignUp(static_cast<uint64_t>(value.SpanBytes()), devices_[d].alignment);
  }
  uint64_t WeightBytes(const Value& value, size_t d) const {
    return AlignUp(devices_[d].PackedBytes(value), devices_[d].alignment);
  }
  uint64_t InputsOn(size_t d) const {
    if (request_.input_bytes > 0) return request_.input_bytes;
    return InputBytes(request_.steps.back(), devices_[d].alignment);
  }

  bool IsDoubled(const Placement& placement) const {
    return request_.two_in_flight && !placement.streaming.In(RowsOf(request_.steps.back())) &&
           std::any_of(placement.device.begin(), placement.device.end(),
                       [&](int d) { return d != placement.device[0]; });
  }

  // Of one step: all that it does, and what the busiest device does of that. While two steps are
  // under way each device works on one of them, but for those that are the same processor.
  struct Times {
    double sum = 0;
    double busiest = 0;
    double streamed = 0;  // with weights copied beside
  };
  Times TimesOf(size_t s, const Partition& partition, const Placement& placement) const {
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
    times.busiest = std::max(processor, *std::max_element(busy.begin(), busy.end()));
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

  // Times of one step, bytes of all. The capacities lack what every used device holds: inputs, and
  // small weights that all layers share.
  Problem Build(const StreamWish& wish) const {
    const bool is_prompt = request_.prefer == Prefer::kPrompt;
    const size_t step = is_prompt ? request_.steps.size() - 1 : 0;
    const Graph& graph = request_.steps[step];
    const Grouping& grouping = groupings_[step];
    const size_t count = devices_.size();
    Problem problem;
    problem.items.resize(grouping.groups.size());
    for (size_t g = 0; g < problem.items.size(); ++g) {
      problem.items[g].bytes.assign(count, 0);
      problem.items[g].seconds = seconds_[step][g];
      for (size_t d = 0; d < count; ++d) {
        if (!possible_[g][d]) problem.items[g].seconds[d] = kImpossible;
      }
    }
    const bool is_doubled = request_.two_in_flight && count > 1 && wish.card < 0;
    std::vector<uint64_t> common(count);
    for (size_t d = 0; d < count; ++d) common[d] = InputsOn(d) * (is_doubled ? 2 : 1);
    const std::vector<std::vector<int>> users = UsersOfRoots(graph, grouping);
    for (size_t v = 0; v < users.size(); ++v) {
      const Value& value = graph.value(static_cast<ValueId>(v));
      if (users[v].empty() || value.storage == Storage::kInput) continue;
      if (value.storage == Storage::kTemp) continue;
      std::vector<uint64_t> bytes(count);
      for (size_t d = 0; d < count; ++d) {
        bytes[d] = value.storage == Storage::kState ? StateBytes(value, d) : WeightBytes(value, d);
      }
      if (users[v].size() == 1) {
        std::vector<uint64_t>& own = problem.items[users[v][0]].bytes;
        for (size_t d = 0; d < count; ++d) own[d] += bytes[d];
      } else if (users[v].size() == 2) {
        problem.shared.push_back({users[v], bytes});
      } else {
        for (size_t d = 0; d < count; ++d) common[d] += bytes[d];
      }
    }
    for (size_t d = 0; d < count; ++d) {
      uint64_t capacity = devices_[d].capacity;
      if (capacity != kUnlimited) capacity -= std::min(capacity, common[d]);
      problem.capacity.push_back(capacity);
    }
    AddCrossings(graph, grouping, problem);
    if (request_.prefer == Prefer::kMemory) ChargeForCopies(problem);
    return problem;
  }

  void AddCrossings(const Graph& graph, const Grouping& grouping, Problem& problem) const {
    std::map<ValueId, std::set<int>> readers;
    for (size_t n = 0; n < graph.nodes().size(); ++n) {
      for (ValueId id : graph.nodes()[n].inputs) {
        const ValueId root = graph.RootOf(id);
        if (graph.value(root).storage != Storage::kTemp) continue;
        if (grouping.of_node[graph.value(root).producer] != grouping.of_node[n]) {
          readers[id].insert(grouping.of_node[n]);
        }
      }
    }
    // Values that go the same way are one crossing.
    std::map<std::pair<int, std::vector<int>>, std::vector<std::vector<double>>> seconds;
    for (const auto& [id, groups] : readers) {
      const int from = grouping.of_node[graph.value(graph.RootOf(id)).producer];
      auto& sum = seconds[{from, {groups.begin(), groups.end()}}];
      sum.resize(devices_.size(), std::vector<double>(devices_.size(), 0));
      const int64_t bytes = quant::RowBytes(graph.value(id).type, graph.value(id).shape[0]) *
                            graph::RowCount(graph.value(id).shape);
      for (size_t a = 0; a < devices_.size(); ++a) {
        for (size_t b = 0; b < devices_.size(); ++b) {
          sum[a][b] += TransferSeconds(bytes, devices_[a], devices_[b]);
        }
      }
    }
    for (auto& [way, sum] : seconds) problem.crossings.push_back({way.first, way.second, sum});
  }

  // A second for every byte loaded twice outweighs any step.
  void ChargeForCopies(Problem& problem) const {
    const size_t count = devices_.size();
    for (const Problem::Shared& shared : problem.shared) {
      std::vector<std::vector<double>> seconds(count, std::vector<double>(count));
      for (size_t a = 0; a < count; ++a) {
        for (size_t b = 0; b < count; ++b) seconds[a][b] = static_cast<double>(shared.bytes[b]);
      }
      problem.crossings.push_back({shared.items[0], {shared.items[1]}, seconds});
    }
  }

  absl::Status CheckPossible() const {
    for (size_t g = 0; g < possible_.size(); ++g) {
      if (std::find(possible_[g].begin(), possible_[g].end(), true) == possible_[g].end()) {
        return absl::FailedPreconditionError(absl::StrCat(
            "no device that may hold ", GroupName(groupings_[0].groups[g]), " can run it"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status DoesNotFit(const Problem& problem) const {
    uint64_t needed = 0;
    std::string names;
    for (const Problem::Item& item : problem.items) needed += item.bytes.back();
    for (const Problem::Shared& shared : problem.shared) needed += shared.bytes.back();
    for (size_t d = 0; d < devices_.size(); ++d) {
      absl::StrAppend(
          &names, names.empty() ? "" : ", ", devices_[d].name, " ",
          devices_[d].capacity == kUnlimited ? "no limit" : FormatByteSize(devices_[d].capacity));
    }
    return absl::ResourceExhaustedError(absl::StrCat(
        "weights and KV cache of ", FormatByteSize(needed), " do not fit where they may go (",
        names, "); ask for a smaller context, allow more memory or place less by hand"));
  }

  const PlacementRequest& request_;
  const std::span<const DeviceProfile> devices_;
  std::vector<uint64_t> alignments_;                       // by device
  std::vector<Grouping> groupings_;                        // by step
  std::vector<std::vector<std::vector<double>>> seconds_;  // by step, group and device
  std::vector<std::vector<bool>> possible_;                // by group and device
  std::vector<uint64_t> weight_bytes_;                     // by group
};

}  // namespace

int Placement::DeviceOf(const Group& group) const {
  const auto found = std::find(groups.begin(), groups.end(), group);
  return found == groups.end() ? -1 : device[found - groups.begin()];
}

WeightLayout LayOutWeights(const Graph& graph, const std::vector<int>& device_of_node, int device,
                           const DeviceProfile& profile) {
  WeightLayout layout;
  std::vector<bool> placed(graph.values().size(), false);
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (device_of_node[n] != device) continue;
    for (ValueId id : graph.nodes()[n].inputs) {
      const ValueId root = graph.RootOf(id);
      if (graph.value(root).storage != Storage::kWeight || placed[root]) continue;
      placed[root] = true;
      layout.places.push_back({root, layout.size});
      layout.size =
          AlignUp(layout.size + profile.PackedBytes(graph.value(root)), profile.alignment);
    }
  }
  return layout;
}

namespace {

// By group of `grouping` what a placement says of it.
struct Found {
  std::vector<int> device;
  Streaming streaming;
};
absl::StatusOr<Found> Find(const Grouping& grouping, const Placement& placement) {
  Found found;
  found.streaming = placement.streaming;
  found.streaming.is_streamed.clear();
  for (const Group& group : grouping.groups) {
    const auto at = std::find(placement.groups.begin(), placement.groups.end(), group);
    if (at == placement.groups.end()) {
      return absl::InternalError(absl::StrCat("no place was chosen for ", GroupName(group)));
    }
    const auto g = static_cast<size_t>(at - placement.groups.begin());
    found.device.push_back(placement.device[g]);
    found.streaming.is_streamed.push_back(placement.streaming.rows > 0 &&
                                          placement.streaming.is_streamed[g]);
  }
  return found;
}

}  // namespace

absl::StatusOr<std::vector<int>> DevicesOfNodes(const Graph& graph, const Placement& placement) {
  BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(graph));
  BANTAM_ASSIGN_OR_RETURN(const Found found, Find(grouping, placement));
  return PlaceNodes(graph, grouping, found.device, {}).device;
}

absl::StatusOr<NodePlaces> PlacesInStep(const Graph& graph, const Placement& placement) {
  BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(graph));
  BANTAM_ASSIGN_OR_RETURN(const Found found, Find(grouping, placement));
  return PlaceNodes(graph, grouping, found.device, found.streaming);
}

absl::StatusOr<Placement> Place(const PlacementRequest& request,
                                std::span<const DeviceProfile> devices) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Place();
}

absl::StatusOr<Placement> Evaluate(const PlacementRequest& request,
                                   std::span<const DeviceProfile> devices,
                                   std::vector<int> device_of_group, const Streaming& streaming) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Evaluate(std::move(device_of_group), streaming);
}

}  // namespace bantam::schedule
