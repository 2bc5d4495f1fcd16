#include "runtime/chat/parser.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::chat {
namespace {

constexpr size_t kMaxSourceBytes = size_t{4} << 20;

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return absl::StrCat("'", token.text, "'");
  }
}

// Tags that Jinja2 knows and a chat template has no use for.
bool IsUnsupportedTag(absl::string_view tag) {
  constexpr absl::string_view kTags[] = {"extends", "block", "include",    "import", "from",
                                         "trans",   "do",    "autoescape", "debug"};
  return std::find(std::begin(kTags), std::end(kTags), tag) != std::end(kTags);
}

}  // namespace

absl::StatusOr<Tree> ParseTemplate(absl::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the template has ", source.size(), " bytes; at most ", kMaxSourceBytes, " are read"));
  }
  BANTAM_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  tree_.loop_name = NameIndex("loop");
  tree_.caller_name = NameIndex("caller");
  tree_.varargs_name = NameIndex("varargs");
  tree_.kwargs_name = NameIndex("kwargs");
}

absl::StatusOr<Tree> Parser::Run() {
  BANTAM_RETURN_IF_ERROR(ParseBlock({}, &tree_.body));
  return std::move(tree_);
}

bool Parser::AtName(absl::string_view name) const {
  return Current().kind == TokenKind::kName && Current().text == name;
}
bool Parser::AtOperator(absl::string_view text) const {
  return Current().kind == TokenKind::kOperator && Current().text == text;
}
bool Parser::PassName(absl::string_view name) {
  const bool found = AtName(name);
  if (found) Pass();
  return found;
}
bool Parser::PassOperator(absl::string_view text) {
  const bool found = AtOperator(text);
  if (found) Pass();
  return found;
}

absl::Status Parser::Error(absl::string_view what, int line) const {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", line != 0 ? line : Current().line, ": ", what));
}
absl::Status Parser::Unsupported(absl::string_view construct, int line) const {
  return absl::UnimplementedError(absl::StrCat("line ", line != 0 ? line : Current().line, ": ",
                                               construct, " is not supported"));
}

absl::Status Parser::Expect(TokenKind kind, absl::string_view text) {
  if (Current().kind == kind && (text.empty() || Current().text == text)) {
    Pass();
    return absl::OkStatus();
  }
  const std::string expected = Describe({.kind = kind, .text = std::string(text)});
  return Error(absl::StrCat("expected ", expected, ", found ", Describe(Current())));
}

absl::StatusOr<std::string> Parser::ExpectName() {
  if (Current().kind != TokenKind::kName) {
    return Error(absl::StrCat("expected a name, found ", Describe(Current())));
  }
  std::string name = Current().text;
  Pass();
  return name;
}

int Parser::NameIndex(const std::string& name) {
  const auto [at, added] = names_.try_emplace(name, static_cast<int>(tree_.names.size()));
  if (added) tree_.names.push_back(name);
  return at->second;
}

int Parser::UseName(const std::string& name) {
  for (MacroDefinition* macro : macros_) {
    macro->uses_varargs |= name == "varargs";
    macro->uses_kwargs |= name == "kwargs";
    macro->uses_caller |= name == "caller";
  }
  return NameIndex(name);
}

absl::Status Parser::ParseBody(const Names& until, Block* block) {
  PassOperator(":");  // Jinja2 takes Python's colon, too
  BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd));
  if (nesting_ >= kTreeDepth) {
    return Unsupported(absl::StrCat("nesting more than ", kTreeDepth, " deep"));
  }
  ++nesting_;
  BANTAM_RETURN_IF_ERROR(ParseBlock(until, block));
  --nesting_;
  return absl::OkStatus();
}

// Stops at the name of a tag in `until`, its "{%" passed. With none it stops at the end.
absl::Status Parser::ParseBlock(const Names& until, Block* block) {
  while (true) {
    const Token& token = Current();
    switch (token.kind) {
      case TokenKind::kData:
        block->push_back({.kind = Statement::Kind::kText, .line = token.line, .text = token.text});
        Pass();
        break;
      case TokenKind::kVariableBegin: {
        Statement print{.kind = Statement::Kind::kPrint, .line = token.line};
        Pass();
        BANTAM_ASSIGN_OR_RETURN(print.expression, ParseTuple());
        BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kVariableEnd));
        block->push_back(std::move(print));
        break;
      }
      case TokenKind::kBlockBegin:
        Pass();
        if (Current().kind != TokenKind::kName) return Error("expected the name of a tag");
        if (std::find(until.begin(), until.end(), Current().text) != until.end()) {
          return absl::OkStatus();
        }
        BANTAM_RETURN_IF_ERROR(ParseStatement(block));
        break;
      case TokenKind::kEnd:
        if (until.empty()) return absl::OkStatus();
        return Error(absl::StrCat("the template ends before {% ", until.back(), " %}"));
      default:
        return Error(absl::StrCat("unexpected ", Describe(token)));
    }
  }
}

