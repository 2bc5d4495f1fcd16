#include "runtime/schedule/calibrate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/model/architecture.h"
#include "runtime/schedule/cache.h"
#include "runtime/schedule/group.h"

namespace bantam::schedule {
namespace {

using Clock = std::chrono::steady_clock;
using graph::Graph;
using graph::kNone;
using graph::Node;
using graph::Op;
using graph::Storage;
using graph::Value;
using graph::ValueId;

// Of weights and states that are made for a step: more than the caches of most processors hold.
constexpr uint64_t kMaxBytes = uint64_t{128} << 20;
// Steps of many tokens are bound by arithmetic: two layers tell as much as all of them.
constexpr size_t kMostAtOnce = 2;
// Each step of each device is run in so many turns, that long in each. One that takes long has
// fewer.
constexpr int kTurns = 12, kLeastTurns = 3;
constexpr double kTurn = 0.03;       // seconds
constexpr double kLongEnough = 0.5;  // for all turns of a step

// Of some groups of `source` the nodes, and nothing else: what others make is an input.
absl::StatusOr<Graph> Extract(const Graph& source, const Grouping& grouping,
                              const std::vector<int>& groups) {
  std::vector<bool> is_kept(source.nodes().size(), false);
  for (size_t n = source.nodes().size(); n-- > 0;) {
    const bool is_wanted =
        std::find(groups.begin(), groups.end(), grouping.of_node[n]) != groups.end();
    is_kept[n] = is_kept[n] || is_wanted;
    if (!is_kept[n]) continue;
    for (ValueId id : source.nodes()[n].inputs) {
      const graph::NodeId maker = source.value(id).producer;
      if (maker == kNone) continue;
      const Op op = source.nodes()[maker].op;
      if (op == Op::kView || op == Op::kReshape) is_kept[maker] = true;
    }
  }
  Graph graph = source;
  graph.nodes().clear();
  graph.outputs().clear();
  std::set<ValueId> made, read;
  for (size_t n = 0; n < is_kept.size(); ++n) {
    if (!is_kept[n]) continue;
    const Node& node = source.nodes()[n];
    for (ValueId id : node.inputs) {
      read.insert(id);
      Value& value = graph.value(id);
      if (value.storage != Storage::kTemp || made.count(id) > 0) continue;
      value.storage = Storage::kInput;
      value.base = kNone;
      value.byte_offset = 0;
      value.strides = graph::ContiguousStrides(value.type, value.shape);
    }
    made.insert(node.output);
    graph.nodes().push_back(node);
  }
  for (ValueId id : made) {
    const bool is_temp = source.value(source.RootOf(id)).storage == Storage::kTemp;
    if (read.count(id) == 0 && is_temp) graph.AddOutput(id);
  }
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  return graph;
}

// What the inputs of a step hold, the last of a text of `depth` tokens.
class Inputs {
 public:
  Inputs(const Graph& step, int64_t rows, int64_t depth)
      : step_(step), rows_(rows), depth_(depth) {}

  // Of an input that nothing else is known of: choices of `experts`, spread evenly.
  std::vector<int32_t> Numbers(const Value& value, int64_t experts) const {
    std::vector<int32_t> numbers(static_cast<size_t>(graph::ElementCount(value.shape)), 0);
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<int32_t>(NumberOf(value, static_cast<int64_t>(i), experts));
    }
    return numbers;
  }

 private:
  int64_t NumberOf(const Value& value, int64_t i, int64_t experts) const {
    const auto position = [&](int64_t row) { return std::max<int64_t>(depth_ - rows_, 0) + row; };
    if (value.name == model::kInputPositions) return position(i);
    if (value.name == model::kInputSlots || value.name == model::kInputWindowSlots) return i;
    if (value.name == model::kInputQueryCells) return i % 2 == 0 ? position(i / 2) : 0;
    if (value.name == model::kInputKvLength) return Used(model::kInputKvCells);
    if (value.name == model::kInputWindowLength) return Used(model::kInputWindowCells);
    if (value.name == model::kInputKvCells || value.name == model::kInputWindowCells) {
      return i % 2 == 0 ? depth_ - Used(value.name) + i / 2 : 0;  // the last positions
    }
    if (value.name == model::kInputOutputRows) return rows_ - 1;
    return experts > 0 ? i * 7 % experts : 0;
  }
  // Of the cells with that name those that hold a token.
  int64_t Used(absl::string_view cells) const {
    const ValueId id = step_.Find(cells);
    return id == kNone ? depth_ : std::min(depth_, step_.value(id).shape[1]);
  }

