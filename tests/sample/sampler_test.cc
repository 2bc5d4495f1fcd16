// The sampler chain against a plain float64 account of what each stage keeps.
#include "runtime/sample/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "runtime/sample/portable_math.h"
#include "runtime/sample/random.h"

namespace {
int64_t allocations = 0;
}  // namespace

// Counts every allocation of this program. Not inlined, or GCC takes malloc and delete for a
// mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace bantam::sample {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every stage off.
Params Off() {
  return {.temperature = 1,
          .top_k = 0,
          .top_p = 1,
          .min_p = 0,
          .typical_p = 1,
          .repeat_penalty = 1,
          .penalty_last_n = 64};
}

std::unique_ptr<Sampler> Make(const Params& params, int64_t vocab_size) {
  auto sampler = Sampler::Create(params, vocab_size);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

std::vector<float> RandomLogits(int count, uint64_t seed, double spread = 3) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(normal(engine));
  return logits;
}

// ---- The reference: one pass of plain code per stage, all in float64. ----

using Distribution = std::map<int, double>;  // token -> logit

std::map<int, double> Softmax(const Distribution& kept, double temperature) {
  double highest = -1e300, sum = 0;
  for (const auto& [id, logit] : kept) highest = std::max(highest, logit);
  std::map<int, double> p;
  for (const auto& [id, logit] : kept) sum += p[id] = std::exp((logit - highest) / temperature);
  for (auto& [id, value] : p) value /= sum;
  return p;
}

// Keeps tokens in the order of `key`, smallest first, until their probabilities sum to `share`.
template <typename Key>
Distribution KeepShare(const Distribution& kept, double share, Key key) {
  const auto p = Softmax(kept, 1);
  std::vector<std::pair<double, int>> order;
  for (const auto& [id, logit] : kept) order.emplace_back(key(id, p.at(id)), id);
  std::sort(order.begin(), order.end());
  Distribution out;
  double sum = 0;
  for (const auto& [_, id] : order) {
    out[id] = kept.at(id);
    sum += p.at(id);
    if (sum >= share) break;
  }
  return out;
}

Distribution Reference(const Params& params, const std::vector<float>& logits,
                       const std::vector<int32_t>& text) {
  Distribution kept;
  std::map<int, int> counts;
  const int64_t window =
      params.penalty_last_n < 0 ? static_cast<int64_t>(text.size()) : params.penalty_last_n;
  for (size_t i = 0; i < text.size(); ++i) {
    if (static_cast<int64_t>(text.size() - i) <= window) ++counts[text[i]];
  }
  for (size_t id = 0; id < logits.size(); ++id) {
    if (!std::isfinite(logits[id])) continue;
    double logit = logits[id];
    if (const int count = counts[static_cast<int>(id)]; count > 0) {
      logit = logit > 0 ? logit / params.repeat_penalty : logit * params.repeat_penalty;
      logit -= count * static_cast<double>(params.frequency_penalty) + params.presence_penalty;
    }
    kept[static_cast<int>(id)] = logit;
  }
  if (params.top_k > 0 && params.top_k < static_cast<int>(kept.size())) {
    std::vector<std::pair<double, int>> order;
    for (const auto& [id, logit] : kept) order.emplace_back(-logit, id);
    std::sort(order.begin(), order.end());
    for (size_t i = params.top_k; i < order.size(); ++i) kept.erase(order[i].second);
  }
  if (params.typical_p < 1) {
    double entropy = 0;
    for (const auto& [id, p] : Softmax(kept, 1)) entropy -= p * std::log(p);
    kept = KeepShare(kept, params.typical_p,
                     [&](int, double p) { return std::fabs(-std::log(p) - entropy); });
  }
  if (params.top_p < 1) {
    kept = KeepShare(kept, params.top_p, [](int, double p) { return -p; });
  }
  if (params.min_p > 0) {
    const auto p = Softmax(kept, 1);
    double highest = 0;
    for (const auto& [id, value] : p) highest = std::max(highest, value);
    for (const auto& [id, value] : p) {
      if (value < params.min_p * highest) kept.erase(id);
    }
  }
  return kept;
}

