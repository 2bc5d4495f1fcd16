// Architecture "qwen3moe": Qwen3 30B-A3B and 235B-A22B: qwen3 with experts in every layer. Yang et
// al., "Qwen3 Technical Report", 2025.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  BANTAM_RETURN_IF_ERROR(RequireExperts(params, spec));
  spec.head_norm = true;
  return MakeDecoder(file, std::move(spec));
}

const Registration kQwen3Moe("qwen3moe", &Open);

}  // namespace
}  // namespace bantam::model
