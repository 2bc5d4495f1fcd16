#include "runtime/chat/template.h"

#include <utility>

#include "runtime/base/status.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/parser.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

// A message may quote a template, which may hold anything: line breaks, bytes that are not UTF-8.
absl::Status OneLine(const absl::Status& status) {
  std::string message;
  const absl::string_view text = status.message();
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCharacter(text, &pos);
    if (IsPrintable(c)) {
      absl::StrAppend(&message, text.substr(begin, pos - begin));
    } else {
      message += IsSpace(c) ? ' ' : '?';
    }
  }
  return absl::Status(status.code(), message);
}

}  // namespace

struct Template::Impl {
  Tree tree;
};

Template::Template(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

absl::StatusOr<Template> Template::Parse(absl::string_view source) {
  auto tree = ParseTemplate(source);
  if (!tree.ok()) return OneLine(Annotate(tree.status(), "chat template"));
  return Template(std::make_unique<Impl>(Impl{.tree = *std::move(tree)}));
}

absl::StatusOr<std::string> Template::Render(const nlohmann::ordered_json& variables,
                                             const std::tm* now) const {
  auto text = Interpreter(impl_->tree, now).Render(variables);
  // The text of raise_exception is the template's own, and stays as it is.
  if (text.ok() || text.status().code() == absl::StatusCode::kFailedPrecondition) return text;
  return OneLine(text.status());
}

nlohmann::ordered_json ChatVariables(const std::vector<Message>& messages,
                                     bool add_generation_prompt, absl::string_view bos_token,
                                     absl::string_view eos_token) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Message& message : messages) {
    nlohmann::ordered_json entry = nlohmann::ordered_json::object();
    entry["role"] = message.role;
    entry["content"] = message.content;
    list.push_back(std::move(entry));
  }
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  variables["messages"] = std::move(list);
  variables["add_generation_prompt"] = add_generation_prompt;
  variables["bos_token"] = std::string(bos_token);
  variables["eos_token"] = std::string(eos_token);
  return variables;
}

}  // namespace bantam::chat
