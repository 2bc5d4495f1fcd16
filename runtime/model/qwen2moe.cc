// Architecture "qwen2moe": Qwen 1.5 MoE and Qwen2 57B: qwen2 with experts, whose weights keep their
// share among all, and a gated expert for every token. Yang et al., "Qwen2 Technical Report", 2024.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  BANTAM_RETURN_IF_ERROR(RequireExperts(params, spec));
  spec.experts.renormalize = false;
  BANTAM_ASSIGN_OR_RETURN(spec.shared_length,
                          params.IntOr("expert_shared_feed_forward_length", 1, int64_t{1} << 24,
                                       spec.feed_forward_length));
  if (spec.shared_length == 0) {
    return params.Error("expert_shared_feed_forward_length", "is missing");
  }
  spec.shared_gate = true;
  return MakeDecoder(file, std::move(spec));
}

const Registration kQwen2Moe("qwen2moe", &Open);

}  // namespace
}  // namespace bantam::model
