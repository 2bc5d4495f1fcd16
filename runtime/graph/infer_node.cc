#include "runtime/graph/infer_node.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/graph/text.h"

namespace bantam::graph {
namespace {

// No value may be larger. Far above any memory, and low enough for sums of sizes not to overflow.
constexpr int64_t kMaxBytes = int64_t{1} << 56;

constexpr int64_t kAny = kAnySize;

enum class TypeRule { kAny, kF32, kI32, kF32OrI32, kCache };

bool Matches(TypeRule rule, quant::Type type) {
  switch (rule) {
    case TypeRule::kAny:
      return true;
    case TypeRule::kF32:
      return type == quant::Type::kF32;
    case TypeRule::kI32:
      return type == quant::Type::kI32;
    case TypeRule::kF32OrI32:
      return type == quant::Type::kF32 || type == quant::Type::kI32;
    case TypeRule::kCache:
      return type == quant::Type::kF32 || type == quant::Type::kF16 ||
             quant::Traits(type).is_quantized;
  }
  return false;
}

absl::string_view RuleText(TypeRule rule) {
  switch (rule) {
    case TypeRule::kAny:
      return "any type";
    case TypeRule::kF32:
      return "f32";
    case TypeRule::kI32:
      return "i32";
    case TypeRule::kF32OrI32:
      return "f32 or i32";
    case TypeRule::kCache:
      return "f32, f16 or a quantized type";
  }
  return "";
}

// Checks one node and sets its output.
class NodeInference {
 public:
  NodeInference(Graph& graph, NodeId id)
      : graph_(graph), id_(id), node_(graph.nodes()[id]), out_(graph.value(node_.output)) {}

  absl::Status Run();

 private:
  absl::Status GatherRows();
  absl::Status MatMul();
  absl::Status MatMulExpert();
  absl::Status Dequantize();
  absl::Status Norm();
  absl::Status Rope();
  absl::Status Attention();
  absl::Status KvWrite();
  absl::Status Unary();
  absl::Status Gated();
  absl::Status Binary();
  absl::Status Scale();
  absl::Status Softmax();
  absl::Status TopK();
  absl::Status Reshape();
  absl::Status View();
  absl::Status Transfer();
  absl::Status GatherElements();

  absl::Status Error(absl::string_view message) const {
    return absl::InvalidArgumentError(absl::StrCat("node ", id_, ", ", OpName(node_.op), " ",
                                                   QuotedName(out_.name), ": ", message));
  }
  const Value& input(int i) const { return graph_.value(node_.inputs[i]); }
  int input_count() const { return static_cast<int>(node_.inputs.size()); }

  // `x "blk.0.out" is f32 [7]`
  std::string Found(int i, absl::string_view role) const {
    return absl::StrCat(role, " ", QuotedName(input(i).name), " is ",
                        TypeAndShapeText(input(i).type, input(i).shape));
  }
  absl::Status InputCount(int least, int most) const {
    if (input_count() >= least && input_count() <= most) return absl::OkStatus();
    return Error(least == most ? absl::StrCat("has ", input_count(), " inputs; expected ", least)
                               : absl::StrCat("has ", input_count(), " inputs; expected ", least,
                                              " to ", most));
  }
  absl::Status Expect(int i, absl::string_view role, TypeRule rule, const Shape& pattern) const {
    bool ok = Matches(rule, input(i).type);
    for (int d = 0; d < kMaxDims; ++d) ok &= pattern[d] == kAny || pattern[d] == input(i).shape[d];
    if (ok) return absl::OkStatus();
    return Error(absl::StrCat(
        Found(i, role), "; expected ", RuleText(rule), " ",
        pattern == Shape{kAny, kAny, kAny, kAny} ? "of any shape" : ShapeText(pattern)));
  }
  absl::Status ExpectF32(int i, absl::string_view role) const {
    return Expect(i, role, TypeRule::kF32, {kAny, kAny, kAny, kAny});
  }
  absl::Status ExpectNumber(absl::string_view attr, double found, bool ok,
                            absl::string_view expected) const {
    if (ok && std::isfinite(found)) return absl::OkStatus();
    return Error(absl::StrCat(attr, " is ", found, "; expected ", expected));
  }
  absl::Status ExpectFinite(absl::string_view attr, float found) const {
    return ExpectNumber(attr, found, true, "a finite number");
  }
  absl::Status ExpectActivation(Activation activation) const {
    if (activation >= Activation::kNone && activation <= Activation::kTanh) return absl::OkStatus();
    return Error(absl::StrCat("activation ", static_cast<int>(activation), " is unknown"));
  }

