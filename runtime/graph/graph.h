// The graph IR: values, ops and the container every model builds and every backend compiles.
//
// A model adds values and nodes without checking anything; graph::Infer (infer.h) then computes
// every type, shape and stride and names the first node that makes no sense. Node order is
// execution order.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/quant/type.h"

namespace bantam::graph {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNone = -1;

inline constexpr int kMaxDims = 4;
// Element counts, innermost (contiguous) dimension first, as in GGUF: a weight matrix of `out` rows
// of `in` elements is {in, out, 1, 1}. Unused dimensions are 1. A dimension may be 0.
using Shape = std::array<int64_t, kMaxDims>;
// Bytes between neighbours along each dimension; strides[0] is the size of one block.
using Strides = std::array<int64_t, kMaxDims>;

inline int64_t ElementCount(const Shape& s) { return s[0] * s[1] * s[2] * s[3]; }
inline int64_t RowCount(const Shape& s) { return s[1] * s[2] * s[3]; }
// The strides of a packed tensor.
Strides ContiguousStrides(quant::Type type, const Shape& shape);

// Who provides the memory of a value.
enum class Storage : uint8_t {
  kWeight,  // constant, bound once
  kInput,   // written by the host before each run
  kState,   // lives across runs, written by nodes (the KV cache)
  kTemp,    // output of a node; memory comes from the planner
};

struct Value {
  std::string name;
  Storage storage = Storage::kTemp;
  quant::Type type = quant::Type::kF32;
  Shape shape = {0, 1, 1, 1};
  Strides strides = {};
  // A view shares the memory of `base` (never itself a view after Infer), `byte_offset` from its
  // start. kNone: has memory of its own.
  ValueId base = kNone;
  int64_t byte_offset = 0;
  NodeId producer = kNone;  // the node whose output this is

  bool IsContiguous() const { return strides == ContiguousStrides(type, shape); }
  // Bytes from the first to one past the last byte touched; 0 for an empty value.
  int64_t SpanBytes() const;
};

// Unless an op says otherwise: activations are f32, dimension 0 of every input is contiguous,
// dimensions 1 to 3 may have any stride, and outputs are contiguous f32. `n` is the number of rows
// (tokens) in the batch.
enum class Op : uint8_t {
  // (table {k, rows} any type, ids i32 {n}) -> {k, n}. An id outside [0, rows) gives a row of
  // zeros.
  kGatherRows,
  // (w0 {k, m0}, .., w[parts-1], x {k, n, b2, b3} [, bias0 {m0}, ..]) -> {m0 + m1 + .., n, b2, b3}:
  // out[i, j] = activation(sum_k w[k, i] * x[k, j] + bias[i]). Weights of any type.
  kMatMul,
  // (w {k, m, experts}, x {k, 1 or top_k, n}, ids i32 {top_k, n}) -> {m, top_k, n}:
  // expert ids[e, j] applied to x[:, min(e, dim1 - 1), j]. An id outside [0, experts) gives zeros.
  kMatMulExpert,
  // (x any type) -> f32 of the same shape, contiguous. Decodes, converts and packs.
  kDequantize,
  // (x {k, ...} [, weight {k} [, bias {k}]]) -> same shape. Over dimension 0.
  kNorm,
  // (x {head_dim, heads, n}, positions i32 {n} [, freq_factors f32 {n_dims / 2}]) -> same shape.
  kRope,
  // (q {head_dim, heads, n}, k {head_dim, kv_heads, ctx}, v {v_dim, kv_heads, ctx},
  //  q_cells i32 {2, n}, kv_cells i32 {2, ctx}, kv_len i32 {1} [, sinks f32 {heads}])
  // -> {v_dim, heads, n}. k and v are f32 or f16 (or a quantized type a backend supports).
  // A cell is a pair (position, sequence); sequence -1 marks an empty one. Query i attends to the
  // cells c < kv_len of its own sequence with position <= its own (if causal) and within the
  // window. A query that attends to nothing (or whose sequence is -1) gives zeros.
  kAttention,
  // (cache {d, heads, ctx} f32/f16/quantized, x f32 {d, heads, n}, slots i32 {n}) -> a view of the
  // whole cache, so that readers of the output run after the write. Slot -1: the row is dropped.
  // The cache is the memory of a state, or a view of it; x and slots are not.
  kKvWrite,
  kUnary,    // (x) -> activation(x)
  kGated,    // (gate, up) -> activation(gate) * up, or clamped (see ActivationAttrs)
  kBinary,   // (a, b) -> a op b; b is broadcast along dimensions where it is 1
  kScale,    // (x) -> x * scale + bias
  kSoftmax,  // (x) -> softmax over dimension 0 of x * scale
  // (x {k, n}) -> i32 {top_k, n}: indices of the largest, descending; equal values by lower index.
  kTopK,
  kReshape,  // (x contiguous) -> a view with another shape of as many elements
  // (x) -> a view with its own shape, strides and offset, within the bytes x spans and in whole
  // blocks. Infer replaces the strides of dimensions of size 1, so that IsContiguous is exact.
  kView,
  kTransfer,  // (x) -> a contiguous copy on another device
  // (x f32 or i32 {k, n}, ids i32 {m, n}) -> x's type {m, n}: out[i, j] = x[ids[i, j], j]. An id
  // outside [0, k) gives 0.
  kGatherElements,
};
inline constexpr int kOpCount = static_cast<int>(Op::kGatherElements) + 1;
absl::string_view OpName(Op op);

enum class Activation : uint8_t {
  kNone,
  kSilu,
  kGelu,       // x/2 (1 + erf(x / sqrt 2))
  kGeluTanh,   // the tanh approximation
  kGeluQuick,  // x sigmoid(1.702 x)
  kRelu,
  kReluSquared,
  kSigmoid,
  kTanh,
};
absl::string_view ActivationName(Activation activation);

enum class NormKind : uint8_t { kRms, kLayer };
enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv };
// Which elements of a head a rotation pairs up.
enum class RopeLayout : uint8_t {
  kInterleaved,  // (0,1), (2,3), ...: Llama in GGUF files
  kNeox,         // (i, i + n_dims/2)
};

