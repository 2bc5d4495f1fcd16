#include "runtime/graph/dump.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/graph/text.h"

namespace bantam::graph {
namespace {

// Appends " name=value" for what differs from the default.
class AttrWriter {
 public:
  explicit AttrWriter(std::string& out) : out_(out) {}

  template <typename T>
  void Write(absl::string_view name, T value, T default_value) {
    // Not !=, so that a NaN is written and a number compared with itself is not.
    if (value == default_value) return;
    absl::StrAppend(&out_, " ", name, "=", value);
  }
  void WriteText(absl::string_view name, absl::string_view text) {
    absl::StrAppend(&out_, " ", name, "=", text);
  }
  template <typename E>
  void WriteEnum(absl::string_view name, E value, E default_value,
                 std::initializer_list<absl::string_view> names) {
    if (value == default_value) return;
    const auto i = static_cast<size_t>(value);
    WriteText(name, i < names.size() ? *(names.begin() + i) : "?");
  }
  void WriteActivation(Activation value, Activation default_value) {
    if (value == default_value) return;
    WriteText("activation", value <= Activation::kTanh ? ActivationName(value) : "?");
  }

  void operator()(const std::monostate&) {}
  void operator()(const MatMulAttrs& a) {
    const MatMulAttrs def;
    Write("parts", a.parts, def.parts);
    if (a.has_bias) WriteText("bias", "yes");
    WriteActivation(a.activation, def.activation);
  }
  void operator()(const NormAttrs& a) {
    const NormAttrs def;
    WriteEnum("kind", a.kind, def.kind, {"rms", "layer"});
    Write("epsilon", a.epsilon, def.epsilon);
  }
  void operator()(const RopeAttrs& a) {
    const RopeAttrs def;
    WriteEnum("layout", a.layout, def.layout, {"interleaved", "neox"});
    Write("n_dims", a.n_dims, def.n_dims);
    Write("theta_base", a.theta_base, def.theta_base);
    Write("freq_scale", a.freq_scale, def.freq_scale);
    Write("ext_factor", a.ext_factor, def.ext_factor);
    Write("attn_factor", a.attn_factor, def.attn_factor);
    Write("beta_fast", a.beta_fast, def.beta_fast);
    Write("beta_slow", a.beta_slow, def.beta_slow);
    Write("original_context", a.original_context, def.original_context);
  }
  void operator()(const AttentionAttrs& a) {
    const AttentionAttrs def;
    Write("scale", a.scale, def.scale);
    if (!a.causal) WriteText("causal", "no");
    Write("window", a.window, def.window);
    Write("softcap", a.softcap, def.softcap);
  }
  // Silu is the default, but a dump that hid which activation there is would mislead.
  void operator()(const ActivationAttrs& a) {
    WriteActivation(a.activation, Activation{255});
    Write("limit", a.limit, 0.0f);
    Write("up_offset", a.up_offset, 0.0f);
  }
  void operator()(const BinaryAttrs& a) {
    WriteEnum("op", a.op, BinaryOp{255}, {"add", "sub", "mul", "div"});
  }
  void operator()(const ScaleAttrs& a) {
    const ScaleAttrs def;
    Write("scale", a.scale, def.scale);
    Write("bias", a.bias, def.bias);
  }
  void operator()(const SoftmaxAttrs& a) { Write("scale", a.scale, SoftmaxAttrs().scale); }
  void operator()(const TopKAttrs& a) { Write("k", a.k, TopKAttrs().k); }
  void operator()(const ReshapeAttrs&) {}  // the layout of the output says it
  void operator()(const ViewAttrs&) {}
  void operator()(const TransferAttrs& a) { Write("device", a.device, kNone); }

 private:
  std::string& out_;
};

class Dumper {
 public:
  explicit Dumper(const Graph& graph) : graph_(graph) {}

  std::string Run() {
    for (ValueId id = 0; Exists(id); ++id) {
      const Value& value = graph_.value(id);
      if (value.storage >= Storage::kTemp) continue;
      constexpr absl::string_view kRoles[] = {"weight", "input", "state"};
      absl::StrAppend(&out_, "%", id, " = ", kRoles[static_cast<size_t>(value.storage)], " ",
                      QuotedName(value.name), " : ", TypeAndShapeText(value.type, value.shape),
                      "\n");
    }
    for (const Node& node : graph_.nodes()) AppendNode(node);
    for (ValueId id : graph_.outputs()) {
      absl::StrAppend(&out_, "output ");
      AppendOperand(id);
      out_ += '\n';
    }
    return std::move(out_);
  }

 private:
  bool Exists(ValueId id) const {
    return id >= 0 && id < static_cast<ValueId>(graph_.values().size());
  }

  // Names tell a reader more than numbers do for what comes from outside; results are close by.
  void AppendOperand(ValueId id) {
    absl::StrAppend(&out_, "%", id);
    if (!Exists(id)) {
      out_ += '?';
    } else if (graph_.value(id).storage != Storage::kTemp) {
      absl::StrAppend(&out_, " ", QuotedName(graph_.value(id).name));
    }
  }

  void AppendNode(const Node& node) {
    const bool known = static_cast<int>(node.op) < kOpCount;
    absl::StrAppend(&out_, "%", node.output, Exists(node.output) ? "" : "?", " = ",
                    known ? OpName(node.op) : "?", "(");
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (i > 0) out_ += ", ";
      AppendOperand(node.inputs[i]);
    }
    out_ += ')';
    std::visit(AttrWriter(out_), node.attrs);
    if (Exists(node.output)) {
      const Value& value = graph_.value(node.output);
      absl::StrAppend(&out_, " : ", TypeAndShapeText(value.type, value.shape));
      if (value.base != kNone) {
        absl::StrAppend(&out_, " in %", value.base);
        if (value.byte_offset != 0) absl::StrAppend(&out_, " + ", value.byte_offset);
        AppendStrides(value);
      }
      if (!value.name.empty()) absl::StrAppend(&out_, " ", QuotedName(value.name));
    }
    out_ += '\n';
  }

  void AppendStrides(const Value& value) {
    if (!quant::IsValidType(static_cast<uint32_t>(value.type)) || value.IsContiguous()) return;
    int dims = kMaxDims;
    while (dims > 1 && value.shape[dims - 1] == 1) --dims;
    absl::StrAppend(&out_, ", strides [",
                    absl::StrJoin(value.strides.begin(), value.strides.begin() + dims, ", "), "]");
  }

  const Graph& graph_;
  std::string out_;
};

}  // namespace

std::string Dump(const Graph& graph) { return Dumper(graph).Run(); }

}  // namespace bantam::graph
