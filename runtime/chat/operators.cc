#include "runtime/chat/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/format.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

absl::string_view Symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    case Operator::kPower:
      return "**";
    default:
      return "?";
  }
}

absl::Status Overflow(Operator op) {
  return absl::InvalidArgumentError(
      absl::StrCat("the result of '", Symbol(op), "' needs more than 64 bits"));
}

absl::Status DivisionByZero() { return absl::InvalidArgumentError("division by zero"); }

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
      return Overflow(Operator::kPower);
    }
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
      return Overflow(Operator::kPower);
    }
  }
  return Value::Int(result);
}

absl::StatusOr<Value> Integers(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return Overflow(op);
      return Value::Int(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return Overflow(op);
      return Value::Int(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return Overflow(op);
      return Value::Int(result);
    case Operator::kDivide:
      if (b == 0) return DivisionByZero();
      // Wide enough to hold both without rounding, as Python divides them.
      return Value::Float(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::kFloorDivide:
    case Operator::kModulo: {
      if (b == 0) return DivisionByZero();
      if (b == -1) {  // the one quotient that can leave the range
        if (op == Operator::kModulo) return Value::Int(0);
        if (a == std::numeric_limits<int64_t>::min()) return Overflow(op);
        return Value::Int(-a);
      }
      // Python rounds down; the remainder has the sign of the divisor.
      const bool adjust = a % b != 0 && (a % b < 0) != (b < 0);
      if (op == Operator::kModulo) return Value::Int(a % b + (adjust ? b : 0));
      return Value::Int(a / b - (adjust ? 1 : 0));
    }
    case Operator::kPower:
      if (b >= 0) return IntegerPower(a, b);
      if (a == 0) return DivisionByZero();
      return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
    default:
      return absl::InternalError("not an arithmetic operator");
  }
}

absl::StatusOr<Value> Floats(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kDivide:
      if (b == 0) return DivisionByZero();
      return Value::Float(a / b);
    case Operator::kFloorDivide:
    case Operator::kModulo: {
      if (b == 0) return DivisionByZero();
      double remainder = std::fmod(a, b);
      double quotient = (a - remainder) / b;
      if (remainder != 0 && (b < 0) != (remainder < 0)) {
        remainder += b;
        quotient -= 1;
      }
      if (remainder == 0) remainder = std::copysign(0.0, b);
      if (op == Operator::kModulo) return Value::Float(remainder);
      if (quotient == 0) return Value::Float(std::copysign(0.0, a / b));
      const double floor = std::floor(quotient);
      return Value::Float(quotient - floor > 0.5 ? floor + 1 : floor);
    }
    case Operator::kPower: {
      if (a == 0 && b < 0) return DivisionByZero();
      if (a < 0 && std::isfinite(b) && b != std::floor(b)) {
        return absl::InvalidArgumentError("a power of a negative number is not real");
      }
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
        return absl::InvalidArgumentError("the result of '**' is too large");
      }
      return Value::Float(result);
    }
    default:
      return absl::InternalError("not an arithmetic operator");
  }
}

absl::StatusOr<Value> AddText(Heap& heap, const Value& a, const Value& b) {
  const bool markup = a.markup() || b.markup();
  std::string text = markup && !a.markup() ? EscapeHtml(a.text()) : a.text();
  text += markup && !b.markup() ? EscapeHtml(b.text()) : b.text();
  return heap.String(std::move(text), markup);
}

absl::Status CheckRepeat(int64_t size, int64_t count, int64_t limit) {
  if (size == 0 || count <= limit / size) return absl::OkStatus();
  return absl::ResourceExhaustedError("the result of '*' is too long");
}

