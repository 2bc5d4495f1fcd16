// The sampler chain against a direct float64 computation of the distribution it should draw from.

#include "runtime/sample/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "runtime/sample/random.h"
#include "tests/support/allocation_counter.h"

namespace bantam::sample {
namespace {

using ::testing::HasSubstr;

constexpr Params kOff = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::unique_ptr<Sampler> Make(const Params& params, int64_t vocab_size) {
  auto sampler = Sampler::Create(params, vocab_size);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

std::vector<float> RandomLogits(int64_t n, uint64_t seed, float scale = 3) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> logits(n);
  for (float& v : logits) v = normal(random);
  return logits;
}

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double peak = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (double v : logits) p.push_back(std::exp(v - peak));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  return p;
}

// Removes the tokens that a stage does not keep.
void Mask(std::vector<double>& logits, const std::vector<bool>& keep) {
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!keep[i]) logits[i] = -INFINITY;
  }
}

// Keeps tokens in the order of `key` (ascending) until `enough` says so.
template <typename Enough>
std::vector<bool> KeepUntil(const std::vector<double>& key, const std::vector<double>& p,
                            Enough enough) {
  std::vector<size_t> order(key.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key[a] < key[b]; });
  std::vector<bool> keep(key.size());
  double sum = 0;
  for (size_t n = 0; n < order.size(); ++n) {
    if (p[order[n]] == 0) continue;
    keep[order[n]] = true;
    sum += p[order[n]];
    if (enough(n + 1, sum)) break;
  }
  return keep;
}

// What the whole chain should draw from, computed stage by stage over the full vocabulary.
std::vector<double> Expected(const Params& params, std::span<const float> logits,
                             const std::vector<int32_t>& text) {
  std::vector<double> l(logits.begin(), logits.end());
  std::map<int32_t, int> counts;
  const size_t look_back = params.penalty_last_n < 0
                               ? text.size()
                               : std::min<size_t>(text.size(), params.penalty_last_n);
  for (size_t i = text.size() - look_back; i < text.size(); ++i) ++counts[text[i]];
  for (const auto& [id, count] : counts) {
    l[id] = l[id] > 0 ? l[id] / params.repeat_penalty : l[id] * params.repeat_penalty;
    l[id] -= count * params.frequency_penalty + params.presence_penalty;
  }
  auto negated = [](std::vector<double> v) {
    for (double& x : v) x = -x;
    return v;
  };
  if (params.top_k > 0) {
    const std::vector<double> p = Softmax(l);
    Mask(l, KeepUntil(negated(p), p, [&](size_t n, double) { return n >= size_t(params.top_k); }));
  }
  if (params.typical_p < 1) {
    const std::vector<double> p = Softmax(l);
    double entropy = 0;
    for (double v : p) entropy -= v > 0 ? v * std::log(v) : 0;
    std::vector<double> distance;
    for (double v : p) distance.push_back(v > 0 ? std::abs(-std::log(v) - entropy) : INFINITY);
    Mask(l, KeepUntil(distance, p, [&](size_t, double s) { return s >= params.typical_p; }));
  }
  if (params.top_p < 1) {
    const std::vector<double> p = Softmax(l);
    Mask(l, KeepUntil(negated(p), p, [&](size_t, double s) { return s >= params.top_p; }));
  }
  if (params.min_p > 0) {
    const std::vector<double> p = Softmax(l);
    const double most = *std::max_element(p.begin(), p.end());
    std::vector<bool> keep;
    for (double v : p) keep.push_back(v >= most * params.min_p);
    Mask(l, keep);
  }
  for (double& v : l) v /= params.temperature;
  return Softmax(l);
}

struct Case {
  const char* name;
  Params params;
};

class Distribution : public ::testing::TestWithParam<Case> {};