  // The attributes, when they are T.
  template <typename T>
  absl::StatusOr<T> Get() const {
    const T* attrs = std::get_if<T>(&node_.attrs);
    if (attrs == nullptr) return Error("carries the attributes of another op");
    return *attrs;
  }

  // A packed output with memory of its own.
  absl::Status SetOutput(quant::Type type, const Shape& shape) {
    if (const std::string problem = PackedProblem(type, shape); !problem.empty()) {
      return Error(absl::StrCat("its output ", problem));
    }
    out_.type = type;
    out_.shape = shape;
    out_.strides = ContiguousStrides(type, shape);
    out_.base = kNone;
    out_.byte_offset = 0;
    return absl::OkStatus();
  }
  // An output that shares the memory of an input, `offset` bytes from its start.
  void SetView(int i, const Shape& shape, const Strides& strides, int64_t offset) {
    out_.type = input(i).type;
    out_.shape = shape;
    out_.strides = strides;
    out_.byte_offset = input(i).byte_offset + offset;
    out_.base = graph_.RootOf(node_.inputs[i]);
  }

  Graph& graph_;
  const NodeId id_;
  const Node& node_;
  graph::Value& out_;
};

absl::Status NodeInference::Run() {
  switch (node_.op) {
    case Op::kGatherRows:
      return GatherRows();
    case Op::kMatMul:
      return MatMul();
    case Op::kMatMulExpert:
      return MatMulExpert();
    case Op::kDequantize:
      return Dequantize();
    case Op::kNorm:
      return Norm();
    case Op::kRope:
      return Rope();
    case Op::kAttention:
      return Attention();
    case Op::kKvWrite:
      return KvWrite();
    case Op::kUnary:
      return Unary();
    case Op::kGated:
      return Gated();
    case Op::kBinary:
      return Binary();
    case Op::kScale:
      return Scale();
    case Op::kSoftmax:
      return Softmax();
    case Op::kTopK:
      return TopK();
    case Op::kReshape:
      return Reshape();
    case Op::kView:
      return View();
    case Op::kTransfer:
      return Transfer();
    case Op::kGatherElements:
      return GatherElements();
  }
  return Error("is no known op");
}

absl::Status NodeInference::GatherRows() {
  BANTAM_RETURN_IF_ERROR(InputCount(2, 2));
  BANTAM_RETURN_IF_ERROR(Get<std::monostate>().status());
  BANTAM_RETURN_IF_ERROR(Expect(0, "table", TypeRule::kAny, {kAny, kAny, 1, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(1, "ids", TypeRule::kI32, {kAny, 1, 1, 1}));
  return SetOutput(quant::Type::kF32, {input(0).shape[0], input(1).shape[0], 1, 1});
}

absl::Status NodeInference::MatMul() {
  BANTAM_ASSIGN_OR_RETURN(const MatMulAttrs attrs, Get<MatMulAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectActivation(attrs.activation));
  // At most as many parts as inputs: nothing below can overflow.
  if (attrs.parts < 1 || attrs.parts >= input_count()) {
    return Error(absl::StrCat("parts is ", attrs.parts, " with ", input_count(),
                              " inputs; expected a weight for each part, and x"));
  }
  const int count = attrs.has_bias ? 2 * attrs.parts + 1 : attrs.parts + 1;
  BANTAM_RETURN_IF_ERROR(InputCount(count, count));
  const int x = attrs.parts;
  BANTAM_RETURN_IF_ERROR(ExpectF32(x, "x"));
  const graph::Shape& x_shape = input(x).shape;
  int64_t rows = 0;
  for (int part = 0; part < attrs.parts; ++part) {
    const graph::Shape& w = input(part).shape;
    const std::string suffix = attrs.parts > 1 ? absl::StrCat(part) : "";
    BANTAM_RETURN_IF_ERROR(
        Expect(part, absl::StrCat("weight", suffix), TypeRule::kAny, {x_shape[0], kAny, 1, 1}));
    if (attrs.has_bias) {
      BANTAM_RETURN_IF_ERROR(
          Expect(x + 1 + part, absl::StrCat("bias", suffix), TypeRule::kF32, {w[1], 1, 1, 1}));
    }
    if (__builtin_add_overflow(rows, w[1], &rows)) return Error("its weights are too large");
  }
  return SetOutput(quant::Type::kF32, {rows, x_shape[1], x_shape[2], x_shape[3]});
}

absl::Status NodeInference::MatMulExpert() {
  BANTAM_RETURN_IF_ERROR(InputCount(3, 3));
  BANTAM_RETURN_IF_ERROR(Get<std::monostate>().status());
  BANTAM_RETURN_IF_ERROR(Expect(2, "ids", TypeRule::kI32, {kAny, kAny, 1, 1}));
  const graph::Shape& w = input(0).shape;
  const int64_t top_k = input(2).shape[0], n = input(2).shape[1];
  // One row for each token, shared by its experts, or one for each of them.
  const int64_t per_token = input(1).shape[1] == 1 ? 1 : top_k;
  BANTAM_RETURN_IF_ERROR(Expect(1, "x", TypeRule::kF32, {kAny, per_token, n, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(0, "weight", TypeRule::kAny, {input(1).shape[0], kAny, kAny, 1}));
  return SetOutput(quant::Type::kF32, {w[1], top_k, n, 1});
}

absl::Status NodeInference::Dequantize() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_RETURN_IF_ERROR(Get<std::monostate>().status());
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::Norm() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 3));
  BANTAM_ASSIGN_OR_RETURN(const NormAttrs attrs, Get<NormAttrs>());
  if (attrs.kind != NormKind::kRms && attrs.kind != NormKind::kLayer) {
    return Error(absl::StrCat("kind ", static_cast<int>(attrs.kind), " is unknown"));
  }
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("epsilon", attrs.epsilon, attrs.epsilon >= 0, "a finite number, 0 or more"));
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "x"));
  const graph::Shape per_element = {input(0).shape[0], 1, 1, 1};
  for (int i = 1; i < input_count(); ++i) {
    BANTAM_RETURN_IF_ERROR(Expect(i, i == 1 ? "weight" : "bias", TypeRule::kF32, per_element));
  }
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::Rope() {
  BANTAM_RETURN_IF_ERROR(InputCount(2, 3));
  BANTAM_ASSIGN_OR_RETURN(const RopeAttrs attrs, Get<RopeAttrs>());
  if (attrs.layout != RopeLayout::kInterleaved && attrs.layout != RopeLayout::kNeox) {
    return Error(absl::StrCat("layout ", static_cast<int>(attrs.layout), " is unknown"));
  }
  BANTAM_RETURN_IF_ERROR(Expect(0, "x", TypeRule::kF32, {kAny, kAny, kAny, 1}));
  const graph::Shape& x = input(0).shape;
  BANTAM_RETURN_IF_ERROR(ExpectNumber(
      "n_dims", attrs.n_dims, attrs.n_dims >= 2 && attrs.n_dims % 2 == 0 && attrs.n_dims <= x[0],
      absl::StrCat("an even number from 2 to the ", x[0], " of a head")));
  BANTAM_RETURN_IF_ERROR(Expect(1, "positions", TypeRule::kI32, {x[2], 1, 1, 1}));
  if (input_count() == 3) {
    BANTAM_RETURN_IF_ERROR(Expect(2, "freq_factors", TypeRule::kF32, {attrs.n_dims / 2, 1, 1, 1}));
  }
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("theta_base", attrs.theta_base, attrs.theta_base > 0, "a number above 0"));
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("freq_scale", attrs.freq_scale, attrs.freq_scale > 0, "a number above 0"));
  BANTAM_RETURN_IF_ERROR(ExpectFinite("ext_factor", attrs.ext_factor));
  BANTAM_RETURN_IF_ERROR(ExpectFinite("attn_factor", attrs.attn_factor));
  if (attrs.ext_factor != 0) {
    // The correction takes logarithms of these.
    BANTAM_RETURN_IF_ERROR(ExpectNumber("theta_base", attrs.theta_base, attrs.theta_base > 1,
                                        "a number above 1, for YaRN"));
    BANTAM_RETURN_IF_ERROR(
        ExpectNumber("beta_fast", attrs.beta_fast, attrs.beta_fast > 0, "a number above 0"));
    BANTAM_RETURN_IF_ERROR(
        ExpectNumber("beta_slow", attrs.beta_slow, attrs.beta_slow > 0, "a number above 0"));
    BANTAM_RETURN_IF_ERROR(ExpectNumber("original_context", attrs.original_context,
                                        attrs.original_context > 0, "a number above 0, for YaRN"));
  }
  return SetOutput(quant::Type::kF32, x);
}