absl::StatusOr<Value> Repeat(Heap& heap, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (value.IsString()) {
    const std::string& unit = value.text();
    BANTAM_RETURN_IF_ERROR(
        CheckRepeat(static_cast<int64_t>(unit.size()), count, Limits::kOutputBytes));
    if (unit.empty()) count = 0;
    std::string text;
    text.reserve(unit.size() * count);
    for (int64_t i = 0; i < count; ++i) text += unit;
    return heap.String(std::move(text), value.markup());
  }
  const auto& unit = value.sequence()->items;
  BANTAM_RETURN_IF_ERROR(CheckRepeat(static_cast<int64_t>(unit.size()), count,
                                     Limits::kLiveBytes / static_cast<int64_t>(sizeof(Value))));
  if (unit.empty()) count = 0;
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) items.insert(items.end(), unit.begin(), unit.end());
  return heap.List(std::move(items), value.kind());
}

bool IsRepeatable(const Value& value) {
  return value.IsString() || value.Is(Kind::kList) || value.Is(Kind::kTuple);
}

}  // namespace

absl::StatusOr<Value> Calculate(Heap& heap, Operator op, const Value& a, const Value& b) {
  if (op == Operator::kModulo && a.IsString()) {
    BANTAM_ASSIGN_OR_RETURN(std::string text, FormatPercent(heap, a, b));
    return heap.String(std::move(text), a.markup());
  }
  if (a.IsUndefined()) return absl::InvalidArgumentError(a.text());
  if (b.IsUndefined()) return absl::InvalidArgumentError(b.text());
  if (a.IsInteger() && b.IsInteger()) return Integers(op, a.integer(), b.integer());
  if (a.IsNumber() && b.IsNumber()) return Floats(op, a.number(), b.number());
  if (op == Operator::kAdd && a.IsString() && b.IsString()) return AddText(heap, a, b);
  if (op == Operator::kAdd && a.kind() == b.kind() && IsRepeatable(a)) {
    std::vector<Value> items = a.sequence()->items;
    const auto& more = b.sequence()->items;
    items.insert(items.end(), more.begin(), more.end());
    return heap.List(std::move(items), a.kind());
  }
  if (op == Operator::kMultiply && IsRepeatable(a) && b.IsInteger()) {
    return Repeat(heap, a, b.integer());
  }
  if (op == Operator::kMultiply && a.IsInteger() && IsRepeatable(b)) {
    return Repeat(heap, b, a.integer());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", Symbol(op), "' does not take a ", TypeName(a), " and a ", TypeName(b)));
}

absl::StatusOr<bool> Holds(Heap& heap, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return Equal(heap, a, b);
    case Operator::kNotEqual: {
      BANTAM_ASSIGN_OR_RETURN(const bool equal, Equal(heap, a, b));
      return !equal;
    }
    case Operator::kIn:
      return Contains(heap, b, a);
    case Operator::kNotIn: {
      BANTAM_ASSIGN_OR_RETURN(const bool contains, Contains(heap, b, a));
      return !contains;
    }
    default:
      break;
  }
  BANTAM_ASSIGN_OR_RETURN(const int order, Compare(heap, a, b));
  const auto is_nan = [](const Value& value) {
    return value.Is(Kind::kFloat) && std::isnan(value.number());
  };
  if (is_nan(a) || is_nan(b)) return false;
  switch (op) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    case Operator::kGreaterEqual:
      return order >= 0;
    default:
      return absl::InternalError("not a comparison");
  }
}

absl::StatusOr<Value> Negate(const Value& value) {
  if (value.Is(Kind::kFloat)) return Value::Float(-value.number());
  if (value.IsInteger()) return Integers(Operator::kSubtract, 0, value.integer());
  if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
  return absl::InvalidArgumentError(absl::StrCat("'-' does not take a ", TypeName(value)));
}

absl::StatusOr<Value> Positive(const Value& value) {
  if (value.Is(Kind::kFloat)) return value;
  if (value.IsInteger()) return Value::Int(value.integer());
  if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
  return absl::InvalidArgumentError(absl::StrCat("'+' does not take a ", TypeName(value)));
}

}  // namespace bantam::chat