// The tokens the chain can pick: at so high a temperature all that are left are equally likely, and
// 25 draws per token miss one with a chance of 1e-11.
std::set<int> Support(Params params, const std::vector<float>& logits,
                      const std::vector<int32_t>& text, size_t expected) {
  params.temperature = 1e9f;
  auto sampler = Make(params, static_cast<int64_t>(logits.size()));
  for (const int32_t token : text) sampler->Accept(token);
  std::set<int> seen;
  for (size_t i = 0; i < 25 * expected + 40; ++i) seen.insert(sampler->Sample(logits).value());
  return seen;
}

void ExpectSupport(const Params& params, const std::vector<float>& logits,
                   const std::vector<int32_t>& text = {}) {
  std::set<int> expected;
  for (const auto& [id, _] : Reference(params, logits, text)) expected.insert(id);
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(Support(params, logits, text, expected.size()), expected);
}

// Pearson's chi-square of `draws` samples against the reference. The bound is the mean plus six
// standard deviations: a sampler that is right passes every fixed seed but one in 1e8.
void ExpectDistribution(const Params& params, const std::vector<float>& logits,
                        const std::vector<int32_t>& text = {}, int draws = 40000) {
  const auto expected = Softmax(Reference(params, logits, text), params.temperature);
  auto sampler = Make(params, static_cast<int64_t>(logits.size()));
  for (const int32_t token : text) sampler->Accept(token);
  std::map<int, int> seen;
  for (int i = 0; i < draws; ++i) ++seen[sampler->Sample(logits).value()];
  double chi_square = 0, rare_expected = 0, rare_seen = 0;
  int cells = 0;
  for (const auto& [id, count] : seen) ASSERT_TRUE(expected.contains(id)) << id << " " << count;
  for (const auto& [id, p] : expected) {
    if (p * draws < 5) {  // too few for the statistic: counted together
      rare_expected += p * draws;
      rare_seen += seen[id];
      continue;
    }
    const double difference = seen[id] - p * draws;
    chi_square += difference * difference / (p * draws);
    ++cells;
  }
  if (rare_expected > 0) {
    const double difference = rare_seen - rare_expected;
    chi_square += difference * difference / std::max(rare_expected, 5.0);
    ++cells;
  }
  EXPECT_LT(chi_square, cells + 6 * std::sqrt(2.0 * cells)) << cells << " cells";
}

TEST(SamplerTest, TopKKeepsTheLikeliest) {
  for (const int top_k : {1, 2, 17, 99, 100, 101, 5000}) {
    SCOPED_TRACE(top_k);
    Params params = Off();
    params.top_k = top_k;
    ExpectSupport(params, RandomLogits(100, top_k));
  }
}

TEST(SamplerTest, TopPKeepsTheShortestHead) {
  for (const float top_p : {0.0f, 0.1f, 0.5f, 0.9f, 0.999f}) {
    SCOPED_TRACE(top_p);
    Params params = Off();
    params.top_p = top_p;
    for (int seed = 0; seed < 5; ++seed) ExpectSupport(params, RandomLogits(120, seed));
  }
  // A flat distribution, whose head is longer than the first block that is sorted.
  Params params = Off();
  params.top_p = 0.8f;
  ExpectSupport(params, RandomLogits(500, 7, 0.3));
}

TEST(SamplerTest, MinPKeepsWhatIsNearTheLikeliest) {
  for (const float min_p : {0.01f, 0.1f, 0.5f, 1.0f}) {
    SCOPED_TRACE(min_p);
    Params params = Off();
    params.min_p = min_p;
    for (int seed = 0; seed < 5; ++seed) ExpectSupport(params, RandomLogits(120, seed));
  }
}

TEST(SamplerTest, TypicalKeepsWhatIsNearTheEntropy) {
  for (const float typical_p : {0.0f, 0.2f, 0.5f, 0.95f}) {
    SCOPED_TRACE(typical_p);
    Params params = Off();
    params.typical_p = typical_p;
    for (int seed = 0; seed < 5; ++seed) ExpectSupport(params, RandomLogits(120, seed));
    ExpectSupport(params, RandomLogits(500, 9, 0.3));
  }
}

