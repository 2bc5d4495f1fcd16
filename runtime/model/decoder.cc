#include "runtime/model/decoder.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::model {
namespace {

using graph::kNone;
using graph::ValueId;

constexpr int64_t kMaxLength = int64_t{1} << 24;

class Decoder : public Architecture {
 public:
  Decoder(const gguf::File& file, DecoderSpec spec) : file_(file), spec_(std::move(spec)) {
    config_ = spec_.config;
  }

  absl::Status CheckTensors() const;
  absl::StatusOr<graph::Graph> BuildGraph(const GraphOptions& options) const override;

 private:
  absl::Status CheckLayer(int layer) const;
  absl::Status CheckExperts(const std::string& prefix) const;
  absl::Status CheckMatrix(absl::string_view name, int64_t in, int64_t out) const;
  // Of LongRoPE or Llama 3; kNone without either.
  ValueId FrequencyFactors(GraphBuilder& b, int64_t context) const;
  ValueId FeedForwardOf(GraphBuilder& b, ValueId x, int layer) const;

  const gguf::File& file_;
  const DecoderSpec spec_;
};

absl::Status Decoder::CheckMatrix(absl::string_view name, int64_t in, int64_t out) const {
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, absl::StrCat(name, ".weight"), {in, out}));
  return AllowTensor(file_, absl::StrCat(name, ".bias"), {out});
}

absl::Status Decoder::CheckExperts(const std::string& prefix) const {
  const int64_t d = config_.embedding_length, ffn = spec_.expert_length;
  const int64_t count = spec_.experts.count;
  BANTAM_RETURN_IF_ERROR(CheckMatrix(absl::StrCat(prefix, "ffn_gate_inp"), d, count));
  const std::tuple<absl::string_view, int64_t, int64_t> stacks[] = {
      {"ffn_gate_exps", d, ffn}, {"ffn_up_exps", d, ffn}, {"ffn_down_exps", ffn, d}};
  for (const auto& [name, in, out] : stacks) {
    BANTAM_RETURN_IF_ERROR(
        RequireTensor(file_, absl::StrCat(prefix, name, ".weight"), {in, out, count}));
    BANTAM_RETURN_IF_ERROR(AllowTensor(file_, absl::StrCat(prefix, name, ".bias"), {out, count}));
  }
  const int64_t shared = spec_.shared_length;
  if (shared == 0) return absl::OkStatus();
  BANTAM_RETURN_IF_ERROR(CheckMatrix(absl::StrCat(prefix, "ffn_gate_shexp"), d, shared));
  BANTAM_RETURN_IF_ERROR(CheckMatrix(absl::StrCat(prefix, "ffn_up_shexp"), d, shared));
  BANTAM_RETURN_IF_ERROR(CheckMatrix(absl::StrCat(prefix, "ffn_down_shexp"), shared, d));
  if (!spec_.shared_gate) return absl::OkStatus();
  return RequireTensor(file_, absl::StrCat(prefix, "ffn_gate_inp_shexp.weight"), {d});
}

absl::Status Decoder::CheckLayer(int layer) const {
  const std::string prefix = LayerPrefix(layer);
  const Config& c = config_;
  const int64_t d = c.embedding_length;
  const int64_t heads = c.HeadCount(layer);
  const int64_t q = c.key_length * heads;
  const int64_t k = c.key_length * c.HeadCountKv(layer);
  const int64_t v = c.value_length * c.HeadCountKv(layer);
  const auto named = [&](absl::string_view name) { return absl::StrCat(prefix, name); };
  std::vector<absl::string_view> norms = {"attn_norm", spec_.ffn_norm};
  if (spec_.post_norms) norms.insert(norms.end(), {"post_attention_norm", "post_ffw_norm"});
  for (absl::string_view norm : norms) {
    BANTAM_RETURN_IF_ERROR(RequireTensor(file_, absl::StrCat(prefix, norm, ".weight"), {d}));
    BANTAM_RETURN_IF_ERROR(AllowTensor(file_, absl::StrCat(prefix, norm, ".bias"), {d}));
  }
  if (file_.FindTensor(named("attn_qkv.weight")) != nullptr) {
    BANTAM_RETURN_IF_ERROR(CheckMatrix(named("attn_qkv"), d, q + k + v));
  } else {
    BANTAM_RETURN_IF_ERROR(CheckMatrix(named("attn_q"), d, q));
    BANTAM_RETURN_IF_ERROR(CheckMatrix(named("attn_k"), d, k));
    BANTAM_RETURN_IF_ERROR(CheckMatrix(named("attn_v"), d, v));
  }
  BANTAM_RETURN_IF_ERROR(CheckMatrix(named("attn_output"), c.value_length * heads, d));
  if (spec_.head_norm) {
    BANTAM_RETURN_IF_ERROR(RequireTensor(file_, named("attn_q_norm.weight"), {c.key_length}));
    BANTAM_RETURN_IF_ERROR(RequireTensor(file_, named("attn_k_norm.weight"), {c.key_length}));
  }
  if (spec_.sinks) {
    BANTAM_RETURN_IF_ERROR(RequireTensor(file_, named("attn_sinks.weight"), {heads}));
  }
  if (spec_.experts.count > 0) return CheckExperts(prefix);
  const int64_t ffn = spec_.feed_forward_lengths[layer];
  const bool stacked = spec_.feed_forward == FeedForward::kStacked;
  if (spec_.feed_forward == FeedForward::kGated) {
    BANTAM_RETURN_IF_ERROR(CheckMatrix(named("ffn_gate"), d, ffn));
  }
  BANTAM_RETURN_IF_ERROR(CheckMatrix(named("ffn_up"), d, stacked ? 2 * ffn : ffn));
  return CheckMatrix(named("ffn_down"), ffn, d);
}