absl::Status Parser::ParseStatement(Block* block) {
  using Kind = Statement::Kind;
  const int line = Current().line;
  const std::string tag = Current().text;
  Pass();
  absl::StatusOr<Statement> statement = Statement{};
  if (tag == "if") {
    ++conditional_;
    statement = ParseIf();
    --conditional_;
  } else if (tag == "for") {
    statement = ParseFor();
  } else if (tag == "set") {
    statement = ParseSet();
  } else if (tag == "macro") {
    statement = ParseMacro();
  } else if (tag == "call") {
    statement = ParseCallBlock();
  } else if (tag == "filter") {
    statement = ParseFilterBlock();
  } else if (tag == "with") {
    statement = ParseWith();
  } else if (tag == "generation") {
    // Marks what the model has written; it changes nothing in the text.
    statement->kind = Kind::kScope;
    const int loops = std::exchange(loops_, 0);
    BANTAM_RETURN_IF_ERROR(ParseBody({"endgeneration"}, &statement->body));
    loops_ = loops;
    Pass();
  } else if (tag == "print") {
    statement->kind = Kind::kPrint;
    BANTAM_ASSIGN_OR_RETURN(statement->expression, ParseTuple());
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) return Error(absl::StrCat("{% ", tag, " %} outside of a loop"), line);
    statement->kind = tag == "break" ? Kind::kBreak : Kind::kContinue;
  } else if (IsUnsupportedTag(tag)) {
    return Unsupported(absl::StrCat("the tag {% ", tag, " %}"), line);
  } else {
    return Error(absl::StrCat("unknown tag {% ", tag, " %}"), line);
  }
  if (!statement.ok()) return statement.status();
  statement->line = line;
  BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd));
  block->push_back(*std::move(statement));
  return absl::OkStatus();
}

absl::StatusOr<Statement> Parser::ParseIf() {
  Statement statement{.kind = Statement::Kind::kIf};
  while (true) {
    Branch& branch = statement.branches.emplace_back();
    BANTAM_ASSIGN_OR_RETURN(branch.condition, ParseTuple(false));
    BANTAM_RETURN_IF_ERROR(ParseBody({"elif", "else", "endif"}, &branch.body));
    if (PassName("elif")) continue;
    if (PassName("else")) {
      BANTAM_RETURN_IF_ERROR(ParseBody({"endif"}, &statement.branches.emplace_back().body));
    }
    Pass();
    return statement;
  }
}

absl::StatusOr<Statement> Parser::ParseFor() {
  Statement statement{.kind = Statement::Kind::kFor};
  BANTAM_ASSIGN_OR_RETURN(statement.target, ParseTarget(false, true));
  if (!PassName("in")) {
    return Error(absl::StrCat("expected 'in', found ", Describe(Current())));
  }
  BANTAM_ASSIGN_OR_RETURN(statement.expression, ParseTuple(false, false, "recursive"));
  if (PassName("if")) {
    BANTAM_ASSIGN_OR_RETURN(statement.condition, ParseExpression());
  }
  statement.recursive = PassName("recursive");
  ++loops_;
  ++conditional_;
  BANTAM_RETURN_IF_ERROR(ParseBody({"else", "endfor"}, &statement.body));
  --loops_;
  if (PassName("else")) BANTAM_RETURN_IF_ERROR(ParseBody({"endfor"}, &statement.else_body));
  --conditional_;
  Pass();
  return statement;
}

absl::StatusOr<Target> Parser::ParseTarget(bool with_namespace, bool with_tuple) {
  if (with_namespace && Current().kind == TokenKind::kName && Next().kind == TokenKind::kOperator &&
      Next().text == ".") {
    Target target;
    BANTAM_ASSIGN_OR_RETURN(target.text, ExpectName());
    Pass();
    target.name = UseName(target.text);
    BANTAM_ASSIGN_OR_RETURN(target.attribute, ExpectName());
    return target;
  }
  Target tuple;
  while (true) {
    if (PassOperator("(")) {
      if (nesting_ >= kTreeDepth) {
        return Unsupported(absl::StrCat("nesting more than ", kTreeDepth, " deep"));
      }
      ++nesting_;
      auto inner = ParseTarget(false, true);
      --nesting_;
      if (!inner.ok()) return inner.status();
      tuple.items.push_back(*std::move(inner));
      BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ")"));
    } else {
      Target target;
      BANTAM_ASSIGN_OR_RETURN(target.text, ExpectName());
      constexpr absl::string_view kReserved[] = {"true",  "false", "none", "True",
                                                 "False", "None",  "loop"};
      if (std::find(std::begin(kReserved), std::end(kReserved), target.text) !=
          std::end(kReserved)) {
        return Error(absl::StrCat("cannot assign to '", target.text, "'"));
      }
      target.name = NameIndex(target.text);
      tuple.items.push_back(std::move(target));
    }
    if (!with_tuple || !PassOperator(",")) break;
    tuple.is_tuple = true;
    if (AtName("in") || AtOperator("=") || AtOperator(")")) break;
  }
  if (tuple.is_tuple) return tuple;
  Target only = std::move(tuple.items.front());
  return only;
}

