// A text as one vector.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"

namespace bantam::engine {

// The last hidden states of all `tokens` pooled to one vector [embedding_length], of length 1 if
// `normalize` (a vector of zeros stays one). The session must have been made with `embeddings`; it
// is emptied first. `pooling` kNone: the model's own, or the last token where it has none.
// kInvalidArgument for no tokens; else as Session::Decode. Mean pooling takes at most ubatch()
// tokens.
absl::StatusOr<std::vector<float>> Embed(Session& session, std::span<const TokenId> tokens,
                                         model::Pooling pooling = model::Pooling::kNone,
                                         bool normalize = true);

}  // namespace bantam::engine
