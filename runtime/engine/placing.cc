#include "runtime/engine/placing.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/base/align.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/engine/input_layout.h"
#include "runtime/engine/steps.h"
#include "runtime/engine/weights.h"
#include "runtime/schedule/cache.h"
#include "runtime/schedule/calibrate.h"
#include "runtime/schedule/measure.h"

namespace bantam::engine {
namespace {

// Reckoned with where LoadOptions::expected does not say.
constexpr int64_t kContext = 4096;

// The type that most bytes of weights have: speeds are measured with it.
quant::Type MainType(const graph::Graph& graph) {
  std::map<quant::Type, int64_t> bytes;
  for (const graph::Value& value : graph.values()) {
    if (value.storage == graph::Storage::kWeight) bytes[value.type] += value.SpanBytes();
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? quant::Type::kF32 : most->first;
}

bool RepacksExperts(const graph::Graph& graph, const device::Device& device) {
  for (size_t v = 0; v < graph.values().size(); ++v) {
    const graph::Value& value = graph.values()[v];
    if (value.storage == graph::Storage::kWeight && absl::StrContains(value.name, "_exps.") &&
        device.Repacks(graph, static_cast<graph::ValueId>(v))) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<DevicePtrs> OpenDevices(const LoadOptions& options) {
  device::BackendOptions backend;
  backend.threads = options.threads;
  backend.cpu_isa = options.cpu_isa;
  DevicePtrs devices;
  if (options.device == "auto") {
    // Every GPU, and the CPU for what they have no room for.
    bool has_host = false;
    for (auto& device : device::Distinct(device::ListDevices(backend).devices)) {
      const bool is_host = device->kind() == device::Kind::kCpu;
      if (!is_host || !has_host) devices.push_back(std::move(device));
      has_host |= is_host;
    }
    if (!devices.empty()) return devices;
  }
  for (absl::string_view name : absl::StrSplit(options.device, ',')) {
    BANTAM_ASSIGN_OR_RETURN(auto device, device::OpenDevice(name, backend));
    for (const auto& other : devices) {
      if (other->name() != device->name()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("device ", device->name(), " is named twice in '", options.device, "'"));
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

LoadOptions WithoutDevice(LoadOptions options, const std::vector<std::string>& names, size_t lost) {
  const std::string& name = names[lost];
  std::vector<std::string> rest = names;
  rest.erase(rest.begin() + static_cast<ptrdiff_t>(lost));
  options.device = absl::StrJoin(rest, ",");
  if (lost < options.profiles.size()) {
    options.profiles.erase(options.profiles.begin() + static_cast<ptrdiff_t>(lost));
  }
  schedule::Control& control = options.control;
  const auto drop = [](std::vector<std::string>& rules, const auto& names_it) {
    rules.erase(std::remove_if(rules.begin(), rules.end(), names_it), rules.end());
  };
  drop(control.place,
       [&](const std::string& rule) { return absl::EndsWith(rule, absl::StrCat("=", name)); });
  drop(control.vram,
       [&](const std::string& cap) { return absl::StartsWith(cap, absl::StrCat(name, "=")); });
  if (control.kv_device == name) control.kv_device.clear();
  // So many layers on a card: without one there is nothing to ask for.
  if (rest.size() == 1) control = schedule::Control();
  return options;
}

std::string MovedGroups(const schedule::Placement& before, const schedule::Placement& after,
                        const std::vector<std::string>& names) {
  std::string moved;
  int count = 0;
  for (size_t g = 0; g < after.groups.size(); ++g) {
    if (before.DeviceOf(after.groups[g]) == after.device[g]) continue;
    if (++count > 3) continue;
    absl::StrAppend(&moved, moved.empty() ? "" : ", ", schedule::GroupName(after.groups[g]), " to ",
                    names[after.device[g]]);
  }
  if (count > 3) absl::StrAppend(&moved, " and ", count - 3, " more");
  if (count > 0) return moved;
  return before.hot.empty() ? "what was brought for prompts" : "some of the hot experts";
}

absl::StatusOr<Placing> Placing::Create(const model::Architecture& architecture,
                                        const DevicePtrs& devices,
                                        const schedule::ExpertUse& expert_use,
                                        const LoadOptions& options, int& failing) {
  Placing placing;
  const int64_t trained = architecture.config().context_length;
  SessionOptions expected = options.expected;
  expected.embeddings |= !architecture.config().has_logits;
  if (expected.context <= 0) expected.context = kContext;
  expected.context = std::min(expected.context, trained);
  if (expected.ubatch <= 0) expected.ubatch = devices[0]->limits().ubatch;
  expected.ubatch = std::min(expected.ubatch, expected.context);
  const bool is_alone = devices.size() == 1;
  for (int64_t rows : is_alone ? std::vector<int64_t>{1} : ShapeClasses(expected.ubatch)) {
    BANTAM_ASSIGN_OR_RETURN(graph::Graph step, BuildStep(architecture, expected, rows, 1));
    placing.steps_.push_back(std::move(step));
  }
  // Some tensors are for short contexts, some for long ones (LongRoPE).
  placing.whole_weight_graphs_.push_back(placing.steps_.back());
  for (int64_t context : {int64_t{1}, trained}) {
    SessionOptions other = expected;
    other.context = context;
    BANTAM_ASSIGN_OR_RETURN(graph::Graph step, BuildStep(architecture, other, 1, 1));
    placing.whole_weight_graphs_.push_back(std::move(step));
  }
  BANTAM_RETURN_IF_ERROR(schedule::CheckControl(options.control));
  BANTAM_ASSIGN_OR_RETURN(const schedule::Grouping grouping,
                          schedule::FindGroups(placing.steps_[0]));
  placing.profiles_.resize(devices.size());
  for (size_t d = 0; d < devices.size(); ++d) placing.profiles_[d].name = devices[d]->name();
  // Before anything is measured: what was asked for may be impossible.
  BANTAM_RETURN_IF_ERROR(schedule::ApplyCaps(options.control, placing.profiles_));
  BANTAM_ASSIGN_OR_RETURN(
      placing.request_.allowed,
      schedule::AllowedDevices(options.control, placing.steps_[0], grouping, placing.profiles_));
  if (is_alone) {
    placing.placement_.groups = grouping.groups;
    placing.placement_.device.assign(grouping.groups.size(), 0);
    placing.weight_graphs_ = placing.whole_weight_graphs_;
    return placing;
  }
  const quant::Type type = MainType(placing.steps_[0]);
  const int64_t depth = std::min<int64_t>(expected.context, placing.request_.depth);
  std::vector<graph::Graph> calibrated;
  if (options.profiles.size() < devices.size()) {
    // No larger a KV cache than what is measured fills.
    SessionOptions filled = expected;
    const auto cells = static_cast<int64_t>(AlignUp(depth, 64));
    filled.context = std::min(expected.context, std::max(cells, expected.ubatch));
    for (const int64_t rows : {int64_t{1}, expected.ubatch}) {
      BANTAM_ASSIGN_OR_RETURN(graph::Graph step, BuildStep(architecture, filled, rows, 1));
      calibrated.push_back(std::move(step));
    }
  }
  std::vector<schedule::Calibration> calibrations;
  std::vector<int> calibrated_device;
  for (size_t d = 0; d < devices.size(); ++d) {
    schedule::DeviceProfile& profile = placing.profiles_[d];
    if (d < options.profiles.size()) {
      profile = options.profiles[d];
      schedule::DescribeDevice(*devices[d], profile);
      continue;
    }
    auto measured = schedule::ProfileDevice(*devices[d], type, schedule::CacheFolder());
    if (measured.ok()) {
      profile = *std::move(measured);
      calibrations.push_back({devices[d].get(), &profile});
      calibrated_device.push_back(static_cast<int>(d));
    } else if (absl::IsResourceExhausted(measured.status())) {
      // Not even room to be measured.
      if (options.notice) {
        options.notice(absl::StrCat(
            devices[d]->name(), " is short of memory even for measuring it: nothing goes there"));
      }
      schedule::DescribeDevice(*devices[d], profile);
      profile.capacity = 0;
    } else {
      failing = static_cast<int>(d);
      return measured.status();
    }
  }
  schedule::Calibrate(calibrations, calibrated, depth, schedule::CacheFolder());
  for (size_t i = 0; i < calibrations.size(); ++i) {
    const absl::Status& status = calibrations[i].status;
    if (status.ok()) continue;
    // Where there is no room to measure, the speeds of the device have to do.
    if (!absl::IsResourceExhausted(status)) {
      failing = calibrated_device[i];
      return status;
    }
    if (options.notice) {
      options.notice(absl::StrCat(calibrations[i].device->name(),
                                  " is short of memory: what the model takes there is reckoned "
                                  "from the device's speeds, not measured"));
    }
  }
  BANTAM_RETURN_IF_ERROR(schedule::ApplyCaps(options.control, placing.profiles_));
  placing.request_.prefer = options.prefer;
  placing.request_.depth = depth;
  placing.request_.steps = placing.steps_;
  placing.request_.two_in_flight = TwoStepsInFlight(expected);
  // What comes to a card comes from the file.
  placing.request_.may_stream =
      expected.stream_weights && !expected.keep_matmul_inputs && !options.writable_weights;
  // What is observed or overwritten is one tensor.
  if (!expected.keep_matmul_inputs && !options.writable_weights && !expert_use.empty()) {
    placing.request_.expert_use = &expert_use;
  }
  uint64_t alignment = 1;
  for (const auto& device : devices) alignment = std::max(alignment, device->limits().alignment);
  placing.request_.input_bytes =
      InputLayout(expected.ubatch, expected.context, WindowCells(architecture.config(), expected),
                  alignment)
          .size;
  placing.may_repack_ = options.repack && !options.writable_weights;
  BANTAM_RETURN_IF_ERROR(placing.Place());
  return placing;
}

absl::Status Placing::Place() {
  request_.steps = steps_;  // this may have been moved
  // A host that copies weights to repack them copies no hot experts. Whether it has room for that,
  // what it would repack then says; where they stay in the file, all experts of a layer do.
  const auto host = static_cast<int>(profiles_.size()) - 1;
  for (const bool apart : {true, false}) {
    if (apart && !(may_repack_ && RepacksExperts(steps_[0], *profiles_[host].device))) continue;
    request_.cold_apart = apart;
    BANTAM_ASSIGN_OR_RETURN(schedule::Placement placement, schedule::Place(request_, profiles_));
    std::vector<graph::Graph> graphs;
    for (const graph::Graph& whole : whole_weight_graphs_) {
      BANTAM_ASSIGN_OR_RETURN(graphs.emplace_back(), schedule::SplitExperts(whole, placement.hot));
    }
    bool is_as_said = !apart || placement.hot.empty();
    if (!is_as_said) {
      BANTAM_ASSIGN_OR_RETURN(
          is_as_said, DeviceWeights::MayRepack(graphs, placement, host, *profiles_[host].device));
    }
    if (!is_as_said) continue;
    placement_ = std::move(placement);
    weight_graphs_ = std::move(graphs);
    break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Placing::MakeRoom(int device, const absl::Status& refusal) {
  if (profiles_.size() == 1 || !absl::IsResourceExhausted(refusal)) return refusal;
  schedule::DeviceProfile& profile = profiles_[device];
  const uint64_t placed = placement_.memory[device].total();
  if (placed == 0) return refusal;
  profile.capacity = placed - 1;
  if (profile.device->kind() != device::Kind::kCpu) {
    profile.capacity = std::min(profile.capacity, profile.device->memory().free);
  }
  const schedule::Placement before = placement_;
  if (!Place().ok()) return refusal;
  std::vector<std::string> names;
  for (const schedule::DeviceProfile& one : profiles_) names.push_back(one.name);
  const std::string moved = MovedGroups(before, placement_, names);
  return absl::StrCat(profile.name, " had no room for ", FormatByteSize(placed), ": moved ", moved);
}

}  // namespace bantam::engine
