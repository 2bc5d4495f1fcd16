#include "runtime/model/blocks.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"

namespace bantam::model {

using graph::kNone;
using graph::Op;
using graph::ValueId;
using quant::Type;

std::string LayerPrefix(int layer) { return absl::StrCat("blk.", layer, "."); }

GraphBuilder::GraphBuilder(const gguf::File& file, const GraphOptions& options)
    : file_(file), options_(options) {
  const int64_t rows = options.rows;
  inputs_.tokens = graph_.AddInput(kInputTokens, Type::kI32, {rows, 1, 1, 1});
  inputs_.positions = graph_.AddInput(kInputPositions, Type::kI32, {rows, 1, 1, 1});
  inputs_.slots = graph_.AddInput(kInputSlots, Type::kI32, {rows, 1, 1, 1});
  inputs_.query_cells = graph_.AddInput(kInputQueryCells, Type::kI32, {2, rows, 1, 1});
  inputs_.kv_cells = graph_.AddInput(kInputKvCells, Type::kI32, {2, options.context, 1, 1});
  inputs_.kv_length = graph_.AddInput(kInputKvLength, Type::kI32, {1, 1, 1, 1});
  inputs_.output_rows =
      graph_.AddInput(kInputOutputRows, Type::kI32, {options.output_rows, 1, 1, 1});
}

absl::StatusOr<graph::Graph> GraphBuilder::Finish(ValueId logits) {
  graph_.AddOutput(logits);
  BANTAM_RETURN_IF_ERROR(Annotate(graph::Infer(graph_), file_.path()));
  return std::move(graph_);
}

ValueId GraphBuilder::Weight(absl::string_view name) {
  auto [entry, added] = weights_.try_emplace(std::string(name), kNone);
  if (added) {
    if (const gguf::TensorInfo* tensor = file_.FindTensor(name)) {
      entry->second = graph_.AddWeight(name, tensor->type, tensor->shape);
    }
  }
  return entry->second;
}

ValueId GraphBuilder::Embed(absl::string_view table) {
  return graph_.Add(Op::kGatherRows, {Weight(table), inputs_.tokens}, "embedding");
}

ValueId GraphBuilder::Norm(ValueId x, absl::string_view name, const graph::NormAttrs& attrs) {
  ValueId y = graph_.Add(Op::kNorm, {x}, absl::StrCat(name, ".normalized"), attrs);
  y = graph_.Add(Op::kBinary, {y, Weight(absl::StrCat(name, ".weight"))},
                 absl::StrCat(name, ".out"), graph::BinaryAttrs{graph::BinaryOp::kMul});
  const ValueId bias = Weight(absl::StrCat(name, ".bias"));
  return bias == kNone ? y : Add(y, bias, absl::StrCat(name, ".biased"));
}

ValueId GraphBuilder::Linear(ValueId x, absl::string_view name) {
  const ValueId y = graph_.Add(Op::kMatMul, {Weight(absl::StrCat(name, ".weight")), x},
                               absl::StrCat(name, ".out"), graph::MatMulAttrs{});
  const ValueId bias = Weight(absl::StrCat(name, ".bias"));
  return bias == kNone ? y : Add(y, bias, absl::StrCat(name, ".biased"));
}

ValueId GraphBuilder::Add(ValueId a, ValueId b, absl::string_view name) {
  return graph_.Add(Op::kBinary, {a, b}, name, graph::BinaryAttrs{graph::BinaryOp::kAdd});
}

ValueId GraphBuilder::SplitHeads(ValueId x, int64_t width, int64_t heads, absl::string_view name) {
  return graph_.Add(Op::kReshape, {x}, name, graph::ReshapeAttrs{{width, heads, options_.rows, 1}});
}

ValueId GraphBuilder::SelfAttention(ValueId x, int layer, const Config& config,
                                    const AttentionBlock& block) {
  const std::string prefix = LayerPrefix(layer);
  auto rotate = [&](ValueId v, absl::string_view name) {
    std::vector<ValueId> inputs = {v, inputs_.positions};
    if (block.freq_factors != kNone) inputs.push_back(block.freq_factors);
    return graph_.Add(Op::kRope, std::move(inputs), name, block.rope);
  };
  auto cache = [&](absl::string_view name, int64_t width) {
    return graph_.AddState(absl::StrCat(prefix, name), options_.kv_type,
                           {width, config.head_count_kv, options_.context, 1});
  };
  const ValueId q_flat = Linear(x, absl::StrCat(prefix, "attn_q"));
  const ValueId k_flat = Linear(x, absl::StrCat(prefix, "attn_k"));
  const ValueId v_flat = Linear(x, absl::StrCat(prefix, "attn_v"));
  const ValueId q = rotate(SplitHeads(q_flat, config.key_length, config.head_count, "q"), "q_rope");
  const ValueId k =
      rotate(SplitHeads(k_flat, config.key_length, config.head_count_kv, "k"), "k_rope");
  const ValueId v = SplitHeads(v_flat, config.value_length, config.head_count_kv, "v");
  const ValueId k_cache =
      graph_.Add(Op::kKvWrite, {cache("kv_cache.k", config.key_length), k, inputs_.slots},
                 absl::StrCat(prefix, "k_written"));
  const ValueId v_cache =
      graph_.Add(Op::kKvWrite, {cache("kv_cache.v", config.value_length), v, inputs_.slots},
                 absl::StrCat(prefix, "v_written"));
  const ValueId heads =
      graph_.Add(Op::kAttention,
                 {q, k_cache, v_cache, inputs_.query_cells, inputs_.kv_cells, inputs_.kv_length},
                 absl::StrCat(prefix, "attention"), block.attention);
  const ValueId joined = graph_.Add(
      Op::kReshape, {heads}, absl::StrCat(prefix, "attention_joined"),
      graph::ReshapeAttrs{{config.value_length * config.head_count, options_.rows, 1, 1}});
  return Linear(joined, absl::StrCat(prefix, "attn_output"));
}

ValueId GraphBuilder::GatedFeedForward(ValueId x, int layer, graph::Activation activation) {
  const std::string prefix = LayerPrefix(layer);
  const ValueId gate = Linear(x, absl::StrCat(prefix, "ffn_gate"));
  const ValueId up = Linear(x, absl::StrCat(prefix, "ffn_up"));
  const ValueId hidden = graph_.Add(Op::kGated, {gate, up}, absl::StrCat(prefix, "ffn_hidden"),
                                    graph::ActivationAttrs{activation});
  return Linear(hidden, absl::StrCat(prefix, "ffn_down"));
}

ValueId GraphBuilder::OutputRows(ValueId x, absl::string_view name) {
  return graph_.Add(Op::kGatherRows, {x, inputs_.output_rows}, name);
}

}  // namespace bantam::model
