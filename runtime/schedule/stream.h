// Weights in system memory that are brought to a card for each large step of a prompt.
//
// A card multiplies many rows so much faster than a processor that it is worth copying the weights
// of a layer to it for one step. They go through two buffers: while what is in one is used, the
// other is filled. What comes at once is a unit: weights that nodes in a row read, as few as the
// largest matrix allows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/graph/graph.h"
#include "runtime/schedule/cost.h"
#include "runtime/schedule/group.h"
#include "runtime/schedule/partition.h"

namespace bantam::schedule {

// The groups that do so in steps of at least `rows` tokens, and where they are computed then.
struct Streaming {
  int device = -1;
  int64_t rows = 0;               // 0: no group does
  std::vector<bool> is_streamed;  // by group

  bool In(int64_t step_rows) const { return rows > 0 && step_rows >= rows; }
};

// By node of a step: its device, and its unit or -1.
struct NodePlaces {
  std::vector<int> device;
  std::vector<int> unit;
};
// `device_of_group` where no weights are brought. Of a step that is large enough or not.
NodePlaces PlaceNodes(const graph::Graph& graph, const Grouping& grouping,
                      const std::vector<int>& device_of_group, const Streaming& streaming);

// Where the weights of a segment's unit lie in its buffer.
WeightLayout LayOutUnit(const graph::Graph& graph, const Segment& segment,
                        const DeviceProfile& profile);
// Bytes of each of the two buffers: as much as the largest unit takes.
uint64_t UnitBytes(const Partition& partition, const DeviceProfile& profile);

// Of a step that is not alone: how long it takes when units are copied one after the other, each as
// soon as its buffer is free, beside what is computed. `seconds_of_node` by node of `partition`.
double StreamedSeconds(const Partition& partition, std::span<const double> seconds_of_node,
                       std::span<const DeviceProfile> devices);

// What may be streamed, and what that takes and gains.
struct StreamCandidate {
  int group = 0;
  double link = 0;   // seconds to copy its weights
  double saved = 0;  // seconds less that it takes on the card
};
// The candidates that together shorten a step of `seconds` most, when copies run beside all that is
// computed: those with the greatest savings for their copies, until the link is the busier.
std::vector<int> WorthStreaming(std::vector<StreamCandidate> candidates, double seconds);

}  // namespace bantam::schedule
