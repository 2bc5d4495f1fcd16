// Architecture "gemma3", the text part: five layers with a window and rotations of their own, then
// one that sees everything; Q and K normalised. Gemma Team, "Gemma 3 Technical Report", 2025.

#include "runtime/base/status.h"
#include "runtime/model/gemma.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec, ReadGemmaSpec(params, /*largest=*/62));
  spec.head_norm = true;
  BANTAM_ASSIGN_OR_RETURN(spec.config.windows, ReadWindows(params, spec.config.block_count, 0, 6));
  BANTAM_ASSIGN_OR_RETURN(spec.local_rope.theta_base,
                          params.FloatOr("rope.freq_base_swa", 10000.0f));
  if (spec.local_rope.theta_base <= 0) {
    return params.Error("rope.freq_base_swa", "is not positive");
  }
  spec.local_rope.freq_scale = 1;  // only what sees everything was stretched to longer texts
  BANTAM_ASSIGN_OR_RETURN(spec.logit_softcap, ReadSoftCap(params, "final_logit_softcapping", 0));
  return MakeDecoder(file, std::move(spec));
}

const Registration kGemma3("gemma3", &Open);

}  // namespace
}  // namespace bantam::model
