// What the Compile of every backend asks of a graph and of the memory its values are bound to.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/device/device.h"
#include "runtime/graph/graph.h"

namespace bantam::device {

// kUnimplemented, naming the node.
absl::Status Unsupported(const graph::Graph& graph, const graph::Node& node, absl::string_view why);
// That, unless input `input` is of a type that KV caches are written in: F32, F16, Q8_0 or Q4_0.
// `backend` for people: "Vulkan".
absl::Status CheckCacheType(const graph::Graph& graph, const graph::Node& node, size_t input,
                            absl::string_view backend);

// Whether a node is to be run: views need no work, and neither do empty outputs.
bool NeedsWork(const graph::Graph& graph, const graph::Node& node);

// What kernels of GPUs need: the natural alignment of plain types; of blocks, words where a block
// is whole words, else half words, and bytes where it has an odd size.
uint64_t GpuAlignment(quant::Type type);

// Finds the memory of values, and checks that it is there.
class Places {
 public:
  // Both must outlive it. `graph` is that of `args`, inferred.
  Places(const graph::Graph& graph, const CompileArgs& args) : graph_(graph), args_(args) {}

  // The buffer that a value which is not empty lies in, itself or as a view of another, and where
  // its element 0 does. kInvalidArgument where the memory has no place in the plan, no buffer, or
  // one that ends before it.
  absl::StatusOr<Binding> Find(graph::ValueId id) const;
  // Where the memory plan has element 0, for finding sizes without memory; past what it plans,
  // where it is in its own value.
  uint64_t Planned(graph::ValueId id) const;
  // kInvalidArgument unless element 0, which is at `address`, and the strides are aligned.
  absl::Status CheckAlignment(graph::ValueId id, uint64_t address, uint64_t alignment) const;
  // kInvalidArgument, naming the value that the memory of `id` belongs to.
  absl::Status Error(graph::ValueId id, absl::string_view message) const;

 private:
  const graph::Graph& graph_;
  const CompileArgs& args_;
};

}  // namespace bantam::device
