// Architecture "gemma2": every other layer with a window, soft-capped attention scores and logits.
// Gemma Team, "Gemma 2", 2024.

#include "runtime/base/status.h"
#include "runtime/model/gemma.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec, ReadGemmaSpec(params, /*largest=*/46));
  BANTAM_ASSIGN_OR_RETURN(spec.config.windows,
                          ReadWindows(params, spec.config.block_count, 4096, 2));
  BANTAM_ASSIGN_OR_RETURN(spec.attention.softcap,
                          ReadSoftCap(params, "attn_logit_softcapping", 50));
  BANTAM_ASSIGN_OR_RETURN(spec.logit_softcap, ReadSoftCap(params, "final_logit_softcapping", 30));
  return MakeDecoder(file, std::move(spec));
}

const Registration kGemma2("gemma2", &Open);

}  // namespace
}  // namespace bantam::model
