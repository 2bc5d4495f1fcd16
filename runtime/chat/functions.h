// What a template can call: filters, tests, methods of values, global functions and macros.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

class Interpreter;
struct MacroDefinition;
struct Scope;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;

  // The arguments by parameter, null where none was given. kInvalidArgument names `function` and
  // the argument when one is unknown, given twice, missing (the first `required`) or too many.
  absl::StatusOr<std::vector<const Value*>> Bind(absl::string_view function,
                                                 std::initializer_list<absl::string_view> names,
                                                 size_t required = 0) const;
};

using Filter = absl::StatusOr<Value> (*)(Interpreter&, const Value& input, const Arguments&);
using Test = absl::StatusOr<bool> (*)(Interpreter&, const Value& input, const Arguments&);
using Function = absl::StatusOr<Value> (*)(Interpreter&, const Arguments&);
using Method = absl::StatusOr<Value> (*)(Interpreter&, const Value& self, const Arguments&);

// Something a call expression can call. Just one of the pointers is set.
struct Callable {
  std::string name;
  Function function = nullptr;
  Method method = nullptr;  // of `self`
  Value self;
  const MacroDefinition* macro = nullptr;  // defined in `scope`
  Scope* scope = nullptr;
};

// Null when there is none of that name.
Filter FindFilter(absl::string_view name);
Test FindTest(absl::string_view name);
Function FindFunction(absl::string_view name);
// A method of values of this kind. One that Python has and Bantam has not gives kUnimplemented when
// it is called.
Method FindMethod(Kind kind, absl::string_view name);

// The parts of the table of filters.
Filter FindTextFilter(absl::string_view name);
Filter FindSequenceFilter(absl::string_view name);

}  // namespace bantam::chat
