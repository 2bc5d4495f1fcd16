#include "runtime/chat/interpreter.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/print.h"

namespace bantam::chat {

absl::Status Interpreter::Raise(std::string message) {
  raised_ = true;
  return absl::FailedPreconditionError(message);
}

absl::StatusOr<std::string> Interpreter::Render(const nlohmann::ordered_json& variables) {
  if (!variables.is_object()) {
    return absl::InvalidArgumentError("the variables of a chat template are not a JSON object");
  }
  BANTAM_ASSIGN_OR_RETURN(Scope * given, Enter(nullptr));
  for (size_t i = 0; i < tree_.names.size(); ++i) {
    const auto found = variables.find(tree_.names[i]);
    if (found == variables.end()) continue;
    auto value = heap_.FromJson(*found);
    if (!value.ok()) {
      return Annotate(value.status(),
                      absl::StrCat("chat template: the variable '", tree_.names[i], "'"));
    }
    SetVariable(static_cast<int>(i), *std::move(value));
  }
  BANTAM_ASSIGN_OR_RETURN(Scope * root, Enter(given));
  Capture();  // both stay to the end
  (void)root;
  const auto flow = Execute(tree_.body);
  if (flow.ok()) return std::move(output_);
  if (raised_) return flow.status();
  return Annotate(flow.status(), error_line_ > 0 ? absl::StrCat("chat template, line ", error_line_)
                                                 : std::string("chat template"));
}

absl::StatusOr<Scope*> Interpreter::Enter(Scope* parent) {
  Scope* scope = nullptr;
  if (!free_scopes_.empty()) {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  } else {
    BANTAM_ASSIGN_OR_RETURN(scope, heap_.New<Scope>());
  }
  scope->parent = parent;
  scope_stack_.push_back(scope_);
  scope_ = scope;
  return scope;
}

void Interpreter::Leave() {
  if (!scope_->captured) {
    scope_->variables.clear();
    free_scopes_.push_back(scope_);
  }
  scope_ = scope_stack_.back();
  scope_stack_.pop_back();
}

void Interpreter::Capture() {
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->parent) {
    scope->captured = true;
  }
}

void Interpreter::SetVariable(int name, Value value) {
  for (auto& [key, held] : scope_->variables) {
    if (key == name) {
      held = std::move(value);
      return;
    }
  }
  scope_->variables.emplace_back(name, std::move(value));
}

const Value* Interpreter::FindVariable(int name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [key, value] : scope->variables) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

absl::Status Interpreter::Write(absl::string_view text) {
  const auto size = static_cast<int64_t>(text.size());
  BANTAM_RETURN_IF_ERROR(heap_.Step(size / Limits::kTextBytesPerStep));
  BANTAM_RETURN_IF_ERROR(heap_.Charge(size));
  if (static_cast<int64_t>(out_->size()) + size > Limits::kOutputBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the text is longer than ", Limits::kOutputBytes >> 20, " MiB"));
  }
  absl::StrAppend(out_, text);
  return absl::OkStatus();
}

template <typename Body>
absl::Status Interpreter::Capturing(std::string* text, Body body) {
  std::string* const outer = std::exchange(out_, text);
  absl::Status status = body();
  out_ = outer;
  BANTAM_RETURN_IF_ERROR(status);
  return heap_.Charge(-static_cast<int64_t>(text->size()));
}