struct MatMulAttrs {
  int32_t parts = 1;      // number of weights; outputs are stacked along dimension 0
  bool has_bias = false;  // one bias per part follows x
  Activation activation = Activation::kNone;
};
struct NormAttrs {
  NormKind kind = NormKind::kRms;
  float epsilon = 1e-5f;
};
// theta_i(p) = p * theta_base^(-2i/n_dims) * freq_scale / freq_factors[i], corrected by YaRN
// (Peng et al. 2023) when ext_factor is not 0. Dimensions from n_dims on pass through.
struct RopeAttrs {
  RopeLayout layout = RopeLayout::kInterleaved;
  int32_t n_dims = 0;
  float theta_base = 10000.0f;
  float freq_scale = 1.0f;
  float ext_factor = 0.0f;   // YaRN mix of interpolation and extrapolation
  float attn_factor = 1.0f;  // scales the rotated vector
  float beta_fast = 32.0f;
  float beta_slow = 1.0f;
  int32_t original_context = 0;  // context length of training, for YaRN
};
struct AttentionAttrs {
  float scale = 1.0f;
  bool causal = true;
  int32_t window = 0;    // attends to positions > query position - window; 0: no limit
  float softcap = 0.0f;  // scores become softcap * tanh(score / softcap); 0: off
};
struct ActivationAttrs {  // kUnary, kGated
  Activation activation = Activation::kSilu;
  // kGated alone: activation(min(gate, limit)) * (clamp(up, -limit, limit) + up_offset), as gpt-oss
  // was trained. 0: no limit.
  float limit = 0.0f;
  float up_offset = 0.0f;
};
struct BinaryAttrs {
  BinaryOp op = BinaryOp::kAdd;
};
struct ScaleAttrs {
  float scale = 1.0f;
  float bias = 0.0f;
};
struct SoftmaxAttrs {
  float scale = 1.0f;
};
struct TopKAttrs {
  int32_t k = 1;
};
struct ReshapeAttrs {
  Shape shape = {};
};
struct ViewAttrs {
  Shape shape = {};
  Strides strides = {};  // bytes
  int64_t byte_offset = 0;
};
struct TransferAttrs {
  int32_t device = 0;  // destination, an index into the placement's devices
};

using Attrs = std::variant<std::monostate, MatMulAttrs, NormAttrs, RopeAttrs, AttentionAttrs,
                           ActivationAttrs, BinaryAttrs, ScaleAttrs, SoftmaxAttrs, TopKAttrs,
                           ReshapeAttrs, ViewAttrs, TransferAttrs>;

struct Node {
  Op op;
  std::vector<ValueId> inputs;
  ValueId output = kNone;
  Attrs attrs;
};

// A plain container; copyable, so that passes are functions Graph -> Graph.
class Graph {
 public:
  ValueId AddWeight(absl::string_view name, quant::Type type, const Shape& shape) {
    return AddRoot(name, Storage::kWeight, type, shape);
  }
  ValueId AddInput(absl::string_view name, quant::Type type, const Shape& shape) {
    return AddRoot(name, Storage::kInput, type, shape);
  }
  ValueId AddState(absl::string_view name, quant::Type type, const Shape& shape) {
    return AddRoot(name, Storage::kState, type, shape);
  }
  // Appends a node and returns its output, whose type and shape are unknown until Infer.
  ValueId Add(Op op, std::vector<ValueId> inputs, absl::string_view name, Attrs attrs = {});
  // Keeps `value` readable after a run.
  void AddOutput(ValueId value) { outputs_.push_back(value); }

  const Value& value(ValueId id) const { return values_[id]; }
  Value& value(ValueId id) { return values_[id]; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  std::vector<Node>& nodes() { return nodes_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  std::vector<ValueId>& outputs() { return outputs_; }
  // The value whose memory `id` lives in: itself unless it is a view.
  ValueId RootOf(ValueId id) const { return values_[id].base == kNone ? id : values_[id].base; }
  // The first value of that name, or kNone.
  ValueId Find(absl::string_view name) const;

 private:
  ValueId AddRoot(absl::string_view name, Storage storage, quant::Type type, const Shape& shape);

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> outputs_;
};

}  // namespace bantam::graph