absl::Status NodeInference::Attention() {
  BANTAM_RETURN_IF_ERROR(InputCount(6, 7));
  BANTAM_ASSIGN_OR_RETURN(const AttentionAttrs attrs, Get<AttentionAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectFinite("scale", attrs.scale));
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("window", attrs.window, attrs.window >= 0, "a number, 0 or more"));
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("softcap", attrs.softcap, attrs.softcap >= 0, "a finite number, 0 or more"));
  BANTAM_RETURN_IF_ERROR(Expect(0, "q", TypeRule::kF32, {kAny, kAny, kAny, 1}));
  const graph::Shape& q = input(0).shape;
  const graph::Shape& k = input(1).shape;
  BANTAM_RETURN_IF_ERROR(Expect(1, "k", TypeRule::kCache, {q[0], kAny, kAny, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(2, "v", TypeRule::kCache, {kAny, k[1], k[2], 1}));
  if (k[1] == 0 || q[1] % k[1] != 0) {
    return Error(absl::StrCat("k ", QuotedName(input(1).name), " has ", k[1],
                              " heads; expected a divisor of the ", q[1], " of q"));
  }
  BANTAM_RETURN_IF_ERROR(Expect(3, "q_cells", TypeRule::kI32, {2, q[2], 1, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(4, "kv_cells", TypeRule::kI32, {2, k[2], 1, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(5, "kv_len", TypeRule::kI32, {1, 1, 1, 1}));
  if (input_count() == 7) {
    BANTAM_RETURN_IF_ERROR(Expect(6, "sinks", TypeRule::kF32, {q[1], 1, 1, 1}));
  }
  return SetOutput(quant::Type::kF32, {input(2).shape[0], q[1], q[2], 1});
}

absl::Status NodeInference::KvWrite() {
  BANTAM_RETURN_IF_ERROR(InputCount(3, 3));
  BANTAM_RETURN_IF_ERROR(Get<std::monostate>().status());
  BANTAM_RETURN_IF_ERROR(Expect(0, "cache", TypeRule::kCache, {kAny, kAny, kAny, 1}));
  const graph::Value& cache = input(0);
  const ValueId root = graph_.RootOf(node_.inputs[0]);
  if (graph_.value(root).storage != Storage::kState) {
    return Error(absl::StrCat("cache ", QuotedName(cache.name),
                              " is not the memory of a state; nothing else may be written"));
  }
  for (int d = 1; d < kMaxDims; ++d) {
    if (cache.shape[d] > 1 && cache.strides[d] == 0) {
      return Error(absl::StrCat("cache ", QuotedName(cache.name), " repeats dimension ", d,
                                "; expected every element to have memory of its own"));
    }
  }
  BANTAM_RETURN_IF_ERROR(Expect(1, "x", TypeRule::kF32, {cache.shape[0], cache.shape[1], kAny, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(2, "slots", TypeRule::kI32, {input(1).shape[2], 1, 1, 1}));
  for (int i = 1; i < 3; ++i) {
    if (graph_.RootOf(node_.inputs[i]) == root) {
      return Error(absl::StrCat(i == 1 ? "x " : "slots ", QuotedName(input(i).name),
                                " shares memory with the cache it is written to"));
    }
  }
  SetView(0, cache.shape, cache.strides, 0);
  return absl::OkStatus();
}

absl::Status NodeInference::Unary() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const ActivationAttrs attrs, Get<ActivationAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectActivation(attrs.activation));
  BANTAM_RETURN_IF_ERROR(ExpectNumber("limit", attrs.limit, attrs.limit == 0, "0 without a gate"));
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("up_offset", attrs.up_offset, attrs.up_offset == 0, "0 without a gate"));
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "x"));
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::Gated() {
  BANTAM_RETURN_IF_ERROR(InputCount(2, 2));
  BANTAM_ASSIGN_OR_RETURN(const ActivationAttrs attrs, Get<ActivationAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectActivation(attrs.activation));
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("limit", attrs.limit, attrs.limit >= 0, "a finite number, 0 or more"));
  BANTAM_RETURN_IF_ERROR(ExpectFinite("up_offset", attrs.up_offset));
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "gate"));
  BANTAM_RETURN_IF_ERROR(Expect(1, "up", TypeRule::kF32, input(0).shape));
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::Binary() {
  BANTAM_RETURN_IF_ERROR(InputCount(2, 2));
  BANTAM_ASSIGN_OR_RETURN(const BinaryAttrs attrs, Get<BinaryAttrs>());
  if (attrs.op < BinaryOp::kAdd || attrs.op > BinaryOp::kDiv) {
    return Error(absl::StrCat("op ", static_cast<int>(attrs.op), " is unknown"));
  }
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "a"));
  BANTAM_RETURN_IF_ERROR(ExpectF32(1, "b"));
  const graph::Shape& a = input(0).shape;
  const graph::Shape& b = input(1).shape;
  for (int d = 0; d < kMaxDims; ++d) {
    if (b[d] == a[d] || b[d] == 1) continue;
    return Error(absl::StrCat(Found(1, "b"), "; expected the shape of a, ", ShapeText(a),
                              ", or 1 in places"));
  }
  return SetOutput(quant::Type::kF32, a);
}

