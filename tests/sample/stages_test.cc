// DRY, XTC, Mirostat, logit bias and masks against computations of another kind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "runtime/sample/random.h"
#include "runtime/sample/sampler.h"
#include "tests/support/allocation_counter.h"

namespace bantam::sample {
namespace {

using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

Params Off() { return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0}; }

std::unique_ptr<Sampler> Make(const Params& params, int64_t vocab_size) {
  auto sampler = Sampler::Create(params, vocab_size);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

std::vector<float> RandomLogits(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(n);
  for (float& v : logits) v = normal(random);
  return logits;
}

std::vector<double> Softmax(std::span<const float> logits, double temperature = 1) {
  std::vector<double> p;
  const double peak = *std::max_element(logits.begin(), logits.end());
  for (float v : logits) p.push_back(std::exp((v - peak) / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  return p;
}

// DRY by its definition: for every earlier place, compare backwards.
std::map<int32_t, double> DryPenalties(const DryParams& dry, const std::vector<int32_t>& text) {
  const int64_t size = text.size();
  const int64_t begin = dry.last_n < 0 ? 0 : std::max<int64_t>(0, size - dry.last_n);
  auto breaks = [&](int32_t t) {
    return std::find(dry.breakers.begin(), dry.breakers.end(), t) != dry.breakers.end();
  };
  std::map<int32_t, int64_t> longest;
  for (int64_t next = begin + 1; next < size; ++next) {  // text[next] followed text[..next - 1]
    int64_t n = 0;
    while (next - 1 - n >= begin && text[next - 1 - n] == text[size - 1 - n] &&
           !breaks(text[size - 1 - n])) {
      ++n;
    }
    longest[text[next]] = std::max(longest[text[next]], n);
  }
  std::map<int32_t, double> penalties;
  for (const auto& [token, n] : longest) {
    if (n >= dry.allowed_length) {
      penalties[token] = dry.multiplier * std::pow(dry.base, n - dry.allowed_length);
    }
  }
  return penalties;
}

TEST(Dry, PenaltiesAreThoseOfTheDefinition) {
  std::mt19937_64 random(4);
  int penalized = 0;
  for (int i = 0; i < 400; ++i) {
    DryParams params{.multiplier = 0.8f,
                     .base = 1.75f,
                     .allowed_length = static_cast<int32_t>(1 + random() % 3),
                     .last_n = random() % 2 ? -1 : static_cast<int32_t>(5 + random() % 30)};
    if (random() % 2) params.breakers = {2};
    std::vector<int32_t> text(random() % 60);
    for (int32_t& t : text) t = static_cast<int32_t>(random() % 4);  // few, so that much repeats
    Dry dry(params, 6, params.last_n < 0 ? 1000 : params.last_n);
    for (int32_t t : text) dry.Accept(t);
    dry.Prepare();
    const auto expected = DryPenalties(params, text);
    for (int32_t t = 0; t < 6; ++t) {
      const auto found = expected.find(t);
      const double want = found == expected.end() ? 0 : found->second;
      ASSERT_NEAR(dry.Penalty(t), std::min(want, 1e30), want * 1e-5) << i << " " << t;
      penalized += want > 0;
    }
  }
  EXPECT_GT(penalized, 300);
}

TEST(Dry, IsPartOfTheChain) {
  Params params = Off();
  params.temperature = 0;
  params.dry.multiplier = 10;
  auto sampler = Make(params, 4);
  for (int32_t t : {0, 1, 2, 3, 0, 1, 2}) sampler->Accept(t);
  EXPECT_EQ(*sampler->Sample(std::vector<float>{0, 0, 1, 5}), 2);  // 3 would repeat 0 1 2 3
  sampler->Reset();
  EXPECT_EQ(*sampler->Sample(std::vector<float>{0, 0, 1, 5}), 3);
}

// How often each token is drawn, against `expected`: chi-squared of a fixed seed.
void ExpectDrawn(const Params& params, std::span<const float> logits,
                 const std::vector<double>& expected, std::span<const uint64_t> allowed = {}) {
  constexpr int kDraws = 20000;
  auto sampler = Make(params, logits.size());
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) ++counts[*sampler->Sample(logits, allowed)];
  double chi = 0;
  int degrees = -1;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << i;
      continue;
    }
    const double want = expected[i] * kDraws;
    chi += (counts[i] - want) * (counts[i] - want) / want;
    ++degrees;
  }
  // Mean plus five standard deviations: one in a million by chance, and the seed is fixed.
  EXPECT_LT(chi, degrees + 5 * std::sqrt(2.0 * std::max(degrees, 1)));
}

TEST(Xtc, ExcludesAllButTheUnlikeliestAboveTheThreshold) {
  const std::vector<float> logits = {1.0f, 2.0f, 0.5f, -1.0f, 1.9f};
  const std::vector<double> p = Softmax(logits);
  Params params = Off();
  params.xtc_threshold = 0.12f;
  params.xtc_probability = 1;
  std::vector<double> cut = p;
  // Above: 1, 4, 0 (and not 2, 3); of these 0 stays.
  ASSERT_TRUE(p[0] > 0.12 && p[2] < 0.12);
  cut[1] = cut[4] = 0;
  const double sum = std::accumulate(cut.begin(), cut.end(), 0.0);
  for (double& v : cut) v /= sum;
  ExpectDrawn(params, logits, cut);
  params.xtc_probability = 0.4f;
  std::vector<double> mixed;
  for (size_t i = 0; i < p.size(); ++i) mixed.push_back(0.4 * cut[i] + 0.6 * p[i]);
  ExpectDrawn(params, logits, mixed);
  params.xtc_probability = 1;
  params.xtc_threshold = 0.6f;  // none is
  ExpectDrawn(params, logits, p);
}

TEST(LogitBias, IsAdded) {
  const std::vector<float> logits = RandomLogits(8, 3);
  Params params = Off();
  params.logit_bias = {{1, 2.5f}, {4, -1.0f}, {6, -kInf}, {1, 0.5f}};
  std::vector<float> biased = logits;
  biased[1] += 3;
  biased[4] -= 1;
  biased[6] = -kInf;
  ExpectDrawn(params, logits, Softmax(biased));
  params.logit_bias = {{8, 1.0f}};
  EXPECT_FALSE(Sampler::Create(params, 8).ok());
  params.logit_bias = {{0, NAN}};
  EXPECT_FALSE(Sampler::Create(params, 8).ok());
  params.logit_bias = {{0, kInf}};
  EXPECT_FALSE(Sampler::Create(params, 8).ok());
}

TEST(Mask, OnlyAllowedTokensAndTheirProbabilities) {
  const std::vector<float> logits = RandomLogits(70, 5);
  const std::vector<uint64_t> allowed = {0b1011 | uint64_t{1} << 63, 0b100001};
  std::vector<float> masked(70, -kInf);
  for (int i : {0, 1, 3, 63, 64, 69}) masked[i] = logits[i];
  ExpectDrawn(Off(), logits, Softmax(masked), allowed);
  auto sampler = Make(Off(), 70);
  const std::vector<uint64_t> none = {0, 0};
  EXPECT_EQ(sampler->Sample(logits, none).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(sampler->Sample(logits, std::span(allowed).first(1)).ok());
}

TEST(Mirostat, FollowsThePaper) {
  // Basu et al. 2021, algorithm 2, with the same random numbers.
  constexpr double kTau = 2.5, kEta = 0.2, kTemperature = 0.9;
  Params params = Off();
  params.temperature = kTemperature;
  params.mirostat = true;
  params.mirostat_tau = kTau;
  params.mirostat_eta = kEta;
  params.top_k = 1;  // without effect
  params.seed = 42;
  auto sampler = Make(params, 50);
  Random random(42);
  double mu = 2 * kTau, mean = 0;
  constexpr int kSteps = 3000;
  for (int step = 0; step < kSteps; ++step) {
    const std::vector<float> logits = RandomLogits(50, step);
    const std::vector<double> p = Softmax(logits, static_cast<float>(kTemperature));
    std::vector<bool> keep(50);
    double sum = 0;
    const size_t best = std::max_element(p.begin(), p.end()) - p.begin();
    for (size_t i = 0; i < 50; ++i) {
      keep[i] = i == best || -std::log2(p[i]) <= mu;
      if (keep[i]) sum += p[i];
    }
    double left = random.NextUnit() * sum;
    size_t drawn = best;
    for (size_t i = 0; i < 50; ++i) {
      if (!keep[i]) continue;
      left -= p[i];
      if (left < 0) {
        drawn = i;
        break;
      }
    }
    ASSERT_EQ(*sampler->Sample(logits), static_cast<int32_t>(drawn)) << step;
    const double surprise = -std::log2(p[drawn]);
    mu -= static_cast<double>(static_cast<float>(kEta)) * (surprise - kTau);
    mean += surprise / kSteps;
  }
  EXPECT_NEAR(mean, kTau, 0.1);  // what the algorithm is for
}

TEST(Stages, SampleAllocatesNothing) {
  Params params = Off();
  params.dry.multiplier = 1;
  params.xtc_probability = 0.5f;
  params.logit_bias = {{3, 1.0f}};
  auto sampler = Sampler::Create(params, 500, 256);
  ASSERT_TRUE(sampler.ok());
  const std::vector<float> logits = RandomLogits(500, 1);
  const std::vector<uint64_t> allowed(8, 0x5555555555555555);
  const int64_t before = testing::allocation_count.load();
  for (int i = 0; i < 600; ++i) {
    const auto token = (*sampler)->Sample(logits, allowed);
    (*sampler)->Accept(*token);
  }
  EXPECT_EQ(testing::allocation_count.load() - before, 0);
}

TEST(Stages, ParametersOutOfRangeAreNamed) {
  const std::pair<void (*)(Params&), const char*> cases[] = {
      {[](Params& p) { p.xtc_probability = 1.5f; }, "xtc_probability"},
      {[](Params& p) { p.xtc_threshold = 0; }, "xtc_threshold"},
      {[](Params& p) { p.mirostat_tau = -1; }, "mirostat_tau"},
      {[](Params& p) { p.mirostat_eta = NAN; }, "mirostat_eta"},
      {[](Params& p) { p.dry.base = 0.5f; }, "dry base"},
      {[](Params& p) { p.dry.multiplier = -1; }, "dry multiplier"},
      {[](Params& p) { p.dry.allowed_length = 0; }, "dry allowed_length"},
      {[](Params& p) { p.dry.last_n = -2; }, "dry last_n"}};
  for (const auto& [set, name] : cases) {
    Params params = Off();
    set(params);
    EXPECT_THAT(std::string(Sampler::Create(params, 8).status().message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace bantam::sample
