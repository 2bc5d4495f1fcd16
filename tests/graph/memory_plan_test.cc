#include "runtime/graph/memory_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/graph/infer.h"
#include "tests/graph/check_plan.h"

namespace bantam::graph {
namespace {

using ::bantam::testing::CheckPlan;
using quant::Type;

// Plans and has the plan judged; expects it to need no more than `over` times the bytes that no
// plan can do without.
MemoryPlan Planned(Graph& graph, int64_t alignment, double over = 1) {
  EXPECT_TRUE(Infer(graph).ok()) << Infer(graph);
  MemoryPlan plan = PlanMemory(graph, alignment);
  const auto bound = CheckPlan(graph, plan, alignment);
  EXPECT_TRUE(bound.ok()) << bound.status();
  if (bound.ok()) {
    EXPECT_LE(plan.size, *bound * over);
  }
  return plan;
}

// A value of `floats` numbers made from another, whatever its size.
ValueId Next(Graph& g, ValueId from, int64_t floats) {
  const ValueId w = g.AddWeight("w", Type::kF32, {g.value(from).shape[0], floats, 1, 1});
  const ValueId y = g.Add(Op::kMatMul, {w, from}, "y", MatMulAttrs{});
  g.value(y).shape = {floats, 1, 1, 1};  // for the next call; Infer says the same
  return y;
}

TEST(PlanMemory, NothingToPlan) {
  Graph g;
  g.AddInput("x", Type::kF32, {4, 1, 1, 1});
  g.AddOutput(0);
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_EQ(plan.size, 0);
  EXPECT_EQ(plan.offsets, std::vector<int64_t>{-1});
}

TEST(PlanMemory, ValuesThatNeverMeetShareMemory) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  const ValueId a = Next(g, x, 16), b = Next(g, a, 16), c = Next(g, b, 16);
  g.AddOutput(c);
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_EQ(plan.size, 128);
  EXPECT_EQ(plan.offsets[a], plan.offsets[c]);
  EXPECT_NE(plan.offsets[a], plan.offsets[b]);
}

TEST(PlanMemory, TheSizeIsTheLastByteUsed) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {3, 1, 1, 1});
  g.AddOutput(Next(g, x, 3));
  EXPECT_EQ(Planned(g, 64).size, 12);
}

TEST(PlanMemory, AViewKeepsWhatItShowsAlive) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  const ValueId a = g.Add(Op::kScale, {x}, "a", ScaleAttrs{});
  const ValueId view = g.Add(Op::kReshape, {a}, "view", ReshapeAttrs{{4, 4, 1, 1}});
  const ValueId again = g.Add(Op::kReshape, {view}, "again", ReshapeAttrs{{16, 1, 1, 1}});
  const ValueId b = g.Add(Op::kScale, {x}, "b", ScaleAttrs{});
  const ValueId c = g.Add(Op::kScale, {b}, "c", ScaleAttrs{});
  g.AddOutput(g.Add(Op::kBinary, {c, again}, "d", BinaryAttrs{}));
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_EQ(plan.size, 3 * 64);
  EXPECT_EQ(plan.offsets[view], -1);
  EXPECT_NE(plan.offsets[a], plan.offsets[b]);
  EXPECT_NE(plan.offsets[a], plan.offsets[c]);
}

TEST(PlanMemory, OutputsLiveToTheEnd) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  const ValueId a = Next(g, x, 16);
  g.AddOutput(g.Add(Op::kReshape, {a}, "early", ReshapeAttrs{{4, 4, 1, 1}}));
  ValueId last = x;
  for (int i = 0; i < 5; ++i) last = Next(g, last, 16);
  g.AddOutput(last);
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_EQ(plan.size, 3 * 64);
}

TEST(PlanMemory, EmptyValuesTakeNoMemory) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 0, 1, 1});
  const ValueId a = g.Add(Op::kScale, {x}, "a", ScaleAttrs{});
  g.AddOutput(g.Add(Op::kScale, {a}, "b", ScaleAttrs{}));
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_EQ(plan.size, 0);
  EXPECT_EQ(plan.offsets[a], 0);
}

TEST(PlanMemory, ValuesOfRemovedNodesAreNotPlanned) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  const ValueId gone = Next(g, x, 16);
  g.nodes().clear();
  EXPECT_EQ(Planned(g, 64).offsets[gone], -1);
}

// No node writes over what it reads.
TEST(PlanMemory, NothingIsInPlace) {
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  const ValueId a = Next(g, x, 16);
  const ValueId b = Next(g, a, 16);
  const MemoryPlan plan = Planned(g, 64);
  EXPECT_NE(plan.offsets[a], plan.offsets[b]);
}

// Largest first would take 12 units here; 9 are enough.
TEST(PlanMemory, AChainThatDefeatsPlacingTheLargestFirst) {
  Graph g;
  ValueId last = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
  for (int64_t units : {5, 4, 3, 5}) last = Next(g, last, units * 16);
  EXPECT_EQ(Planned(g, 64).size, 9 * 64);
}

TEST(PlanMemory, ChainsNeedNoMoreThanTwoNeighbours) {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    std::mt19937 random(seed);
    Graph g;
    ValueId last = g.AddInput("x", Type::kF32, {16, 1, 1, 1});
    const int length = 2 + random() % 60;
    for (int i = 0; i < length; ++i) last = Next(g, last, 16 * (1 + random() % 20));
    g.AddOutput(last);
    Planned(g, 64);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

// The shape of a transformer: a residual that lives on while wide and narrow values come and go.
TEST(PlanMemory, ATransformerNeedsNoMoreThanItsWidestPoint) {
  for (int64_t rows : {1, 7, 512}) {
    Graph g;
    ValueId x = g.AddInput("x", Type::kF32, {64, rows, 1, 1});
    const auto linear = [&](ValueId from, int64_t in, int64_t out) {
      return g.Add(Op::kMatMul, {g.AddWeight("w", Type::kF32, {in, out, 1, 1}), from}, "y",
                   MatMulAttrs{});
    };
    for (int layer = 0; layer < 30; ++layer) {
      ValueId h = g.Add(Op::kNorm, {x}, "norm", NormAttrs{});
      h = linear(linear(h, 64, 192), 192, 64);
      x = g.Add(Op::kBinary, {x, h}, "residual", BinaryAttrs{});
      h = g.Add(Op::kNorm, {x}, "norm", NormAttrs{});
      const ValueId gate = linear(h, 64, 176), up = linear(h, 64, 176);
      h = linear(g.Add(Op::kGated, {gate, up}, "hidden", ActivationAttrs{}), 176, 64);
      x = g.Add(Op::kBinary, {x, h}, "residual", BinaryAttrs{});
    }
    g.AddOutput(linear(x, 64, 1000));
    Planned(g, 64);
  }
}

}  // namespace
}  // namespace bantam::graph
