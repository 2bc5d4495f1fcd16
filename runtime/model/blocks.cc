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
    : file_(file), options_(options), rows_(options.rows) {
  const int64_t rows = options.rows;
  inputs_.tokens = graph_.AddInput(kInputTokens, Type::kI32, {rows, 1, 1, 1});
  inputs_.positions = graph_.AddInput(kInputPositions, Type::kI32, {rows, 1, 1, 1});
  inputs_.query_cells = graph_.AddInput(kInputQueryCells, Type::kI32, {2, rows, 1, 1});
  inputs_.output_rows =
      graph_.AddInput(kInputOutputRows, Type::kI32, {options.output_rows, 1, 1, 1});
  inputs_.cache = AddCache(options.context, kInputSlots, kInputKvCells, kInputKvLength);
}

CacheInputs GraphBuilder::AddCache(int64_t count, absl::string_view slots, absl::string_view cells,
                                   absl::string_view length) {
  return {graph_.AddInput(slots, Type::kI32, {options_.rows, 1, 1, 1}),
          graph_.AddInput(cells, Type::kI32, {2, count, 1, 1}),
          graph_.AddInput(length, Type::kI32, {1, 1, 1, 1}), count};
}

const CacheInputs& GraphBuilder::CacheOf(bool has_window) {
  if (!has_window) return inputs_.cache;
  if (inputs_.window_cache.count == 0) {
    const int64_t count = options_.window_cells > 0 ? options_.window_cells : options_.context;
    inputs_.window_cache =
        AddCache(count, kInputWindowSlots, kInputWindowCells, kInputWindowLength);
  }
  return inputs_.window_cache;
}

absl::StatusOr<graph::Graph> GraphBuilder::Finish(ValueId output, absl::string_view name) {
  graph_.value(output).name = std::string(name);
  graph_.AddOutput(output);
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

ValueId GraphBuilder::Mul(ValueId a, ValueId b, absl::string_view name) {
  return graph_.Add(Op::kBinary, {a, b}, name, graph::BinaryAttrs{graph::BinaryOp::kMul});
}

ValueId GraphBuilder::Scale(ValueId x, float scale, absl::string_view name) {
  return scale == 1 ? x : graph_.Add(Op::kScale, {x}, name, graph::ScaleAttrs{scale, 0});
}

ValueId GraphBuilder::SoftCap(ValueId x, float cap, absl::string_view name) {
  if (cap == 0) return x;
  x = Scale(x, 1 / cap, absl::StrCat(name, ".scaled"));
  x = graph_.Add(Op::kUnary, {x}, absl::StrCat(name, ".tanh"),
                 graph::ActivationAttrs{graph::Activation::kTanh});
  return graph_.Add(Op::kScale, {x}, name, graph::ScaleAttrs{cap, 0});
}

ValueId GraphBuilder::SplitHeads(ValueId x, int64_t width, int64_t heads, absl::string_view name) {
  return graph_.Add(Op::kReshape, {x}, name, graph::ReshapeAttrs{{width, heads, rows_, 1}});
}

ValueId GraphBuilder::SliceHeads(ValueId x, int64_t total, int64_t first, int64_t width,
                                 int64_t heads, absl::string_view name) {
  constexpr int64_t kBytes = sizeof(float);
  graph::ViewAttrs view;
  view.shape = {width, heads, rows_, 1};
  view.strides = {kBytes, width * kBytes, total * kBytes, total * rows_ * kBytes};
  view.byte_offset = first * kBytes;
  return graph_.Add(Op::kView, {x}, name, view);
}

ValueId GraphBuilder::SelfAttention(ValueId x, int layer, const Config& config,
                                    const AttentionBlock& block) {
  const std::string prefix = LayerPrefix(layer);
  const int64_t heads = config.HeadCount(layer), heads_kv = config.HeadCountKv(layer);
  auto turn = [&](ValueId v, absl::string_view name) {
    if (block.head_norm)
      v = Norm(v, absl::StrCat(prefix, "attn_", name, "_norm"), *block.head_norm);
    if (block.rope.n_dims == 0) return v;
    std::vector<ValueId> inputs = {v, inputs_.positions};
    if (block.freq_factors != kNone) inputs.push_back(block.freq_factors);
    return graph_.Add(Op::kRope, std::move(inputs), absl::StrCat(name, "_rope"), block.rope);
  };
  const CacheInputs& cache = CacheOf(block.attention.window != 0);
  const auto write = [&](absl::string_view name, int64_t width, ValueId rows) {
    const ValueId state = graph_.AddState(absl::StrCat(prefix, "kv_cache.", name), options_.kv_type,
                                          {width, heads_kv, cache.count, 1});
    return graph_.Add(Op::kKvWrite, {state, rows, cache.slots},
                      absl::StrCat(prefix, name, "_written"));
  };
  ValueId q, k, v;
  if (Weight(absl::StrCat(prefix, "attn_qkv.weight")) != kNone) {
    const ValueId joint = Linear(x, absl::StrCat(prefix, "attn_qkv"));
    const int64_t q_width = config.key_length * heads;
    const int64_t k_width = config.key_length * heads_kv;
    const int64_t total = q_width + k_width + config.value_length * heads_kv;
    q = SliceHeads(joint, total, 0, config.key_length, heads, "q");
    k = SliceHeads(joint, total, q_width, config.key_length, heads_kv, "k");
    v = SliceHeads(joint, total, q_width + k_width, config.value_length, heads_kv, "v");
  } else {
    const ValueId q_flat = Linear(x, absl::StrCat(prefix, "attn_q"));
    const ValueId k_flat = Linear(x, absl::StrCat(prefix, "attn_k"));
    const ValueId v_flat = Linear(x, absl::StrCat(prefix, "attn_v"));
    q = SplitHeads(q_flat, config.key_length, heads, "q");
    k = SplitHeads(k_flat, config.key_length, heads_kv, "k");
    v = SplitHeads(v_flat, config.value_length, heads_kv, "v");
  }
  q = turn(q, "q");
  k = turn(k, "k");
  k = write("k", config.key_length, k);
  v = write("v", config.value_length, v);
  std::vector<ValueId> inputs = {q, k, v, inputs_.query_cells, cache.cells, cache.length};
  const ValueId sinks = Weight(absl::StrCat(prefix, "attn_sinks.weight"));
  if (sinks != kNone) inputs.push_back(sinks);
  const ValueId outputs = graph_.Add(Op::kAttention, std::move(inputs),
                                     absl::StrCat(prefix, "attention"), block.attention);
  const ValueId joined =
      graph_.Add(Op::kReshape, {outputs}, absl::StrCat(prefix, "attention_joined"),
                 graph::ReshapeAttrs{{config.value_length * heads, rows_, 1, 1}});
  return Linear(joined, absl::StrCat(prefix, "attn_output"));
}

ValueId GraphBuilder::OutputRows(ValueId x, absl::string_view name) {
  rows_ = options_.output_rows;
  return graph_.Add(Op::kGatherRows, {x, inputs_.output_rows}, name);
}

}  // namespace bantam::model
