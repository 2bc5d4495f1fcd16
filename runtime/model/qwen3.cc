// Architecture "qwen3": qwen2 without biases and with Q and K normalised, head by head. Yang et
// al., "Qwen3 Technical Report", 2025.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  spec.head_norm = true;
  return MakeDecoder(file, std::move(spec));
}

const Registration kQwen3("qwen3", &Open);

}  // namespace
}  // namespace bantam::model
