// Architecture "phi3": Phi-3, 3.5 and 4: llama with Q, K, V in one matrix and gate and up in
// another; LongRoPE. Abdin et al., "Phi-3 Technical Report", 2024; Ding et al., "LongRoPE", 2024.
//
// attention.sliding_window, which some of its files carry, is ignored, as by the peers: it is the
// length of the training texts, not a window.

#include "runtime/base/status.h"
#include "runtime/model/decoder.h"

namespace bantam::model {
namespace {

absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file) {
  const HyperParameters params(file);
  BANTAM_ASSIGN_OR_RETURN(DecoderSpec spec,
                          ReadDecoderSpec(params, graph::NormKind::kRms, graph::RopeLayout::kNeox));
  spec.feed_forward = FeedForward::kStacked;
  return MakeDecoder(file, std::move(spec));
}

const Registration kPhi3("phi3", &Open);

}  // namespace
}  // namespace bantam::model
