#include "runtime/schedule/placement.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"
#include "runtime/schedule/placer.h"

namespace bantam::schedule {

using graph::Graph;
using graph::Storage;
using graph::ValueId;

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

namespace {

// By group of `grouping` what a placement says of it.
struct Found {
  std::vector<int> device;
  Streaming streaming;
};
absl::StatusOr<Found> Find(const Grouping& grouping, const Placement& placement) {
  Found found;
  found.streaming = placement.streaming;
  found.streaming.is_streamed.clear();
  for (const Group& group : grouping.groups) {
    const auto at = std::find(placement.groups.begin(), placement.groups.end(), group);
    if (at == placement.groups.end()) {
      return absl::InternalError(absl::StrCat("no place was chosen for ", GroupName(group)));
    }
    const auto g = static_cast<size_t>(at - placement.groups.begin());
    found.device.push_back(placement.device[g]);
    found.streaming.is_streamed.push_back(placement.streaming.rows > 0 &&
                                          placement.streaming.is_streamed[g]);
  }
  return found;
}

}  // namespace

absl::StatusOr<std::vector<int>> DevicesOfNodes(const Graph& graph, const Placement& placement) {
  BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(graph));
  BANTAM_ASSIGN_OR_RETURN(const Found found, Find(grouping, placement));
  return PlaceNodes(graph, grouping, found.device, {}).device;
}

absl::StatusOr<NodePlaces> PlacesInStep(const Graph& graph, const Placement& placement) {
  BANTAM_ASSIGN_OR_RETURN(const Grouping grouping, FindGroups(graph));
  BANTAM_ASSIGN_OR_RETURN(const Found found, Find(grouping, placement));
  return PlaceNodes(graph, grouping, found.device, found.streaming);
}

absl::StatusOr<Placement> Place(const PlacementRequest& request,
                                std::span<const DeviceProfile> devices) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Place();
}

absl::StatusOr<Placement> Evaluate(const PlacementRequest& request,
                                   std::span<const DeviceProfile> devices,
                                   std::vector<int> device_of_group, const Streaming& streaming) {
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.Evaluate(std::move(device_of_group), streaming);
}

absl::StatusOr<Placement> EvaluateSplit(const PlacementRequest& request,
                                        std::span<const DeviceProfile> devices,
                                        const std::vector<int>& device_of_group,
                                        std::span<const HotExperts> hot) {
  if (request.expert_use == nullptr) {
    return absl::InternalError("a split of experts needs their use");
  }
  Placer placer(request, devices);
  BANTAM_RETURN_IF_ERROR(placer.Init());
  return placer.PlaceSplit(device_of_group, hot, {});
}

}  // namespace bantam::schedule
