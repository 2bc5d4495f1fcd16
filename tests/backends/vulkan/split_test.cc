// A model of which some layers are on Vulkan and the rest on the reference, against the reference
// alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine.h"
#include "tests/support/logits.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using engine::Session;
using tokenizer::TokenId;

constexpr int kTokens = 64;

struct Text {
  std::vector<TokenId> tokens;
  std::vector<std::vector<float>> logits;  // before each of them
};

std::unique_ptr<Session> Open(const std::string& path, const std::string& device,
                              const std::string& layers) {
  engine::LoadOptions load;
  load.device = device;
  load.expected = {.context = 96, .ubatch = 8};
  load.control.gpu_layers = layers;
  // A card that is faster than the host: what may be anywhere is there.
  load.profiles.resize(2);
  load.profiles[0].bandwidth = 1e12;
  load.profiles[0].operations = 1e14;
  auto model = engine::Model::Load(path, load);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return nullptr;
  auto session = Session::Create(*std::move(model), load.expected);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

Text Generate(Session& session, int count) {
  Text text;
  const std::vector<TokenId> prompt =
      session.model().tokenizer().Encode("The three laws of thermodynamics say that", {});
  EXPECT_TRUE(session.Decode(prompt).ok());
  for (int i = 0; i < count; ++i) {
    const std::span<const float> logits = session.Logits();
    text.logits.emplace_back(logits.begin(), logits.end());
    text.tokens.push_back(testing::Likeliest(logits));
    EXPECT_TRUE(session.Decode({&text.tokens.back(), 1}).ok());
  }
  return text;
}

// Every split, a few tokens of each; all 64 of every split takes minutes on a software driver and
// is for BANTAM_EVERY_SPLIT=1.
TEST(VulkanSplit, EverySplitOfSmolLm2GivesTheSameGreedyText) {
  const std::string path = testing::FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  auto reference = Open(path, "reference", "auto");
  ASSERT_NE(reference, nullptr);
  const Text expected = Generate(*reference, kTokens);
  const bool is_thorough = std::getenv("BANTAM_EVERY_SPLIT") != nullptr;
  const int layers = reference->model().config().block_count;
  double furthest = 0;
  for (int split = 0; split <= layers; ++split) {
    const bool is_whole = is_thorough || split == 0 || split == layers / 2 || split == layers;
    const int count = is_whole ? kTokens : 2;
    auto session = Open(path, "vulkan,reference", absl::StrCat(split));
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->device_memory()[0].total() > 0, split > 0);
    const Text found = Generate(*session, count);
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(found.tokens[i], expected.tokens[i]) << split << " layers, token " << i;
      furthest = std::max(furthest, testing::NormalizedError(found.logits[i], expected.logits[i]));
    }
  }
  std::printf("logits differ by %.2g at most\n", furthest);
  // Both round nothing but sums to f32, and the KV cache to f16: 30 layers in another order.
  EXPECT_LT(furthest, 2e-3);
}

}  // namespace
}  // namespace bantam
