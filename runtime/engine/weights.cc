#include "runtime/engine/weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"
#include "runtime/schedule/placement.h"

namespace bantam::engine {

absl::StatusOr<DeviceWeights> DeviceWeights::Reserve(const gguf::File& file,
                                                     const graph::Graph& graph,
                                                     const std::vector<int>& device_of_node,
                                                     int device_index, device::Device& device,
                                                     bool may_map) {
  DeviceWeights weights;
  weights.device_ = &device;
  const device::Limits limits = device.limits();
  schedule::DeviceProfile profile;
  profile.alignment = limits.alignment;
  profile.device = &device;
  std::vector<uint64_t> sizes;  // of the buffers to allocate
  for (const auto& place :
       schedule::LayOutWeights(graph, device_of_node, device_index, profile).places) {
    const gguf::TensorInfo* tensor = file.FindTensor(graph.value(place.weight).name);
    if (tensor == nullptr) {
      return absl::InternalError(absl::StrCat(file.path(), ": the graph uses tensor ",
                                              graph.value(place.weight).name,
                                              ", which is not in the file"));
    }
    const uint64_t packed = device.PackedBytes(tensor->type, tensor->shape);
    if (may_map && packed == tensor->data.size()) {
      auto wrapped = device.WrapHost(tensor->data);
      if (wrapped.ok()) {
        weights.mapped_ += packed;
        weights.bindings_[tensor->name] = {wrapped->get(), 0};
        weights.buffers_.push_back(*std::move(wrapped));
        continue;
      }
      if (!absl::IsUnimplemented(wrapped.status())) return wrapped.status();
    }
    const uint64_t room = AlignUp(packed, limits.alignment);
    if (sizes.empty() || sizes.back() + room > limits.max_allocation) sizes.push_back(0);
    weights.copies_.push_back({tensor, sizes.size() - 1, sizes.back()});
    sizes.back() += room;
  }
  const size_t first = weights.buffers_.size();
  for (uint64_t size : sizes) {
    auto buffer = device.Allocate(size);
    if (!buffer.ok()) return Annotate(buffer.status(), absl::StrCat(file.path(), ": weights"));
    weights.buffers_.push_back(*std::move(buffer));
    weights.allocated_ += size;
  }
  for (Copy& copy : weights.copies_) copy.buffer += first;
  return weights;
}

absl::Status DeviceWeights::Fill(const std::function<void(uint64_t)>& progress) {
  for (const Copy& copy : copies_) {
    const device::Binding where{buffers_[copy.buffer].get(), copy.offset};
    BANTAM_RETURN_IF_ERROR(Annotate(
        device_->LoadWeight(copy.tensor->type, copy.tensor->shape, copy.tensor->data, where),
        copy.tensor->name));
    bindings_[copy.tensor->name] = where;
    progress(copy.tensor->data.size());
  }
  return absl::OkStatus();
}

const device::Binding* DeviceWeights::Find(absl::string_view name) const {
  const auto found = bindings_.find(name);
  return found == bindings_.end() ? nullptr : &found->second;
}

}  // namespace bantam::engine
