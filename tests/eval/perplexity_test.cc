#include "runtime/eval/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using engine::LogitsMode;
using engine::Session;
using ::testing::HasSubstr;
using tokenizer::TokenId;

// -log softmax in the precision that everything here is measured against.
double ExactNll(std::span<const float> logits, TokenId target) {
  double peak = -INFINITY, sum = 0;
  for (float v : logits) peak = std::max(peak, double{v});
  for (float v : logits) sum += std::exp(double{v} - peak);
  return -(double{logits[target]} - peak - std::log(sum));
}

TEST(NegativeLogLikelihood, EqualsDoublePrecision) {
  std::mt19937 random(1);
  for (const float scale : {0.0f, 1.0f, 10.0f, 300.0f}) {
    for (const float shift : {0.0f, -10000.0f, 10000.0f}) {
      std::vector<float> logits(50000);
      for (float& v : logits) {
        v = shift + scale * (static_cast<float>(random() >> 8) / 8388608.0f - 1.0f);
      }
      for (const TokenId target : {0, 777, 49999}) {
        // exp of a float and logit - peak round to 6e-8 of a term; the sum averages that out.
        EXPECT_NEAR(eval::NegativeLogLikelihood(logits, target), ExactNll(logits, target), 2e-6)
            << scale << " " << shift;
      }
    }
  }
}

TEST(NegativeLogLikelihood, MaskedTokens) {
  const std::vector<float> logits = {-INFINITY, 1.0f, 1.0f, -INFINITY};
  EXPECT_NEAR(eval::NegativeLogLikelihood(logits, 1), std::log(2.0), 1e-7);
  EXPECT_EQ(eval::NegativeLogLikelihood(logits, 0), INFINITY);
}

TEST(Score, MeanAndStandardError) {
  const std::vector<double> values = {0.5, 2.25, 7.0, 0.125, 3.5};
  eval::Score score;
  for (double v : values) score.Add(v);
  double mean = 0, variance = 0;
  for (double v : values) mean += v / 5;
  for (double v : values) variance += (v - mean) * (v - mean) / 5;
  EXPECT_NEAR(score.MeanNll(), mean, 1e-12);
  EXPECT_NEAR(score.Perplexity(), std::exp(mean), 1e-9);
  EXPECT_NEAR(score.StandardError(), std::exp(mean) * std::sqrt(variance / 4), 1e-9);
}

TEST(Score, OneTokenHasNoError) {
  eval::Score score;
  score.Add(1.0);
  EXPECT_TRUE(std::isnan(score.StandardError()));
}

std::unique_ptr<Session> Open(const std::string& path, const engine::SessionOptions& options,
                              const std::string& device = "cpu") {
  auto model = engine::Model::Load(path, {.device = device});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return nullptr;
  auto session = Session::Create(*std::move(model), options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

bool GoOn(const eval::PerplexityResult&) { return true; }

std::vector<TokenId> RandomTokens(size_t count) {
  std::mt19937 random(2);
  std::vector<TokenId> tokens(count);
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % 256);
  return tokens;
}

// Turns tokenizer.ggml.add_bos_token of a file on: key, type u32, value u8.
void AskForBos(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string key = "tokenizer.ggml.add_bos_token";
  const size_t at = bytes.str().find(key);
  ASSERT_NE(at, std::string::npos);
  file.seekp(static_cast<std::streamoff>(at + key.size() + 4));
  file.put(1);
}

struct Case {
  int64_t window, ubatch;
  bool bos;
};

class Windows : public ::testing::TestWithParam<Case> {};

TEST_P(Windows, EqualTokenByTokenInDoublePrecision) {
  const auto [window, ubatch, bos] = GetParam();
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path, {.context = 64});
  if (bos) AskForBos(path);
  auto session = Open(path, {.ubatch = ubatch});
  ASSERT_NE(session, nullptr);
  const tokenizer::SpecialTokens& special = session->model().tokenizer().special();
  ASSERT_EQ(special.add_bos, bos);
  constexpr int64_t kWindows = 3;
  const std::vector<TokenId> tokens = RandomTokens(kWindows * window + window - 1);

  double sum = 0, squares = 0;
  int64_t count = 0;
  for (int64_t w = 0; w < kWindows; ++w) {
    ASSERT_TRUE(session->Truncate(0).ok());
    for (int64_t i = 0; i + 1 < window; ++i) {
      const TokenId id = i == 0 && bos ? special.bos : tokens[w * window + i];
      ASSERT_TRUE(session->Decode(std::span(&id, 1), LogitsMode::kLast).ok());
      if (i < window / 2) continue;
      const double nll = ExactNll(session->Logits(), tokens[w * window + i + 1]);
      sum += nll;
      squares += nll * nll;
      ++count;
    }
  }
  const double mean = sum / static_cast<double>(count);
  const double spread = squares / static_cast<double>(count) - mean * mean;

  int64_t calls = 0;
  const auto result =
      eval::MeasurePerplexity(*session, tokens, {.window = window}, [&](const auto& so_far) {
        EXPECT_EQ(so_far.windows, ++calls);
        EXPECT_EQ(so_far.of_windows, kWindows);
        return true;
      });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(calls, kWindows);
  EXPECT_EQ(result->windows, kWindows);
  EXPECT_EQ(result->score.count(), kWindows * (window - window / 2 - 1));
  // A step of many rows may sum in another order than a step of one.
  EXPECT_NEAR(result->score.MeanNll(), mean, 1e-5 * mean);
  EXPECT_NEAR(result->score.StandardError(),
              std::exp(mean) * std::sqrt(spread / static_cast<double>(count - 1)),
              1e-4 * std::exp(mean));
}

