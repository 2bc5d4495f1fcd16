// The templates inside real model files, against what Jinja2 makes of them
// (tests/golden/chat/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "runtime/chat/template.h"
#include "runtime/gguf/file.h"
#include "tests/chat/fixed_time.h"
#include "tests/support/tiny_model.h"

namespace bantam::chat {
namespace {

using Json = nlohmann::ordered_json;

Json ReadJson(const std::string& name) {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/chat/" + name);
  EXPECT_TRUE(in.good()) << "cannot read " << name;
  return Json::parse(in);
}

// The 64-bit FNV-1a hash, in hexadecimal digits.
std::string Hash(absl::string_view text) {
  uint64_t value = 0xCBF29CE484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return absl::StrFormat("%016x", value);
}

class ModelTemplate : public ::testing::TestWithParam<std::string> {};

TEST_P(ModelTemplate, RendersAsJinja2) {
  const std::string name = GetParam();
  std::string path = bantam::testing::FetchedModel(name);
  if (path.empty()) path = bantam::testing::FetchedModel("vocab/" + name);
  if (path.empty()) path = bantam::testing::FetchedModel("vocab/templates/" + name);
  if (path.empty()) GTEST_SKIP() << name << " is not fetched: run tests/models/fetch*.sh";
  std::string source;
  if (absl::EndsWith(name, ".jinja")) {
    std::ifstream in(path, std::ios::binary);
    source.assign(std::istreambuf_iterator<char>(in), {});
  } else {
    const auto file = gguf::File::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    const auto in_file = (*file)->GetString("tokenizer.chat_template");
    ASSERT_TRUE(in_file.ok()) << in_file.status();
    source = std::string(*in_file);
  }
  const auto parsed = Template::Parse(source);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const Json fixed = ReadJson("golden.json");
  const Json& cases = fixed["cases"];
  const std::tm now = FixedTime(fixed["now"]);
  const Json golden = ReadJson("models.json")[name];
  ASSERT_GE(golden.size(), 28u);
  for (const auto& [label, expected] : golden.items()) {
    SCOPED_TRACE(label);
    const auto text = parsed->Render(cases[label], &now);
    if (expected.contains("bytes")) {
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(text->size(), expected["bytes"].get<size_t>()) << *text;
      EXPECT_EQ(Hash(*text), expected["fnv1a"].get<std::string>()) << *text;
    } else if (expected.contains("raised")) {
      EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition) << text.status();
      EXPECT_EQ(Hash(text.status().message()), expected["raised"].get<std::string>());
    } else if (expected["error"] != "SecurityError" &&
               expected["error"] != "TemplateRuntimeError") {
      // Those two are of what Jinja2 has not or Hugging Face's sandbox forbids, and we do:
      // from_json, list.append.
      EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << text.status();
    }
  }
}

std::vector<std::string> Names() {
  const Json models = ReadJson("models.json");
  std::vector<std::string> names;
  for (const auto& [name, results] : models.items()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, ModelTemplate, ::testing::ValuesIn(Names()), [](const auto& info) {
  std::string name = info.param.substr(0, info.param.rfind('.'));
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

}  // namespace
}  // namespace bantam::chat
