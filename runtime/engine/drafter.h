// Guessing how a text goes on, for speculative decoding (generator.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"

namespace bantam::engine {

// Not thread-safe.
class Drafter {
 public:
  virtual ~Drafter() = default;

  // Up to `most` tokens likely to follow `text` and `next`; possibly none. Valid until the next
  // call.
  virtual absl::StatusOr<std::span<const TokenId>> Draft(std::span<const TokenId> text,
                                                         TokenId next, int64_t most) = 0;

  // What a smaller model takes for likeliest, as long as it is rather sure. kInvalidArgument unless
  // both models have the same vocabulary. `options.context` 0: as much as the target's session has,
  // or as the draft model can.
  static absl::StatusOr<std::unique_ptr<Drafter>> FromModel(std::shared_ptr<const Model> draft,
                                                            const Session& target,
                                                            SessionOptions options);
  // What followed the last tokens the last time they occurred in the text (prompt look-up, Saxena
  // 2023): free, and good where an answer quotes its prompt.
  static std::unique_ptr<Drafter> LookUp();
};

}  // namespace bantam::engine
