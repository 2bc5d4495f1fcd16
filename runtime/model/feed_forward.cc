// Feed-forward blocks, dense and with experts (Shazeer et al. 2017; Jiang et al., "Mixtral of
// Experts", 2024).
#include "absl/strings/str_cat.h"
#include "runtime/model/blocks.h"

namespace bantam::model {

using graph::kNone;
using graph::Op;
using graph::ValueId;

ValueId GraphBuilder::GatedFeedForward(ValueId x, int layer, graph::Activation activation,
                                       absl::string_view suffix) {
  const std::string prefix = LayerPrefix(layer);
  const std::string gate_name = absl::StrCat(prefix, "ffn_gate", suffix);
  const std::string up_name = absl::StrCat(prefix, "ffn_up", suffix);
  ValueId gate, up = Linear(x, up_name);
  if (Weight(absl::StrCat(gate_name, ".weight")) != kNone) {
    gate = Linear(x, gate_name);
  } else {
    const int64_t both = graph_.value(Weight(absl::StrCat(up_name, ".weight"))).shape[1];
    const auto half = [&, joint = up](int64_t first, absl::string_view name) {
      constexpr int64_t kBytes = sizeof(float);
      return graph_.Add(
          Op::kView, {joint}, absl::StrCat(prefix, name),
          graph::ViewAttrs{{both / 2, rows_, 1, 1},
                           {kBytes, both * kBytes, both * kBytes * rows_, both * kBytes * rows_},
                           first * kBytes});
    };
    gate = half(0, "ffn_gate_half");
    up = half(both / 2, "ffn_up_half");
  }
  const ValueId hidden =
      graph_.Add(Op::kGated, {gate, up}, absl::StrCat(prefix, "ffn_hidden", suffix),
                 graph::ActivationAttrs{activation});
  return Linear(hidden, absl::StrCat(prefix, "ffn_down", suffix));
}

ValueId GraphBuilder::PlainFeedForward(ValueId x, int layer, graph::Activation activation) {
  const std::string prefix = LayerPrefix(layer);
  const ValueId up = Linear(x, absl::StrCat(prefix, "ffn_up"));
  const ValueId hidden = graph_.Add(Op::kUnary, {up}, absl::StrCat(prefix, "ffn_hidden"),
                                    graph::ActivationAttrs{activation});
  return Linear(hidden, absl::StrCat(prefix, "ffn_down"));
}

ValueId GraphBuilder::ExpertLinear(ValueId x, ValueId ids, int32_t used, absl::string_view name) {
  const ValueId weight = Weight(absl::StrCat(name, ".weight"));
  const ValueId y = graph_.Add(Op::kMatMulExpert, {weight, x, ids}, absl::StrCat(name, ".out"));
  const ValueId bias = Weight(absl::StrCat(name, ".bias"));
  if (bias == kNone) return y;
  const ValueId flat_ids = graph_.Add(Op::kReshape, {ids}, absl::StrCat(name, ".ids"),
                                      graph::ReshapeAttrs{{used * rows_, 1, 1, 1}});
  const ValueId rows =
      graph_.Add(Op::kGatherRows, {bias, flat_ids}, absl::StrCat(name, ".bias_rows"));
  const ValueId chosen =
      graph_.Add(Op::kReshape, {rows}, absl::StrCat(name, ".bias_chosen"),
                 graph::ReshapeAttrs{{graph_.value(weight).shape[1], used, rows_, 1}});
  return Add(y, chosen, absl::StrCat(name, ".biased"));
}

ValueId GraphBuilder::Experts(ValueId x, int layer, const ExpertsBlock& block) {
  const std::string prefix = LayerPrefix(layer);
  const auto named = [&](absl::string_view name) { return absl::StrCat(prefix, name); };
  const auto softmax = [&](ValueId v, absl::string_view name) {
    return graph_.Add(Op::kSoftmax, {v}, named(name), graph::SoftmaxAttrs{});
  };
  ValueId scores = Linear(x, named("ffn_gate_inp"));
  const ValueId ids =
      graph_.Add(Op::kTopK, {scores}, named("experts"), graph::TopKAttrs{block.used});
  // The shares of the chosen, divided by their sum, are the softmax over the chosen.
  if (!block.renormalize) scores = softmax(scores, "expert_shares");
  ValueId shares = graph_.Add(Op::kGatherElements, {scores, ids}, named("expert_scores"));
  if (block.renormalize) shares = softmax(shares, "expert_shares");
  shares = graph_.Add(Op::kReshape, {shares}, named("expert_weights"),
                      graph::ReshapeAttrs{{1, block.used, rows_, 1}});

  const int64_t width = graph_.value(Weight(named("ffn_gate_inp.weight"))).shape[0];
  x = graph_.Add(Op::kReshape, {x}, named("expert_input"),
                 graph::ReshapeAttrs{{width, 1, rows_, 1}});
  const ValueId gate = ExpertLinear(x, ids, block.used, named("ffn_gate_exps"));
  const ValueId up = ExpertLinear(x, ids, block.used, named("ffn_up_exps"));
  const ValueId hidden =
      graph_.Add(Op::kGated, {gate, up}, named("expert_hidden"), block.activation);
  ValueId down = ExpertLinear(hidden, ids, block.used, named("ffn_down_exps"));
  down = Mul(down, shares, named("expert_outputs"));
  // The sum over the chosen: each is a view of all tokens.
  const auto output_of = [&](int32_t rank) {
    constexpr int64_t kBytes = sizeof(float);
    const int64_t row = width * kBytes;
    return graph_.Add(Op::kView, {down}, absl::StrCat(prefix, "expert_", rank),
                      graph::ViewAttrs{{width, rows_, 1, 1},
                                       {kBytes, row * block.used, row * block.used * rows_,
                                        row * block.used * rows_},
                                       rank * row});
  };
  ValueId sum = output_of(0);
  for (int32_t rank = 1; rank < block.used; ++rank) {
    sum = Add(sum, output_of(rank), absl::StrCat(prefix, "expert_sum_", rank));
  }
  return sum;
}

ValueId GraphBuilder::SharedExpert(ValueId x, int layer, graph::Activation activation) {
  const std::string prefix = LayerPrefix(layer);
  const ValueId y = GatedFeedForward(x, layer, activation, "_shexp");
  const ValueId gate = Weight(absl::StrCat(prefix, "ffn_gate_inp_shexp.weight"));
  if (gate == kNone) return y;
  ValueId share = graph_.Add(Op::kMatMul, {gate, x}, absl::StrCat(prefix, "shared_score"),
                             graph::MatMulAttrs{});
  share = graph_.Add(Op::kUnary, {share}, absl::StrCat(prefix, "shared_share"),
                     graph::ActivationAttrs{graph::Activation::kSigmoid});
  return Mul(y, share, absl::StrCat(prefix, "shared_output"));
}

}  // namespace bantam::model
