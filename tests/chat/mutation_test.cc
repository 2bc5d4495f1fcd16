// Damaged templates: each gives a text or an error of one line, under the sanitizers too.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/chat/template.h"

namespace bantam::chat {
namespace {

using Json = nlohmann::ordered_json;

const Json& Golden() {
  static const auto* const golden = [] {
    std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/chat/golden.json");
    EXPECT_TRUE(in.good());
    return new Json(Json::parse(in));
  }();
  return *golden;
}

// What an edit may put in: pieces that mean something in a template, and bytes that do not.
constexpr const char* kPieces[] = {
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "+",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "|",
    "~",
    "*",
    "**",
    "//",
    "%",
    "==",
    "<",
    "in ",
    "not ",
    "is ",
    "if ",
    "else ",
    "for ",
    "set ",
    "0",
    "-1",
    "1e308",
    "'",
    "\"",
    "\\",
    "loop",
    "l",
    "d",
    "s",
    "users",
    "tree",
    "missing",
    "none",
    "::-1]",
    "[1:",
    "|join",
    "|map",
    "|list",
    "|tojson",
    "|length",
    "|sort",
    "|int",
    ".get(",
    ".pop()",
    ".append(",
    ".split(",
    "loop(",
    "namespace(",
    "range(",
    "'%s' % ",
    ".format(",
    "caller()",
    "\n",
    "\xff",
    "\xc3\x28",
    "\xf0\x9f\xa6\x99",
    "{% if x %}",
    "{% endif %}",
    "{% endfor %}",
    "{% for i in l %}",
    "{% macro m(x) %}",
    "{% endmacro %}",
    "{{ m(l) }}",
    "{% break %}",
    "9223372036854775807",
    "-9223372036854775808",
};

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : engine_(seed) {}

  std::string Mutate(std::string text, const std::string& other) {
    const size_t edits = 1 + Below(4);
    for (size_t i = 0; i < edits; ++i) {
      const size_t at = Below(text.size() + 1);
      const size_t length = Below(std::min<size_t>(text.size() - at, 20) + 1);
      switch (Below(5)) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, kPieces[Below(std::size(kPieces))]);
          break;
        case 2:
          text.replace(at, length, kPieces[Below(std::size(kPieces))]);
          break;
        case 3: {  // a part of another template
          const size_t from = Below(other.size() + 1);
          text.insert(at, other.substr(from, Below(60)));
          break;
        }
        default:
          if (at < text.size()) text[at] = static_cast<char>(engine_());
      }
    }
    return text;
  }

  size_t Below(size_t bound) { return engine_() % bound; }

 private:
  std::mt19937_64 engine_;
};

// Whether it still gave a text.
bool Try(const std::string& source, const Json& variables) {
  absl::Status status;
  if (const auto parsed = Template::Parse(source); !parsed.ok()) {
    status = parsed.status();
  } else {
    status = parsed->Render(variables).status();
  }
  if (status.ok()) return true;
  if (status.code() == absl::StatusCode::kFailedPrecondition) return false;
  EXPECT_NE(status.code(), absl::StatusCode::kInternal) << status << "\n" << source;
  EXPECT_FALSE(status.message().empty());
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status << "\n" << source;
  return false;
}

TEST(MutationTest, Snippets) {
  std::vector<std::string> sources;
  for (const Json& snippet : Golden()["snippets"]) sources.push_back(snippet["source"]);
  Mutator mutator(1);
  int texts = 0;
  for (int i = 0; i < 60000; ++i) {
    const std::string& source = sources[mutator.Below(sources.size())];
    const std::string text = mutator.Mutate(source, sources[mutator.Below(sources.size())]);
    texts += Try(text, Golden()["variables"]);
  }
  EXPECT_GT(texts, 6000);  // not all of them break on the first tag
}

TEST(MutationTest, Templates) {
  std::vector<std::string> sources;
  for (const auto& [name, _] : Golden()["templates"].items()) {
    std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/chat/templates/" + name);
    sources.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  Mutator mutator(2);
  int texts = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string& source = sources[mutator.Below(sources.size())];
    const std::string text = mutator.Mutate(source, sources[mutator.Below(sources.size())]);
    texts += Try(text, Golden()["cases"][i % 2 == 0 ? "tool_call/tools" : "thinking/prompt"]);
  }
  EXPECT_GT(texts, 1000);
}

}  // namespace
}  // namespace bantam::chat
