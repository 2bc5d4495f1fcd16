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

int64_t RowsOf(const Graph& graph) {
  const ValueId tokens = graph.Find(model::kInputTokens);
  return tokens == graph::kNone ? 1 : graph.value(tokens).shape[0];
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
    for (const bool is_prompt : {false, true}) {
      const size_t s = is_prompt ? request_.steps.size() - 1 : 0;
      const int64_t depth = DepthInStep(request_.depth, RowsOf(request_.steps[s]));
      std::vector<std::vector<double>>& seconds = is_prompt ? prompt_seconds_ : decode_seconds_;
      for (int g = 0; g < static_cast<int>(groupings_[s].groups.size()); ++g) {
        std::vector<double>& by_device = seconds.emplace_back();
        for (const DeviceProfile& device : devices_) {
          by_device.push_back(GroupSeconds(request_.steps[s], groupings_[s], g, depth, device));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Placement> Place() {
    Problem problem = Build();
    BANTAM_RETURN_IF_ERROR(CheckPossible(problem));
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
      BANTAM_ASSIGN_OR_RETURN(Placement placement, Evaluate(solution->device));
      bool fits = true;
      for (size_t d = 0; d < devices_.size(); ++d) {
        if (placement.memory[d].total() <= devices_[d].capacity) continue;
        // What is to grow must: inputs and all else were counted before.
        compute[d] = std::max(compute[d] + 1, placement.memory[d].compute);
        fits = false;
      }
      if (fits) return placement;
    }
  }

  absl::StatusOr<Placement> Evaluate(std::vector<int> device_of_group) {
    Placement result;
    result.groups = groupings_[0].groups;
    result.device = std::move(device_of_group);
    result.memory.resize(devices_.size());
    std::vector<uint64_t> alignments;
    for (const DeviceProfile& device : devices_) alignments.push_back(device.alignment);
    std::vector<uint64_t> second(devices_.size());  // compute bytes of the largest step
    for (size_t s = 0; s < request_.steps.size(); ++s) {
      const Graph& graph = request_.steps[s];
      const std::vector<int> of_node = DevicesOf(groupings_[s], result.device);
      BANTAM_ASSIGN_OR_RETURN(const Partition partition, Split(graph, of_node, alignments));
      for (size_t d = 0; d < devices_.size(); ++d) {
        second[d] = static_cast<uint64_t>(partition.plans[d].size);
        result.memory[d].compute = std::max(result.memory[d].compute, second[d]);
      }
      if (s == 0) result.decode_seconds = TimesOf(partition, result, decode_seconds_).sum;
      if (s + 1 == request_.steps.size()) {
        const Times times = TimesOf(partition, result, prompt_seconds_);
        result.prompt_seconds =
            IsDoubled(result) ? std::max(times.busiest, times.sum / 2) : times.sum;
      }
    }
    const std::vector<int> of_node = DevicesOf(groupings_.back(), result.device);
    const Graph& graph = request_.steps.back();
    const bool is_doubled = IsDoubled(result);
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
      if (std::find(of_node.begin(), of_node.end(), device) != of_node.end()) {
        memory.inputs = InputsOn(d) * (is_doubled ? 2 : 1);
        if (is_doubled) memory.compute += second[d];
      }
    }
    return result;
  }

 private:
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
  bool Allowed(size_t group, size_t d) const {
    return request_.allowed.empty() || request_.allowed[group][d];
  }

  bool IsDoubled(const Placement& placement) const {
    return request_.two_in_flight && std::any_of(placement.device.begin(), placement.device.end(),
                                                 [&](int d) { return d != placement.device[0]; });
  }

  // Of one step: all that it does, and what the busiest device does of that. While two steps are
  // under way each device works on one of them, but for those that are the same processor.
  struct Times {
    double sum = 0;
    double busiest = 0;
  };
  Times TimesOf(const Partition& partition, const Placement& placement,
                const std::vector<std::vector<double>>& of_group) const {
    Times times;
    std::vector<double> busy(devices_.size(), 0);
    double processor = 0;
    for (size_t g = 0; g < of_group.size(); ++g) {
      const int d = placement.device[g];
      (devices_[d].is_processor ? processor : busy[d]) += of_group[g][d];
      times.sum += of_group[g][d];
    }
    times.busiest = std::max(processor, *std::max_element(busy.begin(), busy.end()));
    for (size_t n = 0; n < partition.graph.nodes().size(); ++n) {
      const Node& node = partition.graph.nodes()[n];
      if (node.op != graph::Op::kTransfer) continue;
      const ValueId root = partition.graph.RootOf(node.inputs[0]);
      const int from = partition.device_of_node[partition.graph.value(root).producer];
      times.sum += TransferSeconds(partition.graph.value(node.output).SpanBytes(), devices_[from],
                                   devices_[partition.device_of_node[n]]);
    }
    return times;
  }

  // Times of one step, bytes of all. The capacities lack what every used device holds: inputs, and
  // small weights that all layers share.
  Problem Build() const {
    const bool is_prompt = request_.prefer == Prefer::kPrompt;
    const size_t step = is_prompt ? request_.steps.size() - 1 : 0;
    const Graph& graph = request_.steps[step];
    const Grouping& grouping = groupings_[step];
    const size_t count = devices_.size();
    Problem problem;
    problem.items.resize(grouping.groups.size());
    for (size_t g = 0; g < problem.items.size(); ++g) {
      problem.items[g].bytes.assign(count, 0);
      problem.items[g].seconds = is_prompt ? prompt_seconds_[g] : decode_seconds_[g];
      for (size_t d = 0; d < count; ++d) {
        if (!Allowed(g, d)) problem.items[g].seconds[d] = kImpossible;
      }
    }
    for (size_t s = 0; s < request_.steps.size(); ++s) {
      const Graph& any = request_.steps[s];
      for (size_t n = 0; n < any.nodes().size(); ++n) {
        Problem::Item& item = problem.items[groupings_[s].of_node[n]];
        for (size_t d = 0; d < count; ++d) {
          const device::Device* device = devices_[d].device;
          if (device != nullptr && !device->Supports(any, any.nodes()[n])) {
            item.seconds[d] = kImpossible;
          }
        }
      }
    }
    std::vector<uint64_t> common(count);
    for (size_t d = 0; d < count; ++d) {
      common[d] = InputsOn(d) * (request_.two_in_flight && count > 1 ? 2 : 1);
    }
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

  absl::Status CheckPossible(const Problem& problem) const {
    for (size_t g = 0; g < problem.items.size(); ++g) {
      const Problem::Item& item = problem.items[g];
      if (std::all_of(item.seconds.begin(), item.seconds.end(),
                      [](double s) { return s == kImpossible; })) {
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
  std::vector<Grouping> groupings_;  // by step
  // Of the smallest and the largest step, by group and device.
  std::vector<std::vector<double>> decode_seconds_, prompt_seconds_;
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

absl::StatusOr<std::vector<int>> DevicesOfNodes(const Graph& graph, const Placement& placement) {
  BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(graph));
  std::vector<int> of_group;
  for (const Group& group : grouping.groups) {
    of_group.push_back(placement.DeviceOf(group));
    if (of_group.back() < 0) {
      return absl::InternalError(absl::StrCat("no place was chosen for ", GroupName(group)));
    }
  }
  std::vector<int> of_node;
  for (int group : grouping.of_node) of_node.push_back(of_group[group]);
  return of_node;
}

absl::StatusOr<Placement> Place(const PlacementRequest& request,
                                std::span<const DeviceProfile> devices) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Place();
}

absl::StatusOr<Placement> Evaluate(const PlacementRequest& request,
                                   std::span<const DeviceProfile> devices,
                                   std::vector<int> device_of_group) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Evaluate(std::move(device_of_group));
}

}  // namespace bantam::schedule