TEST_P(Distribution, IsTheExpectedOne) {
  constexpr int64_t kVocab = 300;
  constexpr int kDraws = 20000;
  const Params params = GetParam().params;
  const std::vector<float> logits = RandomLogits(kVocab, 5);
  std::vector<int32_t> text;
  for (int i = 0; i < 100; ++i) text.push_back((i * i) % 37);
  const std::vector<double> expected = Expected(params, logits, text);

  auto sampler = Make(params, kVocab);
  for (int32_t token : text) sampler->Accept(token);
  std::vector<int> drawn(kVocab, 0);
  for (int i = 0; i < kDraws; ++i) {
    auto token = sampler->Sample(logits);
    ASSERT_TRUE(token.ok()) << token.status();
    ++drawn[*token];
  }
  double chi_square = 0, rest_expected = 0, rest_drawn = 0;
  int cells = 0;
  for (int64_t i = 0; i < kVocab; ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(drawn[i], 0) << "token " << i << " is outside the kept set";
      continue;
    }
    const double e = expected[i] * kDraws;
    if (e < 10) {  // too rare for the statistic: all such together
      rest_expected += e;
      rest_drawn += drawn[i];
      continue;
    }
    EXPECT_GT(drawn[i], 0) << "token " << i << " is never drawn";
    chi_square += (drawn[i] - e) * (drawn[i] - e) / e;
    ++cells;
  }
  if (rest_expected >= 10) {
    chi_square += (rest_drawn - rest_expected) * (rest_drawn - rest_expected) / rest_expected;
    ++cells;
  }
  // Mean cells - 1, standard deviation sqrt(2 (cells - 1)); the seed is fixed, so that a right
  // sampler passes always, and five deviations catch any token that is off by a few percent.
  const double freedom = std::max(cells - 1, 1);
  EXPECT_LT(chi_square, freedom + 5 * std::sqrt(2 * freedom));
}

Params With(void (*change)(Params&)) {
  Params params = kOff;
  params.seed = 99;
  change(params);
  return params;
}

INSTANTIATE_TEST_SUITE_P(
    Stages, Distribution,
    ::testing::Values(Case{"all_off", With([](Params&) {})},
                      Case{"hot", With([](Params& p) { p.temperature = 1.7f; })},
                      Case{"cold", With([](Params& p) { p.temperature = 0.3f; })},
                      Case{"top_k", With([](Params& p) { p.top_k = 7; })},
                      Case{"top_k_one", With([](Params& p) { p.top_k = 1; })},
                      Case{"top_k_past_the_vocabulary", With([](Params& p) { p.top_k = 1000; })},
                      Case{"top_p", With([](Params& p) { p.top_p = 0.8f; })},
                      Case{"top_p_nearly_all", With([](Params& p) { p.top_p = 0.999f; })},
                      Case{"top_p_zero", With([](Params& p) { p.top_p = 0; })},
                      Case{"min_p", With([](Params& p) { p.min_p = 0.05f; })},
                      Case{"min_p_one", With([](Params& p) { p.min_p = 1; })},
                      Case{"typical", With([](Params& p) { p.typical_p = 0.5f; })},
                      Case{"typical_zero", With([](Params& p) { p.typical_p = 0; })},
                      Case{"repeat", With([](Params& p) { p.repeat_penalty = 1.5f; })},
                      Case{"repeat_all", With([](Params& p) {
                             p.repeat_penalty = 1.5f;
                             p.penalty_last_n = -1;
                           })},
                      Case{"repeat_none", With([](Params& p) {
                             p.repeat_penalty = 1.5f;
                             p.penalty_last_n = 0;
                           })},
                      Case{"frequency_presence", With([](Params& p) {
                             p.frequency_penalty = 0.3f;
                             p.presence_penalty = 0.4f;
                           })},
                      Case{"everything", With([](Params& p) {
                             p = Params();
                             p.typical_p = 0.95f;
                             p.repeat_penalty = 1.1f;
                             p.frequency_penalty = 0.1f;
                           })}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits = RandomLogits(1000, 1);
  auto draw = [&](uint64_t seed) {
    auto sampler = Make({.seed = seed}, 1000);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      tokens.push_back(*sampler->Sample(logits));
      sampler->Accept(tokens.back());
    }
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, ResetStartsOver) {
  const std::vector<float> logits = RandomLogits(100, 1);
  auto sampler = Make({.repeat_penalty = 2, .seed = 4}, 100);
  auto draw = [&] {
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) {
      tokens.push_back(*sampler->Sample(logits));
      sampler->Accept(tokens.back());
    }
    return tokens;
  };
  const std::vector<int32_t> first = draw();
  EXPECT_NE(draw(), first);
  sampler->Reset();
  EXPECT_EQ(draw(), first);
}

TEST(Sampler, GreedyTakesTheLowestOfTheLikeliest) {
  auto sampler = Make({.temperature = 0}, 5);
  EXPECT_EQ(*sampler->Sample(std::vector<float>{1, 3, 2, 3, 0}), 1);
  EXPECT_EQ(*sampler->Sample(std::vector<float>{-kInf, -5, kNan, -4, -6}), 3);
}

