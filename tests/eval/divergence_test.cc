#include "runtime/eval/divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>

#include "runtime/base/crc32.h"
#include "runtime/eval/log_probs.h"
#include "runtime/eval/log_probs_file.h"
#include "runtime/eval/perplexity.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;
using tokenizer::TokenId;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Crc32, PublishedCheckValue) {
  // The check value of CRC-32/ISO-HDLC in every catalogue.
  EXPECT_EQ(Crc32(Bytes("123456789")), 0xCBF43926u);
  const std::string text = "The quick brown fox jumps over the lazy dog";
  EXPECT_EQ(Crc32(Bytes(text)), 0x414FA339u);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(Crc32(Bytes(text.substr(cut)), Crc32(Bytes(text.substr(0, cut)))), 0x414FA339u);
  }
}

std::vector<float> RandomLogits(std::mt19937& random, size_t vocab, float spread) {
  std::normal_distribution<float> normal(-3.0f, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<double> LogSoftmax(std::span<const float> logits) {
  double sum = 0;
  for (float v : logits) sum += std::exp(double{v});
  std::vector<double> out;
  for (float v : logits) out.push_back(double{v} - std::log(sum));
  return out;
}

double ExactKl(std::span<const float> base, std::span<const float> model) {
  const std::vector<double> p = LogSoftmax(base), q = LogSoftmax(model);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  return sum;
}

TEST(LogProbs, DivergencesSurviveTheEncoding) {
  std::mt19937 random(3);
  constexpr size_t kVocab = 10000;
  // Spreads from nearly uniform to nearly certain; models from nearly equal to unrelated.
  for (const float spread : {0.1f, 1.0f, 3.0f, 10.0f}) {
    for (const float change : {0.0f, 0.01f, 0.3f, 3.0f}) {
      double error = 0, total = 0;
      constexpr int kRows = 10;
      for (int row = 0; row < kRows; ++row) {
        const std::vector<float> base = RandomLogits(random, kVocab, spread);
        std::vector<float> model = RandomLogits(random, kVocab, change);
        for (size_t i = 0; i < kVocab; ++i) model[i] += base[i];
        std::string encoded;
        ASSERT_TRUE(eval::EncodeLogProbs(base, 7, encoded).ok());
        std::vector<float> distances(kVocab);
        const auto decoded = eval::DecodeLogProbs(Bytes(encoded), distances);
        ASSERT_TRUE(decoded.ok()) << decoded.status();
        EXPECT_NEAR(decoded->target_nll, -LogSoftmax(base)[7], 1e-4);
        EXPECT_EQ(decoded->top, std::max_element(base.begin(), base.end()) - base.begin());
        const double exact = ExactKl(base, model);
        error += eval::KlDivergence(distances, model) - exact;
        total += exact;
      }
      // Of the encoding (log_probs.md: 2e-6 by the tail's rounding), and of exp in float.
      EXPECT_NEAR(error / kRows, 0, 5e-6 + 1e-4 * total / kRows) << spread << " " << change;
    }
  }
}

TEST(LogProbs, ImpossibleTokens) {
  const std::vector<float> base = {0.0f, -INFINITY, 0.0f, -1e30f};
  std::string encoded;
  ASSERT_TRUE(eval::EncodeLogProbs(base, 0, encoded).ok());
  std::vector<float> distances(4);
  ASSERT_TRUE(eval::DecodeLogProbs(Bytes(encoded), distances).ok());
  EXPECT_EQ(distances[1], INFINITY);
  EXPECT_EQ(distances[2], 0);
  // The base gives 1/2, 1/2; what it holds impossible costs nothing.
  const std::vector<float> same = {0.0f, -INFINITY, 0.0f, -100.0f};
  EXPECT_NEAR(eval::KlDivergence(distances, same), 0, 1e-7);
  const std::vector<float> thirds = {0.0f, 0.0f, 0.0f, -100.0f};
  EXPECT_NEAR(eval::KlDivergence(distances, thirds), std::log(1.5), 1e-7);
  const std::vector<float> cannot = {0.0f, 0.0f, -INFINITY, -100.0f};
  EXPECT_EQ(eval::KlDivergence(distances, cannot), INFINITY);
  const std::vector<float> none = {-INFINITY, -INFINITY};
  EXPECT_TRUE(absl::IsDataLoss(eval::EncodeLogProbs(none, 0, encoded)));
}

TEST(Divergence, StatisticsEqualTheirDefinitions) {
  std::mt19937 random(4);
  std::normal_distribution<double> normal;
  constexpr int kCount = 501;
  eval::Divergence divergence;
  std::vector<double> base, nll, kl;
  for (int i = 0; i < kCount; ++i) {
    base.push_back(4 + normal(random));
    nll.push_back(base.back() + 0.1 + 0.2 * normal(random));
    kl.push_back(i * 0.001);
    divergence.Add({base[i], nll[i], kl[i], i % 3 == 0});
  }
  double mean = 0, mean_base = 0;
  for (int i = 0; i < kCount; ++i) mean += nll[i] / kCount, mean_base += base[i] / kCount;
  // The error of the mean of the difference, computed from the differences themselves; that of the
  // perplexities' difference to first order.
  double spread = 0, ppl_spread = 0;
  for (int i = 0; i < kCount; ++i) {
    const double d = nll[i] - mean, d_base = base[i] - mean_base;
    spread += (d - d_base) * (d - d_base);
    const double ppl = std::exp(mean) * d - std::exp(mean_base) * d_base;
    ppl_spread += ppl * ppl;
  }
  const auto error = [](double sum) { return std::sqrt(sum / kCount / (kCount - 1)); };
  const eval::DivergenceSummary s = divergence.Summarize();
  EXPECT_EQ(s.count, kCount);
  EXPECT_NEAR(s.perplexity.value, std::exp(mean), 1e-9 * std::exp(mean));
  EXPECT_NEAR(s.base_perplexity.value, std::exp(mean_base), 1e-9 * std::exp(mean_base));
  EXPECT_NEAR(s.log_ratio.value, mean - mean_base, 1e-12);
  EXPECT_NEAR(s.log_ratio.error, error(spread), 1e-9);
  EXPECT_NEAR(s.difference.value, std::exp(mean) - std::exp(mean_base), 1e-9);
  EXPECT_NEAR(s.difference.error, error(ppl_spread), 1e-7);
  EXPECT_NEAR(s.kl.value, 0.25, 1e-12);
  EXPECT_EQ(s.kl_max, 0.5);
  EXPECT_NEAR(divergence.KlPercentile(0.999), 0.4995, 1e-12);
  EXPECT_NEAR(divergence.KlPercentile(0.5), 0.25, 1e-12);
  EXPECT_NEAR(s.same_top.value, 167.0 / kCount, 1e-12);
  EXPECT_GT(s.correlation, 0.95);
}

class SavedLogits : public ::testing::Test {
 protected:
  static std::unique_ptr<engine::Session> Open(const std::string& path) {
    auto model = engine::Model::Load(path, {.device = "cpu"});
    EXPECT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*std::move(model), {.context = 32, .ubatch = 5});
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }

  void SetUp() override {
    testing::WriteTinyLlama(folder_.File("base.gguf"), {.seed = 1});
    base_ = Open(folder_.File("base.gguf"));
    std::mt19937 random(5);
    std::vector<TokenId> tokens(70);
    for (TokenId& id : tokens) id = static_cast<TokenId>(random() % 256);
    auto windows = eval::CutWindows(*base_, tokens, {.window = 16});
    ASSERT_TRUE(windows.ok());
    windows_ = *std::move(windows);
    path_ = folder_.File("base.logits");
    auto writer = eval::LogProbsWriter::Create(path_, base_->model(), windows_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    const auto result = eval::MeasurePerplexity(
        *base_, windows_,
        [&](std::span<const TokenId> targets) {
          return (*writer)->AddBatch(*base_, targets, pool_);
        },
        [](const auto&) { return true; });
    ASSERT_TRUE(result.ok());
    perplexity_ = result->score.Perplexity();
    EXPECT_FALSE(std::ifstream(path_).good());  // not before it is whole
    ASSERT_TRUE((*writer)->Commit().ok());
  }

  testing::TempDir folder_;
  ThreadPool pool_{2};
  std::unique_ptr<engine::Session> base_;
  eval::Windows windows_;
  std::string path_;
  double perplexity_ = 0;
};

bool GoOn(const eval::DivergenceResult&) { return true; }

TEST_F(SavedLogits, ComparisonEqualsDoublePrecision) {
  testing::WriteTinyLlama(folder_.File("other.gguf"), {.seed = 2});
  auto other = Open(folder_.File("other.gguf"));
  const auto file = eval::LogProbsFile::Open(path_, other->model());
  ASSERT_TRUE(file.ok()) << file.status();
  double kl = 0;
  int64_t count = 0;
  for (int64_t w = 0; w < windows_.count; ++w) {
    for (auto* session : {base_.get(), other.get()}) ASSERT_TRUE(session->Truncate(0).ok());
    for (int64_t i = 0; i + 1 < windows_.size; ++i) {
      const TokenId id = windows_.window(w)[i];
      ASSERT_TRUE(base_->Decode(std::span(&id, 1)).ok());
      ASSERT_TRUE(other->Decode(std::span(&id, 1)).ok());
      if (i < windows_.size / 2) continue;
      kl += ExactKl(base_->Logits(), other->Logits());
      ++count;
    }
  }
  const auto result = eval::MeasureDivergence(*other, **file, 0, pool_, GoOn);
  ASSERT_TRUE(result.ok()) << result.status();
  const eval::DivergenceSummary s = result->divergence.Summarize();
  EXPECT_EQ(s.count, count);
  EXPECT_NEAR(s.base_perplexity.value, perplexity_, 1e-5 * perplexity_);
  // The encoding, and steps of several rows that sum in another order.
  EXPECT_NEAR(s.kl.value, kl / static_cast<double>(count), 1e-4 * s.kl.value);
  const auto one = eval::MeasureDivergence(*other, **file, 1, pool_, GoOn);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->windows, 1);
}

TEST_F(SavedLogits, OfTheSameModelAreNoDistanceAway) {
  const auto file = eval::LogProbsFile::Open(path_, base_->model());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto result = eval::MeasureDivergence(*base_, **file, 0, pool_, GoOn);
  ASSERT_TRUE(result.ok()) << result.status();
  const eval::DivergenceSummary s = result->divergence.Summarize();
  EXPECT_LT(s.kl_max, 1e-5);
  EXPECT_EQ(s.same_top.value, 1);
  EXPECT_NEAR(s.log_ratio.value, 0, 1e-5);
}

TEST_F(SavedLogits, OfAnotherVocabularyAreRefused) {
  // Another text for one token; the size stays.
  std::ifstream in(folder_.File("base.gguf"), std::ios::binary);
  std::string model(std::istreambuf_iterator<char>(in), {});
  const size_t at = model.find("<|im_start|>");
  ASSERT_NE(at, std::string::npos);
  model.replace(at, 12, "<|im_begin|>");
  std::ofstream(folder_.File("renamed.gguf"), std::ios::binary) << model;
  const auto file = eval::LogProbsFile::Open(path_, Open(folder_.File("renamed.gguf"))->model());
  EXPECT_TRUE(absl::IsFailedPrecondition(file.status())) << file.status();
}

TEST_F(SavedLogits, DamageIsNamed) {
  std::ifstream in(path_, std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(in), {});
  const std::string damaged_path = folder_.File("damaged.logits");
  const auto read = [&](const std::string& bytes) -> absl::Status {
    std::ofstream(damaged_path, std::ios::binary | std::ios::trunc) << bytes;
    auto file = eval::LogProbsFile::Open(damaged_path, base_->model());
    if (!file.ok()) return file.status();
    std::vector<float> distances(base_->model().config().vocab_size);
    for (int64_t w = 0; w < (*file)->windows().count; ++w) {
      auto rows = (*file)->Rows(w);
      if (!rows.ok()) return rows.status();
      for (const auto row : *rows) {
        if (auto decoded = eval::DecodeLogProbs(row, distances); !decoded.ok()) {
          return decoded.status();
        }
      }
    }
    return absl::OkStatus();
  };
  ASSERT_TRUE(read(whole).ok());
  std::mt19937 random(6);
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(read(whole.substr(0, random() % whole.size())).ok());
    std::string flipped = whole;
    flipped[random() % whole.size()] ^= static_cast<char>(1 << random() % 8);
    const absl::Status status = read(flipped);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("damaged.logits")) << status;
  }
  EXPECT_FALSE(read(whole + "x").ok());
  // A checksum may be right and the row still be none that is ever written.
  std::string row;
  ASSERT_TRUE(eval::EncodeLogProbs(std::vector<float>(40, 1.0f), 0, row).ok());
  std::vector<float> distances(40);
  for (int i = 0; i < 2000; ++i) {
    std::string changed = row;
    for (int k = 0; k < 3; ++k) changed[random() % row.size()] = static_cast<char>(random());
    (void)eval::DecodeLogProbs(Bytes(changed), distances);  // under the sanitizers
  }
}

}  // namespace
}  // namespace bantam
