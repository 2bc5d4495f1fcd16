// The weights of a model on one of its devices.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/device/device.h"
#include "runtime/engine/made_weights.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/placement.h"

namespace bantam::engine {

struct WeightOptions {
  bool map = true;     // what a device can use as it lies in the file stays there
  bool repack = true;  // but for what programs are faster with otherwise, if there is memory for it
  // Called with a line that the user should read.
  std::function<void(absl::string_view)> notice;
};

class DeviceWeights {
 public:
  // Whether what the device would repack of these weights has room there, with some to spare; false
  // where there is nothing to repack. Arguments as Reserve's.
  static absl::StatusOr<bool> MayRepack(std::span<const graph::Graph> graphs,
                                        const schedule::Placement& placement, int device_index,
                                        device::Device& device);
  // Reserves room for the weights that `graphs` use on the device of that index by `placement`,
  // copying nothing yet. kResourceExhausted when the device has too little memory. `file`, `made`
  // and `device` must outlive this.
  static absl::StatusOr<DeviceWeights> Reserve(const gguf::File& file, const MadeWeights& made,
                                               std::span<const graph::Graph> graphs,
                                               const schedule::Placement& placement,
                                               int device_index, device::Device& device,
                                               const WeightOptions& options);
  // `progress` gets the bytes of each tensor copied.
  absl::Status Fill(const std::function<void(uint64_t)>& progress);

  // Whether what is there answers that the device is lost.
  bool IsLost() const;

  const device::Binding* Find(absl::string_view name) const;
  uint64_t bytes() const { return allocated_ + mapped_; }  // as the device packs them
  uint64_t allocated_bytes() const { return allocated_; }
  uint64_t mapped_bytes() const { return mapped_; }

 private:
  struct Copy {
    std::string name;
    const gguf::TensorInfo* tensor;  // of the file, or
    const MadeWeights::Entry* made;  // made of it
    bool repack;
    size_t buffer;
    uint64_t offset;
  };

  const gguf::File* file_ = nullptr;
  device::Device* device_ = nullptr;
  std::vector<std::unique_ptr<device::Buffer>> buffers_;
  absl::flat_hash_map<std::string, device::Binding> bindings_;  // by name
  std::vector<Copy> copies_;
  uint64_t allocated_ = 0;
  uint64_t mapped_ = 0;
};

}  // namespace bantam::engine
