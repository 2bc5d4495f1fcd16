// The solver against trying every placement.

#include "runtime/schedule/solve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace bantam::schedule {
namespace {

// The least time of all placements that fit, or kImpossible.
double TryAll(const Problem& problem) {
  const size_t devices = problem.capacity.size();
  std::vector<int> device(problem.items.size(), 0);
  double best = kImpossible;
  for (;;) {
    const std::vector<uint64_t> bytes = BytesOf(problem, device);
    bool fits = true;
    for (size_t d = 0; d < devices; ++d) fits &= bytes[d] <= problem.capacity[d];
    if (fits) best = std::min(best, SecondsOf(problem, device));
    size_t i = 0;
    while (i < device.size() && ++device[i] == static_cast<int>(devices)) device[i++] = 0;
    if (i == device.size()) return best;
  }
}

// Items in a chain as layers make it, with skips and shared tables; some items bound to a device.
Problem RandomProblem(std::mt19937& random) {
  const auto draw = [&](int limit) { return static_cast<int>(random() % limit); };
  const auto number = [&] { return 0.1 + 0.01 * draw(100); };
  Problem p;
  const int devices = 1 + draw(3);
  const int items = 1 + draw(devices == 3 ? 7 : 9);
  const bool is_uniform = draw(2) == 0;  // like layers: many equal items
  const uint64_t size = 1 + draw(20);
  std::vector<double> speed;
  for (int d = 0; d < devices; ++d) {
    p.capacity.push_back(d + 1 == devices && draw(4) != 0 ? kUnlimited : draw(100));
    speed.push_back(number());
  }
  for (int i = 0; i < items; ++i) {
    Problem::Item item;
    const uint64_t bytes = is_uniform ? size : draw(30);
    for (int d = 0; d < devices; ++d) {
      item.seconds.push_back(is_uniform ? speed[d] * static_cast<double>(bytes) : number());
      if (draw(15) == 0) item.seconds.back() = kImpossible;
      item.bytes.push_back(draw(8) == 0 ? bytes + draw(3) : bytes);
    }
    p.items.push_back(item);
  }
  const auto transfer = [&] {
    std::vector<std::vector<double>> seconds(devices, std::vector<double>(devices, 0));
    for (auto& row : seconds) {
      for (double& s : row) s = number() * (draw(2) == 0 ? 0.1 : 3);
    }
    return seconds;
  };
  for (int i = 0; i + 1 < items; ++i) {
    Problem::Crossing crossing;
    crossing.from = i;
    crossing.to = {i + 1};
    if (draw(3) == 0) crossing.to.push_back(draw(items));
    if (draw(6) == 0) std::swap(crossing.from, crossing.to[0]);  // and back, as attention does
    crossing.seconds = transfer();
    p.crossings.push_back(crossing);
  }
  for (int i = draw(3); i > 0; --i) {
    Problem::Shared shared;
    shared.items = {draw(items), draw(items)};
    if (draw(2) == 0) shared.items.push_back(draw(items));
    for (int d = 0; d < devices; ++d) shared.bytes.push_back(draw(30));
    p.shared.push_back(shared);
  }
  return p;
}

TEST(Solve, IsTheBestOfAllPlacements) {
  int impossible = 0, limited = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    Problem problem = RandomProblem(random);
    const double expected = TryAll(problem);
    const std::optional<Solution> found = Solve(problem);
    ASSERT_EQ(found.has_value(), expected != kImpossible) << "seed " << seed;
    impossible += !found.has_value();
    if (!found.has_value()) continue;
    const std::vector<uint64_t> bytes = BytesOf(problem, found->device);
    for (size_t d = 0; d < bytes.size(); ++d) ASSERT_LE(bytes[d], problem.capacity[d]) << seed;
    // Sums in another order differ in the last bits.
    ASSERT_NEAR(SecondsOf(problem, found->device), expected, 1e-9) << "seed " << seed;
    ASSERT_NEAR(found->seconds, expected, 1e-9) << "seed " << seed;
    for (uint64_t& capacity : problem.capacity) capacity = kUnlimited;
    limited += TryAll(problem) < expected - 1e-9;
  }
  // Both must happen, or the capacities show nothing.
  EXPECT_GT(impossible, 100);
  EXPECT_GT(limited, 500);
}

TEST(Solve, NothingToPlace) {
  Problem problem;
  problem.capacity = {10};
  const std::optional<Solution> found = Solve(problem);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->device.empty());
}

}  // namespace
}  // namespace bantam::schedule
