// Chat templates: the Jinja subset that model files use.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace bantam::chat {

// A parsed template (GGUF key tokenizer.chat_template). Immutable and thread-safe.
class Template {
 public:
  // kUnimplemented names a construct that is not supported and its line; kInvalidArgument a syntax
  // error and its line. A filter or test that is not known is an error here when it is surely
  // reached, and an error of Render when it stands in a part that may not be.
  static absl::StatusOr<Template> Parse(absl::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // Renders with the given variables (a JSON object), as Jinja2 does with trim_blocks and
  // lstrip_blocks on (the setting of Hugging Face's apply_chat_template). raise_exception('text')
  // in the template becomes kFailedPrecondition with that text; other errors of the template are
  // kInvalidArgument or kUnimplemented with the line; one that needs too many steps (1e7), too much
  // text (64 MiB) or memory (256 MiB) or nests too deeply is kResourceExhausted.
  // `now` is the local time strftime_now shows; null: the clock.
  absl::StatusOr<std::string> Render(const nlohmann::ordered_json& variables,
                                     const std::tm* now = nullptr) const;

 private:
  struct Impl;
  explicit Template(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct Message {
  std::string role;  // "system", "user", "assistant", ...
  std::string content;
};

// The variables Hugging Face passes: messages, add_generation_prompt, bos_token, eos_token. Others
// (tools, documents, enable_thinking, date_string, ...) can be set on the result by name.
nlohmann::ordered_json ChatVariables(const std::vector<Message>& messages,
                                     bool add_generation_prompt, absl::string_view bos_token,
                                     absl::string_view eos_token);

}  // namespace bantam::chat
