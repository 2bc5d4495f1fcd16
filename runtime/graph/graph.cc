#include "runtime/graph/graph.h"

#include <array>
#include <limits>

namespace bantam::graph {
namespace {

// Shapes may come from damaged files and are not checked before Infer, which refuses anything near
// the limit.
int64_t SaturatingMultiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

}  // namespace

Strides ContiguousStrides(quant::Type type, const Shape& shape) {
  const quant::TypeTraits& traits = quant::Traits(type);
  Strides strides;
  strides[0] = traits.block_bytes;
  strides[1] = SaturatingMultiply(shape[0] / traits.block_size, traits.block_bytes);
  strides[2] = SaturatingMultiply(strides[1], shape[1]);
  strides[3] = SaturatingMultiply(strides[2], shape[2]);
  return strides;
}

int64_t Value::SpanBytes() const {
  if (ElementCount(shape) == 0) return 0;
  int64_t last = quant::RowBytes(type, shape[0]);
  for (int d = 1; d < kMaxDims; ++d) last += (shape[d] - 1) * strides[d];
  return last;
}

absl::string_view OpName(Op op) {
  static constexpr std::array<absl::string_view, kOpCount> kNames = {
      "gather_rows", "matmul",   "matmul_expert", "dequantize", "norm",     "rope",
      "attention",   "kv_write", "unary",         "gated",      "binary",   "scale",
      "softmax",     "top_k",    "reshape",       "view",       "transfer", "gather_elements"};
  return kNames[static_cast<size_t>(op)];
}

absl::string_view ActivationName(Activation activation) {
  static constexpr std::array<absl::string_view, 9> kNames = {
      "none", "silu", "gelu", "gelu_tanh", "gelu_quick", "relu", "relu_squared", "sigmoid", "tanh"};
  return kNames[static_cast<size_t>(activation)];
}

ValueId Graph::AddRoot(absl::string_view name, Storage storage, quant::Type type,
                       const Shape& shape) {
  Value value;
  value.name = std::string(name);
  value.storage = storage;
  value.type = type;
  value.shape = shape;
  value.strides = ContiguousStrides(type, shape);
  values_.push_back(std::move(value));
  return static_cast<ValueId>(values_.size() - 1);
}

ValueId Graph::Add(Op op, std::vector<ValueId> inputs, absl::string_view name, Attrs attrs) {
  Value value;
  value.name = std::string(name);
  value.producer = static_cast<NodeId>(nodes_.size());
  values_.push_back(std::move(value));
  const ValueId output = static_cast<ValueId>(values_.size() - 1);
  nodes_.push_back({op, std::move(inputs), output, std::move(attrs)});
  return output;
}

ValueId Graph::Find(absl::string_view name) const {
  for (size_t i = 0; i < values_.size(); ++i) {
    if (values_[i].name == name) return static_cast<ValueId>(i);
  }
  return kNone;
}

}  // namespace bantam::graph