  const Graph& step_;
  const int64_t rows_, depth_;
};

// Groups that take the same time, compiled as one program.
struct Sample {
  std::string key;
  std::vector<int> groups;
  std::vector<std::unique_ptr<device::Buffer>> buffers;
  std::unique_ptr<device::Executable> executable;
  std::vector<double> seconds;  // of one group, by run
};

absl::Status Compile(device::Device& device, const Graph& step, const Grouping& grouping,
                     int64_t rows, int64_t depth, Sample& sample) {
  BANTAM_ASSIGN_OR_RETURN(const Graph g, Extract(step, grouping, sample.groups));
  const Inputs inputs(step, rows, depth);
  std::vector<device::Binding> bindings(g.values().size());
  const auto allocate = [&](uint64_t bytes) -> absl::StatusOr<device::Buffer*> {
    BANTAM_ASSIGN_OR_RETURN(auto buffer, device.Allocate(std::max<uint64_t>(bytes, 1)));
    sample.buffers.push_back(std::move(buffer));
    return sample.buffers.back().get();
  };
  for (const Node& node : g.nodes()) {
    for (const ValueId id : node.inputs) {
      const ValueId root = g.RootOf(id);
      const Value& value = g.value(root);
      if (value.storage == Storage::kTemp || bindings[root].buffer != nullptr) continue;
      const bool is_weight = value.storage == Storage::kWeight;
      const auto bytes = static_cast<uint64_t>(value.SpanBytes());
      BANTAM_ASSIGN_OR_RETURN(
          bindings[root].buffer,
          allocate(is_weight ? device.PackedBytes(value.type, value.shape) : bytes));
      // Zeros are numbers in every type, but memory that was never written may not exist.
      if (is_weight) {
        const std::vector<std::byte> zeros(bytes, std::byte{0});
        BANTAM_RETURN_IF_ERROR(
            device.Repacks(g, root)
                ? device.Repack(value.type, value.shape, zeros, bindings[root])
                : device.LoadWeight(value.type, value.shape, zeros, bindings[root]));
      } else if (value.type == quant::Type::kI32) {
        const bool chooses = node.op == Op::kMatMulExpert && id == node.inputs[2];
        const int64_t experts = chooses ? g.value(node.inputs[0]).shape[2] : 0;
        const std::vector<int32_t> numbers = inputs.Numbers(value, experts);
        BANTAM_RETURN_IF_ERROR(bindings[root].buffer->Upload(0, std::as_bytes(std::span(numbers))));
      }
    }
  }
  const uint64_t alignment = device.limits().alignment;
  const graph::MemoryPlan plan = graph::PlanMemory(g, static_cast<int64_t>(alignment));
  BANTAM_ASSIGN_OR_RETURN(device::Buffer * temp, allocate(static_cast<uint64_t>(plan.size)));
  BANTAM_ASSIGN_OR_RETURN(sample.executable, device.Compile({g, plan, bindings, {temp, 0}}));
  return absl::OkStatus();
}

// Bytes of the weights and states of a group.
uint64_t BytesOf(const Graph& graph, const Grouping& grouping, int group) {
  std::set<ValueId> roots;
  uint64_t bytes = 0;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (grouping.of_node[n] != group) continue;
    for (ValueId id : graph.nodes()[n].inputs) {
      const Value& root = graph.value(graph.RootOf(id));
      if (root.storage != Storage::kWeight && root.storage != Storage::kState) continue;
      if (roots.insert(graph.RootOf(id)).second) bytes += static_cast<uint64_t>(root.SpanBytes());
    }
  }
  return bytes;
}

bool IsSupported(const device::Device& device, const Graph& graph, const Grouping& grouping,
                 int group) {
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (grouping.of_node[n] == group && !device.Supports(graph, graph.nodes()[n])) return false;
  }
  return true;
}

// One of each kind of group, and more of them as long as there is room.
std::vector<Sample> Choose(const device::Device& device, const Graph& step,
                           const Grouping& grouping, int64_t rows, int64_t depth) {
  std::vector<Sample> samples;
  uint64_t bytes = 0;
  const uint64_t most = std::min(kMaxBytes, device.memory().free / 4);
  for (int g = 0; g < static_cast<int>(grouping.groups.size()); ++g) {
    if (!IsSupported(device, step, grouping, g)) continue;
    std::string key = GroupKey(step, grouping, g, depth);
    const auto known = std::find_if(samples.begin(), samples.end(),
                                    [&](const Sample& sample) { return sample.key == key; });
    const uint64_t more = BytesOf(step, grouping, g);
    // Of a table that takes much memory a few rows are read, as fast as speeds say.
    if (grouping.groups[g].part == Part::kEmbedding && more > most) continue;
    if (known == samples.end()) {
      samples.emplace_back().key = std::move(key);
      samples.back().groups = {g};
    } else if (bytes + more <= most && (rows == 1 || known->groups.size() < kMostAtOnce)) {
      known->groups.push_back(g);
    } else {
      continue;
    }
    bytes += more;
  }
  return samples;
}

