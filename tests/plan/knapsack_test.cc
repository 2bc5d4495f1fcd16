#include "runtime/plan/knapsack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>

namespace bantam::plan {
namespace {

// The least cost within the budget, by trying everything.
std::optional<double> BruteForce(const std::vector<std::vector<Option>>& groups, uint64_t budget,
                                 size_t g = 0) {
  if (g == groups.size()) return 0;
  std::optional<double> best;
  for (const Option& o : groups[g]) {
    if (o.bytes > budget) continue;
    const auto rest = BruteForce(groups, budget - o.bytes, g + 1);
    if (rest && (!best || *rest + o.cost < *best)) best = *rest + o.cost;
  }
  return best;
}

void CheckConsistent(const std::vector<std::vector<Option>>& groups, uint64_t budget,
                     const Selection& s) {
  ASSERT_EQ(s.choice.size(), groups.size());
  uint64_t bytes = 0;
  double cost = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    ASSERT_GE(s.choice[g], 0);
    ASSERT_LT(s.choice[g], static_cast<int>(groups[g].size()));
    bytes += groups[g][s.choice[g]].bytes;
    cost += groups[g][s.choice[g]].cost;
  }
  EXPECT_EQ(s.bytes, bytes);
  EXPECT_LE(bytes, budget);
  EXPECT_NEAR(s.cost, cost, 1e-9 * std::max(1.0, cost));
  EXPECT_LE(s.bound, s.cost);
}

TEST(Knapsack, EqualsBruteForce) {
  std::mt19937 random(1);
  int infeasible = 0, proven = 0;
  constexpr int kCases = 2000;
  for (int i = 0; i < kCases; ++i) {
    std::vector<std::vector<Option>> groups(1 + random() % 7);
    uint64_t least = 0, most = 0;
    for (auto& options : groups) {
      options.resize(1 + random() % 5);
      uint64_t low = UINT64_MAX, high = 0;
      for (Option& o : options) {
        // Few values, so that there are ties and dominated options; also a fall towards more bytes.
        o.bytes = random() % 30;
        o.cost = static_cast<double>(random() % 20) / (i % 2 == 0 ? 1.0 : 1.0 + o.bytes);
        low = std::min(low, o.bytes);
        high = std::max(high, o.bytes);
      }
      least += low;
      most += high;
    }
    const uint64_t budget = least > 2 ? least - 2 + random() % (most - least + 5) : random() % 40;
    const auto expected = BruteForce(groups, budget);
    const auto found = Select(groups, budget);
    if (!expected) {
      ++infeasible;
      EXPECT_TRUE(absl::IsResourceExhausted(found.status()));
      continue;
    }
    ASSERT_TRUE(found.ok()) << found.status();
    CheckConsistent(groups, budget, *found);
    EXPECT_NEAR(found->cost, *expected, 1e-9) << i;
    EXPECT_NEAR(found->bound, found->cost, 1e-9);
    ++proven;
    // With next to no memory it may miss the best, but says so.
    const auto rough = Select(groups, budget, 1);
    ASSERT_TRUE(rough.ok());
    CheckConsistent(groups, budget, *rough);
    EXPECT_LE(rough->bound, *expected + 1e-9);
  }
  EXPECT_GT(infeasible, 20);
  EXPECT_GT(proven, 1000);
}

// As many tensors and types as a model of 70 billion weights has.
TEST(Knapsack, SolvesAModelExactly) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform(0.3, 3.0);
  std::vector<std::vector<Option>> groups;
  uint64_t weights = 0;
  for (int i = 0; i < 560; ++i) {
    const uint64_t size = (i % 7 < 2 ? 8192 : 28672) * 8192ull;
    weights += size;
    std::vector<Option> options;
    const double gain = uniform(random);
    for (const double bits : {2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5}) {
      options.push_back({static_cast<uint64_t>(static_cast<double>(size) * bits / 8),
                         gain * std::exp2(-2 * bits) * uniform(random)});
    }
    groups.push_back(options);
  }
  const uint64_t budget = weights * 45 / 80;
  const auto found = Select(groups, budget);
  ASSERT_TRUE(found.ok()) << found.status();
  CheckConsistent(groups, budget, *found);
  // The relaxation is this close already.
  EXPECT_LE(found->cost - found->bound, 1e-3 * found->cost);
}

TEST(Knapsack, EmptyGroupIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(Select(std::vector<std::vector<Option>>(1), 10).status()));
  const auto nothing = Select({}, 0);
  ASSERT_TRUE(nothing.ok());
  EXPECT_EQ(nothing->bytes, 0);
}

}  // namespace
}  // namespace bantam::plan
