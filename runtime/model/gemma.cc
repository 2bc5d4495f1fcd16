// Architecture "gemma", and what its successors share. Gemma Team, "Gemma", 2024.

#include "runtime/model/gemma.h"

#include <cmath>

#include "runtime/base/status.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec, ReadGemmaSpec(params, 0));
  spec.post_norms = false;
  return MakeDecoder(file, std::move(spec));
}

const Registration kGemma("gemma", &Open);

}  // namespace

absl::StatusOr<DecoderSpec> ReadGemmaSpec(const HyperParameters& params, int64_t largest) {
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  const Config& c = spec.config;
  if (c.block_count == largest && !params.Has("attention.scale")) {
    spec.attention.scale = 1.0f / std::sqrt(static_cast<float>(c.embedding_length / c.head_count));
  }
  spec.embedding_scale = std::sqrt(static_cast<float>(c.embedding_length));
  spec.activation = graph::Activation::kGeluTanh;
  spec.post_norms = true;
  return spec;
}

}  // namespace bantam::model
