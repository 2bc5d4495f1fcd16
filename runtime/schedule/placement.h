// Where each tensor group of a model goes, and what that takes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/cost.h"
#include "runtime/schedule/expert_use.h"
#include "runtime/schedule/group.h"
#include "runtime/schedule/hot_experts.h"
#include "runtime/schedule/partition.h"
#include "runtime/schedule/stream.h"

namespace bantam::schedule {

enum class Prefer : uint8_t {
  kGenerate,  // the fastest steps of one token
  kPrompt,    // the fastest steps of many, two at a time where that is possible
  kMemory,    // as kGenerate, but load nothing twice
};

// Bytes to allocate on one device.
struct DeviceMemory {
  uint64_t weights = 0;
  uint64_t kv_cache = 0;
  uint64_t inputs = 0;
  uint64_t compute = 0;   // intermediate values of the largest step
  uint64_t scratch = 0;   // what compiled steps need besides (device::Scratch)
  uint64_t streamed = 0;  // two buffers for weights that come for a step (stream.h)
  uint64_t total() const { return weights + kv_cache + inputs + compute + scratch + streamed; }
};

struct Placement {
  std::vector<Group> groups;
  std::vector<int> device;           // by group
  std::vector<DeviceMemory> memory;  // by device: exactly what is to be allocated
  double decode_seconds = 0;         // predicted, of a step of one token
  // Of the largest step, in the middle of a prompt; with two in flight the time from the end of one
  // to the end of the next.
  double prompt_seconds = 0;
  int64_t prompt_rows = 0;  // its tokens
  // Of that step: what each device computes (devices that are one processor all together), and the
  // whole by itself.
  std::vector<double> prompt_busy;
  double prompt_alone = 0;
  Streaming streaming;  // of weights that `device` says are on the last device
  // Layers whose experts are on two devices; `groups` are those of SplitExperts' graphs.
  std::vector<HotExperts> hot;

  int DeviceOf(const Group& group) const;  // -1: no such group
};

struct PlacementRequest {
  // The graph of each shape class, optimised: first that of one token, last the largest.
  std::span<const graph::Graph> steps;
  Prefer prefer = Prefer::kGenerate;
  int64_t depth = 1024;      // tokens of the prompt that times are predicted for
  uint64_t input_bytes = 0;  // to allocate on each device; 0: what the largest step's inputs take
  // On several devices, room for a second of the largest step, to run while the first does.
  bool two_in_flight = false;
  // Weights may be brought to a card for large steps; those do not run two at a time.
  bool may_stream = false;
  // By group of the steps (FindGroups) and device: whether it may go there. Empty: anywhere.
  std::vector<std::vector<bool>> allowed;
  // Where not null, experts that are used most may be on a card while the others of their layer are
  // on the last device, if that is a processor.
  const ExpertUse* expert_use = nullptr;
  bool cold_apart = false;  // as HotExperts has it
};

// Where the weights of one device lie in its buffer.
// `device_of_node` is of `graph`, not partitioned.
WeightLayout LayOutWeights(const graph::Graph& graph, const std::vector<int>& device_of_node,
                           int device, const DeviceProfile& profile);

// The devices that hold what a graph's nodes read; the graph is split as the placement says
// (SplitExperts), here and below. kInternal when the graph has a group that the
// placement lacks.
absl::StatusOr<std::vector<int>> DevicesOfNodes(const graph::Graph& graph,
                                                const Placement& placement);
// Where they run: elsewhere if their weights are brought there in a step of this size.
absl::StatusOr<NodePlaces> PlacesInStep(const graph::Graph& graph, const Placement& placement);

// The fastest placement that fits in the capacities. The solver knows of compute buffers only a
// size for each device; when what it places needs more there, it places again with what was needed.
// kResourceExhausted tells what does not fit.
//
// Where two steps of a prompt are under way at once it takes what the busiest device does, which is
// no sum: that is searched for by weighted sums, and near the best (placer_search.cc).
//
// Streaming takes memory from what is always on the card: it is chosen where that makes a turn
// shorter, of a prompt of `depth` tokens and an answer of half as many (Prefer::kPrompt: the
// prompt).
absl::StatusOr<Placement> Place(const PlacementRequest& request,
                                std::span<const DeviceProfile> devices);
// Memory and times of a placement given by the devices of the groups.
absl::StatusOr<Placement> Evaluate(const PlacementRequest& request,
                                   std::span<const DeviceProfile> devices,
                                   std::vector<int> device_of_group,
                                   const Streaming& streaming = {});
// The same with these experts apart, which needs `expert_use`. What is said of the experts of their
// layers as a whole does not matter.
absl::StatusOr<Placement> EvaluateSplit(const PlacementRequest& request,
                                        std::span<const DeviceProfile> devices,
                                        const std::vector<int>& device_of_group,
                                        std::span<const HotExperts> hot);

}  // namespace bantam::schedule
