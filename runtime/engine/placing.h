// Opening devices and choosing what of a model goes to which.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/device/device.h"
#include "runtime/engine/engine.h"
#include "runtime/model/architecture.h"
#include "runtime/schedule/placement.h"

namespace bantam::engine {

using DevicePtrs = std::vector<std::unique_ptr<device::Device>>;

// As LoadOptions::device says. kNotFound and kInvalidArgument name what is wrong.
absl::StatusOr<DevicePtrs> OpenDevices(const LoadOptions& options);

// What is left of `options` for devices of these names without the one at `lost`.
LoadOptions WithoutDevice(LoadOptions options, const std::vector<std::string>& names, size_t lost);

// What is elsewhere in the second placement, for people: "KV of layer 3 to cpu". `names` of
// devices.
std::string MovedGroups(const schedule::Placement& before, const schedule::Placement& after,
                        const std::vector<std::string>& names);

// Chooses, and chooses again when a device has less memory than it said. On one device there is
// nothing to choose, and nothing is measured or predicted.
class Placing {
 public:
  // What it is given must outlive this. `expert_use` as LoadOptions has it. `failing` is set to a
  // device that made it fail.
  static absl::StatusOr<Placing> Create(const model::Architecture& architecture,
                                        const DevicePtrs& devices,
                                        const schedule::ExpertUse& expert_use,
                                        const LoadOptions& options, int& failing);

  const schedule::Placement& placement() const { return placement_; }
  // Together they use every weight that any step uses.
  std::span<const graph::Graph> weight_graphs() const { return weight_graphs_; }

  // After `device` refused to allocate what was placed there: places less on it. Returns one line
  // that tells what moved. The error is `refusal` where nothing else is possible.
  absl::StatusOr<std::string> MakeRoom(int device, const absl::Status& refusal);

 private:
  // Chooses placement_ and weight_graphs_. They are as before where that fails.
  absl::Status Place();

  std::vector<graph::Graph> steps_;
  std::vector<graph::Graph> whole_weight_graphs_;  // before experts are split
  std::vector<graph::Graph> weight_graphs_;
  std::vector<schedule::DeviceProfile> profiles_;
  schedule::PlacementRequest request_;
  bool may_repack_ = true;
  schedule::Placement placement_;
};

}  // namespace bantam::engine
