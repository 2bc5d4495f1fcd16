// Architecture "llama": Llama 1, 2 and 3.x, Mistral, TinyLlama, SmolLM2 and the many models that
// share their shape. Touvron et al. 2023; Grattafiori et al. 2024 (Llama 3 frequency factors).
//
//   x += attn_output(attention(rope(q(norm x)), rope(k(norm x)), v(norm x)))
//   x += ffn_down(silu(ffn_gate(norm x)) * ffn_up(norm x))

#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/model/architecture.h"
#include "runtime/model/blocks.h"
#include "runtime/model/hyper_parameters.h"

namespace bantam::model {
namespace {

using graph::ValueId;

class Llama : public Architecture {
 public:
  static absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
    auto model = std::make_unique<Llama>(file);
    BANTAM_RETURN_IF_ERROR(model->ReadParameters());
    BANTAM_RETURN_IF_ERROR(model->CheckTensors());
    return std::unique_ptr<Architecture>(std::move(model));
  }

  explicit Llama(const gguf::File& file) : file_(file) {}

  absl::StatusOr<graph::Graph> BuildGraph(const GraphOptions& options) const override;

 private:
  absl::Status ReadParameters();
  absl::Status CheckTensors() const;

  const gguf::File& file_;
  graph::NormAttrs norm_;
  graph::RopeAttrs rope_;
  graph::AttentionAttrs attention_;
  int64_t feed_forward_length_ = 0;
};

absl::Status Llama::ReadParameters() {
  const HyperParameters params(file_);
  BANTAM_ASSIGN_OR_RETURN(config_, ReadConfig(params));
  BANTAM_ASSIGN_OR_RETURN(const int64_t experts, params.IntOr("expert_count", 0, 1 << 16, 0));
  if (experts > 0) {
    return absl::UnimplementedError(absl::StrCat(file_.path(),
                                                 ": this llama model is a mixture of ", experts,
                                                 " experts, which Bantam does not run yet"));
  }
  BANTAM_ASSIGN_OR_RETURN(feed_forward_length_,
                          params.Int("feed_forward_length", 1, int64_t{1} << 24));
  norm_.kind = graph::NormKind::kRms;
  BANTAM_ASSIGN_OR_RETURN(norm_.epsilon, params.Float("attention.layer_norm_rms_epsilon"));
  if (norm_.epsilon < 0) return params.Error("attention.layer_norm_rms_epsilon", "is negative");
  BANTAM_ASSIGN_OR_RETURN(rope_,
                          ReadRope(params, graph::RopeLayout::kInterleaved, config_.key_length));
  BANTAM_ASSIGN_OR_RETURN(attention_.scale, params.FloatOr("attention.scale", 0.0f));
  if (attention_.scale == 0) {
    attention_.scale = 1.0f / std::sqrt(static_cast<float>(config_.key_length));
  }
  return absl::OkStatus();
}

absl::Status Llama::CheckTensors() const {
  const Config& c = config_;
  const int64_t d = c.embedding_length;
  const int64_t q = c.key_length * c.head_count;
  const int64_t k = c.key_length * c.head_count_kv;
  const int64_t v = c.value_length * c.head_count_kv;
  const int64_t joined = c.value_length * c.head_count;
  const int64_t ffn = feed_forward_length_;
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "token_embd.weight", {d, c.vocab_size}));
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "output_norm.weight", {d}));
  BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "output.weight", {d, c.vocab_size}));
  BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "rope_freqs.weight", {rope_.n_dims / 2}));
  struct Expected {
    absl::string_view name;
    int64_t in, out;
  };
  const Expected matrices[] = {
      {"attn_q", d, q},     {"attn_k", d, k},   {"attn_v", d, v},     {"attn_output", joined, d},
      {"ffn_gate", d, ffn}, {"ffn_up", d, ffn}, {"ffn_down", ffn, d},
  };
  for (int layer = 0; layer < c.block_count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    for (absl::string_view norm : {"attn_norm.weight", "ffn_norm.weight"}) {
      BANTAM_RETURN_IF_ERROR(RequireTensor(file_, absl::StrCat(prefix, norm), {d}));
    }
    for (const Expected& m : matrices) {
      const std::string name = absl::StrCat(prefix, m.name);
      BANTAM_RETURN_IF_ERROR(RequireTensor(file_, absl::StrCat(name, ".weight"), {m.in, m.out}));
      BANTAM_RETURN_IF_ERROR(AllowTensor(file_, absl::StrCat(name, ".bias"), {m.out}));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<graph::Graph> Llama::BuildGraph(const GraphOptions& options) const {
  GraphBuilder b(file_, options);
  GraphBuilder::AttentionBlock attention;
  attention.rope = rope_;
  attention.attention = attention_;
  attention.freq_factors = b.Weight("rope_freqs.weight");

  ValueId x = b.Embed("token_embd.weight");
  for (int layer = 0; layer < config_.block_count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    ValueId h = b.Norm(x, absl::StrCat(prefix, "attn_norm"), norm_);
    h = b.SelfAttention(h, layer, config_, attention);
    if (layer + 1 == config_.block_count) {
      // Past the last attention a row depends only on itself: carry on with the wanted ones.
      h = b.OutputRows(h, "attention_output_rows");
      x = b.OutputRows(x, "residual_output_rows");
    }
    x = b.Add(x, h, absl::StrCat(prefix, "attn_residual"));
    h = b.Norm(x, absl::StrCat(prefix, "ffn_norm"), norm_);
    h = b.GatedFeedForward(h, layer, graph::Activation::kSilu);
    x = b.Add(x, h, absl::StrCat(prefix, "ffn_residual"));
  }
  x = b.Norm(x, "output_norm", norm_);
  ValueId head = b.Weight("output.weight");
  if (head == graph::kNone) head = b.Weight("token_embd.weight");
  return b.Finish(
      b.graph().Add(graph::Op::kMatMul, {head, x}, kOutputLogits, graph::MatMulAttrs{}));
}

const Registration kLlama("llama", &Llama::Open);

}  // namespace
}  // namespace bantam::model
