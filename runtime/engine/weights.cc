#include "runtime/engine/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"
#include "runtime/schedule/placement.h"

namespace bantam::engine {

namespace {

// Names, in order of first use.
absl::StatusOr<std::vector<std::string>> NamesOn(int device_index, device::Device& device,
                                                 std::span<const graph::Graph> graphs,
                                                 const schedule::Placement& placement) {
  schedule::DeviceProfile profile;
  profile.alignment = device.limits().alignment;
  profile.device = &device;
  std::vector<std::string> names;
  absl::flat_hash_set<std::string> known;
  for (const graph::Graph& graph : graphs) {
    BANTAM_ASSIGN_OR_RETURN(const std::vector<int> of_node,
                            schedule::DevicesOfNodes(graph, placement));
    for (const auto& place :
         schedule::LayOutWeights(graph, of_node, device_index, profile).places) {
      const std::string& name = graph.value(place.weight).name;
      if (known.insert(name).second) names.push_back(name);
    }
  }
  return names;
}

}  // namespace

absl::StatusOr<DeviceWeights> DeviceWeights::Reserve(
    const gguf::File& file, const MadeWeights& made, std::span<const graph::Graph> graphs,
    const schedule::Placement& placement, int device_index, device::Device& device, bool may_map) {
  BANTAM_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          NamesOn(device_index, device, graphs, placement));
  DeviceWeights weights;
  weights.device_ = &device;
  const device::Limits limits = device.limits();
  std::vector<uint64_t> sizes;  // of the buffers to allocate
  for (const std::string& name : names) {
    const gguf::TensorInfo* tensor = file.FindTensor(name);
    const MadeWeights::Entry* entry = tensor == nullptr ? made.Find(name) : nullptr;
    if (tensor == nullptr && entry == nullptr) {
      return absl::InternalError(absl::StrCat(file.path(), ": the graph uses tensor ", name,
                                              ", which is not in the file"));
    }
    const uint64_t packed = tensor != nullptr ? device.PackedBytes(tensor->type, tensor->shape)
                                              : device.PackedBytes(entry->type, entry->shape);
    if (may_map && tensor != nullptr && packed == tensor->data.size()) {
      auto wrapped = device.WrapHost(tensor->data);
      if (wrapped.ok()) {
        weights.mapped_ += packed;
        weights.bindings_[name] = {wrapped->get(), 0};
        weights.buffers_.push_back(*std::move(wrapped));
        continue;
      }
      if (!absl::IsUnimplemented(wrapped.status())) return wrapped.status();
    }
    const uint64_t room = AlignUp(packed, limits.alignment);
    if (sizes.empty() || sizes.back() + room > limits.max_allocation) sizes.push_back(0);
    weights.copies_.push_back({name, tensor, entry, sizes.size() - 1, sizes.back()});
    sizes.back() += room;
  }
  const size_t first = weights.buffers_.size();
  for (uint64_t size : sizes) {
    auto buffer = device.AllocateWeights(size);
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
    const absl::Status loaded =
        copy.tensor != nullptr
            ? device_->LoadWeight(copy.tensor->type, copy.tensor->shape, copy.tensor->data, where)
            : device_->LoadWeight(copy.made->type, copy.made->shape, copy.made->Joined(), where);
    BANTAM_RETURN_IF_ERROR(Annotate(loaded, copy.name));
    bindings_[copy.name] = where;
    progress(copy.tensor != nullptr ? copy.tensor->data.size() : 0);
  }
  return absl::OkStatus();
}

bool DeviceWeights::IsLost() const {
  std::byte byte;
  return std::any_of(buffers_.begin(), buffers_.end(), [&](const auto& buffer) {
    return buffer->size() > 0 && absl::IsUnavailable(buffer->Download(0, {&byte, 1}));
  });
}

const device::Binding* DeviceWeights::Find(absl::string_view name) const {
  const auto found = bindings_.find(name);
  return found == bindings_.end() ? nullptr : &found->second;
}

}  // namespace bantam::engine
