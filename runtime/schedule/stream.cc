#include "runtime/schedule/stream.h"

#include <algorithm>
#include <set>

#include "runtime/base/align.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Storage;
using graph::ValueId;

// Weights that a node reads whole. (Of a table rows are gathered: such a group is not streamed.)
uint64_t WeightBytes(const Graph& graph, const Node& node) {
  uint64_t bytes = 0;
  for (ValueId id : node.inputs) {
    const graph::Value& root = graph.value(graph.RootOf(id));
    if (root.storage == Storage::kWeight) bytes += static_cast<uint64_t>(root.SpanBytes());
  }
  return bytes;
}

}  // namespace

NodePlaces PlaceNodes(const Graph& graph, const Grouping& grouping,
                      const std::vector<int>& device_of_group, const Streaming& streaming) {
  NodePlaces places;
  const size_t count = graph.nodes().size();
  places.unit.assign(count, -1);
  const bool is_large = streaming.In(RowsOf(graph));
  uint64_t largest = 0;
  const auto is_streamed = [&](size_t n) {
    return is_large && streaming.is_streamed[grouping.of_node[n]];
  };
  for (size_t n = 0; n < count; ++n) {
    places.device.push_back(is_streamed(n) ? streaming.device
                                           : device_of_group[grouping.of_node[n]]);
    if (is_streamed(n)) largest = std::max(largest, WeightBytes(graph, graph.nodes()[n]));
  }
  int unit = -1;
  uint64_t bytes = 0;
  for (size_t n = 0; n < count; ++n) {
    if (!is_streamed(n)) continue;
    const uint64_t more = WeightBytes(graph, graph.nodes()[n]);
    const bool goes_on = n > 0 && grouping.of_node[n - 1] == grouping.of_node[n];
    if (!goes_on || (more > 0 && bytes + more > largest)) {
      ++unit;
      bytes = 0;
    }
    bytes += more;
    places.unit[n] = unit;
  }
  return places;
}

WeightLayout LayOutUnit(const Graph& graph, const Segment& segment, const DeviceProfile& profile) {
  WeightLayout layout;
  if (segment.unit < 0) return layout;
  std::set<ValueId> placed;
  for (NodeId n = segment.first_node; n < segment.end_node; ++n) {
    for (ValueId id : graph.nodes()[n].inputs) {
      const ValueId root = graph.RootOf(id);
      const graph::Value& value = graph.value(root);
      if (value.storage != Storage::kWeight || !placed.insert(root).second) continue;
      layout.places.push_back({root, layout.size});
      layout.size = AlignUp(layout.size + profile.PackedBytes(value), profile.alignment);
    }
  }
  return layout;
}

uint64_t UnitBytes(const Partition& partition, const DeviceProfile& profile) {
  uint64_t bytes = 0;
  for (const Segment& segment : partition.segments) {
    bytes = std::max(bytes, LayOutUnit(partition.graph, segment, profile).size);
  }
  return bytes;
}

double StreamedSeconds(const Partition& partition, std::span<const double> seconds_of_node,
                       std::span<const DeviceProfile> devices) {
  double now = 0, link_free = 0, buffer_free[2] = {0, 0};
  int next = 0;
  for (const Segment& segment : partition.segments) {
    for (NodeId n = segment.first_transfer; n < segment.first_node; ++n) now += seconds_of_node[n];
    const DeviceProfile& card = devices[segment.device];
    const auto bytes = static_cast<double>(LayOutUnit(partition.graph, segment, card).size);
    if (bytes > 0) {
      link_free = std::max(link_free, buffer_free[next]) + card.transfer_seconds +
                  bytes / card.transfer_bandwidth;
      now = std::max(now, link_free);
    }
    for (NodeId n = segment.first_node; n < segment.end_node; ++n) now += seconds_of_node[n];
    if (bytes == 0) continue;
    buffer_free[next] = now;
    next = 1 - next;
  }
  return now;
}

std::vector<int> WorthStreaming(std::vector<StreamCandidate> candidates, double seconds) {
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return a.saved * b.link > b.saved * a.link;
  });
  std::vector<int> chosen;
  double link = 0;
  for (const StreamCandidate& candidate : candidates) {
    if (candidate.saved <= 0) break;
    link += candidate.link;
    seconds -= candidate.saved;
    if (!chosen.empty() && link > seconds && link > seconds + candidate.saved) break;
    chosen.push_back(candidate.group);
  }
  return chosen;
}

}  // namespace bantam::schedule
