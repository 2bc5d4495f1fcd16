#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/operators.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

// As Jinja2 names the owner of a missing attribute.
std::string OwnerName(const Value& value) {
  return value.Is(Kind::kNone) ? "None" : absl::StrCat(TypeName(value), " object");
}

bool IsIndexable(const Value& value) {
  return value.IsString() || value.Is(Kind::kList) || value.Is(Kind::kTuple) ||
         value.Is(Kind::kRange);
}

struct SliceRange {
  int64_t first = 0;
  int64_t step = 1;
  int64_t count = 0;
};

absl::StatusOr<SliceRange> ResolveSlice(int64_t length, const Value* start, const Value* stop,
                                        const Value* step) {
  for (const Value* part : {start, stop, step}) {
    if (part != nullptr && part->IsUndefined()) return absl::InvalidArgumentError(part->text());
    if (part != nullptr && !part->IsInteger() && !part->Is(Kind::kNone)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the parts of a slice are integers, not a ", TypeName(*part)));
    }
  }
  const auto given = [](const Value* part) { return part != nullptr && part->IsInteger(); };
  SliceRange range;
  // No slice steps further than the length; this bound keeps the sums below from overflowing.
  if (given(step)) range.step = std::clamp(step->integer(), -length - 1, length + 1);
  if (range.step == 0) return absl::InvalidArgumentError("the step of a slice is zero");
  const bool down = range.step < 0;
  const int64_t low = down ? -1 : 0;
  const int64_t high = down ? length - 1 : length;
  const auto resolve = [&](const Value* part, int64_t otherwise) {
    if (!given(part)) return otherwise;
    int64_t index = part->integer();
    if (index < 0) index = index < -length ? low : index + length;
    return std::clamp(index, low, high);
  };
  range.first = resolve(start, down ? high : low);
  const int64_t last = resolve(stop, down ? low : high);
  const int64_t distance = down ? range.first - last : last - range.first;
  if (distance > 0) range.count = (distance - 1) / std::abs(range.step) + 1;
  return range;
}

}  // namespace

absl::StatusOr<Value> Interpreter::Evaluate(const Expression& node) {
  if (depth_ >= Limits::kEvaluationDepth) {
    return absl::ResourceExhaustedError("calls and expressions are nested too deeply");
  }
  ++depth_;
  auto value = EvaluateNode(node);
  --depth_;
  if (!value.ok() && error_line_ == 0) error_line_ = node.line;
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateNode(const Expression& node) {
  using Kind = Expression::Kind;
  BANTAM_RETURN_IF_ERROR(heap_.Step());
  switch (node.kind) {
    case Kind::kConstant:
      return node.constant;
    case Kind::kName:
      return EvaluateName(node);
    case Kind::kList:
    case Kind::kTuple:
      return EvaluateSequence(node);
    case Kind::kDict:
      return EvaluateDict(node);
    case Kind::kAttribute: {
      BANTAM_ASSIGN_OR_RETURN(const Value object, Evaluate(*node.operands[0]));
      return Attribute(object, node.text);
    }
    case Kind::kItem: {
      BANTAM_ASSIGN_OR_RETURN(const Value object, Evaluate(*node.operands[0]));
      BANTAM_ASSIGN_OR_RETURN(const Value key, Evaluate(*node.operands[1]));
      return Item(object, key);
    }
    case Kind::kSlice:
      return EvaluateSlice(node);
    case Kind::kCall:
      return EvaluateCall(node);
    case Kind::kFilter:
      return EvaluateFilter(node, nullptr);
    case Kind::kTest:
      return EvaluateTest(node);
    case Kind::kNot: {
      BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0]));
      return Value::Bool(!Truth(value));
    }
    case Kind::kNegate: {
      BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0]));
      return Negate(value);
    }
    case Kind::kPlus: {
      BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0]));
      return Positive(value);
    }
    case Kind::kAnd:
    case Kind::kOr:
      return EvaluateLogic(node);
    case Kind::kConcat:
      return EvaluateConcat(node);
    case Kind::kArithmetic:
      return EvaluateArithmetic(node);
    case Kind::kComparison:
      return EvaluateComparison(node);
    case Kind::kConditional:
      return EvaluateConditional(node);
  }
  return absl::InternalError("unknown expression");
}

