// Logits of whole models against another runtime's; tests/golden/*/README.md says how those were
// made.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>

#include "runtime/engine/engine.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::bantam::testing::FetchedModel;
using ::bantam::testing::ReadGolden;
using engine::LogitsMode;
using engine::Session;

std::unique_ptr<Session> Open(const std::string& path, const engine::SessionOptions& options) {
  auto model = engine::Model::Load(path, {.device = "cpu"});
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return nullptr;
  auto session = Session::Create(*std::move(model), options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

// sqrt(sum (a - b)^2 / sum b^2)
double NormalizedError(std::span<const float> a, std::span<const float> b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

class TinyLlama : public ::testing::TestWithParam<const char*> {};

TEST_P(TinyLlama, LogitsEqualThePeersOverPromptAndDecode) {
  constexpr int64_t kPrompt = 40;
  const std::string name = GetParam();
  const auto ids = ReadGolden<int32_t>("llama/ids.i32");
  const auto expected = ReadGolden<float>("llama/" + name + ".logits.f32");
  auto session = Open(std::string(BANTAM_GOLDEN_DIR) + "/llama/" + name + ".gguf",
                      {.kv_type = quant::Type::kF32});
  ASSERT_NE(session, nullptr);
  const int64_t vocab = session->model().config().vocab_size;
  ASSERT_EQ(expected.size(), ids.size() * vocab);
  // Both sides sum in f32 but in another order; two layers keep that far below 1e-5, and a wrong
  // rotation, mask or scale is above 1e-2.
  constexpr double kTolerance = 1e-5;
  const std::span<const int32_t> tokens(ids);
  ASSERT_TRUE(session->Decode(tokens.first(kPrompt), LogitsMode::kAll).ok());
  for (int64_t i = 0; i < static_cast<int64_t>(ids.size()); ++i) {
    if (i >= kPrompt) {
      ASSERT_TRUE(session->Decode(tokens.subspan(i, 1)).ok());
    }
    const std::span<const float> row = session->Logits(i < kPrompt ? i : 0);
    ASSERT_EQ(row.size(), vocab);
    EXPECT_LT(NormalizedError(row, std::span(expected).subspan(i * vocab, vocab)), kTolerance)
        << "token " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TinyLlama,
                         ::testing::Values("plain", "grouped_untied_biased",
                                           "multi_query_wide_heads", "linear", "yarn", "llama3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SmolLm2, LogitsAgreeWithThePeers) {
  const std::string path = FetchedModel(testing::kSmolLm2);
  if (path.empty()) GTEST_SKIP() << "SmolLM2 is not fetched: run tests/models/fetch.sh";
  constexpr int64_t kRows = 512, kTop = 128;
  const auto golden = ReadGolden<uint16_t>("smollm2/wiki512.bin");
  ASSERT_EQ(golden.size(), kRows * (2 + kTop + kTop));
  std::vector<int32_t> ids(kRows);
  std::memcpy(ids.data(), golden.data(), kRows * sizeof(int32_t));
  const uint16_t* top = golden.data() + 2 * kRows;
  const uint16_t* steps = top + kRows * kTop;

  auto session = Open(path, {.context = kRows});
  ASSERT_NE(session, nullptr);
  ASSERT_TRUE(session->Decode(ids, LogitsMode::kAll).ok());
  double total = 0;
  int agree = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    const std::span<const float> logits = session->Logits(row);
    const float peak = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float v : logits) sum += std::exp(double{v} - peak);
    // Divergence of ours from the peer's over its top tokens and the rest taken as one outcome.
    double divergence = 0, p_rest = 1, q_rest = 1;
    for (int64_t k = 0; k < kTop; ++k) {
      const double log_p = -steps[row * kTop + k] / 1024.0;
      const double log_q = double{logits[top[row * kTop + k]]} - peak - std::log(sum);
      divergence += std::exp(log_p) * (log_p - log_q);
      p_rest -= std::exp(log_p);
      q_rest -= std::exp(log_q);
    }
    if (p_rest > 1e-6 && q_rest > 1e-6) divergence += p_rest * std::log(p_rest / q_rest);
    total += divergence;
    agree += logits[top[row * kTop]] == peak;
  }
  RecordProperty("mean_kl", std::to_string(total / kRows));
  RecordProperty("top1", std::to_string(100.0 * agree / kRows));
  std::printf("mean KL divergence %.6f, top-1 agreement %.2f %%\n", total / kRows,
              100.0 * agree / kRows);
  // The peer rounds activations to 8 bits, this backend does not.
  EXPECT_LE(total / kRows, 0.002);
  EXPECT_GE(agree, kRows * 98 / 100);
}

}  // namespace
}  // namespace bantam