absl::StatusOr<Interpreter::Flow> Interpreter::Execute(const Block& block) {
  for (const Statement& statement : block) {
    BANTAM_RETURN_IF_ERROR(heap_.Step());
    auto flow = ExecuteOne(statement);
    if (!flow.ok() && error_line_ == 0) error_line_ = statement.line;
    if (!flow.ok() || *flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteOne(const Statement& statement) {
  using Kind = Statement::Kind;
  if (depth_ >= Limits::kEvaluationDepth) {
    return absl::ResourceExhaustedError("calls and blocks are nested too deeply");
  }
  ++depth_;
  const absl::Cleanup leave = [this] { --depth_; };
  switch (statement.kind) {
    case Kind::kText:
      BANTAM_RETURN_IF_ERROR(Write(statement.text));
      return Flow::kNext;
    case Kind::kPrint:
      BANTAM_RETURN_IF_ERROR(ExecutePrint(statement));
      return Flow::kNext;
    case Kind::kIf:
      return ExecuteIf(statement);
    case Kind::kFor:
      return ExecuteFor(statement);
    case Kind::kSet: {
      BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
      BANTAM_RETURN_IF_ERROR(Assign(statement.target, value));
      return Flow::kNext;
    }
    case Kind::kSetBlock:
      return ExecuteSetBlock(statement);
    case Kind::kMacro: {
      BANTAM_ASSIGN_OR_RETURN(Value macro, DefineMacro(*statement.macro));
      SetVariable(statement.macro->name_index, std::move(macro));
      return Flow::kNext;
    }
    case Kind::kCallBlock:
      BANTAM_RETURN_IF_ERROR(ExecuteCallBlock(statement));
      return Flow::kNext;
    case Kind::kFilter:
      return ExecuteFilter(statement);
    case Kind::kWith:
      return ExecuteWith(statement);
    case Kind::kScope:
      return ExecuteScoped(statement.body);
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return absl::InternalError("unknown statement");
}

absl::Status Interpreter::ExecutePrint(const Statement& statement) {
  BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
  if (value.IsString()) return Write(value.text());
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(heap_, value));
  return Write(text);
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteIf(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition != nullptr) {
      BANTAM_ASSIGN_OR_RETURN(const Value value, Evaluate(*branch.condition));
      if (!Truth(value)) continue;
    }
    return Execute(branch.body);
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteScoped(const Block& body) {
  BANTAM_RETURN_IF_ERROR(Enter(scope_).status());
  BANTAM_ASSIGN_OR_RETURN(const Flow flow, Execute(body));
  Leave();
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFor(const Statement& statement) {
  BANTAM_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.expression));
  return RunLoop(statement, iterable, 0);
}

absl::StatusOr<const Sequence*> Interpreter::SelectItems(const Statement& statement,
                                                         const Sequence* items) {
  std::vector<Value> kept;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Value item = items->items[i];
    BANTAM_RETURN_IF_ERROR(Enter(scope_).status());
    BANTAM_RETURN_IF_ERROR(Assign(statement.target, item));
    BANTAM_ASSIGN_OR_RETURN(const Value keep, Evaluate(*statement.condition));
    Leave();
    if (Truth(keep)) kept.push_back(item);
  }
  BANTAM_ASSIGN_OR_RETURN(const Value list, heap_.List(std::move(kept)));
  return list.sequence();
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunLoop(const Statement& statement,
                                                       const Value& iterable, int64_t depth) {
  BANTAM_ASSIGN_OR_RETURN(const Sequence* items, Iterate(heap_, iterable));
  if (statement.condition != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(items, SelectItems(statement, items));
  }
  BANTAM_ASSIGN_OR_RETURN(Loop * loop, heap_.New<Loop>());
  loop->items = items;
  loop->depth = depth;
  loop->scope = scope_;
  if (statement.recursive) {
    loop->statement = &statement;
    Capture();
  }
  // By index and with the size read anew: the body may append to the list.
  for (size_t i = 0; i < items->items.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(heap_.Step());
    loop->index = static_cast<int64_t>(i);
    BANTAM_RETURN_IF_ERROR(Enter(scope_).status());
    SetVariable(tree_.loop_name, Value::Of(loop));
    BANTAM_RETURN_IF_ERROR(Assign(statement.target, Value(items->items[i])));
    BANTAM_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body));
    Leave();
    if (flow == Flow::kBreak) break;
  }
  if (loop->index < 0 && !statement.else_body.empty()) return ExecuteScoped(statement.else_body);
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteSetBlock(const Statement& statement) {
  std::string text;
  Flow flow = Flow::kNext;
  BANTAM_RETURN_IF_ERROR(Capturing(&text, [&]() -> absl::Status {
    BANTAM_ASSIGN_OR_RETURN(flow, ExecuteScoped(statement.body));
    return absl::OkStatus();
  }));
  if (flow != Flow::kNext) return flow;
  BANTAM_ASSIGN_OR_RETURN(Value value, String(std::move(text)));
  if (statement.expression != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(value, EvaluateFilter(*statement.expression, &value));
  }
  BANTAM_RETURN_IF_ERROR(Assign(statement.target, value));
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteFilter(const Statement& statement) {
  std::string text;
  Flow flow = Flow::kNext;
  BANTAM_RETURN_IF_ERROR(Capturing(&text, [&]() -> absl::Status {
    BANTAM_ASSIGN_OR_RETURN(flow, ExecuteScoped(statement.body));
    return absl::OkStatus();
  }));
  if (flow != Flow::kNext) return flow;
  BANTAM_ASSIGN_OR_RETURN(Value value, String(std::move(text)));
  BANTAM_ASSIGN_OR_RETURN(value, EvaluateFilter(*statement.expression, &value));
  BANTAM_ASSIGN_OR_RETURN(const std::string out, Str(heap_, value));
  BANTAM_RETURN_IF_ERROR(Write(out));
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::ExecuteWith(const Statement& statement) {
  // The values are computed outside of the new scope.
  std::vector<Value> values;
  for (const auto& [target, expression] : statement.assignments) {
    BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*expression));
    values.push_back(std::move(value));
  }
  BANTAM_RETURN_IF_ERROR(Enter(scope_).status());
  for (size_t i = 0; i < values.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(Assign(statement.assignments[i].first, values[i]));
  }
  BANTAM_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body));
  Leave();
  return flow;
}