// The groups of a step on a device.
struct Task {
  size_t device = 0;
  std::vector<Sample> samples;
  std::unique_ptr<device::Stream> stream;
  std::vector<double> passes;  // seconds that all samples took, by run
  double spent = 0;
};

// All samples one after the other, as the groups of a step are, so that what one leaves in a cache
// the next takes away.
absl::Status RunOnce(Task& task) {
  double all = 0;
  for (Sample& sample : task.samples) {
    const Clock::time_point start = Clock::now();
    BANTAM_RETURN_IF_ERROR(sample.executable->Run(*task.stream));
    BANTAM_RETURN_IF_ERROR(task.stream->Synchronize());
    const std::chrono::duration<double> took = Clock::now() - start;
    sample.seconds.push_back(took.count() / static_cast<double>(sample.groups.size()));
    all += took.count();
  }
  task.passes.push_back(all);
  task.spent += all;
  return absl::OkStatus();
}

// Devices and steps take turns, so that what else the machine does meets all of them. The first run
// of all is none: memory is touched and threads wake.
void Time(std::vector<Task>& tasks, std::span<Calibration> devices) {
  for (int turn = 0; turn <= kTurns; ++turn) {
    for (Task& task : tasks) {
      absl::Status& status = devices[task.device].status;
      if (!status.ok() || (turn > kLeastTurns && task.spent > kLongEnough)) continue;
      const double before = task.spent;
      do {
        status = RunOnce(task);
      } while (turn > 0 && status.ok() && task.spent - before < kTurn);
      if (turn > 0 || !status.ok()) continue;
      for (Sample& sample : task.samples) sample.seconds.clear();
      task.passes.clear();
      task.spent = 0;
    }
  }
}

// What is predicted is a rate over many steps: a mean, in which what usually goes on beside has its
// part. The slowest tenth of the runs, all samples of a run together, are left out: what goes on
// only now.
std::vector<size_t> UsualRuns(const std::vector<double>& passes) {
  std::vector<size_t> runs(passes.size());
  for (size_t i = 0; i < runs.size(); ++i) runs[i] = i;
  std::sort(runs.begin(), runs.end(), [&](size_t a, size_t b) { return passes[a] < passes[b]; });
  runs.resize(runs.size() - runs.size() / 10);
  return runs;
}

}  // namespace

void Calibrate(std::span<Calibration> devices, std::span<const Graph> steps, int64_t depth,
               const std::string& folder) {
  nlohmann::json cache = ReadCache(folder);
  const auto kept_of = [&](const Calibration& one) -> nlohmann::json& {
    nlohmann::json& kept = cache[CacheKey(one.device->name(), one.device->description(), "groups")];
    if (!kept.is_object()) kept = nlohmann::json::object();
    return kept;
  };
  std::vector<Task> tasks;
  // Those that have not been measured all; the others' figures are read.
  const auto add_task = [&](size_t d, const Graph& step) -> absl::Status {
    Calibration& one = devices[d];
    BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(step));
    const int64_t rows = RowsOf(step);
    const int64_t at = DepthInStep(depth, rows);
    Task task{.device = d, .samples = Choose(*one.device, step, grouping, rows, at)};
    const nlohmann::json& kept = kept_of(one);
    bool all_known = true;
    for (const Sample& sample : task.samples) {
      const auto known = kept.find(sample.key);
      const bool is_known = known != kept.end() && known->is_number() && known->get<double>() >= 0;
      all_known &= is_known;
      if (is_known) one.profile->measured[sample.key] = known->get<double>();
    }
    if (all_known) return absl::OkStatus();
    for (Sample& sample : task.samples) {
      BANTAM_RETURN_IF_ERROR(Compile(*one.device, step, grouping, rows, at, sample));
    }
    BANTAM_ASSIGN_OR_RETURN(task.stream, one.device->NewStream());
    tasks.push_back(std::move(task));
    return absl::OkStatus();
  };
  for (const Graph& step : steps) {
    for (size_t d = 0; d < devices.size(); ++d) {
      if (devices[d].status.ok()) devices[d].status = add_task(d, step);
    }
  }
  if (tasks.empty()) return;
  Time(tasks, devices);
  for (const Task& task : tasks) {
    Calibration& one = devices[task.device];
    if (!one.status.ok()) continue;
    const std::vector<size_t> runs = UsualRuns(task.passes);
    for (const Sample& sample : task.samples) {
      double sum = 0;
      for (const size_t run : runs) sum += sample.seconds[run];
      one.profile->measured[sample.key] = kept_of(one)[sample.key] =
          sum / static_cast<double>(runs.size());
    }
  }
  WriteCache(folder, cache);
}

}  // namespace bantam::schedule
