// A model of which some layers are on Vulkan and the rest on the reference, against the reference
// alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
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

// Weights that have no room there are brought to Vulkan for the steps of a prompt.
TEST(VulkanSplit, WeightsComeForPrompts) {
  const testing::TempDir dir;
  const std::string path = dir.File("model.gguf");
  testing::WriteTinyLlama(path,
                          {.layers = 6, .feed_forward = 256, .weight_type = quant::Type::kQ8_0});
  std::vector<TokenId> prompt(90);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<TokenId>(i * 37 + 11) % 256;
  std::vector<std::vector<float>> logits;
  for (const char* device : {"reference", "vulkan,reference"}) {
    engine::LoadOptions load;
    load.device = device;
    load.expected = {.context = 128, .ubatch = 32};
    load.profiles.resize(2);
    load.profiles[0].bandwidth = load.profiles[0].operations = 1e14;
    load.profiles[0].transfer_bandwidth = 1e12;
    engine::Trace trace;
    load.expected.trace = &trace;
    const bool has_card = load.device != "reference";
    if (has_card) load.control.vram = {"400KiB"};
    auto model = engine::Model::Load(path, load);
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = Session::Create(*model, load.expected);
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE((*session)->Decode(prompt).ok());
    logits.emplace_back((*session)->Logits().begin(), (*session)->Logits().end());
    if (!has_card) continue;
    EXPECT_GT((*model)->placement().streaming.rows, 0);
    const auto predicted = (*model)->placement().memory[0];
    EXPECT_GT(predicted.streamed, 0);
    EXPECT_EQ((*session)->device_memory()[0].total(), predicted.total());
    EXPECT_LE(predicted.total(), 400 << 10);
    // A step of 32 tokens moves values of 8 KiB, and matrices of 17 or 34.
    const std::vector<engine::Trace::Span> spans = trace.spans();
    EXPECT_TRUE(std::any_of(spans.begin(), spans.end(), [](const auto& span) {
      return span.is_transfer && span.device == 0 && span.bytes > 16'000;
    }));
  }
  EXPECT_LT(testing::NormalizedError(logits[1], logits[0]), 1e-4);
}

// Random sets of a layer's experts on Vulkan, the others on the CPU: caps and uses drawn at random.
TEST(VulkanSplit, RandomHotExpertsGiveTheSameLogits) {
  std::mt19937 random(7);
  int split = 0;
  double furthest = 0, furthest_of_blocks = 0;
  for (const char* name : {"mixtral", "qwen2moe", "qwen3moe", "gpt_oss", "granitemoe"}) {
    const std::string path = absl::StrCat(BANTAM_GOLDEN_DIR, "/models/", name, ".gguf");
    std::vector<std::vector<float>> expected;
    for (int i = 0; i <= 10; ++i) {
      SCOPED_TRACE(absl::StrCat(name, " ", i));
      engine::LoadOptions load;
      load.device = i == 0 ? "reference" : "vulkan,cpu";
      load.threads = 1;
      load.expected = {.context = 64, .ubatch = 16};
      load.profiles.resize(2);
      load.profiles[0].bandwidth = 1e12;
      load.profiles[0].operations = 1e14;
      load.profiles[0].transfer_bandwidth = 1e15;
      load.profiles[1].bandwidth = 1e9;
      load.profiles[1].operations = 1e10;
      auto use = std::make_shared<schedule::ExpertUse>();
      for (int l = 0; l < 4; ++l) {
        for (int e = 0; e < 8; ++e) {
          use->counts.resize(l + 1);
          use->counts[l].push_back(static_cast<double>(random() % 1000) + 1);
        }
      }
      const auto file = gguf::File::Open(path);
      ASSERT_TRUE(file.ok()) << file.status();
      const auto* router = (*file)->FindTensor("blk.0.ffn_gate_inp.weight");
      ASSERT_NE(router, nullptr);
      for (auto& counts : use->counts) counts.resize(router->shape[1]);
      load.expert_use = use;
      if (i > 0) load.control.vram = {absl::StrCat(60 + random() % 140, "KiB")};
      auto model = engine::Model::Load(path, load);
      ASSERT_TRUE(model.ok()) << model.status();
      auto session = Session::Create(*model, load.expected);
      ASSERT_TRUE(session.ok()) << session.status();
      split += !(*model)->placement().hot.empty();
      if (i > 0) {
        EXPECT_EQ((*session)->device_memory()[0].total(), (*model)->placement().memory[0].total());
      }
      std::vector<TokenId> prompt(37);
      for (size_t t = 0; t < prompt.size(); ++t)
        prompt[t] = static_cast<TokenId>(t * 37 + 11) % 256;
      ASSERT_TRUE((*session)->Decode(prompt).ok());
      for (size_t t = 0; t < 4; ++t) {
        const std::span<const float> logits = (*session)->Logits();
        if (i == 0) {
          expected.emplace_back(logits.begin(), logits.end());
        } else {
          double& most = std::string(name) == "gpt_oss" ? furthest_of_blocks : furthest;
          most = std::max(most, testing::NormalizedError(logits, expected[t]));
        }
        const TokenId next = static_cast<TokenId>(t * 29 + 3);
        ASSERT_TRUE((*session)->Decode({&next, 1}).ok());
      }
    }
  }
  std::printf("%d of 50 placements split experts; logits differ by %.2g, gpt-oss by %.2g at most\n",
              split, furthest, furthest_of_blocks);
  // Of F32 weights only sums are in another order. The CPU rounds what MXFP4 weights are multiplied
  // by to 8 bits or more: by itself it is 8e-3 from the reference.
  EXPECT_LT(furthest, 1e-5);
  EXPECT_LT(furthest_of_blocks, 2e-2);
  EXPECT_GE(split, 15);
}

}  // namespace
}  // namespace bantam
