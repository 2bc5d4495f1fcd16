#include "runtime/engine/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/align.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/schedule/placement.h"

namespace bantam::engine {

namespace {

struct Used {
  std::string name;
  uint64_t bytes;  // packed
  bool repacks;    // all graphs that use it would gain
};

// In order of first use.
absl::StatusOr<std::vector<Used>> WeightsOn(int device_index, device::Device& device,
                                            std::span<const graph::Graph> graphs,
                                            const schedule::Placement& placement) {
  schedule::DeviceProfile profile;
  profile.alignment = device.limits().alignment;
  profile.device = &device;
  std::vector<Used> weights;
  absl::flat_hash_map<std::string, size_t> known;
  for (const graph::Graph& graph : graphs) {
    BANTAM_ASSIGN_OR_RETURN(const std::vector<int> of_node,
                            schedule::DevicesOfNodes(graph, placement));
    for (const auto& place :
         schedule::LayOutWeights(graph, of_node, device_index, profile).places) {
      const std::string& name = graph.value(place.weight).name;
      const auto [found, is_new] = known.try_emplace(name, weights.size());
      if (is_new) weights.push_back({name, profile.PackedBytes(graph.value(place.weight)), true});
      weights[found->second].repacks &= device.Repacks(graph, place.weight);
    }
  }
  return weights;
}

uint64_t BytesToRepack(std::span<const Used> weights) {
  uint64_t bytes = 0;
  for (const Used& weight : weights) bytes += weight.repacks ? weight.bytes : 0;
  return bytes;
}

// Among tensors that are copied, a norm left in the file would keep the pages around it in memory.
constexpr uint64_t kMapsFrom = uint64_t{64} << 10;

// What cannot be had back when it runs short: text, the KV cache and other programs want some too.
bool HasRoomFor(uint64_t bytes, const device::Device& device) {
  return bytes <= device.memory().free / 4 * 3;
}

}  // namespace

absl::StatusOr<bool> DeviceWeights::MayRepack(std::span<const graph::Graph> graphs,
                                              const schedule::Placement& placement,
                                              int device_index, device::Device& device) {
  BANTAM_ASSIGN_OR_RETURN(const std::vector<Used> used,
                          WeightsOn(device_index, device, graphs, placement));
  const uint64_t bytes = BytesToRepack(used);
  return bytes > 0 && HasRoomFor(bytes, device);
}

absl::StatusOr<DeviceWeights> DeviceWeights::Reserve(const gguf::File& file,
                                                     const MadeWeights& made,
                                                     std::span<const graph::Graph> graphs,
                                                     const schedule::Placement& placement,
                                                     int device_index, device::Device& device,
                                                     const WeightOptions& options) {
  BANTAM_ASSIGN_OR_RETURN(std::vector<Used> used,
                          WeightsOn(device_index, device, graphs, placement));
  DeviceWeights weights;
  weights.file_ = &file;
  weights.device_ = &device;
  const device::Limits limits = device.limits();
  std::vector<uint64_t> sizes;  // of the buffers to allocate
  for (Used& weight : used) weight.repacks &= options.map && options.repack;
  const uint64_t repacked = BytesToRepack(used);
  const bool has_room = HasRoomFor(repacked, device);
  if (!has_room && options.notice) {
    options.notice(absl::StrCat("weights stay as they lie in the file, which is slower: to repack ",
                                FormatByteSize(repacked), " takes more than three quarters of the ",
                                FormatByteSize(device.memory().free), " of memory that are free"));
  }
  const bool repacks_others = repacked > 0 && has_room;
  for (const auto& [name, packed, would_repack] : used) {
    const bool repack = would_repack && has_room;
    const gguf::TensorInfo* tensor = file.FindTensor(name);
    const MadeWeights::Entry* entry = tensor == nullptr ? made.Find(name) : nullptr;
    if (tensor == nullptr && entry == nullptr) {
      return absl::InternalError(absl::StrCat(file.path(), ": the graph uses tensor ", name,
                                              ", which is not in the file"));
    }
    const bool rather_copied = repacks_others && packed < kMapsFrom;
    if (options.map && !repack && !rather_copied && tensor != nullptr &&
        packed == tensor->data.size()) {
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
    weights.copies_.push_back({name, tensor, entry, repack, sizes.size() - 1, sizes.back()});
    sizes.back() += room;
  }
  const size_t first = weights.buffers_.size();
  for (uint64_t size : sizes) {
    auto buffer = device.AllocateWeights(size);
    const bool can_map = repacks_others && absl::IsResourceExhausted(buffer.status());
    if (can_map) {
      if (options.notice) {
        options.notice(absl::StrCat("weights stay as they lie in the file, which is slower: ",
                                    device.name(), " has no room for ", FormatByteSize(size)));
      }
      WeightOptions mapped = options;
      mapped.repack = false;
      return Reserve(file, made, graphs, placement, device_index, device, mapped);
    }
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
    const auto load = copy.repack ? &device::Device::Repack : &device::Device::LoadWeight;
    const absl::Status loaded =
        copy.tensor != nullptr
            ? (device_->*load)(copy.tensor->type, copy.tensor->shape, copy.tensor->data, where)
            : (device_->*load)(copy.made->type, copy.made->shape, copy.made->Joined(), where);
    BANTAM_RETURN_IF_ERROR(Annotate(loaded, copy.name));
    const gguf::TensorInfo* read = copy.tensor != nullptr ? copy.tensor : copy.made->tensor;
    if (read != nullptr) file_->Release(*read, read->data);
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