absl::Status NodeInference::Scale() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const ScaleAttrs attrs, Get<ScaleAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectFinite("scale", attrs.scale));
  BANTAM_RETURN_IF_ERROR(ExpectFinite("bias", attrs.bias));
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "x"));
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::Softmax() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const SoftmaxAttrs attrs, Get<SoftmaxAttrs>());
  BANTAM_RETURN_IF_ERROR(ExpectFinite("scale", attrs.scale));
  BANTAM_RETURN_IF_ERROR(ExpectF32(0, "x"));
  return SetOutput(quant::Type::kF32, input(0).shape);
}

absl::Status NodeInference::TopK() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const TopKAttrs attrs, Get<TopKAttrs>());
  BANTAM_RETURN_IF_ERROR(Expect(0, "x", TypeRule::kF32, {kAny, kAny, 1, 1}));
  const graph::Shape& x = input(0).shape;
  BANTAM_RETURN_IF_ERROR(ExpectNumber("k", attrs.k, attrs.k >= 1 && attrs.k <= x[0],
                                      absl::StrCat("1 to the ", x[0], " elements of a row")));
  return SetOutput(quant::Type::kI32, {attrs.k, x[1], 1, 1});
}

absl::Status NodeInference::Reshape() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const ReshapeAttrs attrs, Get<ReshapeAttrs>());
  const graph::Value& x = input(0);
  if (const std::string problem = PackedProblem(x.type, attrs.shape); !problem.empty()) {
    return Error(absl::StrCat("its output ", problem));
  }
  if (ElementCount(attrs.shape) != ElementCount(x.shape)) {
    return Error(absl::StrCat(Found(0, "x"), ", ", ElementCount(x.shape),
                              " elements; expected the ", ElementCount(attrs.shape), " of ",
                              ShapeText(attrs.shape)));
  }
  if (!x.IsContiguous()) {
    return Error(absl::StrCat("x ", QuotedName(x.name),
                              " is a view with gaps; expected a packed "
                              "value (a view can give it another shape)"));
  }
  SetView(0, attrs.shape, ContiguousStrides(x.type, attrs.shape), 0);
  return absl::OkStatus();
}

