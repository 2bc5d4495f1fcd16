// Architectures "bert" and "nomic-bert": encoders, whose tokens all see one another, for
// embeddings. Devlin et al., "BERT", 2018; Nussbaum et al., "Nomic Embed", 2024 (rotations in place
// of learned positions, a gated feed-forward).
//
//   x = norm(token_embd[token] + token_types[0] [+ position_embd[position]])
//   x = norm(x + attention(x));  x = norm(x + feed-forward(x))

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/model/architecture.h"
#include "runtime/model/blocks.h"
#include "runtime/model/hyper_parameters.h"

namespace bantam::model {
namespace {

using graph::ValueId;

class Encoder : public Architecture {
 public:
  static absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
    auto model = std::make_unique<Encoder>(file);
    BANTAM_RETURN_IF_ERROR(model->ReadParameters());
    BANTAM_RETURN_IF_ERROR(model->CheckTensors());
    return std::unique_ptr<Architecture>(std::move(model));
  }

  explicit Encoder(const gguf::File& file) : file_(file) {}

  absl::StatusOr<graph::Graph> BuildGraph(const GraphOptions& options) const override;

 private:
  absl::Status ReadParameters();
  absl::Status CheckTensors() const;

  const gguf::File& file_;
  bool rotates_ = false;  // and has gates
  graph::NormAttrs norm_;
  GraphBuilder::AttentionBlock attention_;
  int64_t feed_forward_length_ = 0;
};

absl::Status Encoder::ReadParameters() {
  const HyperParameters params(file_);
  rotates_ = params.architecture() == "nomic-bert";
  BANTAM_ASSIGN_OR_RETURN(config_, ReadConfig(params));
  BANTAM_RETURN_IF_ERROR(params.RequireUniform("attention.head_count", config_.head_counts));
  BANTAM_RETURN_IF_ERROR(params.RequireUniform("attention.head_count_kv", config_.head_counts_kv));
  config_.causal = false;
  config_.has_logits = false;
  // As converters number them; 4, scores of a classifier, is not one embedding.
  constexpr Pooling kPoolings[] = {Pooling::kNone, Pooling::kMean, Pooling::kCls, Pooling::kLast};
  BANTAM_ASSIGN_OR_RETURN(const int64_t pooling, params.IntOr("pooling_type", 0, 4, 1));
  if (pooling == 4) {
    return absl::UnimplementedError(
        absl::StrCat(file_.path(), ": ", params.architecture(),
                     ".pooling_type is 4, a model that ranks; supported are those that embed"));
  }
  config_.pooling = kPoolings[pooling];
  BANTAM_ASSIGN_OR_RETURN(feed_forward_length_,
                          params.Int("feed_forward_length", 1, int64_t{1} << 24));
  BANTAM_ASSIGN_OR_RETURN(norm_, ReadNorm(params, graph::NormKind::kLayer));
  if (rotates_) {
    BANTAM_ASSIGN_OR_RETURN(attention_.rope,
                            ReadRope(params, graph::RopeLayout::kNeox, config_.key_length));
  }
  attention_.attention.causal = false;
  attention_.attention.scale = 1.0f / std::sqrt(static_cast<float>(config_.key_length));
  return absl::OkStatus();
}

absl::Status Encoder::CheckTensors() const {
  const Config& c = config_;
  const int64_t d = c.embedding_length, ffn = feed_forward_length_;
  const auto norm = [&](absl::string_view name) {
    const absl::Status weight = RequireTensor(file_, absl::StrCat(name, ".weight"), {d});
    return weight.ok() ? RequireTensor(file_, absl::StrCat(name, ".bias"), {d}) : weight;
  };
  const auto matrix = [&](absl::string_view name, int64_t in, int64_t out) {
    const absl::Status weight = RequireTensor(file_, absl::StrCat(name, ".weight"), {in, out});
    return weight.ok() ? AllowTensor(file_, absl::StrCat(name, ".bias"), {out}) : weight;
  };
  BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "token_embd.weight", {d, c.vocab_size}));
  if (const gguf::TensorInfo* types = file_.FindTensor("token_types.weight")) {
    BANTAM_RETURN_IF_ERROR(AllowTensor(file_, "token_types.weight", {d, types->shape[1]}));
    if (types->shape[1] < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_.path(), ": tensor token_types.weight has no rows"));
    }
  }
  if (!rotates_) {
    BANTAM_RETURN_IF_ERROR(RequireTensor(file_, "position_embd.weight", {d, c.context_length}));
  }
  BANTAM_RETURN_IF_ERROR(norm("token_embd_norm"));
  const int64_t q = c.key_length * c.head_count, k = c.key_length * c.head_count_kv;
  const int64_t v = c.value_length * c.head_count_kv;
  for (int layer = 0; layer < c.block_count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    const auto named = [&](absl::string_view name) { return absl::StrCat(prefix, name); };
    if (file_.FindTensor(named("attn_qkv.weight")) != nullptr) {
      BANTAM_RETURN_IF_ERROR(matrix(named("attn_qkv"), d, q + k + v));
    } else {
      BANTAM_RETURN_IF_ERROR(matrix(named("attn_q"), d, q));
      BANTAM_RETURN_IF_ERROR(matrix(named("attn_k"), d, k));
      BANTAM_RETURN_IF_ERROR(matrix(named("attn_v"), d, v));
    }
    BANTAM_RETURN_IF_ERROR(matrix(named("attn_output"), c.value_length * c.head_count, d));
    BANTAM_RETURN_IF_ERROR(norm(named("attn_output_norm")));
    if (rotates_) BANTAM_RETURN_IF_ERROR(matrix(named("ffn_gate"), d, ffn));
    BANTAM_RETURN_IF_ERROR(matrix(named("ffn_up"), d, ffn));
    BANTAM_RETURN_IF_ERROR(matrix(named("ffn_down"), ffn, d));
    BANTAM_RETURN_IF_ERROR(norm(named("layer_output_norm")));
  }
  return absl::OkStatus();
}