absl::Status Decoder::CheckTensors() const {
  const int64_t d = config_.embedding_length, pairs = spec_.rope.n_dims / 2;
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "token_embd.weight", {d, config_.vocab_size}));
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "output_norm.weight", {d}));
  BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "output_norm.bias", {d}));
  BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "output.weight", {d, config_.vocab_size}));
  BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "output.bias", {config_.vocab_size}));
  for (absl::string_view factors :
       {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}) {
    BANTAM_RETURN_IF_ERROR(AllowTensor(file_, factors, {pairs}));
  }
  for (int layer = 0; layer < config_.block_count; ++layer) {
    BANTAM_RETURN_IF_ERROR(CheckLayer(layer));
  }
  return absl::OkStatus();
}

ValueId Decoder::FrequencyFactors(GraphBuilder& b, int64_t context) const {
  const ValueId llama3 = b.Weight("rope_freqs.weight");
  if (llama3 != kNone) return llama3;
  const int64_t original = spec_.rope.original_context;
  const bool is_long = original > 0 && context > original;
  return b.Weight(is_long ? "rope_factors_long.weight" : "rope_factors_short.weight");
}

ValueId Decoder::FeedForwardOf(GraphBuilder& b, ValueId x, int layer) const {
  if (spec_.experts.count > 0) {
    const ValueId y = b.Experts(x, layer, spec_.experts);
    if (spec_.shared_length == 0) return y;
    return b.Add(y, b.SharedExpert(x, layer, spec_.activation),
                 absl::StrCat(LayerPrefix(layer), "all_experts"));
  }
  if (spec_.feed_forward == FeedForward::kPlain) {
    return b.PlainFeedForward(x, layer, spec_.activation);
  }
  return b.GatedFeedForward(x, layer, spec_.activation);
}

absl::StatusOr<graph::Graph> Decoder::BuildGraph(const GraphOptions& options) const {
  GraphBuilder b(file_, options);
  GraphBuilder::AttentionBlock attention;
  attention.freq_factors = FrequencyFactors(b, options.context);
  if (spec_.head_norm) attention.head_norm = spec_.norm;

  ValueId x = b.Embed("token_embd.weight");
  x = b.Scale(x, spec_.embedding_scale, "embedding_scaled");
  for (int layer = 0; layer < config_.block_count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    const int32_t window = config_.windows.empty() ? 0 : config_.windows[layer];
    attention.rope = window == 0 ? spec_.rope : spec_.local_rope;
    attention.attention = spec_.attention;
    attention.attention.window = window;
    // What a layer adds to x.
    const auto residual = [&](ValueId y, absl::string_view norm, absl::string_view name) {
      if (spec_.post_norms) y = b.Norm(y, absl::StrCat(prefix, norm), spec_.norm);
      y = b.Scale(y, spec_.residual_scale, absl::StrCat(prefix, name, "_scaled"));
      return b.Add(x, y, absl::StrCat(prefix, name, "_residual"));
    };
    ValueId y = b.Norm(x, absl::StrCat(prefix, "attn_norm"), spec_.norm);
    y = b.SelfAttention(y, layer, config_, attention);
    if (layer + 1 == config_.block_count) {
      // Past the last attention a row depends only on itself: carry on with the wanted ones.
      y = b.OutputRows(y, "attention_output_rows");
      x = b.OutputRows(x, "residual_output_rows");
    }
    x = residual(y, "post_attention_norm", "attn");
    y = b.Norm(x, absl::StrCat(prefix, spec_.ffn_norm), spec_.norm);
    y = FeedForwardOf(b, y, layer);
    x = residual(y, "post_ffw_norm", "ffn");
  }
  x = b.Norm(x, "output_norm", spec_.norm);
  if (options.embeddings) return b.Finish(x, kOutputEmbeddings);
  const absl::string_view head =
      b.Weight("output.weight") == kNone ? absl::string_view("token_embd") : "output";
  ValueId logits = b.Linear(x, head);
  logits = b.Scale(logits, spec_.logit_scale, "logits_scaled");
  return b.Finish(b.SoftCap(logits, spec_.logit_softcap, "logits_capped"), kOutputLogits);
}

}  // namespace