absl::StatusOr<Statement> Parser::ParseSet() {
  Statement statement{.kind = Statement::Kind::kSet};
  BANTAM_ASSIGN_OR_RETURN(statement.target, ParseTarget(true, true));
  if (PassOperator("=")) {
    BANTAM_ASSIGN_OR_RETURN(statement.expression, ParseTuple());
    return statement;
  }
  statement.kind = Statement::Kind::kSetBlock;
  BANTAM_ASSIGN_OR_RETURN(statement.expression, ParseFilters(nullptr, true));
  BANTAM_RETURN_IF_ERROR(ParseBody({"endset"}, &statement.body));
  Pass();
  return statement;
}

absl::Status Parser::ParseParameters(MacroDefinition* macro) {
  BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, "("));
  while (!AtOperator(")")) {
    if (!macro->parameters.empty()) BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ","));
    Parameter parameter;
    BANTAM_ASSIGN_OR_RETURN(parameter.text, ExpectName());
    parameter.name = NameIndex(parameter.text);
    if (PassOperator("=")) {
      BANTAM_ASSIGN_OR_RETURN(parameter.default_value, ParseExpression());
    } else if (!macro->parameters.empty() && macro->parameters.back().default_value != nullptr) {
      return Error("a parameter without a default after one with a default");
    }
    macro->parameters.push_back(std::move(parameter));
  }
  Pass();
  return absl::OkStatus();
}

absl::Status Parser::ParseMacroBody(absl::string_view end, MacroDefinition* macro) {
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(macro);
  ++conditional_;
  BANTAM_RETURN_IF_ERROR(ParseBody({end}, &macro->body));
  --conditional_;
  macros_.pop_back();
  loops_ = loops;
  Pass();
  return absl::OkStatus();
}

absl::StatusOr<Statement> Parser::ParseMacro() {
  Statement statement{.kind = Statement::Kind::kMacro};
  statement.macro = std::make_unique<MacroDefinition>();
  BANTAM_ASSIGN_OR_RETURN(statement.macro->name, ExpectName());
  statement.macro->name_index = NameIndex(statement.macro->name);
  BANTAM_RETURN_IF_ERROR(ParseParameters(statement.macro.get()));
  BANTAM_RETURN_IF_ERROR(ParseMacroBody("endmacro", statement.macro.get()));
  return statement;
}

absl::StatusOr<Statement> Parser::ParseCallBlock() {
  Statement statement{.kind = Statement::Kind::kCallBlock};
  statement.macro = std::make_unique<MacroDefinition>();
  statement.macro->name = "caller";
  if (AtOperator("(")) BANTAM_RETURN_IF_ERROR(ParseParameters(statement.macro.get()));
  BANTAM_ASSIGN_OR_RETURN(statement.expression, ParseExpression());
  if (statement.expression->kind != Expression::Kind::kCall) {
    return Error("expected a call in {% call %}");
  }
  BANTAM_RETURN_IF_ERROR(ParseMacroBody("endcall", statement.macro.get()));
  return statement;
}

absl::StatusOr<Statement> Parser::ParseFilterBlock() {
  Statement statement{.kind = Statement::Kind::kFilter};
  BANTAM_ASSIGN_OR_RETURN(statement.expression, ParseOneFilter(nullptr));
  BANTAM_ASSIGN_OR_RETURN(statement.expression,
                          ParseFilters(std::move(statement.expression), true));
  BANTAM_RETURN_IF_ERROR(ParseBody({"endfilter"}, &statement.body));
  Pass();
  return statement;
}

absl::StatusOr<Statement> Parser::ParseWith() {
  Statement statement{.kind = Statement::Kind::kWith};
  while (Current().kind != TokenKind::kBlockEnd) {
    if (!statement.assignments.empty()) {
      BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, ","));
    }
    BANTAM_ASSIGN_OR_RETURN(Target target, ParseTarget(false, false));
    BANTAM_RETURN_IF_ERROR(Expect(TokenKind::kOperator, "="));
    BANTAM_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    statement.assignments.emplace_back(std::move(target), std::move(value));
  }
  BANTAM_RETURN_IF_ERROR(ParseBody({"endwith"}, &statement.body));
  Pass();
  return statement;
}

}  // namespace bantam::chat
