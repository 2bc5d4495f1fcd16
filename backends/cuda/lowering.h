// From nodes to launches of kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/cuda/gpu.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/settings.h"
#include "runtime/graph/graph.h"

namespace bantam::cuda {

// OK when the backend runs `node`, else kUnimplemented with the reason; the graph is inferred.
absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node);

// A value resolved to device memory.
struct Tensor {
  std::byte* data = nullptr;  // element 0; null when empty
  quant::Type type = quant::Type::kF32;
  graph::Shape shape = {1, 1, 1, 1};
  graph::Strides strides = {};  // bytes

  bool empty() const { return graph::ElementCount(shape) == 0; }
  View view() const;
  uint64_t SpanBytes() const;
};

// A launch, with the executable's own memory given when it is made.
struct OwnMemory {
  std::byte* constants = nullptr;
  std::byte* scratch = nullptr;
};
struct KernelLaunch {
  std::string kernel;  // for people
  uint64_t weight_bytes = 0;
  std::function<void(const OwnMemory&, Stream)> launch;
};

class Lowering {
 public:
  Lowering(const driver::DeviceInfo& info, const Settings& settings)
      : info_(info), settings_(settings) {}

  // Appends the launches of a node. `inputs` and `output` are its values resolved.
  absl::Status Lower(const graph::Node& node, std::span<const Tensor> inputs, const Tensor& output);

  std::vector<KernelLaunch>& launches() { return launches_; }
  // What the executable's own memory is to hold. Scratch is used again by every node.
  const std::vector<double>& constants() const { return constants_; }
  uint64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  using Inputs = std::span<const Tensor>;
  void Elementwise(const graph::Node& node, Inputs inputs, const Tensor& output);
  void Rope(const graph::Node& node, Inputs inputs, const Tensor& output);
  void Decode(const graph::Node& node, Inputs inputs, const Tensor& output);
  void MatMul(const graph::Node& node, Inputs inputs, const Tensor& output);
  void MatMulExpert(Inputs inputs, const Tensor& output);
  void Attention(const graph::Node& node, Inputs inputs, const Tensor& output);

  // What columns of x are rounded to for a product.
  enum class Rounding { kInt8, kHalf };
  // Rounds them at the start of scratch, unless that is what is there.
  void Prepare(const Tensor& x, Rounding rounding);
  void Add(std::string kernel, std::function<void(const OwnMemory&, Stream)> launch,
           uint64_t weight_bytes = 0) {
    launches_.push_back({std::move(kernel), weight_bytes, std::move(launch)});
  }
  uint64_t Scratch(uint64_t bytes);  // makes room; returns 0, where it begins

  const driver::DeviceInfo& info_;
  const Settings settings_;
  std::vector<KernelLaunch> launches_;
  std::vector<double> constants_;
  uint64_t scratch_bytes_ = 0;
  // The x whose rounded columns are at the start of scratch; data is null when none's are.
  Tensor prepared_;
  Rounding prepared_rounding_ = Rounding::kInt8;
};

}  // namespace bantam::cuda
