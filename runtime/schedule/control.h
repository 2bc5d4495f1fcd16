// What the user says about placement: parsed, checked, and turned into what the solver takes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/cost.h"
#include "runtime/schedule/group.h"

namespace bantam::schedule {

// As written on a command line. Of several devices the last is the host, which takes what the
// others have no room for.
struct Control {
  std::string gpu_layers = "auto";  // "auto", "all" or a number: this many of the last layers
  // "6GiB", for every device but the host, or "vulkan:0=6GiB"; of two for a device the smaller.
  std::vector<std::string> vram;
  // "REGEX=DEVICE": groups with a weight or state whose name has a match (PCRE2) go there.
  std::vector<std::string> place;
  std::string kv_device;  // name of the device for the KV cache of every layer; "": any
};

// Whether the texts can mean anything; for messages before a model is there.
absl::Status CheckControl(const Control& control);

// Lowers the capacities of `devices` to the caps. kInvalidArgument names a device there is not.
absl::Status ApplyCaps(const Control& control, std::span<DeviceProfile> devices);

// By group of `graph` and device, whether it may go there. `place` and `kv_device` override
// `gpu_layers`; where they contradict each other, or ask for what cannot be, kInvalidArgument says
// so on one line.
absl::StatusOr<std::vector<std::vector<bool>>> AllowedDevices(
    const Control& control, const graph::Graph& graph, const Grouping& grouping,
    std::span<const DeviceProfile> devices);

}  // namespace bantam::schedule
