// Ranges of numbers as GBNF.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/grammar/json_flatten.h"

namespace bantam::grammar {

// The decimal numbers within the schema's minimum, maximum, exclusiveMinimum and exclusiveMaximum,
// without exponents; whole ones when `integer`. "" when there is none. kUnimplemented for a bound
// beyond 1e40 or closer to 0 than 1e-40.
absl::StatusOr<std::string> NumberRange(const FlatSchema& schema, bool integer);
bool HasBounds(const FlatSchema& schema);

}  // namespace bantam::grammar