absl::StatusOr<graph::Graph> Encoder::BuildGraph(const GraphOptions& options) const {
  GraphBuilder b(file_, options);
  ValueId x = b.Embed("token_embd.weight");
  if (const ValueId types = b.Weight("token_types.weight"); types != graph::kNone) {
    // Every token is of the first type: that of a text alone.
    const graph::Value& table = b.graph().value(types);
    graph::ViewAttrs first{{config_.embedding_length, 1, 1, 1}, table.strides, 0};
    ValueId row = b.graph().Add(graph::Op::kView, {types}, "token_type", first);
    row = b.graph().Add(graph::Op::kDequantize, {row}, "token_type_f32");
    x = b.Add(x, row, "embedding_of_type");
  }
  if (!rotates_) {
    const ValueId at =
        b.graph().Add(graph::Op::kGatherRows,
                      {b.Weight("position_embd.weight"), b.inputs().positions}, "position");
    x = b.Add(x, at, "embedding_at_position");
  }
  x = b.Norm(x, "token_embd_norm", norm_);
  for (int layer = 0; layer < config_.block_count; ++layer) {
    const std::string prefix = LayerPrefix(layer);
    ValueId y = b.SelfAttention(x, layer, config_, attention_);
    if (layer + 1 == config_.block_count) {
      y = b.OutputRows(y, "attention_output_rows");
      x = b.OutputRows(x, "residual_output_rows");
    }
    x = b.Add(x, y, absl::StrCat(prefix, "attn_residual"));
    x = b.Norm(x, absl::StrCat(prefix, "attn_output_norm"), norm_);
    // The tanh approximation, as the peers compute it, though BERT was trained with the exact GELU.
    y = rotates_ ? b.GatedFeedForward(x, layer, graph::Activation::kSilu)
                 : b.PlainFeedForward(x, layer, graph::Activation::kGeluTanh);
    x = b.Add(x, y, absl::StrCat(prefix, "ffn_residual"));
    x = b.Norm(x, absl::StrCat(prefix, "layer_output_norm"), norm_);
  }
  return b.Finish(x, kOutputEmbeddings);
}

const Registration kBert("bert", &Encoder::Open);
const Registration kNomicBert("nomic-bert", &Encoder::Open);

}  // namespace
}  // namespace bantam::model
