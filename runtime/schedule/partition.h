// From a graph and a device for each node to one program for each device, joined by transfers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/device/device.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/memory_plan.h"

namespace bantam::schedule {

// A run of nodes of one device, and of one unit (stream.h): as long as can be, but where the next
// segment, of another device, can run beside the end of it.
struct Segment {
  int device = 0;
  int unit = -1;  // -1: all its weights are there
  // In the partitioned graph: [first_transfer, first_node) are the kTransfer nodes that bring what
  // the segment reads from elsewhere, [first_node, end_node) its own. What is brought may be for
  // the next segment too, which then runs beside this one.
  graph::NodeId first_transfer = 0, first_node = 0, end_node = 0;
};

struct Partition {
  graph::Graph graph;                    // with kTransfer nodes, inferred
  std::vector<int> device_of_node;       // of a transfer: the destination
  std::vector<Segment> segments;         // in order
  std::vector<graph::MemoryPlan> plans;  // by device; each plans the outputs of its own nodes
};

// A value that nodes of another device read crosses once to each such device; weights and inputs
// are taken to be wherever they are read. What crosses is contiguous: a view with gaps is packed
// first where it lies. Computes the same outputs, on the device of the node that makes them.
// `alignments` by device, as graph::PlanMemory takes it; `unit_of_node` empty: there are none.
// kInvalidArgument: a state is used on two devices.
absl::StatusOr<Partition> Split(const graph::Graph& graph, const std::vector<int>& device_of_node,
                                std::span<const uint64_t> alignments,
                                const std::vector<int>& unit_of_node = {});

// What a segment takes on its device beside what is planned.
absl::StatusOr<device::Scratch> SegmentScratch(const Partition& partition, const Segment& segment,
                                               device::Device& device);

// Where weights lie in a buffer, in order of first use.
struct WeightLayout {
  struct Place {
    graph::ValueId weight;
    uint64_t offset;
  };
  std::vector<Place> places;
  uint64_t size = 0;
};

}  // namespace bantam::schedule
