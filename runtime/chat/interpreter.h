// Runs the syntax tree of a template over the variables of one rendering.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "runtime/chat/ast.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

// The variables set in one macro call, loop iteration or block.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;  // a macro was defined in it or below: it must not be used again
  std::vector<std::pair<int, Value>> variables;
};

// The state behind `loop`.
struct Loop {
  const Sequence* items = nullptr;
  int64_t index = -1;
  int64_t depth = 0;
  const Statement* statement = nullptr;  // of a recursive loop
  Scope* scope = nullptr;                // where the loop stands
  bool changed_called = false;
  std::vector<Value> changed;  // the arguments of the last loop.changed()
};

// One rendering. Expressions are in evaluate.cc, the rest in interpreter.cc.
class Interpreter {
 public:
  // `now` is the local time strftime_now shows; null: the clock.
  Interpreter(const Tree& tree, const std::tm* now) : tree_(tree), now_(now) {}

  absl::StatusOr<std::string> Render(const nlohmann::ordered_json& variables);

  Heap& heap() { return heap_; }
  const std::tm* now() const { return now_; }

  // What functions need of the interpreter.
  absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments);
  absl::StatusOr<Value> Attribute(const Value& object, const std::string& name);
  absl::StatusOr<Value> Item(const Value& object, const Value& key);
  absl::StatusOr<Value> String(std::string text, bool markup = false) {
    return heap_.String(std::move(text), markup);
  }
  // raise_exception: the message is for the user as it stands, without a line.
  absl::Status Raise(std::string message);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // Statements.
  absl::StatusOr<Flow> Execute(const Block& block);
  absl::StatusOr<Flow> ExecuteOne(const Statement& statement);
  absl::StatusOr<Flow> ExecuteIf(const Statement& statement);
  absl::StatusOr<Flow> ExecuteFor(const Statement& statement);
  absl::StatusOr<Flow> ExecuteScoped(const Block& body);
  absl::Status ExecutePrint(const Statement& statement);
  absl::StatusOr<Flow> ExecuteSetBlock(const Statement& statement);
  absl::StatusOr<Flow> ExecuteFilter(const Statement& statement);
  absl::StatusOr<Flow> ExecuteWith(const Statement& statement);
  absl::Status ExecuteCallBlock(const Statement& statement);
  absl::StatusOr<Flow> RunLoop(const Statement& statement, const Value& iterable, int64_t depth);
  absl::StatusOr<const Sequence*> SelectItems(const Statement& statement, const Sequence* items);
  absl::Status Assign(const Target& target, const Value& value);
  absl::StatusOr<Value> DefineMacro(const MacroDefinition& macro);
  absl::StatusOr<Value> CallMacro(const Callable& callable, const Arguments& arguments);
  absl::StatusOr<Value> CallLoop(const Loop& loop, const Arguments& arguments);
  absl::Status BindParameters(const Callable& callable, const Arguments& arguments);
  absl::Status Write(absl::string_view text);

  // Scopes.
  absl::StatusOr<Scope*> Enter(Scope* parent);
  void Leave();
  void SetVariable(int name, Value value);
  const Value* FindVariable(int name) const;
  void Capture();

  // Expressions.
  absl::StatusOr<Value> Evaluate(const Expression& node);
  absl::StatusOr<Value> EvaluateNode(const Expression& node);
  absl::StatusOr<Value> EvaluateName(const Expression& node);
  absl::StatusOr<Value> EvaluateDict(const Expression& node);
  absl::StatusOr<Value> EvaluateSequence(const Expression& node);
  absl::StatusOr<Value> EvaluateSlice(const Expression& node);
  absl::StatusOr<Value> EvaluateCall(const Expression& node);
  absl::StatusOr<Value> EvaluateFilter(const Expression& node, const Value* input);
  absl::StatusOr<Value> EvaluateTest(const Expression& node);
  absl::StatusOr<Value> EvaluateLogic(const Expression& node);
  absl::StatusOr<Value> EvaluateConcat(const Expression& node);
  absl::StatusOr<Value> EvaluateArithmetic(const Expression& node);
  absl::StatusOr<Value> EvaluateComparison(const Expression& node);
  absl::StatusOr<Value> EvaluateConditional(const Expression& node);
  absl::Status EvaluateArguments(const CallArguments& node, Arguments* arguments);
  absl::StatusOr<Value> LoopAttribute(Loop* loop, const std::string& name);
  absl::StatusOr<Value> BoundMethod(const Value& object, absl::string_view name, Method method);
  absl::Status ChargeTexts(const Value& input, const Arguments& arguments);
  // Runs `body` into a text of its own.
  template <typename Body>
  absl::Status Capturing(std::string* text, Body body);

  const Tree& tree_;
  const std::tm* now_;
  Heap heap_;
  Scope* scope_ = nullptr;
  std::vector<Scope*> scope_stack_;  // what Leave returns to
  std::vector<Scope*> free_scopes_;
  std::string output_;
  std::string* out_ = &output_;
  int depth_ = 0;
  int error_line_ = 0;
  bool raised_ = false;
};

}  // namespace bantam::chat
