// A whole model on Vulkan against the reference.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/engine/engine.h"
#include "runtime/eval/perplexity.h"
#include "tests/support/golden.h"
#include "tests/support/logits.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using engine::LogitsMode;
using engine::Session;
using testing::Likeliest;
using tokenizer::TokenId;

std::unique_ptr<Session> Open(const std::string& path, const engine::SessionOptions& options,
                              const std::string& device) {
  auto model = engine::Model::Load(path, {.device = device});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return nullptr;
  auto session = Session::Create(*std::move(model), options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

TEST(VulkanSmolLm2, SameGreedyTextAsTheReference) {
  const std::string path = testing::FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  constexpr int kTokens = 64;
  constexpr char kPrompt[] = "The three laws of thermodynamics say that";
  std::vector<std::vector<TokenId>> texts;
  for (const char* device : {"reference", "vulkan"}) {
    auto session = Open(path, {.context = 128, .ubatch = 8}, device);
    ASSERT_NE(session, nullptr);
    const std::vector<TokenId> prompt = session->model().tokenizer().Encode(kPrompt, {});
    ASSERT_TRUE(session->Decode(prompt).ok());
    std::vector<TokenId>& text = texts.emplace_back();
    for (int i = 0; i < kTokens; ++i) {
      text.push_back(Likeliest(session->Logits()));
      ASSERT_TRUE(session->Decode({&text.back(), 1}).ok());
    }
  }
  EXPECT_EQ(texts[0], texts[1]);
  // The same when only the token that is likeliest leaves the GPU.
  auto session = Open(path, {.context = 128, .ubatch = 8, .likeliest = true}, "vulkan");
  ASSERT_NE(session, nullptr);
  ASSERT_TRUE(session->Decode(session->model().tokenizer().Encode(kPrompt, {})).ok());
  std::vector<TokenId> text;
  for (int i = 0; i < kTokens; ++i) {
    text.push_back(session->Likeliest());
    ASSERT_TRUE(session->Decode({&text.back(), 1}).ok());
  }
  EXPECT_EQ(text, texts[0]);
}

// Windows of 128 tokens rather than 512: a shader on a processor is slow. Golden figures are for
// windows of 512; here the same windows go through the reference.
TEST(VulkanSmolLm2, PerplexityOfFourWindows) {
  const std::string path = testing::FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  const std::vector<char> text = testing::ReadGolden<char>("wikitext/wiki.test.excerpt.txt");
  double perplexity[2];
  for (int i = 0; i < 2; ++i) {
    auto session = Open(path, {.context = 128, .ubatch = 128}, i == 0 ? "reference" : "vulkan");
    ASSERT_NE(session, nullptr);
    const std::vector<TokenId> tokens =
        session->model().tokenizer().Encode({text.data(), text.size()}, {});
    const auto result = eval::MeasurePerplexity(*session, tokens, {.window = 128, .max_windows = 4},
                                                [](const eval::PerplexityResult&) { return true; });
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->windows, 4);
    perplexity[i] = result->score.Perplexity();
  }
  std::printf("perplexity: reference %.4f, Vulkan %.4f\n", perplexity[0], perplexity[1]);
  EXPECT_NEAR(perplexity[1], perplexity[0], 0.003 * perplexity[0]);
}

}  // namespace
}  // namespace bantam
