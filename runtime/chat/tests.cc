// The tests of `x is name`.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/operators.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

using Result = absl::StatusOr<bool>;

// A test of the value alone.
template <bool (*Holds)(const Value&)>
Result Simple(Interpreter&, const Value& value, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the test", {}).status());
  return Holds(value);
}

bool IsDefined(const Value& value) { return !value.IsUndefined(); }
bool IsUndefined(const Value& value) { return value.IsUndefined(); }
bool IsNone(const Value& value) { return value.Is(Kind::kNone); }
bool IsText(const Value& value) { return value.IsString(); }
bool IsMapping(const Value& value) { return value.Is(Kind::kDict); }
bool IsNumber(const Value& value) { return value.IsNumber(); }
bool IsInteger(const Value& value) { return value.Is(Kind::kInt); }
bool IsFloat(const Value& value) { return value.Is(Kind::kFloat); }
bool IsBoolean(const Value& value) { return value.Is(Kind::kBool); }
bool IsTrue(const Value& value) { return value.Is(Kind::kBool) && value.boolean(); }
bool IsFalse(const Value& value) { return value.Is(Kind::kBool) && !value.boolean(); }
// An undefined value can be called in Python, though the call fails; so can a loop.
bool IsCallable(const Value& value) {
  return value.Is(Kind::kCallable) || value.Is(Kind::kLoop) || value.IsUndefined();
}
bool IsEscaped(const Value& value) { return value.markup(); }
bool IsIterable(const Value& value) {
  return value.IsUndefined() || value.IsString() || value.HasSequence() || value.Is(Kind::kDict) ||
         value.Is(Kind::kLoop);
}
// What has a length and items by index or key. An undefined value counts as empty.
bool IsSequence(const Value& value) {
  return value.IsUndefined() || value.IsString() || value.Is(Kind::kList) ||
         value.Is(Kind::kTuple) || value.Is(Kind::kRange) || value.Is(Kind::kDict);
}

template <Operator op>
Result Comparing(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("the test", {"other"}, 1));
  return Holds(interpreter.heap(), op, value, *bound[0]);
}

// Whether value % divisor is `remainder`.
Result HasRemainder(Interpreter& interpreter, const Value& value, const Value& divisor,
                    int64_t remainder) {
  BANTAM_ASSIGN_OR_RETURN(const Value rest,
                          Calculate(interpreter.heap(), Operator::kModulo, value, divisor));
  return Equal(interpreter.heap(), rest, Value::Int(remainder));
}

Result Odd(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the test odd", {}).status());
  return HasRemainder(interpreter, value, Value::Int(2), 1);
}

Result Even(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the test even", {}).status());
  return HasRemainder(interpreter, value, Value::Int(2), 0);
}

Result DivisibleBy(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("the test divisibleby", {"num"}, 1));
  return HasRemainder(interpreter, value, *bound[0], 0);
}

Result In(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("the test in", {"seq"}, 1));
  return Contains(interpreter.heap(), *bound[0], value);
}

Result SameAs(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("the test sameas", {"other"}, 1));
  const Value& other = *bound[0];
  if (value.kind() != other.kind()) return false;
  if (value.IsString() || value.IsNumber()) return Equal(interpreter.heap(), value, other);
  return value.Is(Kind::kNone) || value.identity() == other.identity();
}

// All cased characters satisfy `wanted`, and there is one.
Result AllCased(Interpreter& interpreter, const Value& value, bool (*wanted)(char32_t),
                bool (*other)(char32_t)) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), value));
  bool found = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCharacter(text, &pos);
    if (other(c)) return false;
    found |= wanted(c);
  }
  return found;
}

Result LowerCase(Interpreter& interpreter, const Value& value, const Arguments&) {
  return AllCased(interpreter, value, IsLower, IsUpper);
}
Result UpperCase(Interpreter& interpreter, const Value& value, const Arguments&) {
  return AllCased(interpreter, value, IsUpper, IsLower);
}

Result IsFilterName(Interpreter&, const Value& value, const Arguments&) {
  return value.IsString() && FindFilter(value.text()) != nullptr;
}
Result IsTestName(Interpreter&, const Value& value, const Arguments&) {
  return value.IsString() && FindTest(value.text()) != nullptr;
}

}  // namespace

Test FindTest(absl::string_view name) {
  static const auto* const kTests = new absl::flat_hash_map<absl::string_view, Test>{
      {"defined", Simple<IsDefined>},
      {"undefined", Simple<IsUndefined>},
      {"none", Simple<IsNone>},
      {"string", Simple<IsText>},
      {"mapping", Simple<IsMapping>},
      {"iterable", Simple<IsIterable>},
      {"sequence", Simple<IsSequence>},
      {"number", Simple<IsNumber>},
      {"integer", Simple<IsInteger>},
      {"float", Simple<IsFloat>},
      {"boolean", Simple<IsBoolean>},
      {"true", Simple<IsTrue>},
      {"false", Simple<IsFalse>},
      {"callable", Simple<IsCallable>},
      {"escaped", Simple<IsEscaped>},
      {"odd", Odd},
      {"even", Even},
      {"divisibleby", DivisibleBy},
      {"in", In},
      {"sameas", SameAs},
      {"lower", LowerCase},
      {"upper", UpperCase},
      {"filter", IsFilterName},
      {"test", IsTestName},
      {"eq", Comparing<Operator::kEqual>},
      {"equalto", Comparing<Operator::kEqual>},
      {"==", Comparing<Operator::kEqual>},
      {"ne", Comparing<Operator::kNotEqual>},
      {"!=", Comparing<Operator::kNotEqual>},
      {"lt", Comparing<Operator::kLess>},
      {"lessthan", Comparing<Operator::kLess>},
      {"<", Comparing<Operator::kLess>},
      {"le", Comparing<Operator::kLessEqual>},
      {"<=", Comparing<Operator::kLessEqual>},
      {"gt", Comparing<Operator::kGreater>},
      {"greaterthan", Comparing<Operator::kGreater>},
      {">", Comparing<Operator::kGreater>},
      {"ge", Comparing<Operator::kGreaterEqual>},
      {">=", Comparing<Operator::kGreaterEqual>},
  };
  const auto found = kTests->find(name);
  return found == kTests->end() ? nullptr : found->second;
}

}  // namespace bantam::chat