absl::Status NodeInference::View() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const ViewAttrs attrs, Get<ViewAttrs>());
  const graph::Value& x = input(0);
  const int64_t block_bytes = quant::Traits(x.type).block_bytes;
  if (const std::string problem = PackedProblem(x.type, attrs.shape); !problem.empty()) {
    return Error(absl::StrCat("its output ", problem));
  }
  bool aligned = attrs.strides[0] == block_bytes && attrs.byte_offset % block_bytes == 0;
  bool negative = attrs.byte_offset < 0;
  for (int64_t stride : attrs.strides) {
    aligned &= stride % block_bytes == 0;
    negative |= stride < 0;
  }
  const std::string found =
      absl::StrCat("its byte offset is ", attrs.byte_offset, " and its strides are ",
                   ShapeText({attrs.strides}), "; expected ");
  if (negative) return Error(absl::StrCat(found, "nothing negative"));
  if (!aligned) {
    return Error(absl::StrCat(found, "multiples of ", block_bytes, " bytes, the size of a ",
                              quant::Traits(x.type).is_quantized ? "block" : "number",
                              ", with the first stride exactly that"));
  }
  Strides strides = attrs.strides;
  int64_t offset = attrs.byte_offset;
  if (ElementCount(attrs.shape) == 0) {
    strides = ContiguousStrides(x.type, attrs.shape);
    offset = 0;
  } else {
    int64_t end = quant::RowBytes(x.type, attrs.shape[0]);
    bool fits = !__builtin_add_overflow(end, offset, &end);
    for (int d = 1; d < kMaxDims; ++d) {
      // The stride along a dimension of size 1 means nothing; with this one IsContiguous tells
      // whether there are gaps.
      if (attrs.shape[d] == 1) {
        strides[d] =
            d == 1 ? quant::RowBytes(x.type, attrs.shape[0]) : strides[d - 1] * attrs.shape[d - 1];
        continue;
      }
      int64_t extent = 0;
      fits = fits && !__builtin_mul_overflow(attrs.shape[d] - 1, strides[d], &extent) &&
             !__builtin_add_overflow(end, extent, &end) && end <= kMaxBytes;
      if (!fits) break;
    }
    if (!fits || end > x.SpanBytes()) {
      return Error(absl::StrCat("it reaches beyond ", QuotedName(x.name), ": the view ends ",
                                fits ? absl::StrCat("at byte ", end) : "far outside", " of ",
                                x.SpanBytes()));
    }
  }
  SetView(0, attrs.shape, strides, offset);
  return absl::OkStatus();
}