absl::Status Interpreter::ExecuteCallBlock(const Statement& statement) {
  const Expression& call = *statement.expression;
  BANTAM_ASSIGN_OR_RETURN(const Value callee, Evaluate(*call.operands[0]));
  Arguments arguments;
  BANTAM_RETURN_IF_ERROR(EvaluateArguments(call.arguments, &arguments));
  BANTAM_ASSIGN_OR_RETURN(Value caller, DefineMacro(*statement.macro));
  arguments.keyword.emplace_back("caller", std::move(caller));
  BANTAM_ASSIGN_OR_RETURN(const Value value, Call(callee, arguments));
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(heap_, value));
  return Write(text);
}

absl::Status Interpreter::Assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const Value* space = FindVariable(target.name);
    if (space == nullptr || !space->Is(Kind::kNamespace)) {
      return absl::InvalidArgumentError(absl::StrCat("cannot assign to ", target.text, ".",
                                                     target.attribute, ": '", target.text,
                                                     "' is not a namespace"));
    }
    Dict* dict = space->dict();
    BANTAM_ASSIGN_OR_RETURN(Value key, String(target.attribute));
    if (dict->FindString(target.attribute) == nullptr) {
      BANTAM_RETURN_IF_ERROR(heap_.Charge(sizeof(Dict::Entry)));
    }
    return dict->Set(heap_, std::move(key), value);
  }
  if (!target.is_tuple) {
    SetVariable(target.name, value);
    return absl::OkStatus();
  }
  if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
  BANTAM_ASSIGN_OR_RETURN(const Sequence* parts, Iterate(heap_, value));
  if (parts->items.size() != target.items.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected ", target.items.size(), " values to unpack, found ", parts->items.size()));
  }
  for (size_t i = 0; i < target.items.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(Assign(target.items[i], parts->items[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::DefineMacro(const MacroDefinition& macro) {
  BANTAM_ASSIGN_OR_RETURN(Callable * callable, heap_.New<Callable>());
  callable->name = macro.name;
  callable->macro = &macro;
  callable->scope = scope_;
  Capture();
  return Value::Of(callable);
}

absl::Status Interpreter::BindParameters(const Callable& callable, const Arguments& arguments) {
  const MacroDefinition& macro = *callable.macro;
  std::vector<bool> used(arguments.keyword.size(), false);
  const auto keyword = [&](absl::string_view name) -> const Value* {
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] || arguments.keyword[i].first != name) continue;
      used[i] = true;
      return &arguments.keyword[i].second;
    }
    return nullptr;
  };
  bool own_caller = false;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    own_caller |= parameter.text == "caller";
    const Value* given =
        i < arguments.positional.size() ? &arguments.positional[i] : keyword(parameter.text);
    if (given != nullptr) {
      SetVariable(parameter.name, *given);
    } else if (parameter.default_value != nullptr) {
      BANTAM_ASSIGN_OR_RETURN(Value value, Evaluate(*parameter.default_value));
      SetVariable(parameter.name, std::move(value));
    } else {
      SetVariable(parameter.name, Value::Undefined(absl::StrCat("parameter '", parameter.text,
                                                                "' was not provided")));
    }
  }
  if (macro.uses_caller && !own_caller) {
    const Value* caller = keyword("caller");
    SetVariable(tree_.caller_name,
                caller != nullptr ? *caller : Value::Undefined("No caller defined"));
  }
  const size_t count = macro.parameters.size();
  if (macro.uses_varargs) {
    std::vector<Value> rest;
    if (arguments.positional.size() > count) {
      rest.assign(arguments.positional.begin() + static_cast<int64_t>(count),
                  arguments.positional.end());
    }
    BANTAM_ASSIGN_OR_RETURN(Value tuple, heap_.List(std::move(rest), Kind::kTuple));
    SetVariable(tree_.varargs_name, std::move(tuple));
  } else if (arguments.positional.size() > count) {
    return absl::InvalidArgumentError(absl::StrCat("macro '", macro.name, "' takes at most ", count,
                                                   " arguments, given ",
                                                   arguments.positional.size()));
  }
  Dict* rest = nullptr;
  if (macro.uses_kwargs) {
    BANTAM_ASSIGN_OR_RETURN(rest, heap_.NewDict());
    SetVariable(tree_.kwargs_name, Value::Of(rest));
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    const auto& [name, value] = arguments.keyword[i];
    if (rest == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("macro '", macro.name, "' takes no keyword argument '", name, "'"));
    }
    BANTAM_ASSIGN_OR_RETURN(Value key, String(name));
    BANTAM_RETURN_IF_ERROR(rest->Set(heap_, std::move(key), value));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::CallMacro(const Callable& callable, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(Enter(callable.scope).status());
  std::string text;
  BANTAM_RETURN_IF_ERROR(Capturing(&text, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(BindParameters(callable, arguments));
    return Execute(callable.macro->body).status();
  }));
  Leave();
  return String(std::move(text));
}