absl::StatusOr<Value> Interpreter::EvaluateName(const Expression& node) {
  if (const Value* value = FindVariable(node.name)) return *value;
  if (const Function function = FindFunction(node.text)) {
    BANTAM_ASSIGN_OR_RETURN(Callable * callable, heap_.New<Callable>());
    callable->name = node.text;
    callable->function = function;
    return Value::Of(callable);
  }
  return Value::Undefined(absl::StrCat("'", node.text, "' is undefined"));
}

absl::StatusOr<Value> Interpreter::EvaluateSequence(const Expression& node) {
  std::vector<Value> items;
  items.reserve(node.operands.size());
  for (const auto& operand : node.operands) {
    BANTAM_ASSIGN_OR_RETURN(Value item, Evaluate(*operand));
    items.push_back(std::move(item));
  }
  return heap_.List(std::move(items),
                    node.kind == Expression::Kind::kList ? Kind::kList : Kind::kTuple);
}

absl::StatusOr<Value> Interpreter::EvaluateDict(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(Dict * dict, heap_.NewDict());
  for (size_t i = 0; i < node.operands.size(); i += 2) {
    BANTAM_ASSIGN_OR_RETURN(Value key, Evaluate(*node.operands[i]));
    BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[i + 1]));
    BANTAM_RETURN_IF_ERROR(heap_.Charge(sizeof(Dict::Entry)));
    BANTAM_RETURN_IF_ERROR(dict->Set(heap_, std::move(key), std::move(value)));
  }
  return Value::Of(dict);
}

absl::StatusOr<Value> Interpreter::BoundMethod(const Value& object, absl::string_view name,
                                               Method method) {
  BANTAM_ASSIGN_OR_RETURN(Callable * callable, heap_.New<Callable>());
  callable->name = absl::StrCat(TypeName(object), ".", name);
  callable->method = method;
  callable->self = object;
  return Value::Of(callable);
}

absl::StatusOr<Value> Interpreter::LoopAttribute(Loop* loop, const std::string& name) {
  const auto count = static_cast<int64_t>(loop->items->items.size());
  const int64_t index = loop->index;
  if (name == "index0") return Value::Int(index);
  if (name == "index") return Value::Int(index + 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 >= count);
  if (name == "length") return Value::Int(count);
  if (name == "revindex") return Value::Int(count - index);
  if (name == "revindex0") return Value::Int(count - index - 1);
  if (name == "depth") return Value::Int(loop->depth + 1);
  if (name == "depth0") return Value::Int(loop->depth);
  if (name == "previtem") {
    if (index <= 0) return Value::Undefined("there is no previous item");
    return loop->items->items[index - 1];
  }
  if (name == "nextitem") {
    if (index + 1 >= count) return Value::Undefined("there is no next item");
    return loop->items->items[index + 1];
  }
  const Value self = Value::Of(loop);
  if (const Method method = FindMethod(Kind::kLoop, name)) return BoundMethod(self, name, method);
  return Value::Undefined(absl::StrCat("'LoopContext object' has no attribute '", name, "'"));
}

absl::StatusOr<Value> Interpreter::Attribute(const Value& object, const std::string& name) {
  if (object.IsUndefined()) return absl::InvalidArgumentError(object.text());
  if (object.Is(Kind::kLoop)) return LoopAttribute(object.loop(), name);
  if (const Method method = FindMethod(object.kind(), name)) {
    return BoundMethod(object, name, method);
  }
  if (object.Is(Kind::kDict) || object.Is(Kind::kNamespace)) {
    if (const Value* found = object.dict()->FindString(name)) return *found;
  }
  return Value::Undefined(
      absl::StrCat("'", OwnerName(object), "' has no attribute ", ReprText(name)));
}

