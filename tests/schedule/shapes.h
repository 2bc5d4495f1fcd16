// Graphs in the shapes of well-known models, without any weights: optimised and ready to place.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/passes.h"

namespace bantam::testing {

struct ModelShape {
  std::string name;
  int layers = 2;
  int64_t embedding = 64;
  int64_t heads = 4;
  int64_t heads_kv = 2;
  int64_t head_dim = 16;
  int64_t feed_forward = 96;  // of one expert, if there are any
  int64_t experts = 0;
  int64_t experts_used = 0;
  int64_t vocab = 512;
  bool tied = false;
  bool freq_factors = false;                // one small weight that all layers share
  quant::Type type = quant::Type::kQ4_K;    // of most weights
  quant::Type better = quant::Type::kQ6_K;  // of the head, and in half of the layers of two more
};

inline const ModelShape kDense8B{"dense 8B", 32, 4096, 32,     8,     128,
                                 14336,      0,  0,    128256, false, true};
inline const ModelShape kDense14B{"dense 14B", 40, 5120, 40, 8, 128, 17408, 0, 0, 151936};
inline const ModelShape kMoe30B{"MoE 30B", 48, 2048, 32, 4, 128, 768, 128, 8, 151936};

inline graph::Graph BuildShape(const ModelShape& m, int64_t rows, int64_t context,
                               quant::Type kv_type = quant::Type::kF16) {
  using graph::Op;
  using graph::ValueId;
  using quant::Type;
  graph::Graph g;
  const auto ints = [&](const char* name, graph::Shape shape) {
    return g.AddInput(name, Type::kI32, shape);
  };
  const ValueId tokens = ints("tokens", {rows, 1, 1, 1});
  const ValueId positions = ints("positions", {rows, 1, 1, 1});
  const ValueId slots = ints("slots", {rows, 1, 1, 1});
  const ValueId query_cells = ints("query_cells", {2, rows, 1, 1});
  const ValueId kv_cells = ints("kv_cells", {2, context, 1, 1});
  const ValueId kv_length = ints("kv_length", {1, 1, 1, 1});
  const auto linear = [&](ValueId x, const std::string& name, int64_t in, int64_t out, Type type) {
    return g.Add(Op::kMatMul, {g.AddWeight(name + ".weight", type, {in, out, 1, 1}), x},
                 name + ".out", graph::MatMulAttrs{});
  };
  const auto norm = [&](ValueId x, const std::string& name) {
    const ValueId y = g.Add(Op::kNorm, {x}, name, graph::NormAttrs{});
    return g.Add(Op::kBinary,
                 {y, g.AddWeight(name + ".weight", Type::kF32, {m.embedding, 1, 1, 1})}, name,
                 graph::BinaryAttrs{graph::BinaryOp::kMul});
  };
  const auto add = [&](ValueId a, ValueId b) {
    return g.Add(Op::kBinary, {a, b}, "sum", graph::BinaryAttrs{});
  };
  const auto view = [&](ValueId x, graph::Shape shape, graph::Strides strides, int64_t offset) {
    return g.Add(Op::kView, {x}, "part", graph::ViewAttrs{shape, strides, offset});
  };
  const int64_t d = m.embedding, ff = m.feed_forward, hd = m.head_dim, k = m.experts_used;
  const ValueId table =
      g.AddWeight("token_embd.weight", m.tied ? m.better : m.type, {d, m.vocab, 1, 1});
  const ValueId freqs = m.freq_factors
                            ? g.AddWeight("rope_freqs.weight", Type::kF32, {hd / 2, 1, 1, 1})
                            : graph::kNone;
  ValueId x = g.Add(Op::kGatherRows, {table, tokens}, "embedding");
  for (int l = 0; l < m.layers; ++l) {
    const std::string p = absl::StrCat("blk.", l, ".");
    const Type mixed = l % 2 == 0 ? m.better : m.type;
    ValueId h = norm(x, p + "attn_norm");
    const auto heads = [&](ValueId v, int64_t n) {
      return g.Add(Op::kReshape, {v}, "heads", graph::ReshapeAttrs{{hd, n, rows, 1}});
    };
    const auto rope = [&](ValueId v) {
      std::vector<ValueId> inputs = {v, positions};
      if (freqs != graph::kNone) inputs.push_back(freqs);
      graph::RopeAttrs attrs;
      attrs.n_dims = static_cast<int32_t>(hd);
      return g.Add(Op::kRope, inputs, "rope", attrs);
    };
    ValueId q = linear(h, p + "attn_q", d, hd * m.heads, m.type);
    ValueId key = linear(h, p + "attn_k", d, hd * m.heads_kv, m.type);
    ValueId v = linear(h, p + "attn_v", d, hd * m.heads_kv, mixed);
    q = rope(heads(q, m.heads));
    key = rope(heads(key, m.heads_kv));
    const auto cache = [&](const char* name, ValueId value) {
      const ValueId state = g.AddState(p + name, kv_type, {hd, m.heads_kv, context, 1});
      return g.Add(Op::kKvWrite, {state, value, slots}, p + name);
    };
    key = cache("kv_cache.k", key);
    v = cache("kv_cache.v", heads(v, m.heads_kv));
    h = g.Add(Op::kAttention, {q, key, v, query_cells, kv_cells, kv_length}, p + "attention",
              graph::AttentionAttrs{});
    h = g.Add(Op::kReshape, {h}, "joined", graph::ReshapeAttrs{{hd * m.heads, rows, 1, 1}});
    x = add(x, linear(h, p + "attn_output", hd * m.heads, d, m.type));
    h = norm(x, p + "ffn_norm");
    if (m.experts == 0) {
      const ValueId gate = linear(h, p + "ffn_gate", d, ff, m.type);
      const ValueId up = linear(h, p + "ffn_up", d, ff, m.type);
      h = g.Add(Op::kGated, {gate, up}, "hidden", graph::ActivationAttrs{});
      h = linear(h, p + "ffn_down", ff, d, mixed);
    } else {
      const ValueId probabilities =
          g.Add(Op::kSoftmax, {linear(h, p + "ffn_gate_inp", d, m.experts, Type::kF32)},
                "probabilities", graph::SoftmaxAttrs{});
      const ValueId ids =
          g.Add(Op::kTopK, {probabilities}, "ids", graph::TopKAttrs{static_cast<int32_t>(k)});
      // As large as the weighted sum is, though of the wrong probabilities.
      const ValueId shares =
          view(probabilities, {1, k, rows, 1}, {4, 4, m.experts * 4, m.experts * 4 * rows}, 0);
      const auto experts = [&](ValueId in, const char* name, int64_t from, int64_t to, Type type) {
        const ValueId w =
            g.AddWeight(absl::StrCat(p, name, ".weight"), type, {from, to, m.experts, 1});
        return g.Add(Op::kMatMulExpert, {w, in, ids}, name);
      };
      h = g.Add(Op::kReshape, {h}, "one", graph::ReshapeAttrs{{d, 1, rows, 1}});
      const ValueId gate = experts(h, "ffn_gate_exps", d, ff, m.type);
      const ValueId up = experts(h, "ffn_up_exps", d, ff, m.type);
      h = g.Add(Op::kGated, {gate, up}, "hidden", graph::ActivationAttrs{});
      h = experts(h, "ffn_down_exps", ff, d, mixed);
      h = g.Add(Op::kBinary, {h, shares}, "weighted", graph::BinaryAttrs{graph::BinaryOp::kMul});
      const auto expert = [&](int64_t e) {
        const int64_t row = k * d * 4;
        return view(h, {d, rows, 1, 1}, {4, row, row * rows, row * rows}, e * d * 4);
      };
      ValueId sum = expert(0);
      for (int64_t e = 1; e < k; ++e) sum = add(sum, expert(e));
      h = sum;
    }
    x = add(x, h);
  }
  x = view(x, {d, 1, 1, 1}, {4, d * 4, d * 4, d * 4}, (rows - 1) * d * 4);
  x = norm(x, "output_norm");
  const ValueId head = m.tied ? table : g.AddWeight("output.weight", m.better, {d, m.vocab, 1, 1});
  g.AddOutput(g.Add(Op::kMatMul, {head, x}, "logits", graph::MatMulAttrs{}));
  auto optimized = graph::Optimize(g);
  if (!optimized.ok()) std::fprintf(stderr, "%s\n", optimized.status().ToString().c_str());
  return optimized.ok() ? *std::move(optimized) : graph::Graph();
}

// The steps of a session: rows 1, 2, 4, ... to `ubatch`.
inline std::vector<graph::Graph> BuildSteps(const ModelShape& m, int64_t context, int64_t ubatch) {
  std::vector<graph::Graph> steps;
  for (int64_t rows = 1;; rows = std::min(2 * rows, ubatch)) {
    steps.push_back(BuildShape(m, rows, context));
    if (rows == ubatch) return steps;
  }
}

}  // namespace bantam::testing
