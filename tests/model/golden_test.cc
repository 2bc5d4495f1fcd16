// Tiny models of every architecture against another runtime; tests/golden/models/README.md says how
// its results were made.

#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "runtime/engine/embedding.h"
#include "runtime/engine/engine.h"
#include "tests/support/logits.h"

namespace bantam {
namespace {

using ::bantam::testing::NormalizedError;
using ::bantam::testing::ReadGolden;
using engine::LogitsMode;
using engine::Session;

constexpr int64_t kPrompt = 40;
constexpr int64_t kEvery = 4;  // of the logits is in the golden files

std::unique_ptr<Session> Open(const std::string& name, const std::string& device,
                              const engine::SessionOptions& options) {
  auto model = engine::Model::Load(std::string(BANTAM_GOLDEN_DIR) + "/models/" + name + ".gguf",
                                   {.device = device, .threads = 1});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return nullptr;
  auto session = Session::Create(*std::move(model), options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

struct Case {
  const char* name;
  bool quantized = false;  // so that only the reference computes with the exact weights
};

class LanguageModel : public ::testing::TestWithParam<Case> {};

TEST_P(LanguageModel, LogitsEqualThePeersOverPromptAndDecode) {
  const std::string name = GetParam().name;
  const auto ids = ReadGolden<int32_t>("models/ids.i32");
  const auto expected = ReadGolden<float>("models/" + name + ".f32");
  const std::span<const int32_t> tokens(ids);
  for (const char* device : {"cpu", "reference"}) {
    if (GetParam().quantized && std::string(device) != "reference") continue;
    SCOPED_TRACE(device);
    auto session = Open(name, device, {.context = 256, .kv_type = quant::Type::kF32});
    ASSERT_NE(session, nullptr);
    const int64_t vocab = session->model().config().vocab_size;
    const int64_t kept = vocab / kEvery;
    ASSERT_EQ(expected.size(), ids.size() * kept);
    // Both sides sum in f32, each in its own order, and differ by about 1e-6; a wrong window,
    // rotation, scale or expert shows above 1e-2.
    constexpr double kTolerance = 1e-5;
    ASSERT_TRUE(session->Decode(tokens.first(kPrompt), LogitsMode::kAll).ok());
    double worst = 0;
    for (int64_t i = 0; i < static_cast<int64_t>(ids.size()); ++i) {
      if (i >= kPrompt) {
        ASSERT_TRUE(session->Decode(tokens.subspan(i, 1)).ok());
      }
      const std::span<const float> row = session->Logits(i < kPrompt ? i : 0);
      ASSERT_EQ(row.size(), vocab);
      const double error =
          NormalizedError(row, std::span(expected).subspan(i * kept, kept), kEvery);
      EXPECT_LT(error, kTolerance) << "token " << i;
      worst = std::max(worst, error);
    }
    std::printf("%s on %s: largest normalised error %.1e\n", name.c_str(), device, worst);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LanguageModel,
                         ::testing::Values(Case{"mixtral"}, Case{"llama_longrope"},
                                           Case{"llama_layers"}, Case{"qwen2"}, Case{"qwen3"},
                                           Case{"qwen2moe"}, Case{"qwen3moe"}, Case{"gemma"},
                                           Case{"gemma2"}, Case{"gemma3"}, Case{"gemma3_linear"},
                                           Case{"phi3"}, Case{"phi3_short"}, Case{"phi3_long"},
                                           Case{"gpt_oss", true}, Case{"granite"},
                                           Case{"granitemoe"}, Case{"starcoder2"}),
                         [](const auto& info) { return std::string(info.param.name); });

class EmbeddingModel : public ::testing::TestWithParam<const char*> {};

TEST_P(EmbeddingModel, EmbeddingsEqualThePeers) {
  const std::string name = GetParam();
  const auto ids = ReadGolden<int32_t>("models/ids.i32");
  const std::span<const int32_t> text = std::span(ids).first(kPrompt);
  const auto expected = ReadGolden<float>("models/" + name + ".f32");
  for (const char* device : {"cpu", "reference"}) {
    SCOPED_TRACE(device);
    auto session =
        Open(name, device, {.context = 256, .kv_type = quant::Type::kF32, .embeddings = true});
    ASSERT_NE(session, nullptr);
    const int64_t width = session->model().config().embedding_length;
    ASSERT_EQ(expected.size(), (kPrompt + 1) * width);
    const std::span<const float> golden(expected);
    ASSERT_TRUE(session->Decode(text, LogitsMode::kAll).ok());
    for (int64_t i = 0; i < kPrompt; ++i) {
      EXPECT_LT(NormalizedError(session->Logits(i), golden.subspan(i * width, width)), 1e-4) << i;
    }
    auto pooled = engine::Embed(*session, text, model::Pooling::kNone, /*normalize=*/false);
    ASSERT_TRUE(pooled.ok()) << pooled.status();
    EXPECT_LT(NormalizedError(*pooled, golden.last(width)), 1e-4);
    auto unit = engine::Embed(*session, text);
    ASSERT_TRUE(unit.ok()) << unit.status();
    double squares = 0;
    for (float v : *unit) squares += double{v} * v;
    EXPECT_NEAR(squares, 1, 1e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EmbeddingModel,
                         ::testing::Values("bert_mean", "bert_cls", "nomic_bert"),
                         [](const auto& info) { return std::string(info.param); });

TEST(EncoderSession, SaysWhatItCannotDo) {
  auto model = engine::Model::Load(std::string(BANTAM_GOLDEN_DIR) + "/models/bert_cls.gguf",
                                   {.device = "reference", .threads = 1});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(Session::Create(*model, {}).status().code(), absl::StatusCode::kInvalidArgument);
  auto session = Session::Create(*model, {.context = 16, .ubatch = 8, .embeddings = true});
  ASSERT_TRUE(session.ok()) << session.status();
  const std::vector<int32_t> nine(9, 5);
  EXPECT_EQ((*session)->Decode(nine).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE((*session)->Decode(std::span(nine).first(4)).ok());
  EXPECT_EQ((*session)->Decode(std::span(nine).first(1)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine::Embed(**session, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

// A causal model embeds too, and a text embedded in one step and token by token is the same.
TEST(CausalEmbedding, DoesNotDependOnTheSteps) {
  auto session =
      Open("qwen3", "reference", {.context = 64, .kv_type = quant::Type::kF32, .embeddings = true});
  ASSERT_NE(session, nullptr);
  const auto ids = ReadGolden<int32_t>("models/ids.i32");
  const std::span<const int32_t> text = std::span(ids).first(20);
  auto at_once = engine::Embed(*session, text, model::Pooling::kNone, /*normalize=*/false);
  ASSERT_TRUE(at_once.ok()) << at_once.status();
  ASSERT_TRUE(session->Truncate(0).ok());
  for (int32_t id : text) ASSERT_TRUE(session->Decode(std::span(&id, 1)).ok());
  EXPECT_LT(NormalizedError(session->Logits(), *at_once), 1e-6);
}

}  // namespace
}  // namespace bantam