absl::Status NodeInference::Transfer() {
  BANTAM_RETURN_IF_ERROR(InputCount(1, 1));
  BANTAM_ASSIGN_OR_RETURN(const TransferAttrs attrs, Get<TransferAttrs>());
  BANTAM_RETURN_IF_ERROR(
      ExpectNumber("device", attrs.device, attrs.device >= 0, "a number, 0 or more"));
  return SetOutput(input(0).type, input(0).shape);
}

absl::Status NodeInference::GatherElements() {
  BANTAM_RETURN_IF_ERROR(InputCount(2, 2));
  BANTAM_RETURN_IF_ERROR(Get<std::monostate>().status());
  BANTAM_RETURN_IF_ERROR(Expect(0, "x", TypeRule::kF32OrI32, {kAny, kAny, 1, 1}));
  BANTAM_RETURN_IF_ERROR(Expect(1, "ids", TypeRule::kI32, {kAny, input(0).shape[1], 1, 1}));
  return SetOutput(input(0).type, input(1).shape);
}

}  // namespace

std::string PackedProblem(quant::Type type, const Shape& shape) {
  const auto id = static_cast<uint32_t>(type);
  if (!quant::IsValidType(id)) return absl::StrCat("has ", TypeText(type), ", which is unknown");
  const quant::TypeTraits& traits = quant::Traits(type);
  int64_t blocks = 1;  // with empty dimensions counted as 1, so that strides cannot overflow either
  for (int d = 0; d < kMaxDims; ++d) {
    if (shape[d] < 0) {
      return absl::StrCat("has shape ", ShapeText(shape), "; expected no negative size");
    }
    const int64_t size = d == 0 ? shape[0] / traits.block_size : shape[d];
    if (__builtin_mul_overflow(blocks, std::max<int64_t>(size, 1), &blocks) ||
        blocks > kMaxBytes / traits.block_bytes) {
      return absl::StrCat("is ", TypeAndShapeText(type, shape), ", which is too large");
    }
  }
  if (shape[0] % traits.block_size != 0) {
    return absl::StrCat("is ", TypeAndShapeText(type, shape), "; expected rows of a multiple of ",
                        traits.block_size, " elements, the block size of ", TypeText(type));
  }
  return "";
}

absl::Status InferNode(Graph& graph, NodeId id) { return NodeInference(graph, id).Run(); }

}  // namespace bantam::graph