INSTANTIATE_TEST_SUITE_P(All, Windows,
                         ::testing::Values(Case{16, 512, false}, Case{33, 512, false},
                                           Case{64, 5, false}, Case{16, 512, true},
                                           Case{33, 4, true}, Case{8, 1, false}));

class Limits : public ::testing::Test {
 protected:
  Limits() {
    testing::WriteTinyLlama(folder_.File("model.gguf"), {.context = 64});
    session_ = Open(folder_.File("model.gguf"), {});
  }
  testing::TempDir folder_;
  std::unique_ptr<Session> session_;
};

TEST_F(Limits, OnlyTheFirstWindows) {
  ASSERT_NE(session_, nullptr);
  const std::vector<TokenId> tokens = RandomTokens(100);
  const auto two =
      eval::MeasurePerplexity(*session_, std::span(tokens).first(32), {.window = 16}, GoOn);
  const auto limited =
      eval::MeasurePerplexity(*session_, tokens, {.window = 16, .max_windows = 2}, GoOn);
  ASSERT_TRUE(two.ok() && limited.ok());
  EXPECT_EQ(limited->windows, 2);
  EXPECT_EQ(limited->score.MeanNll(), two->score.MeanNll());
  const auto more =
      eval::MeasurePerplexity(*session_, tokens, {.window = 16, .max_windows = 99}, GoOn);
  ASSERT_TRUE(more.ok());
  EXPECT_EQ(more->windows, 6);
}

TEST_F(Limits, ProgressCanEndIt) {
  ASSERT_NE(session_, nullptr);
  const auto result =
      eval::MeasurePerplexity(*session_, RandomTokens(100), {.window = 16},
                              [](const auto& so_far) { return so_far.windows < 2; });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->windows, 2);
  EXPECT_EQ(result->of_windows, 6);
}

TEST_F(Limits, WrongSizesAreNamed) {
  ASSERT_NE(session_, nullptr);
  const auto text = eval::MeasurePerplexity(*session_, RandomTokens(15), {.window = 16}, GoOn);
  EXPECT_TRUE(absl::IsInvalidArgument(text.status()));
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("15 tokens"));
  EXPECT_TRUE(eval::MeasurePerplexity(*session_, RandomTokens(16), {.window = 16}, GoOn).ok());
  for (const int64_t window : {int64_t{-1}, int64_t{0}, eval::kMinWindow - 1, int64_t{65}}) {
    const auto result =
        eval::MeasurePerplexity(*session_, RandomTokens(100), {.window = window}, GoOn);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << window;
  }
}

std::vector<double> ReadFigures(const std::string& name) {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/perplexity/" + name);
  std::vector<double> figures;
  for (double value; in >> value;) figures.push_back(value);
  return figures;
}

class SmolLm2 : public ::testing::TestWithParam<const char*> {};

TEST_P(SmolLm2, PerplexityEqualsThePeers) {
  const std::string device = GetParam();
  const std::string path = testing::FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  const std::vector<double> exact = ReadFigures("smollm2_f32.txt");
  const std::vector<double> rounded = ReadFigures("smollm2.txt");
  ASSERT_EQ(exact.size(), 20);
  ASSERT_EQ(rounded.size(), 20);
  const std::vector<char> text = testing::ReadGolden<char>("wikitext/wiki.test.excerpt.txt");
  auto session = Open(path, {.context = 512, .ubatch = 256}, device);
  ASSERT_NE(session, nullptr);
  const std::vector<TokenId> tokens =
      session->model().tokenizer().Encode({text.data(), text.size()}, {});
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
  constexpr int64_t kWindows = 1;  // what takes minutes would take an hour
#else
  constexpr int64_t kWindows = 20;
#endif
  // The exact figures come from the same weights without rounded activations, as the reference
  // computes; the fast kernels round activations to 8 bits, which evens out over some windows.
  const double tolerance = device == "reference" ? 0.0005 : 0.01;
  const auto result = eval::MeasurePerplexity(
      *session, tokens, {.max_windows = kWindows}, [&](const eval::PerplexityResult& so_far) {
        const double ppl = exact[so_far.windows - 1];
        EXPECT_NEAR(so_far.score.Perplexity(), ppl, tolerance * ppl) << so_far.windows;
        return true;
      });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->windows, kWindows);
  if (kWindows == 20) EXPECT_NEAR(result->score.Perplexity(), exact[19], 0.003 * exact[19]);
  std::printf("%s: perplexity %.4f +/- %.4f, the peer's %.4f\n", device.c_str(),
              result->score.Perplexity(), result->score.StandardError(), rounded[kWindows - 1]);
  // On the quantized file the peer rounds activations to 8 bits.
  EXPECT_NEAR(result->score.Perplexity(), rounded[kWindows - 1], 0.005 * rounded[kWindows - 1]);
}

INSTANTIATE_TEST_SUITE_P(Devices, SmolLm2, ::testing::Values("reference", "cpu"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace bantam
