// Our templates against the text Jinja2 makes of them (tests/golden/chat/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "nlohmann/json.hpp"
#include "runtime/chat/template.h"
#include "tests/chat/fixed_time.h"

namespace bantam::chat {
namespace {

using Json = nlohmann::ordered_json;

std::string ReadFile(const std::string& name) {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/chat/" + name, std::ios::binary);
  EXPECT_TRUE(in.good()) << "cannot read " << name;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

const Json& Golden() {
  static const auto* const golden = new Json(Json::parse(ReadFile("golden.json")));
  return *golden;
}

void ExpectAsJinja2(const std::string& source, const Json& variables, const Json& expected) {
  const std::tm now = FixedTime(Golden()["now"]);
  absl::StatusOr<std::string> text = std::string();
  auto parsed = Template::Parse(source);
  if (parsed.ok()) {
    text = parsed->Render(variables, &now);
  } else {
    text = parsed.status();
  }
  if (expected.contains("text")) {
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, expected["text"].get<std::string>());
  } else if (expected.contains("raised")) {
    EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition) << text.status();
    EXPECT_EQ(text.status().message(), expected["raised"].get<std::string>());
  } else {
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument)
        << text.status() << "; Jinja2: " << expected["error"];
    EXPECT_THAT(std::string(text.status().message()),
                testing::AnyOf(testing::StartsWith("chat template, line "),
                               testing::StartsWith("chat template: line ")));
  }
}

TEST(GoldenTest, Snippets) {
  ASSERT_GT(Golden()["snippets"].size(), 200u);
  for (const Json& snippet : Golden()["snippets"]) {
    SCOPED_TRACE(snippet["source"].get<std::string>());
    ExpectAsJinja2(snippet["source"], Golden()["variables"], snippet);
  }
}

TEST(GoldenTest, Templates) {
  ASSERT_GE(Golden()["templates"].size(), 8u);
  for (const auto& [name, results] : Golden()["templates"].items()) {
    const std::string source = ReadFile("templates/" + name);
    for (const auto& [label, expected] : results.items()) {
      SCOPED_TRACE(name + ", " + label);
      ExpectAsJinja2(source, Golden()["cases"][label], expected);
    }
  }
}

}  // namespace
}  // namespace bantam::chat
