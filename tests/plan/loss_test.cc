#include "runtime/plan/loss.h"

#include <gtest/gtest.h>

namespace bantam::plan {
namespace {

TEST(ExpectedLoss, WhatIsPublishedAtItsSize) {
  EXPECT_NEAR(ExpectedDivergence("Q4_K_M", 4.9, 8.03e9), 0.031273, 1e-9);
  EXPECT_NEAR(ExpectedDivergence("IQ3_XXS", 3.26, 8.03e9), 0.183625, 1e-9);
  EXPECT_EQ(ExpectedDivergence("F16", 16, 8.03e9), 0);
}

// An eighth of the weights: twice the loss.
TEST(ExpectedLoss, SmallModelsLoseMore) {
  EXPECT_NEAR(ExpectedDivergence("Q4_K_M", 4.9, 8.03e9 / 8), 2 * 0.031273, 1e-6);
  EXPECT_LT(ExpectedDivergence("Q4_K_M", 4.9, 70e9), 0.02);
}

TEST(ExpectedLoss, MoreBitsThanTheNameStandsForLoseLess) {
  // Q2_K of a model whose rows do not hold its blocks is mostly Q4_0.
  const double loss = ExpectedDivergence("Q2_K", 4.9, 8.03e9);
  EXPECT_NEAR(loss, 0.031273, 1e-6);
  double before = 1e9;
  for (double bits = 1.5; bits < 16; bits += 0.1) {
    const double now = ExpectedDivergence("", bits, 8.03e9);
    EXPECT_LE(now, before) << bits;
    EXPECT_GT(now, 0);
    before = now;
  }
}

TEST(ExpectedLoss, Words) {
  EXPECT_EQ(DescribeDivergence(0), "none");
  EXPECT_EQ(DescribeDivergence(0.0014), "very small");
  EXPECT_EQ(DescribeDivergence(0.031), "small");
  EXPECT_EQ(DescribeDivergence(0.1), "noticeable");
  EXPECT_EQ(DescribeDivergence(0.445), "large");
  EXPECT_EQ(DescribeDivergence(2.2), "severe");
}

}  // namespace
}  // namespace bantam::plan
