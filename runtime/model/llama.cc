// Architecture "llama": Llama 1, 2 and 3.x, Mistral, Mixtral, TinyLlama, SmolLM2 and the many
// models that share their shape. Touvron et al. 2023; Grattafiori et al. 2024 (Llama 3 frequency
// factors); Jiang et al. 2024 (experts).

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec, ReadDecoderSpec(params, graph::NormKind::kRms,
                                                            graph::RopeLayout::kInterleaved));
  return MakeDecoder(file, std::move(spec));
}

const Registration kLlama("llama", &Open);

}  // namespace
}  // namespace bantam::model