absl::StatusOr<DecoderSpec> ReadDecoderSpec(const HyperParameters& params, graph::NormKind norm,
                                            graph::RopeLayout layout) {
  DecoderSpec spec;
  BANTAM_ASSIGN_OR_RETURN(spec.config, ReadConfig(params));
  BANTAM_ASSIGN_OR_RETURN(spec.norm, ReadNorm(params, norm));
  BANTAM_ASSIGN_OR_RETURN(spec.rope, ReadRope(params, layout, spec.config.key_length));
  spec.local_rope = spec.rope;
  BANTAM_ASSIGN_OR_RETURN(spec.attention.scale, params.FloatOr("attention.scale", 0.0f));
  if (spec.attention.scale == 0) {
    spec.attention.scale = 1.0f / std::sqrt(static_cast<float>(spec.config.key_length));
  }
  BANTAM_ASSIGN_OR_RETURN(const int64_t experts, params.IntOr("expert_count", 0, 1 << 16, 0));
  // A model of experts alone may say nothing of its dense layers, of which it has none.
  constexpr absl::string_view kLength = "feed_forward_length";
  if (experts == 0 || params.IsArray(kLength)) {
    BANTAM_ASSIGN_OR_RETURN(spec.feed_forward_lengths,
                            params.IntsByLayer(kLength, spec.config.block_count, kMaxLength));
    spec.feed_forward_length = spec.feed_forward_lengths[0];
    if (experts > 0) {
      BANTAM_RETURN_IF_ERROR(params.RequireUniform(kLength, spec.feed_forward_lengths));
    }
  } else {
    BANTAM_ASSIGN_OR_RETURN(spec.feed_forward_length, params.IntOr(kLength, 0, kMaxLength, 0));
  }
  if (experts == 0) return spec;
  spec.experts.count = static_cast<int32_t>(experts);
  BANTAM_ASSIGN_OR_RETURN(const int64_t used, params.Int("expert_used_count", 1, experts));
  spec.experts.used = static_cast<int32_t>(used);
  BANTAM_ASSIGN_OR_RETURN(spec.expert_length, params.IntOr("expert_feed_forward_length", 1,
                                                           kMaxLength, spec.feed_forward_length));
  if (spec.expert_length == 0) {
    return params.Error("expert_feed_forward_length", "is missing, and so is feed_forward_length");
  }
  return spec;
}

absl::Status RequireExperts(const HyperParameters& params, const DecoderSpec& spec) {
  if (spec.experts.count > 0) return absl::OkStatus();
  return params.Error("expert_count", "is missing or 0; expected the number of experts");
}

absl::StatusOr<float> ReadSoftCap(const HyperParameters& params, absl::string_view key,
                                  float fallback) {
  BANTAM_ASSIGN_OR_RETURN(const float cap, params.FloatOr(key, fallback));
  if (cap < 0) return params.Error(key, "is negative");
  return cap;
}

absl::StatusOr<std::unique_ptr<Architecture>> MakeDecoder(const gguf::File& file,
                                                          DecoderSpec spec) {
  auto decoder = std::make_unique<Decoder>(file, std::move(spec));
  BANTAM_RETURN_IF_ERROR(decoder->CheckTensors());
  return std::unique_ptr<Architecture>(std::move(decoder));
}

}  // namespace bantam::model
