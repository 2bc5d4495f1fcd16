// How long a device takes: a roofline of bytes moved and operations done.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/device/device.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/group.h"
#include "runtime/schedule/solve.h"

namespace bantam::schedule {

// A device as the scheduler sees it. Measured (measure.h) or made up for a simulation.
struct DeviceProfile {
  std::string name;
  uint64_t capacity = kUnlimited;  // bytes that may be allocated
  uint64_t alignment = 64;         // of what lies in a buffer
  double bandwidth = 1e10;         // bytes of weights per second, in a step of one token
  double operations = 1e11;        // of matrix products per second, in a step of many
  double node_seconds = 0;         // that any node takes
  // To and from the host's memory; a host needs none.
  double transfer_seconds = 0;              // for a value of no size
  double transfer_bandwidth = kImpossible;  // bytes per second
  // It computes on the machine's processor, and so takes time from others that do.
  bool is_processor = false;
  // By GroupKey, the seconds that groups were measured to take (calibrate.h). They go before what
  // the speeds above say.
  std::map<std::string, double> measured;
  // For what it supports, how it packs weights and what scratch it needs; null: everything, as in
  // the file, and none.
  device::Device* device = nullptr;

  uint64_t PackedBytes(const graph::Value& weight) const;
};

// Of one node of an inferred graph. `depth`: tokens in the KV cache, at most what it holds.
double NodeSeconds(const graph::Graph& graph, const graph::Node& node, int64_t depth,
                   const DeviceProfile& profile);
// Whether that is the time of moving bytes rather than of computing.
bool IsBoundByMemory(const graph::Graph& graph, const graph::Node& node, int64_t depth,
                     const DeviceProfile& profile);
// The tokens of a step.
int64_t RowsOf(const graph::Graph& graph);
// Tokens in the KV cache during a step of `rows`, where a prompt of `depth` tokens is read in such
// steps: their mean. With one row the prompt has been read.
int64_t DepthInStep(int64_t depth, int64_t rows);

// The same text for groups, of whatever model, that take the same time: what their nodes do to
// tensors of which types and shapes, and to how much of the KV cache.
std::string GroupKey(const graph::Graph& graph, const Grouping& grouping, int group, int64_t depth);
// Of all nodes of a group, as measured or else the sum of theirs.
double GroupSeconds(const graph::Graph& graph, const Grouping& grouping, int group, int64_t depth,
                    const DeviceProfile& profile);
// Of a value's way from one device to another, through the host's memory.
double TransferSeconds(int64_t bytes, const DeviceProfile& from, const DeviceProfile& to);

}  // namespace bantam::schedule
