// From nodes to dispatches. What does not fit a binding is cut: an op along the outer dimensions of
// its output, a weight along its rows, a cache along its cells.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "backends/vulkan/dispatch.h"
#include "backends/vulkan/settings.h"
#include "backends/vulkan/traits.h"
#include "runtime/graph/graph.h"

namespace bantam::vulkan {

// OK when the backend runs `node`, else kUnimplemented with the reason; the graph is inferred.
absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node,
                            const Traits& traits);

// How matmul.comp multiplies (shaders/tile_*.glsl); kNone: matvec.comp does.
enum class ProductTile : uint8_t { kNone, kF32, kHalves, kInt8, kMatrix };

class Lowering {
 public:
  // `codebooks` also stands in where a shader does not read a binding.
  Lowering(const Traits& traits, const Settings& settings, VkBuffer codebooks,
           uint64_t codebook_bytes);

  // Appends the dispatches of a node. `inputs` and `output` are its values resolved.
  absl::Status Lower(const graph::Node& node, std::span<const Tensor> inputs, const Tensor& output);

  std::vector<Dispatch>& dispatches() { return dispatches_; }
  // What the executable's own memory is to hold.
  const std::vector<uint32_t>& constants() const { return constants_; }
  uint64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  class Builder;
  friend class Builder;
  using Tensors = std::vector<Tensor>;
  // Something in scratch memory that was computed from a tensor and may be used again, until a
  // dispatch writes over either.
  struct Derived {
    Tensor source;
    Bound from, to;
    Tensor tensor;
    uint32_t kind = 0;  // more that must be the same; 0: there is nothing
  };
  using LowerTensors = std::function<absl::Status(const Tensors&)>;

  // Calls `lower` for pieces of `tensors` that fit; the last one is the output. Cuts dimensions
  // 3 down to `least`.
  absl::Status ForFitting(const Tensors& tensors, int least, const LowerTensors& lower);
  // How many elements of a dimension of `tensor`, from `first` on, can be bound at a time.
  absl::StatusOr<int64_t> FittingCount(const Tensor& tensor, int dimension,
                                       int64_t first = 0) const;
  // Whether a tensor can be bound: in one binding, and one piece of memory.
  bool Fits(const Tensor& tensor) const;
  uint64_t RoomAt(const Tensor& tensor) const;
  // A weight that is to be read at its address where it is too large for a binding and can be.
  Tensor Reachable(const Tensor& weight) const;
  void Add(Dispatch dispatch);
  // `shape` of 32-bit words in scratch memory, at byte `offset`.
  Tensor Scratch(const graph::Shape& shape, uint64_t offset = 0);
  static bool Holds(const Derived& derived, const Tensor& source, uint32_t kind) {
    return derived.kind == kind && derived.source == source;
  }
  // To be called after the dispatch that computed it.
  void Keep(Derived& derived, const Tensor& source, const Tensor& tensor, uint32_t kind) const;

  absl::Status Elementwise(const graph::Node& node, std::span<const Tensor> inputs,
                           const Tensor& output);
  absl::Status Rows(const graph::Node& node, std::span<const Tensor> inputs, const Tensor& output);
  absl::Status ArgMax(std::span<const Tensor> inputs, const Tensor& output);
  absl::Status Rope(const graph::Node& node, std::span<const Tensor> inputs, const Tensor& output);
  absl::Status Decode(const graph::Node& node, std::span<const Tensor> inputs,
                      const Tensor& output);
  absl::Status KvWrite(std::span<const Tensor> inputs);
  absl::Status MatMul(const graph::Node& node, std::span<const Tensor> inputs,
                      const Tensor& output);
  absl::Status MatMulExpert(std::span<const Tensor> inputs, const Tensor& output);
  bool GroupExperts(int64_t pairs, int64_t all_experts) const;
  ProductTile TileFor(quant::Type type, int64_t k) const;
  // x as such tiles want it: in scratch memory from `offset` on, or x itself.
  Tensor Multiplied(ProductTile tile, const Tensor& x, uint64_t offset);
  // The pairs of experts' `ids` in tiles (shaders/group_experts.comp), at the start of scratch
  // memory.
  Tensor TileLists(const Tensor& ids, int64_t all_experts, uint32_t width);
  absl::Status Attention(const graph::Node& node, std::span<const Tensor> inputs,
                         const Tensor& output);

  const Traits& traits_;
  const Settings& settings_;
  const VkBuffer codebooks_;
  const uint64_t codebook_bytes_;
  std::vector<Dispatch> dispatches_;
  std::vector<uint32_t> constants_;
  uint64_t scratch_bytes_ = 0;
  Derived rounded_, lists_;
};

}  // namespace bantam::vulkan
