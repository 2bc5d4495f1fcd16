// What the Gemma models share.
#pragma once

#include "runtime/model/decoder.h"

namespace bantam::model {

// Embeddings scaled by the root of their length, tanh-GELU, and from Gemma 2 on norms behind
// attention and feed-forward too. `largest` is the block count of the 27B model, whose attention is
// scaled by the embedding length of a head in place of key_length.
absl::StatusOr<DecoderSpec> ReadGemmaSpec(const HyperParameters& params, int64_t largest);

}  // namespace bantam::model
