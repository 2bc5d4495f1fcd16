// exp and log of the sampler against the C library's.
#include "runtime/sample/portable_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

namespace bantam::sample {
namespace {

// The C library's own result is within one unit in the last place, 2.2e-16 of the value.
TEST(PortableMathTest, ExpIsWithinTwoUnits) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(-700, 0);
  for (int i = 0; i < 100000; ++i) {
    const double x = i % 2 == 0 ? uniform(random) : uniform(random) / 700;
    EXPECT_NEAR(Exp(x) / std::exp(x), 1, 4.5e-16) << x;
  }
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-701), 0);
  EXPECT_EQ(Exp(-1e300), 0);
}

TEST(PortableMathTest, LogIsWithinFourUnits) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform(-20, 20);
  for (int i = 0; i < 100000; ++i) {
    const double x = std::exp(uniform(random));
    EXPECT_NEAR(Log(x), std::log(x), 1e-16 + 9e-16 * std::abs(std::log(x))) << x;
  }
  EXPECT_EQ(Log(1), 0);
}

// To the bit, on whatever machine this runs: what makes a seed's text the same everywhere. The hash
// is that of the same steps in Python.
TEST(PortableMathTest, BitsAreFixed) {
  uint64_t hash = 0;
  for (int i = 0; i < 1000; ++i) {
    hash = hash * 31 + std::bit_cast<uint64_t>(Exp(-0.0371 * i));
    hash = hash * 31 + std::bit_cast<uint64_t>(Log(1 + 0.37 * i));
  }
  EXPECT_EQ(hash, 7108863321587708692u);
}

}  // namespace
}  // namespace bantam::sample
