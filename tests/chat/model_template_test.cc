// The templates inside real model files, against what Jinja2 makes of them
// (tests/golden/chat/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "runtime/chat/template.h"
#include "runtime/gguf/file.h"
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
  const Json cases = ReadJson("golden.json")["cases"];
  const Json golden = ReadJson("models.json")[name];
  ASSERT_GE(golden.size(), 28u);
  for (const auto& [label, expected] : golden.items()) {
    SCOPED_TRACE(label);
    const auto text = parsed->Render(cases[label]);
    if (expected.contains("bytes")) {
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(text->size(), expected["bytes"].get<size_t>()) << *text;
      EXPECT_EQ(Hash(*text), expected["fnv1a"].get<std::string>()) << *text;
    } else if (expected.contains("raised")) {
      EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition) << text.status();
      EXPECT_EQ(Hash(text.status().message()), expected["raised"].get<std::string>());
    } else {
      EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << text.status();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ModelTemplate,
    ::testing::Values(
        "SmolLM2-135M-Instruct.Q4_1.gguf", "ggml-vocab-phi-3.gguf", "ggml-vocab-qwen2.gguf",
        "ggml-vocab-qwen35.gguf", "ggml-vocab-command-r.gguf", "ggml-vocab-gemma-4.gguf",
        "google-gemma-2-2b-it.jinja", "Qwen-Qwen2.5-7B-Instruct.jinja", "Qwen-Qwen3-0.6B.jinja",
        "Qwen-QwQ-32B.jinja", "Qwen3-Coder.jinja", "microsoft-Phi-3.5-mini-instruct.jinja",
        "ibm-granite-granite-4.0.jinja", "meta-llama-Llama-3.1-8B-Instruct.jinja",
        "meta-llama-Llama-3.3-70B-Instruct.jinja", "mistralai-Mistral-Nemo-Instruct-2407.jinja",
        "unsloth-mistral-Devstral-Small-2507.jinja", "HuggingFaceTB-SmolLM3-3B.jinja",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"),
    [](const auto& info) {
      std::string name = info.param.substr(0, info.param.rfind('.'));
      for (char& c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      }
      return name;
    });

}  // namespace
}  // namespace bantam::chat
