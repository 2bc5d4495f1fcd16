// What a graph is lowered to: dispatches of shaders over parts of buffers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/vulkan/cooperative_matrix.h"
#include "backends/vulkan/shader_code.h"
#include "runtime/graph/graph.h"

namespace bantam::vulkan {

class Buffer;

// Memory an executable brings itself, whose buffers are made after lowering.
enum class Own : uint8_t { kNone, kConstants, kScratch };

// A value resolved to memory: element 0 is at byte `offset` of the buffer.
struct Tensor {
  VkBuffer buffer = VK_NULL_HANDLE;
  const Buffer* in_pieces = nullptr;  // in place of `buffer`: which one depends on the offset
  uint64_t address = 0;               // of the buffer, where it is told
  bool by_address = false;            // to be read there, for it is larger than a binding
  Own own = Own::kNone;
  uint64_t offset = 0;
  quant::Type type = quant::Type::kF32;
  graph::Shape shape = {1, 1, 1, 1};
  graph::Strides strides = {4, 4, 4, 4};  // bytes

  bool operator==(const Tensor&) const = default;
  bool empty() const { return graph::ElementCount(shape) == 0; }
  // Bytes from element 0 to one past the last.
  uint64_t SpanBytes() const;
  // Elements begin .. begin + count along a dimension; all of it where the size is 1 (broadcast).
  Tensor Slice(int dimension, int64_t begin, int64_t count) const;
};

// A range of a buffer bound to a shader.
struct Bound {
  VkBuffer buffer = VK_NULL_HANDLE;
  Own own = Own::kNone;
  uint64_t begin = 0, end = 0;
  bool written = false;
};

inline bool Overlap(const Bound& a, const Bound& b) {
  return a.buffer == b.buffer && a.own == b.own && a.begin < b.end && b.begin < a.end;
}

struct Dispatch {
  PipelineKey key;
  std::array<Bound, kMaxBindings> bindings;
  Bound reached;  // read at an address, not bound
  std::array<uint32_t, kPushBytes / 4> push = {};
  uint32_t push_words = 0;
  uint64_t groups = 0;
  std::string kernel;  // for people
};

}  // namespace bantam::vulkan
