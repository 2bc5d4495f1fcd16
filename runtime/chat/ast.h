// The syntax tree of a chat template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/chat/functions.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

// How deep expressions and statements may be nested.
inline constexpr int kTreeDepth = 150;

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

// What stands between the brackets of a call.
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
  ExpressionPtr star;         // *x
  ExpressionPtr double_star;  // **x
};

struct Expression {
  enum class Kind : uint8_t {
    kConstant,     // constant
    kName,         // name, text
    kList,         // operands
    kTuple,        // operands
    kDict,         // operands: key, value, key, value ...
    kAttribute,    // operands[0] . text
    kItem,         // operands[0] [ operands[1] ]
    kSlice,        // operands[0] [ operands[1] : operands[2] : operands[3] ], null where left out
    kCall,         // operands[0] ( arguments )
    kFilter,       // operands[0] | text ( arguments ); operand null in a filter block
    kTest,         // operands[0] is text ( arguments )
    kNot,          // operands[0]
    kNegate,       // operands[0]
    kPlus,         // operands[0]
    kAnd,          // operands, in order
    kOr,           // operands, in order
    kConcat,       // operands joined by ~
    kArithmetic,   // operands[0] operators[0] operands[1] operators[1] ..., from the left
    kComparison,   // the same, chained as in Python
    kConditional,  // operands[0] if operands[1] else operands[2], which may be null
  };
  Kind kind = Kind::kConstant;
  int line = 1;
  int depth = 1;  // height of the tree below
  int name = -1;  // index of a variable's name
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> operands;
  std::vector<Operator> operators;
  CallArguments arguments;
  Filter filter = nullptr;  // null: not known, an error when reached
  Test test = nullptr;
};

// What `set` and `for` assign to: a name, a tuple of targets, or an attribute of a namespace.
struct Target {
  int name = -1;
  std::string text;       // the name
  std::string attribute;  // not empty: of the namespace `name`
  std::vector<Target> items;
  bool is_tuple = false;
};

struct Parameter {
  int name = -1;
  std::string text;
  ExpressionPtr default_value;
};

struct Statement;
using Block = std::vector<Statement>;

// A macro, or the body of a call block.
struct MacroDefinition {
  std::string name;
  int name_index = -1;
  std::vector<Parameter> parameters;
  Block body;
  // Whether the body speaks of these.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
};

struct Branch {
  ExpressionPtr condition;  // null: else
  Block body;
};

struct Statement {
  enum class Kind : uint8_t {
    kText,       // text
    kPrint,      // expression
    kIf,         // branches
    kFor,        // for target in expression if condition: body, else_body
    kSet,        // target = expression
    kSetBlock,   // target = body as text, through the filters of `expression` when it is not null
    kMacro,      // macro
    kCallBlock,  // expression is a call; macro is its caller()
    kFilter,     // body through `expression`
    kWith,       // targets = values: body
    kScope,      // body in a scope of its own (generation)
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  Target target;
  bool recursive = false;
  Block body;
  Block else_body;
  std::vector<Branch> branches;
  std::vector<std::pair<Target, ExpressionPtr>> assignments;
  std::unique_ptr<MacroDefinition> macro;
};

struct Tree {
  Block body;
  std::vector<std::string> names;  // every variable the template speaks of
  int loop_name = -1;
  int caller_name = -1;
  int varargs_name = -1;
  int kwargs_name = -1;
};

}  // namespace bantam::chat
