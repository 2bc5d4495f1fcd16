#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/parser.h"

namespace bantam::chat {
namespace {

using NodeKind = Expression::Kind;

struct BinaryOperator {
  absl::string_view text;
  Operator op;
};

constexpr BinaryOperator kSums[] = {{"+", Operator::kAdd}, {"-", Operator::kSubtract}};
constexpr BinaryOperator kProducts[] = {{"*", Operator::kMultiply},
                                        {"/", Operator::kDivide},
                                        {"//", Operator::kFloorDivide},
                                        {"%", Operator::kModulo}};
constexpr BinaryOperator kPowers[] = {{"**", Operator::kPower}};
constexpr BinaryOperator kComparisons[] = {
    {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
    {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};

template <size_t N>
const BinaryOperator* Match(const Token& token, const BinaryOperator (&table)[N]) {
  if (token.kind != TokenKind::kOperator) return nullptr;
  const auto* at = std::find_if(std::begin(table), std::end(table),
                                [&](const BinaryOperator& o) { return o.text == token.text; });
  return at == std::end(table) ? nullptr : at;
}

}  // namespace

ExpressionPtr Parser::New(NodeKind kind, int line) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line != 0 ? line : Current().line;
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::Finish(ExpressionPtr node) const {
  int below = 0;
  const auto measure = [&](const ExpressionPtr& part) {
    if (part != nullptr) below = std::max(below, part->depth);
  };
  for (const auto& part : node->operands) measure(part);
  for (const auto& part : node->arguments.positional) measure(part);
  for (const auto& part : node->arguments.keyword) measure(part.second);
  measure(node->arguments.star);
  measure(node->arguments.double_star);
  node->depth = below + 1;
  if (node->depth > kTreeDepth) {
    return Unsupported(absl::StrCat("an expression nested more than ", kTreeDepth, " deep"),
                       node->line);
  }
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::ParseExpression(bool with_conditional) {
  if (nesting_ >= kTreeDepth) {
    return Unsupported(absl::StrCat("nesting more than ", kTreeDepth, " deep"));
  }
  ++nesting_;
  auto node = with_conditional ? ParseConditional() : ParseOr();
  --nesting_;
  return node;
}

bool Parser::AtTupleEnd(absl::string_view stop_name) const {
  switch (Current().kind) {
    case TokenKind::kVariableEnd:
    case TokenKind::kBlockEnd:
    case TokenKind::kEnd:
      return true;
    case TokenKind::kOperator:
      return Current().text == ")";
    case TokenKind::kName:
      return !stop_name.empty() && Current().text == stop_name;
    default:
      return false;
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseTuple(bool with_conditional, bool in_brackets,
                                                 absl::string_view stop_name) {
  ExpressionPtr tuple = New(NodeKind::kTuple);
  bool is_tuple = false;
  while (true) {
    if (!tuple->operands.empty()) {
      if (!PassOperator(",")) break;
      is_tuple = true;
    }
    if (AtTupleEnd(stop_name)) break;
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression(with_conditional));
    tuple->operands.push_back(std::move(item));
  }
  if (!is_tuple) {
    if (!tuple->operands.empty()) return std::move(tuple->operands.front());
    if (!in_brackets) return Error("expected an expression");
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<ExpressionPtr> Parser::ParseConditional() {
  const int line = Current().line;
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (PassName("if")) {
    ExpressionPtr node = New(NodeKind::kConditional, line);
    node->operands.push_back(std::move(value));
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    node->operands.push_back(std::move(condition));
    node->operands.push_back(nullptr);
    if (PassName("else")) {
      ++conditional_;
      auto otherwise = ParseExpression();
      --conditional_;
      if (!otherwise.ok()) return otherwise.status();
      node->operands[2] = *std::move(otherwise);
    }
    BANTAM_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

absl::StatusOr<ExpressionPtr> Parser::ParseOr() {
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr first, ParseAnd());
  if (!AtName("or")) return first;
  ExpressionPtr node = New(NodeKind::kOr, first->line);
  node->operands.push_back(std::move(first));
  while (PassName("or")) {
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr next, ParseAnd());
    node->operands.push_back(std::move(next));
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseAnd() {
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr first, ParseNot());
  if (!AtName("and")) return first;
  ExpressionPtr node = New(NodeKind::kAnd, first->line);
  node->operands.push_back(std::move(first));
  while (PassName("and")) {
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr next, ParseNot());
    node->operands.push_back(std::move(next));
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseNot() {
  const int line = Current().line;
  int count = 0;
  while (PassName("not")) ++count;
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr node, ParseComparison());
  // Two nots give a bool, as any even number of them does.
  for (int i = count > 2 ? count % 2 + 2 : count; i > 0; --i) {
    ExpressionPtr outer = New(NodeKind::kNot, line);
    outer->operands.push_back(std::move(node));
    BANTAM_ASSIGN_OR_RETURN(node, Finish(std::move(outer)));
  }
  return node;
}

absl::StatusOr<ExpressionPtr> Parser::ParseComparison() {
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr first, ParseBinary(0));
  ExpressionPtr node = New(NodeKind::kComparison, first->line);
  node->operands.push_back(std::move(first));
  while (true) {
    if (const BinaryOperator* match = Match(Current(), kComparisons)) {
      node->operators.push_back(match->op);
      Pass();
    } else if (PassName("in")) {
      node->operators.push_back(Operator::kIn);
    } else if (AtName("not") && Next().kind == TokenKind::kName && Next().text == "in") {
      node->operators.push_back(Operator::kNotIn);
      Pass();
      Pass();
    } else {
      break;
    }
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr next, ParseBinary(0));
    node->operands.push_back(std::move(next));
  }
  if (node->operators.empty()) return std::move(node->operands.front());
  return Finish(std::move(node));
}

// Levels from the loosest: + and -, ~, products, **. All group from the left, ** too.
absl::StatusOr<ExpressionPtr> Parser::ParseBinary(int level) {
  if (level == 4) return ParseUnary();
  BANTAM_ASSIGN_OR_RETURN(ExpressionPtr first, ParseBinary(level + 1));
  ExpressionPtr node = New(level == 1 ? NodeKind::kConcat : NodeKind::kArithmetic, first->line);
  node->operands.push_back(std::move(first));
  while (true) {
    if (level == 1) {
      if (!PassOperator("~")) break;
    } else {
      const BinaryOperator* match = level == 0   ? Match(Current(), kSums)
                                    : level == 2 ? Match(Current(), kProducts)
                                                 : Match(Current(), kPowers);
      if (match == nullptr) break;
      node->operators.push_back(match->op);
      Pass();
    }
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr next, ParseBinary(level + 1));
    node->operands.push_back(std::move(next));
  }
  if (node->operands.size() == 1) return std::move(node->operands.front());
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseUnary(bool with_filter) {
  ExpressionPtr node;
  if (AtOperator("-") || AtOperator("+")) {
    if (nesting_ >= kTreeDepth) {
      return Unsupported(absl::StrCat("nesting more than ", kTreeDepth, " deep"));
    }
    ExpressionPtr outer = New(AtOperator("-") ? NodeKind::kNegate : NodeKind::kPlus);
    Pass();
    ++nesting_;
    auto operand = ParseUnary(false);
    --nesting_;
    if (!operand.ok()) return operand.status();
    outer->operands.push_back(*std::move(operand));
    BANTAM_ASSIGN_OR_RETURN(node, Finish(std::move(outer)));
  } else {
    BANTAM_ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  BANTAM_ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
  if (!with_filter) return node;
  return ParseFilters(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParsePrimary() {
  const Token token = Current();
  ExpressionPtr node = New(NodeKind::kConstant);
  switch (token.kind) {
    case TokenKind::kName:
      Pass();
      if (token.text == "true" || token.text == "True") {
        node->constant = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        node->constant = Value::Bool(false);
      } else if (token.text == "none" || token.text == "None") {
        node->constant = Value::None();
      } else {
        node->kind = NodeKind::kName;
        node->text = token.text;
        node->name = UseName(token.text);
      }
      return node;
    case TokenKind::kString: {
      std::string text;
      while (Current().kind == TokenKind::kString) {
        text += Current().text;
        Pass();
      }
      node->constant = Value::Constant(std::move(text));
      return node;
    }
    case TokenKind::kInteger: {
      int64_t number = 0;
      if (!absl::SimpleAtoi(token.text, &number)) {
        return Error("the integer needs more than 64 bits");
      }
      node->constant = Value::Int(number);
      Pass();
      return node;
    }
    case TokenKind::kFloat: {
      double number = 0;
      if (!absl::SimpleAtod(token.text, &number)) return Error("bad number");
      node->constant = Value::Float(number);
      Pass();
      return node;
    }
    case TokenKind::kOperator:
      if (token.text == "(") {
        Pass();
        BANTAM_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseTuple(true, true));
        BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ")"));
        return inner;
      }
      if (token.text == "[" || token.text == "{") return ParseListOrDict();
      return Error(absl::StrCat("unexpected '", token.text, "'"));
    default:
      return Error("expected an expression");
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseListOrDict() {
  const bool is_list = AtOperator("[");
  const absl::string_view close = is_list ? "]" : "}";
  ExpressionPtr node = New(is_list ? NodeKind::kList : NodeKind::kDict);
  Pass();
  while (!AtOperator(close)) {
    if (!node->operands.empty()) {
      BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ","));
      if (AtOperator(close)) break;
    }
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    node->operands.push_back(std::move(item));
    if (is_list) continue;
    BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ":"));
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node->operands.push_back(std::move(value));
  }
  Pass();
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParsePostfix(ExpressionPtr node) {
  while (true) {
    if (AtOperator(".") || AtOperator("[")) {
      BANTAM_ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (AtOperator("(")) {
      BANTAM_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseFilters(ExpressionPtr node, bool filters_only) {
  while (true) {
    if (PassOperator("|")) {
      BANTAM_ASSIGN_OR_RETURN(node, ParseOneFilter(std::move(node)));
    } else if (filters_only) {
      return node;
    } else if (AtName("is")) {
      BANTAM_ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (AtOperator("(")) {
      // A call is possible after a filter, too.
      BANTAM_ASSIGN_OR_RETURN(node, ParseCall(std::move(node)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<ExpressionPtr> Parser::ParseOneFilter(ExpressionPtr input) {
  ExpressionPtr node = New(NodeKind::kFilter);
  BANTAM_ASSIGN_OR_RETURN(node->text, ExpectName());
  while (PassOperator(".")) {
    BANTAM_ASSIGN_OR_RETURN(const std::string part, ExpectName());
    absl::StrAppend(&node->text, ".", part);
  }
  node->filter = FindFilter(node->text);
  if (node->filter == nullptr && conditional_ == 0) {
    return Unsupported(absl::StrCat("the filter '", node->text, "'"), node->line);
  }
  node->operands.push_back(std::move(input));
  if (AtOperator("(")) BANTAM_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseTest(ExpressionPtr input) {
  ExpressionPtr node = New(NodeKind::kTest);
  Pass();
  const bool negated = PassName("not");
  BANTAM_ASSIGN_OR_RETURN(node->text, ExpectName());
  node->test = FindTest(node->text);
  if (node->test == nullptr && conditional_ == 0) {
    return Unsupported(absl::StrCat("the test '", node->text, "'"), node->line);
  }
  node->operands.push_back(std::move(input));
  const Token& token = Current();
  if (AtOperator("(")) {
    BANTAM_RETURN_IF_ERROR(ParseArguments(node.get()));
  } else if (token.kind == TokenKind::kString || token.kind == TokenKind::kInteger ||
             token.kind == TokenKind::kFloat || AtOperator("[") || AtOperator("{") ||
             (token.kind == TokenKind::kName && !AtName("else") && !AtName("or") &&
              !AtName("and"))) {
    if (AtName("is")) return Error("tests with 'is' cannot be chained");
    // An argument without brackets: `x is divisibleby 3`.
    if (nesting_ >= kTreeDepth) {
      return Unsupported(absl::StrCat("nesting more than ", kTreeDepth, " deep"));
    }
    ++nesting_;
    auto argument = ParsePrimary();
    if (argument.ok()) argument = ParsePostfix(*std::move(argument));
    --nesting_;
    if (!argument.ok()) return argument.status();
    node->arguments.positional.push_back(*std::move(argument));
  }
  BANTAM_ASSIGN_OR_RETURN(node, Finish(std::move(node)));
  if (!negated) return node;
  ExpressionPtr outer = New(NodeKind::kNot, node->line);
  outer->operands.push_back(std::move(node));
  return Finish(std::move(outer));
}

absl::StatusOr<ExpressionPtr> Parser::ParseSubscript(ExpressionPtr object) {
  ExpressionPtr node = New(NodeKind::kItem);
  node->operands.push_back(std::move(object));
  if (PassOperator(".")) {
    const Token token = Current();
    if (token.kind == TokenKind::kName) {
      node->kind = NodeKind::kAttribute;
      node->text = token.text;
    } else if (token.kind == TokenKind::kInteger) {
      ExpressionPtr index = New(NodeKind::kConstant);
      int64_t number = 0;
      if (!absl::SimpleAtoi(token.text, &number)) {
        return Error("the integer needs more than 64 bits");
      }
      index->constant = Value::Int(number);
      node->operands.push_back(std::move(index));
    } else {
      return Error("expected a name or a number after '.'");
    }
    Pass();
    return Finish(std::move(node));
  }
  Pass();  // [
  std::vector<ExpressionPtr> parts(1);
  int colons = 0;
  bool comma = false;
  while (!AtOperator("]")) {
    if (AtOperator(":") && colons < 2) {
      Pass();
      ++colons;
      parts.emplace_back();
    } else if (parts.back() == nullptr) {
      BANTAM_ASSIGN_OR_RETURN(parts.back(), ParseExpression());
    } else if (AtOperator(",") && colons == 0) {
      Pass();
      comma = true;
      parts.emplace_back();
    } else {
      return Error("expected ']'");
    }
    if (comma && colons > 0) return Unsupported("a slice in more than one dimension");
  }
  Pass();
  if (colons > 0) {
    parts.resize(3);
    node->kind = NodeKind::kSlice;
    for (auto& part : parts) node->operands.push_back(std::move(part));
  } else if (comma) {
    ExpressionPtr tuple = New(NodeKind::kTuple);
    for (auto& part : parts) {
      if (part == nullptr) return Error("expected an expression");
      tuple->operands.push_back(std::move(part));
    }
    BANTAM_ASSIGN_OR_RETURN(tuple, Finish(std::move(tuple)));
    node->operands.push_back(std::move(tuple));
  } else {
    if (parts[0] == nullptr) return Error("expected an expression between '[' and ']'");
    node->operands.push_back(std::move(parts[0]));
  }
  return Finish(std::move(node));
}

absl::StatusOr<ExpressionPtr> Parser::ParseCall(ExpressionPtr callee) {
  ExpressionPtr node = New(NodeKind::kCall);
  node->operands.push_back(std::move(callee));
  BANTAM_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

absl::Status Parser::ParseArguments(Expression* node) {
  CallArguments& arguments = node->arguments;
  BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, "("));
  bool first = true;
  while (!AtOperator(")")) {
    if (!first) {
      BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ","));
      if (AtOperator(")")) break;
    }
    first = false;
    if (PassOperator("**")) {
      if (arguments.double_star != nullptr) return Error("more than one ** in a call");
      BANTAM_ASSIGN_OR_RETURN(arguments.double_star, ParseExpression());
    } else if (PassOperator("*")) {
      if (arguments.star != nullptr) return Error("more than one * in a call");
      BANTAM_ASSIGN_OR_RETURN(arguments.star, ParseExpression());
    } else if (Current().kind == TokenKind::kName && Next().kind == TokenKind::kOperator &&
               Next().text == "=") {
      const std::string name = Current().text;
      Pass();
      Pass();
      BANTAM_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.keyword.emplace_back(name, std::move(value));
    } else {
      if (!arguments.keyword.empty() || arguments.star != nullptr ||
          arguments.double_star != nullptr) {
        return Error("a positional argument after a keyword argument");
      }
      BANTAM_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      arguments.positional.push_back(std::move(value));
    }
  }
  Pass();
  return absl::OkStatus();
}

}  // namespace bantam::chat