TEST(Sampler, PenaltiesApplyToGreedy) {
  auto sampler = Make({.temperature = 0, .presence_penalty = 2}, 3);
  const std::vector<float> logits = {3, 2, 1.5f};
  EXPECT_EQ(*sampler->Sample(logits), 0);
  sampler->Accept(0);
  EXPECT_EQ(*sampler->Sample(logits), 1);
  sampler->Accept(1);
  EXPECT_EQ(*sampler->Sample(logits), 2);
}

TEST(Sampler, MaskedTokensAreNeverDrawn) {
  auto sampler = Make({.temperature = 100, .top_k = 0, .top_p = 1, .min_p = 0}, 4);
  const std::vector<float> logits = {-kInf, 1, kNan, 2};
  for (int i = 0; i < 200; ++i) EXPECT_EQ(*sampler->Sample(logits) % 2, 1);
}

TEST(Sampler, NoFiniteLogitIsAnError) {
  auto sampler = Make({}, 3);
  const auto token = sampler->Sample(std::vector<float>{kNan, -kInf, kNan});
  EXPECT_EQ(token.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(token.status().message()), HasSubstr("2 are NaN"));
  EXPECT_FALSE(sampler->Sample(std::vector<float>{1, 2}).ok());  // wrong count
}

TEST(Sampler, TokensOutsideTheVocabularyAreIgnored) {
  auto sampler = Make({.repeat_penalty = 2}, 3);
  sampler->Accept(-1);
  sampler->Accept(3);
  EXPECT_TRUE(sampler->Sample(std::vector<float>{1, 2, 3}).ok());
}

TEST(Sampler, ParametersOutOfRangeAreNamed) {
  const std::pair<const char*, Params> cases[] = {
      {"temperature", {.temperature = -1}},
      {"temperature", {.temperature = kNan}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 1.5f}},
      {"min_p", {.min_p = -0.1f}},
      {"typical_p", {.typical_p = kNan}},
      {"repeat_penalty", {.repeat_penalty = 0}},
      {"frequency_penalty", {.frequency_penalty = kInf}},
      {"presence_penalty", {.presence_penalty = -kInf}},
      {"penalty_last_n", {.penalty_last_n = -2}}};
  for (const auto& [name, params] : cases) {
    const auto sampler = Sampler::Create(params, 10);
    EXPECT_EQ(sampler.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(sampler.status().message()), HasSubstr(name));
  }
  EXPECT_FALSE(Sampler::Create({}, 0).ok());
}

TEST(Sampler, AllocatesNothing) {
  const std::vector<float> logits = RandomLogits(50000, 3);
  Params typical = {.typical_p = 0.9f};
  typical.top_k = 0;
  for (const Params& params :
       {Params{}, Params{.top_k = 0, .repeat_penalty = 1.2f}, typical, Params{.temperature = 0}}) {
    auto sampler = Make(params, 50000);
    const int64_t before = bantam::testing::allocation_count.load();
    for (int i = 0; i < 20; ++i) sampler->Accept(*sampler->Sample(logits));
    EXPECT_EQ(bantam::testing::allocation_count.load() - before, 0);
  }
}

// The first outputs of the published generator for this seed, computed with Python's integers.
TEST(Random, IsXoshiro256StarStarSeededBySplitMix64) {
  Random random(42);
  for (uint64_t expected :
       {0x15780b2e0c2ec716u, 0x6104d9866d113a7eu, 0xae17533239e499a1u, 0xecb8ad4703b360a1u})
    EXPECT_EQ(random.Next(), expected);
  Random unit(7);
  for (int i = 0; i < 1000; ++i) {
    const double v = unit.NextUnit();
    EXPECT_GE(v, 0);
    EXPECT_LT(v, 1);
  }
}

TEST(Sampler, KnowsWhetherItIsGreedy) {
  const Params greedy = {.temperature = 0, .top_k = 3, .top_p = 0.5f, .mirostat = true};
  EXPECT_TRUE(Make(greedy, 10)->greedy());
  for (auto change : std::initializer_list<void (*)(Params&)>{
           [](Params& p) { p.temperature = 0.1f; }, [](Params& p) { p.repeat_penalty = 1.1f; },
           [](Params& p) { p.frequency_penalty = 0.1f; },
           [](Params& p) { p.presence_penalty = -0.1f; },
           [](Params& p) { p.dry.multiplier = 0.8f; },
           [](Params& p) {
             p.logit_bias.push_back({1, 1.0f});
           }}) {
    Params params = greedy;
    change(params);
    EXPECT_FALSE(Make(params, 10)->greedy());
  }
}

}  // namespace
}  // namespace bantam::sample
