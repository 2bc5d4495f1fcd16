// Python's operators on the values of a template.
#pragma once

#include "absl/status/statusor.h"
#include "runtime/chat/ast.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

// kInvalidArgument for kinds the operator does not take, division by zero and integers that would
// need more than 64 bits.
absl::StatusOr<Value> Calculate(Heap& heap, Operator op, const Value& a, const Value& b);
absl::StatusOr<bool> Holds(Heap& heap, Operator op, const Value& a, const Value& b);
absl::StatusOr<Value> Negate(const Value& value);
absl::StatusOr<Value> Positive(const Value& value);

}  // namespace bantam::chat
