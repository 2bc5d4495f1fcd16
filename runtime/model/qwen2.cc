// Architecture "qwen2": Qwen 1.5, 2, 2.5 and DeepSeek's distillations of them: llama with biases on
// Q, K and V, and the other rotation. Yang et al., "Qwen2 Technical Report", 2024.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  return MakeDecoder(file, std::move(spec));
}

const Registration kQwen2("qwen2", &Open);

}  // namespace
}  // namespace bantam::model
