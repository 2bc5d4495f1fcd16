// Architectures "granite" and "granitemoe": llama with scales on embeddings, attention, residuals
// and logits; the second with experts, one of them for every token. IBM, "Granite 3.0 Language
// Models", 2024.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec, ReadDecoderSpec(params, graph::NormKind::kRms,
                                                            graph::RopeLayout::kInterleaved));
  BANTAM_ASSIGN_OR_RETURN(const float logit_divisor, params.Float("logit_scale"));
  if (logit_divisor == 0) return params.Error("logit_scale", "is 0");
  spec.logit_scale = 1.0f / logit_divisor;
  // 0 is how converters say that there is none.
  BANTAM_ASSIGN_OR_RETURN(spec.residual_scale, params.FloatOr("residual_scale", 0));
  if (spec.residual_scale == 0) spec.residual_scale = 1;
  BANTAM_ASSIGN_OR_RETURN(spec.embedding_scale, params.FloatOr("embedding_scale", 0));
  if (spec.embedding_scale == 0) spec.embedding_scale = 1;
  BANTAM_ASSIGN_OR_RETURN(spec.shared_length, params.IntOr("expert_shared_feed_forward_length", 0,
                                                           int64_t{1} << 24, 0));
  return MakeDecoder(file, std::move(spec));
}

const Registration kGranite("granite", &Open);
const Registration kGraniteMoe("granitemoe", &Open);

}  // namespace
}  // namespace bantam::model