TEST(SamplerTest, StagesWorkTogether) {
  std::mt19937_64 engine(1);
  std::uniform_real_distribution<float> uniform(0.05f, 1);
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    Params params = Off();
    if (round % 2 == 0) params.top_k = static_cast<int32_t>(engine() % 120);
    if (round % 3 != 0) params.top_p = uniform(engine);
    if (round % 5 != 0) params.typical_p = uniform(engine);
    if (round % 7 > 2) params.min_p = uniform(engine) * 0.2f;
    std::vector<int32_t> text;
    if (round % 4 == 1) {
      params.repeat_penalty = 0.5f + uniform(engine);
      params.frequency_penalty = uniform(engine) - 0.3f;
      params.presence_penalty = uniform(engine) - 0.3f;
      params.penalty_last_n = static_cast<int32_t>(engine() % 60) - 1;
      for (int i = 0; i < 80; ++i) text.push_back(static_cast<int32_t>(engine() % 100));
    }
    ExpectSupport(params, RandomLogits(100, 1000 + round), text);
  }
}

TEST(SamplerTest, DrawsFollowTheDistribution) {
  for (const float temperature : {0.3f, 0.8f, 1.0f, 2.5f}) {
    SCOPED_TRACE(temperature);
    Params params = Off();
    params.seed = 5;
    params.temperature = temperature;
    ExpectDistribution(params, RandomLogits(50, 11, 2));
    params.top_k = 10;
    params.top_p = 0.9f;
    params.min_p = 0.02f;
    ExpectDistribution(params, RandomLogits(50, 12, 2));
    params.typical_p = 0.8f;
    ExpectDistribution(params, RandomLogits(50, 13, 2));
  }
}

TEST(SamplerTest, PenaltiesFollowTheDistribution) {
  Params params = Off();
  params.repeat_penalty = 1.3f;
  params.frequency_penalty = 0.2f;
  params.presence_penalty = 0.4f;
  const std::vector<int32_t> text = {1, 2, 3, 1, 1, 4, 2, 9, 9, 9, 9, 0};
  for (const int32_t last_n : {-1, 0, 1, 3, 12, 1000}) {
    SCOPED_TRACE(last_n);
    params.penalty_last_n = last_n;
    ExpectDistribution(params, RandomLogits(12, 21, 2), text);
  }
}

TEST(SamplerTest, PenaltiesLookBackAFixedWay) {
  Params params = Off();
  params.temperature = 0;
  params.presence_penalty = 10;
  params.penalty_last_n = 2;
  auto sampler = Make(params, 4);
  const std::vector<float> logits = {4, 3, 2, 1};
  std::vector<int32_t> picked;
  for (int i = 0; i < 7; ++i) {
    picked.push_back(sampler->Sample(logits).value());
    sampler->Accept(picked.back());
  }
  EXPECT_THAT(picked, testing::ElementsAre(0, 1, 2, 0, 1, 2, 0));
  sampler->Reset();
  EXPECT_EQ(sampler->Sample(logits).value(), 0);
  // The limit of the history holds for "all", too.
  params.penalty_last_n = -1;
  auto all = *Sampler::Create(params, 4, /*max_history=*/1);
  all->Accept(0);
  EXPECT_EQ(all->Sample(logits).value(), 1);
  all->Accept(1);
  EXPECT_EQ(all->Sample(logits).value(), 0);
  all->Accept(-1);  // no tokens: ignored
  all->Accept(4);
  EXPECT_EQ(all->Sample(logits).value(), 0);
}

TEST(SamplerTest, GreedyPicksTheFirstOfTheHighest) {
  Params params;
  params.temperature = 0;
  auto sampler = Make(params, 6);
  EXPECT_EQ(sampler->Sample(std::vector<float>{1, 3, 2, 3, kNan, kInfinity}).value(), 1);
  EXPECT_EQ(sampler->Sample(std::vector<float>{-5, -5, -5, -5, -5, -5}).value(), 0);
  EXPECT_EQ(sampler->Sample(std::vector<float>{kNan, -kInfinity, kNan, kNan, -1e38f, kNan}).value(),
            4);
}

