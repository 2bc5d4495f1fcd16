// Architecture "gpt-oss": experts with biases and a clamped activation in every layer, a window in
// every other one, attention sinks, YaRN. OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  BANTAM_RETURN_IF_ERROR(RequireExperts(params, spec));
  spec.experts.activation = {graph::Activation::kGeluQuick, /*limit=*/7, /*up_offset=*/1};
  spec.sinks = true;
  spec.ffn_norm = "post_attention_norm";
  BANTAM_RETURN_IF_ERROR(params.Int("attention.sliding_window", 0, int64_t{1} << 30).status());
  BANTAM_ASSIGN_OR_RETURN(spec.config.windows, ReadWindows(params, spec.config.block_count, 0, 2));
  BANTAM_ASSIGN_OR_RETURN(spec.local_rope.theta_base,
                          params.FloatOr("rope.freq_base_swa", spec.rope.theta_base));
  if (spec.local_rope.theta_base <= 0) {
    return params.Error("rope.freq_base_swa", "is not positive");
  }
  return MakeDecoder(file, std::move(spec));
}

const Registration kGptOss("gpt-oss", &Open);

}  // namespace
}  // namespace bantam::model
