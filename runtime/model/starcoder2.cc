// Architecture "starcoder2": layer norms and biases everywhere, a feed-forward without a gate.
// Lozhkov et al., "StarCoder 2 and The Stack v2", 2024.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(
      DecoderSpec spec, ReadDecoderSpec(params, graph::NormKind::kLayer, graph::RopeLayout::kNeox));
  spec.feed_forward = FeedForward::kPlain;
  spec.activation = graph::Activation::kGeluTanh;
  return MakeDecoder(file, std::move(spec));
}

const Registration kStarcoder2("starcoder2", &Open);

}  // namespace
}  // namespace bantam::model