absl::StatusOr<Value> Interpreter::CallLoop(const Loop& loop, const Arguments& arguments) {
  if (loop.statement == nullptr) {
    return absl::InvalidArgumentError("loop() needs {% for ... recursive %}");
  }
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("loop", {"iterable"}, 1));
  BANTAM_RETURN_IF_ERROR(Enter(loop.scope).status());
  std::string text;
  BANTAM_RETURN_IF_ERROR(Capturing(&text, [&]() -> absl::Status {
    return RunLoop(*loop.statement, *bound[0], loop.depth + 1).status();
  }));
  Leave();
  return String(std::move(text));
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (depth_ >= Limits::kEvaluationDepth) {
    return absl::ResourceExhaustedError("calls and blocks are nested too deeply");
  }
  if (callee.IsUndefined()) return absl::InvalidArgumentError(callee.text());
  if (callee.Is(Kind::kLoop)) return CallLoop(*callee.loop(), arguments);
  if (!callee.Is(Kind::kCallable)) {
    return absl::InvalidArgumentError(absl::StrCat("a ", TypeName(callee), " cannot be called"));
  }
  const Callable& callable = *callee.callable();
  if (callable.macro != nullptr) return CallMacro(callable, arguments);
  if (callable.method != nullptr) {
    BANTAM_RETURN_IF_ERROR(ChargeTexts(callable.self, arguments));
    auto value = callable.method(*this, callable.self, arguments);
    if (value.status().code() == absl::StatusCode::kUnimplemented) {
      return Annotate(value.status(), callable.name);
    }
    return value;
  }
  return callable.function(*this, arguments);
}

}  // namespace bantam::chat