TEST(SamplerTest, EqualLogitsGoByTheirId) {
  Params params = Off();
  params.top_k = 3;
  EXPECT_EQ(Support(params, std::vector<float>(10, 1), {}, 3), (std::set<int>{0, 1, 2}));
  params = Off();
  params.top_p = 0.35f;
  EXPECT_EQ(Support(params, std::vector<float>(10, 1), {}, 4), (std::set<int>{0, 1, 2, 3}));
}

TEST(SamplerTest, TokensThatAreNotFiniteAreNeverPicked) {
  std::vector<float> logits = {kNan, 1, -kInfinity, 2, kInfinity, kNan, 0};
  Params params = Off();
  ExpectSupport(params, logits);
  params.top_k = 5;
  ExpectSupport(params, logits);
  params.top_p = 0.99f;
  params.typical_p = 0.99f;
  params.min_p = 1e-3f;
  ExpectSupport(params, logits);
}

TEST(SamplerTest, ExtremeLogitsAndTemperatures) {
  Params params = Off();
  params.temperature = std::numeric_limits<float>::denorm_min();
  auto cold = Make(params, 3);
  EXPECT_EQ(cold->Sample(std::vector<float>{-3e38f, 3e38f, 2.9e38f}).value(), 1);
  params.temperature = 3e38f;
  params.typical_p = 0.5f;
  params.top_p = 0.5f;
  params.min_p = 0.5f;
  auto hot = Make(params, 3);
  EXPECT_EQ(hot->Sample(std::vector<float>{-3e38f, 3e38f, 2.9e38f}).value(), 1);
}

TEST(SamplerTest, BrokenModelsAreNamed) {
  for (const float temperature : {0.0f, 1.0f}) {
    Params params;
    params.temperature = temperature;
    auto sampler = Make(params, 4);
    const auto token = sampler->Sample(std::vector<float>{kNan, kInfinity, -kInfinity, kNan});
    EXPECT_EQ(token.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(token.status().message(),
              "the model is broken: none of its 4 logits is finite, 2 are NaN");
    EXPECT_FALSE(sampler->Sample(std::vector<float>{1, 2, 3}).ok());
    EXPECT_TRUE(sampler->Sample(std::vector<float>{1, 2, 3, 4}).ok());
  }
}

TEST(SamplerTest, ParametersOutOfRangeAreNamed) {
  const auto expect_refused = [](auto set, const char* name) {
    Params params;
    set(params);
    const auto sampler = Sampler::Create(params, 10);
    EXPECT_EQ(sampler.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(sampler.status().message()), testing::HasSubstr(name));
  };
  for (const float bad : {-0.1f, kNan, kInfinity}) {
    expect_refused([&](Params& p) { p.temperature = bad; }, "temperature");
    expect_refused([&](Params& p) { p.top_p = bad; }, "top_p");
    expect_refused([&](Params& p) { p.min_p = bad; }, "min_p");
    expect_refused([&](Params& p) { p.typical_p = bad; }, "typical_p");
    expect_refused([&](Params& p) { p.repeat_penalty = bad; }, "repeat_penalty");
  }
  expect_refused([](Params& p) { p.top_p = 1.1f; }, "top_p");
  expect_refused([](Params& p) { p.min_p = 1.1f; }, "min_p");
  expect_refused([](Params& p) { p.typical_p = 1.1f; }, "typical_p");
  expect_refused([](Params& p) { p.top_k = -1; }, "top_k");
  expect_refused([](Params& p) { p.repeat_penalty = 0; }, "repeat_penalty");
  expect_refused([](Params& p) { p.frequency_penalty = kNan; }, "frequency_penalty");
  expect_refused([](Params& p) { p.presence_penalty = kInfinity; }, "presence_penalty");
  expect_refused([](Params& p) { p.penalty_last_n = -2; }, "penalty_last_n");
  EXPECT_FALSE(Sampler::Create(Params(), 0).ok());
  EXPECT_FALSE(Sampler::Create(Params(), int64_t{1} << 31).ok());
}

TEST(SamplerTest, TheSeedDecidesTheTokens) {
  const auto run = [](uint64_t seed, bool reset) {
    Params params;
    params.seed = seed;
    params.presence_penalty = 0.5f;
    auto sampler = Make(params, 500);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 200; ++i) {
      if (i == 100 && reset) sampler->Reset();
      tokens.push_back(sampler->Sample(RandomLogits(500, i % 100)).value());
      sampler->Accept(tokens.back());
    }
    return tokens;
  };
  EXPECT_EQ(run(1, false), run(1, false));
  EXPECT_NE(run(1, false), run(2, false));
  const auto twice = run(3, true);
  EXPECT_EQ(std::vector<int32_t>(twice.begin(), twice.begin() + 100),
            std::vector<int32_t>(twice.begin() + 100, twice.end()));
}

