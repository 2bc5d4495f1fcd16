// How graphs name things in dumps and in messages.
#pragma once

#include <limits>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/graph/graph.h"

namespace bantam::graph {

// In a pattern of expected sizes: any size.
inline constexpr int64_t kAnySize = std::numeric_limits<int64_t>::min();

// "[64, 5]": without trailing ones but with at least one dimension; kAnySize is "?".
std::string ShapeText(const Shape& shape);
// "f32", "q4_k"; "type 77" for what is no type.
std::string TypeText(quant::Type type);
// The name in quotes, on one line whatever bytes it has (names come from files).
std::string QuotedName(absl::string_view name);
// "f16 [64, 5]"
std::string TypeAndShapeText(quant::Type type, const Shape& shape);

}  // namespace bantam::graph
