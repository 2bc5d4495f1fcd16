#include "runtime/device/compile.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace bantam::device {

using graph::Graph;
using graph::Node;
using graph::Op;
using graph::Value;
using graph::ValueId;
using quant::Type;

absl::Status Unsupported(const Graph& graph, const Node& node, absl::string_view why) {
  return absl::UnimplementedError(
      absl::StrCat(graph::OpName(node.op), " '", graph.value(node.output).name, "': ", why));
}

absl::Status CheckCacheType(const Graph& graph, const Node& node, size_t input,
                            absl::string_view backend) {
  const Type type = graph.value(node.inputs[input]).type;
  if (type == Type::kF32 || type == Type::kF16 || type == Type::kQ8_0 || type == Type::kQ4_0) {
    return absl::OkStatus();
  }
  return Unsupported(graph, node,
                     absl::StrCat("a cache of type ", quant::Name(type), " is not supported by ",
                                  backend, "; supported: F32, F16, Q8_0, Q4_0"));
}

bool NeedsWork(const Graph& graph, const Node& node) {
  if (node.op == Op::kReshape || node.op == Op::kView) return false;
  // The output of a KV write is the cache, and its work is x.
  const ValueId work = node.op == Op::kKvWrite ? node.inputs[1] : node.output;
  return graph::ElementCount(graph.value(work).shape) > 0;
}

uint64_t GpuAlignment(Type type) {
  const quant::TypeTraits& traits = quant::Traits(type);
  const auto bytes = static_cast<uint64_t>(traits.block_bytes);
  if (!traits.is_quantized) return bytes;
  return bytes % 4 == 0 ? 4 : bytes % 2 == 0 ? 2 : 1;
}

absl::StatusOr<Binding> Places::Find(ValueId id) const {
  const ValueId root_id = graph_.RootOf(id);
  const auto index = static_cast<size_t>(root_id);
  const Value& root = graph_.value(root_id);
  const auto needed = static_cast<uint64_t>(root.SpanBytes());
  Binding binding;
  if (root.storage == graph::Storage::kTemp) {
    const int64_t offset = index < args_.plan.offsets.size() ? args_.plan.offsets[index] : -1;
    if (offset < 0 || offset > args_.plan.size - root.SpanBytes()) {
      return Error(id, absl::StrCat("has no place in the memory plan of ", args_.plan.size,
                                    " bytes (offset ", offset, ", ", needed, " bytes)"));
    }
    binding = {args_.temp.buffer, args_.temp.offset + static_cast<uint64_t>(offset)};
  } else if (index < args_.bindings.size()) {
    binding = args_.bindings[index];
  }
  if (binding.buffer == nullptr) return Error(id, "is bound to no buffer");
  const uint64_t size = binding.buffer->size();
  if (binding.offset > size || needed > size - binding.offset) {
    return Error(id, absl::StrCat("needs ", needed, " bytes at ", binding.offset,
                                  "; its buffer has ", size));
  }
  // The graph is inferred, so that a view lies within its root.
  binding.offset += static_cast<uint64_t>(graph_.value(id).byte_offset);
  return binding;
}

uint64_t Places::Planned(ValueId id) const {
  const auto root = static_cast<size_t>(graph_.RootOf(id));
  const int64_t offset = root < args_.plan.offsets.size() ? args_.plan.offsets[root] : 0;
  return static_cast<uint64_t>(std::max<int64_t>(offset, 0) + graph_.value(id).byte_offset);
}

absl::Status Places::CheckAlignment(ValueId id, uint64_t address, uint64_t alignment) const {
  const Value& value = graph_.value(id);
  const auto aligned = [&](int64_t bytes) { return static_cast<uint64_t>(bytes) % alignment == 0; };
  if (aligned(static_cast<int64_t>(address)) &&
      std::all_of(value.strides.begin(), value.strides.end(), aligned)) {
    return absl::OkStatus();
  }
  return Error(id, absl::StrCat("is bound to an address that is not aligned to the ", alignment,
                                " bytes of ", quant::Name(value.type)));
}

absl::Status Places::Error(ValueId id, absl::string_view message) const {
  return absl::InvalidArgumentError(
      absl::StrCat("value '", graph_.value(graph_.RootOf(id)).name, "' ", message));
}

}  // namespace bantam::device
