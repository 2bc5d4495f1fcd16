// Builds the syntax tree of a template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/chat/ast.h"
#include "runtime/chat/lexer.h"

namespace bantam::chat {

// kInvalidArgument or kUnimplemented, "line N: ...".
absl::StatusOr<Tree> ParseTemplate(absl::string_view source);

// A recursive descent over the tokens, in two halves: statements (parser.cc) and expressions
// (parse_expression.cc).
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens);
  absl::StatusOr<Tree> Run();

 private:
  using Names = std::vector<absl::string_view>;

  // Tokens.
  const Token& Current() const { return tokens_[position_]; }
  const Token& Next() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void Pass() { position_ += position_ + 1 < tokens_.size() ? 1 : 0; }
  bool AtName(absl::string_view name) const;
  bool AtOperator(absl::string_view text) const;
  bool PassName(absl::string_view name);
  bool PassOperator(absl::string_view text);
  absl::Status Expect(TokenKind kind, absl::string_view text = "");
  absl::StatusOr<std::string> ExpectName();
  absl::Status Error(absl::string_view what, int line = 0) const;
  absl::Status Unsupported(absl::string_view construct, int line = 0) const;
  int NameIndex(const std::string& name);
  int UseName(const std::string& name);

  // Statements.
  absl::Status ParseBlock(const Names& until, Block* block);
  absl::Status ParseBody(const Names& until, Block* block);  // after "%}" of the opening tag
  absl::Status ParseStatement(Block* block);
  absl::StatusOr<Statement> ParseIf();
  absl::StatusOr<Statement> ParseFor();
  absl::StatusOr<Statement> ParseSet();
  absl::StatusOr<Statement> ParseMacro();
  absl::StatusOr<Statement> ParseCallBlock();
  absl::StatusOr<Statement> ParseFilterBlock();
  absl::StatusOr<Statement> ParseWith();
  absl::StatusOr<Target> ParseTarget(bool with_namespace, bool with_tuple);
  absl::Status ParseParameters(MacroDefinition* macro);
  absl::Status ParseMacroBody(absl::string_view end, MacroDefinition* macro);

  // Expressions.
  absl::StatusOr<ExpressionPtr> ParseExpression(bool with_conditional = true);
  absl::StatusOr<ExpressionPtr> ParseTuple(bool with_conditional = true, bool in_brackets = false,
                                           absl::string_view stop_name = "");
  absl::StatusOr<ExpressionPtr> ParseConditional();
  absl::StatusOr<ExpressionPtr> ParseOr();
  absl::StatusOr<ExpressionPtr> ParseAnd();
  absl::StatusOr<ExpressionPtr> ParseNot();
  absl::StatusOr<ExpressionPtr> ParseComparison();
  absl::StatusOr<ExpressionPtr> ParseBinary(int level);
  absl::StatusOr<ExpressionPtr> ParseUnary(bool with_filter = true);
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseListOrDict();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseFilters(ExpressionPtr node, bool filters_only = false);
  absl::StatusOr<ExpressionPtr> ParseOneFilter(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr node);
  absl::StatusOr<ExpressionPtr> ParseCall(ExpressionPtr node);
  absl::Status ParseArguments(Expression* node);
  ExpressionPtr New(Expression::Kind kind, int line = 0) const;
  // Sets the depth of `node` from its parts; an error when it is too deep.
  absl::StatusOr<ExpressionPtr> Finish(ExpressionPtr node) const;
  bool AtTupleEnd(absl::string_view stop_name) const;

  std::vector<Token> tokens_;
  size_t position_ = 0;
  Tree tree_;
  absl::flat_hash_map<std::string, int> names_;
  int nesting_ = 0;      // of the recursion, to bound the stack
  int loops_ = 0;        // for loops around the cursor, within the innermost macro
  int conditional_ = 0;  // parts around the cursor that may never be reached
  std::vector<MacroDefinition*> macros_;
};

}  // namespace bantam::chat