absl::StatusOr<Value> Interpreter::Item(const Value& object, const Value& key) {
  if (object.IsUndefined()) return absl::InvalidArgumentError(object.text());
  if (object.Is(Kind::kDict)) {
    if (!key.Is(Kind::kList) && !key.Is(Kind::kDict)) {
      BANTAM_ASSIGN_OR_RETURN(const Value* found, object.dict()->Find(heap_, key));
      if (found != nullptr) return *found;
    }
  } else if (key.IsInteger() && IsIndexable(object)) {
    BANTAM_ASSIGN_OR_RETURN(const int64_t length, Length(object));
    const int64_t index = key.integer() < 0 ? key.integer() + length : key.integer();
    if (index >= 0 && index < length) {
      if (!object.IsString()) return object.sequence()->items[index];
      BANTAM_RETURN_IF_ERROR(heap_.Step(length / Limits::kTextBytesPerStep));
      return String(std::string(CharacterRange(object.text(), index, index + 1)), object.markup());
    }
  }
  if (key.IsString()) return Attribute(object, key.text());
  BANTAM_ASSIGN_OR_RETURN(const std::string shown, Repr(heap_, key));
  return Value::Undefined(absl::StrCat(OwnerName(object), " has no element ", shown));
}

absl::StatusOr<Value> Interpreter::EvaluateSlice(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(const Value object, Evaluate(*node.operands[0]));
  Value parts[3];
  const Value* given[3] = {};
  for (int i = 0; i < 3; ++i) {
    if (node.operands[i + 1] == nullptr) continue;
    BANTAM_ASSIGN_OR_RETURN(parts[i], Evaluate(*node.operands[i + 1]));
    given[i] = &parts[i];
  }
  if (object.IsUndefined()) return absl::InvalidArgumentError(object.text());
  if (!IsIndexable(object)) {
    return absl::InvalidArgumentError(absl::StrCat("a ", TypeName(object), " cannot be sliced"));
  }
  BANTAM_ASSIGN_OR_RETURN(const int64_t length, Length(object));
  BANTAM_ASSIGN_OR_RETURN(const SliceRange range,
                          ResolveSlice(length, given[0], given[1], given[2]));
  if (object.IsString()) {
    BANTAM_RETURN_IF_ERROR(heap_.Step(length / Limits::kTextBytesPerStep));
    if (range.count == 0) return String("", object.markup());
    if (range.step == 1) {
      return String(
          std::string(CharacterRange(object.text(), range.first, range.first + range.count)),
          object.markup());
    }
    BANTAM_RETURN_IF_ERROR(heap_.Step(length));
    const auto characters = Characters(object.text());
    std::string text;
    for (int64_t i = 0; i < range.count; ++i) {
      absl::StrAppend(&text, characters[range.first + i * range.step]);
    }
    return String(std::move(text), object.markup());
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < range.count; ++i) {
    items.push_back(object.sequence()->items[range.first + i * range.step]);
  }
  // A slice of a range is shown as a list: its own form would need its bounds.
  return heap_.List(std::move(items), object.Is(Kind::kRange) ? Kind::kList : object.kind());
}

absl::Status Interpreter::EvaluateArguments(const CallArguments& node, Arguments* arguments) {
  for (const auto& expression : node.positional) {
    BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    arguments->positional.push_back(std::move(value));
  }
  for (const auto& [name, expression] : node.keyword) {
    BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    arguments->keyword.emplace_back(name, std::move(value));
  }
  if (node.star != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.star));
    BANTAM_ASSIGN_OR_RETURN(const Sequence* items, Iterate(heap_, value));
    BANTAM_RETURN_IF_ERROR(heap_.Step(static_cast<int64_t>(items->items.size())));
    arguments->positional.insert(arguments->positional.end(), items->items.begin(),
                                 items->items.end());
  }
  if (node.double_star != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.double_star));
    if (!value.Is(Kind::kDict)) return absl::InvalidArgumentError("** takes a dict");
    for (const auto& [key, item] : value.dict()->entries()) {
      if (!key.IsString()) return absl::InvalidArgumentError("the keys of a ** dict are names");
      BANTAM_RETURN_IF_ERROR(heap_.Step());
      arguments->keyword.emplace_back(key.text(), item);
    }
  }
  return absl::OkStatus();
}