// Kept from a first run, so that a change of the random sequence, of exp or of the order of a sum
// does not go unnoticed: published seeds must keep their texts.
TEST(SamplerTest, TheTokensOfASeedStayTheSame) {
  Params params;
  params.seed = 42;
  params.typical_p = 0.95f;
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>((i * 7919) % 1009) * 0.01f;
  }
  auto sampler = Make(params, 1000);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 12; ++i) tokens.push_back(sampler->Sample(logits).value());
  EXPECT_THAT(tokens,
              testing::ElementsAre(277, 99, 442, 20, 297, 475, 963, 752, 719, 409, 442, 831));
}

TEST(SamplerTest, SampleAllocatesNothing) {
  Params params;
  params.repeat_penalty = 1.1f;
  params.typical_p = 0.9f;
  const std::vector<float> logits = RandomLogits(5000, 3);
  for (const int32_t top_k : {0, 40}) {
    for (const float temperature : {0.0f, 0.8f}) {
      params.top_k = top_k;
      params.temperature = temperature;
      auto sampler = Make(params, 5000);
      const int64_t before = allocations;
      for (int i = 0; i < 200; ++i) {
        const auto token = sampler->Sample(logits);
        sampler->Accept(*token);
      }
      EXPECT_EQ(allocations, before);
    }
  }
  // The counter counts.
  const int64_t before = allocations;
  std::vector<int> more(10);
  EXPECT_GT(allocations, before - static_cast<int64_t>(more.size()));
  EXPECT_EQ(allocations, before + 1);
}

TEST(PortableMathTest, ExpIsWithinTwoUnits) {
  std::mt19937_64 engine(1);
  std::uniform_real_distribution<double> uniform(-700, 0);
  for (int i = 0; i < 100000; ++i) {
    const double x = i % 2 == 0 ? uniform(engine) : uniform(engine) / 700;
    EXPECT_NEAR(Exp(x) / std::exp(x), 1, 4.5e-16) << x;
  }
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-701), 0);
  EXPECT_EQ(Exp(-1e300), 0);
}

TEST(PortableMathTest, LogIsWithinFourUnits) {
  std::mt19937_64 engine(1);
  std::uniform_real_distribution<double> uniform(0, 20);
  for (int i = 0; i < 100000; ++i) {
    const double x = std::exp(uniform(engine));
    EXPECT_NEAR(Log(x), std::log(x), 1e-16 + 9e-16 * std::log(x)) << x;
  }
  EXPECT_EQ(Log(1), 0);
}

// From an independent implementation in Python, which gives the published numbers of xoshiro256**
// from the state {1, 2, 3, 4} (11520, 0, 1509978240, ...) and of SplitMix64 from 0
// (e220a8397b1dcdaf, 6e789e6aa1b965f4, ...).
TEST(RandomTest, SequenceIsThePublishedOne) {
  Random random(0);
  constexpr uint64_t kExpected[] = {0x99ec5f36cb75f2b4, 0xbf6e1f784956452a, 0x1a5f849d4933e6e0,
                                    0x6aa594f1262d2d2c, 0xbba5ad4a1f842e59};
  for (const uint64_t expected : kExpected) {
    EXPECT_EQ(random.Next(), expected);
  }
  Random uniform(7);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = uniform.Uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);  // 5 standard deviations of the mean
}

}  // namespace
}  // namespace bantam::sample
