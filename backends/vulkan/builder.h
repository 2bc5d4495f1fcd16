// Puts a dispatch together: bindings in order, push constants in order.
#pragma once

#include <algorithm>
#include <bit>

#include "absl/strings/string_view.h"
#include "backends/vulkan/lowering.h"

namespace bantam::vulkan {

class Lowering::Builder {
 public:
  Builder(Lowering& lowering, Shader shader, absl::string_view kernel) : lowering_(lowering) {
    dispatch_.key.shader = shader;
    dispatch_.kernel = std::string(kernel);
  }

  // The specialization constants, the first being the size of a workgroup.
  Builder& Constants(std::initializer_list<uint32_t> constants) {
    std::copy(constants.begin(), constants.end(), dispatch_.key.constants.begin());
    return *this;
  }
  Builder& Subgroups(uint32_t size) {
    dispatch_.key.subgroup_size = size;
    return *this;
  }

  // Binds a tensor and returns where its element 0 is from the start of the binding, in bytes.
  uint32_t Bind(const Tensor& tensor, bool written = false);
  uint32_t BindWords(const Tensor& tensor, bool written = false) {
    return Bind(tensor, written) / 4;
  }
  void BindCodebooks();  // also for a binding that is not used
  // Where the weights are that were given to Bind and are not bound.
  void PushAddress() {
    Push(static_cast<uint32_t>(address_));
    Push(static_cast<uint32_t>(address_ >> 32));
  }

  void Push(uint32_t word) { dispatch_.push[dispatch_.push_words++] = word; }
  void Push(float value) { Push(std::bit_cast<uint32_t>(value)); }
  void PushAll(std::initializer_list<int64_t> words) {
    for (int64_t word : words) Push(static_cast<uint32_t>(word));
  }

  void Finish(uint64_t groups) {
    dispatch_.groups = groups;
    if (groups > 0) lowering_.Add(std::move(dispatch_));
  }

 private:
  Lowering& lowering_;
  Dispatch dispatch_;
  uint64_t address_ = 0;
};

inline uint64_t Groups(uint64_t items, uint64_t size) { return (items + size - 1) / size; }

}  // namespace bantam::vulkan