// Functions on text take time with its length.
absl::Status Interpreter::ChargeTexts(const Value& input, const Arguments& arguments) {
  const auto steps = [](const Value& value) {
    return value.IsString() ? static_cast<int64_t>(value.text().size()) / Limits::kTextBytesPerStep
                            : 0;
  };
  int64_t total = 1 + steps(input);
  for (const Value& value : arguments.positional) total += steps(value);
  for (const auto& entry : arguments.keyword) total += steps(entry.second);
  return heap_.Step(total);
}

absl::StatusOr<Value> Interpreter::EvaluateCall(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(const Value callee, Evaluate(*node.operands[0]));
  Arguments arguments;
  BANTAM_RETURN_IF_ERROR(EvaluateArguments(node.arguments, &arguments));
  return Call(callee, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateFilter(const Expression& node, const Value* block) {
  if (node.filter == nullptr) {
    return absl::UnimplementedError(absl::StrCat("the filter '", node.text, "' is not supported"));
  }
  Value input;
  const Expression* operand = node.operands[0].get();
  if (operand == nullptr) {
    // The first filter of a filter or set block works on the text of the block.
    if (block == nullptr) return absl::InternalError("a filter has nothing to work on");
    input = *block;
  } else if (block != nullptr && operand->kind == Expression::Kind::kFilter) {
    BANTAM_ASSIGN_OR_RETURN(input, EvaluateFilter(*operand, block));
  } else {
    BANTAM_ASSIGN_OR_RETURN(input, Evaluate(*operand));
  }
  Arguments arguments;
  BANTAM_RETURN_IF_ERROR(EvaluateArguments(node.arguments, &arguments));
  BANTAM_RETURN_IF_ERROR(ChargeTexts(input, arguments));
  return node.filter(*this, input, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateTest(const Expression& node) {
  if (node.test == nullptr) {
    return absl::UnimplementedError(absl::StrCat("the test '", node.text, "' is not supported"));
  }
  BANTAM_ASSIGN_OR_RETURN(const Value input, Evaluate(*node.operands[0]));
  Arguments arguments;
  BANTAM_RETURN_IF_ERROR(EvaluateArguments(node.arguments, &arguments));
  BANTAM_RETURN_IF_ERROR(ChargeTexts(input, arguments));
  BANTAM_ASSIGN_OR_RETURN(const bool holds, node.test(*this, input, arguments));
  return Value::Bool(holds);
}

absl::StatusOr<Value> Interpreter::EvaluateLogic(const Expression& node) {
  const bool stop_at = node.kind == Expression::Kind::kOr;
  Value value;
  for (const auto& operand : node.operands) {
    BANTAM_ASSIGN_OR_RETURN(value, Evaluate(*operand));
    if (Truth(value) == stop_at) break;
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateConcat(const Expression& node) {
  std::string text;
  for (const auto& operand : node.operands) {
    BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*operand));
    BANTAM_ASSIGN_OR_RETURN(const std::string part, Str(heap_, value));
    text += part;
    if (static_cast<int64_t>(text.size()) > Limits::kOutputBytes) {
      return absl::ResourceExhaustedError("the result of '~' is too long");
    }
  }
  return String(std::move(text));
}

absl::StatusOr<Value> Interpreter::EvaluateArithmetic(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[0]));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(const Value next, Evaluate(*node.operands[i + 1]));
    BANTAM_ASSIGN_OR_RETURN(value, Calculate(heap_, node.operators[i], value, next));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::EvaluateComparison(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(Value left, Evaluate(*node.operands[0]));
  for (size_t i = 0; i < node.operators.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(Value right, Evaluate(*node.operands[i + 1]));
    BANTAM_ASSIGN_OR_RETURN(const bool holds, Holds(heap_, node.operators[i], left, right));
    if (!holds) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

absl::StatusOr<Value> Interpreter::EvaluateConditional(const Expression& node) {
  BANTAM_ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.operands[1]));
  if (Truth(condition)) return Evaluate(*node.operands[0]);
  if (node.operands[2] != nullptr) return Evaluate(*node.operands[2]);
  return Value::Undefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

}  // namespace bantam::chat
