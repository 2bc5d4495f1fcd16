// The interpreter that judges passes and backends, against numbers worked out by hand.
#include "tests/support/graph_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace bantam::testing {
namespace {

using graph::Graph;
using graph::Op;
using graph::Shape;
using graph::ValueId;
using quant::Type;
using ::testing::DoubleNear;
using ::testing::ElementsAre;

constexpr double kInf = std::numeric_limits<double>::infinity();

// The same numbers through other formulas; attributes are float, hence not to the last bit.
MATCHER_P(AllNear, expected, "") {
  if (arg.size() != expected.size()) return false;
  for (size_t i = 0; i < arg.size(); ++i) {
    if (!(std::abs(arg[i] - expected[i]) <= 1e-7 * (1 + std::abs(expected[i])))) return false;
  }
  return true;
}
auto Near(std::vector<double> expected) { return AllNear(expected); }

struct Build {
  Graph g;
  Tensors inputs;
  ValueId F32(const Shape& shape, std::vector<double> data) {
    const ValueId id = g.AddInput("x", Type::kF32, shape);
    inputs[id] = {Type::kF32, shape, std::move(data)};
    return id;
  }
  ValueId I32(const Shape& shape, std::vector<double> data) {
    const ValueId id = g.AddInput("i", Type::kI32, shape);
    inputs[id] = {Type::kI32, shape, std::move(data)};
    return id;
  }
  // The numbers of the node's output.
  std::vector<double> Run(Op op, std::vector<ValueId> in, graph::Attrs attrs = {}) {
    return Read(g.Add(op, std::move(in), "y", std::move(attrs)));
  }
  std::vector<double> Read(ValueId id) {
    const auto values = Evaluate(g, inputs);
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? values->at(id).data : std::vector<double>{};
  }
};

TEST(Evaluate, GatherRows) {
  Build b;
  const ValueId table = b.F32({2, 3, 1, 1}, {1, 2, 3, 4, 5, 6});
  const ValueId ids = b.I32({5, 1, 1, 1}, {2, 0, -1, 3, 1});
  EXPECT_THAT(b.Run(Op::kGatherRows, {table, ids}), ElementsAre(5, 6, 1, 2, 0, 0, 0, 0, 3, 4));
}

TEST(Evaluate, MatMulStacksPartsAndAddsBiasBeforeTheActivation) {
  Build b;
  const ValueId w0 = b.F32({2, 1, 1, 1}, {1, -1});
  const ValueId w1 = b.F32({2, 2, 1, 1}, {2, 0, 0, 3});
  const ValueId x = b.F32({2, 2, 1, 1}, {5, 7, 1, -1});
  EXPECT_THAT(b.Run(Op::kMatMul, {w0, w1, x}, graph::MatMulAttrs{2}),
              ElementsAre(-2, 10, 21, 2, 2, -3));
  const ValueId b0 = b.F32({1, 1, 1, 1}, {3}), b1 = b.F32({2, 1, 1, 1}, {-10, 1});
  EXPECT_THAT(b.Run(Op::kMatMul, {w0, w1, x, b0, b1},
                    graph::MatMulAttrs{2, true, graph::Activation::kRelu}),
              ElementsAre(1, 0, 22, 5, 0, 0));
}

TEST(Evaluate, MatMulGoesOverBatches) {
  Build b;
  const ValueId w = b.F32({1, 1, 1, 1}, {3});
  const ValueId x = b.F32({1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_THAT(b.Run(Op::kMatMul, {w, x}, graph::MatMulAttrs{}),
              ElementsAre(3, 6, 9, 12, 15, 18, 21, 24));
}

TEST(Evaluate, MatMulExpert) {
  Build b;
  const ValueId w = b.F32({1, 2, 3, 1}, {1, 2, 10, 20, 100, 200});
  const ValueId ids = b.I32({2, 2, 1, 1}, {2, 0, 1, 3});
  const ValueId shared = b.F32({1, 1, 2, 1}, {1, 2});
  EXPECT_THAT(b.Run(Op::kMatMulExpert, {w, shared, ids}),
              ElementsAre(100, 200, 1, 2, 20, 40, 0, 0));
  const ValueId own = b.F32({1, 2, 2, 1}, {1, 2, 3, 4});
  EXPECT_THAT(b.Run(Op::kMatMulExpert, {w, own, ids}), ElementsAre(100, 200, 2, 4, 30, 60, 0, 0));
}

TEST(Evaluate, Norm) {
  Build b;
  const ValueId x = b.F32({2, 2, 1, 1}, {3, 4, -6, 8});
  const double rms0 = std::sqrt(12.5), rms1 = std::sqrt(50.0);
  EXPECT_THAT(b.Run(Op::kNorm, {x}, graph::NormAttrs{graph::NormKind::kRms, 0}),
              Near({3 / rms0, 4 / rms0, -6 / rms1, 8 / rms1}));
  EXPECT_THAT(b.Run(Op::kNorm, {x}, graph::NormAttrs{graph::NormKind::kLayer, 0}),
              Near({-1, 1, -1, 1}));
  // Epsilon joins the variance: 3.5 - 3 over sqrt(0.25 + 0.75).
  const ValueId w = b.F32({2, 1, 1, 1}, {2, 3}), bias = b.F32({2, 1, 1, 1}, {10, 20});
  EXPECT_THAT(
      b.Run(Op::kNorm, {x, w, bias}, graph::NormAttrs{graph::NormKind::kLayer, 0.75}),
      Near({10 - 1.0, 20 + 1.5, 10 - 2 * 7 / std::sqrt(49.75), 20 + 3 * 7 / std::sqrt(49.75)}));
}

TEST(Evaluate, RopeTurnsPairs) {
  const double c = std::cos(2.0), s = std::sin(2.0);
  const double c1 = std::cos(0.02), s1 = std::sin(0.02);  // base 10000, second pair of four
  for (const bool neox : {false, true}) {
    Build b;
    const ValueId x = b.F32({5, 1, 1, 1}, {1, 2, 3, 4, 5});
    graph::RopeAttrs rope;
    rope.n_dims = 4;
    rope.layout = neox ? graph::RopeLayout::kNeox : graph::RopeLayout::kInterleaved;
    const std::vector<double> y = b.Run(Op::kRope, {x, b.I32({1, 1, 1, 1}, {2})}, rope);
    if (neox) {
      EXPECT_THAT(y, Near({c - 3 * s, 2 * c1 - 4 * s1, s + 3 * c, 2 * s1 + 4 * c1, 5}));
    } else {
      EXPECT_THAT(y, Near({c - 2 * s, s + 2 * c, 3 * c1 - 4 * s1, 3 * s1 + 4 * c1, 5}));
    }
  }
}

// Rotating (1, 0) gives the angle and the length.
std::pair<double, double> Turned(const graph::RopeAttrs& rope, int pair, double position,
                                 std::vector<double> factors = {}) {
  Build b;
  std::vector<double> x(rope.n_dims, 0.0);
  x[2 * pair] = 1;
  std::vector<ValueId> in = {b.F32({rope.n_dims, 1, 1, 1}, x), b.I32({1, 1, 1, 1}, {position})};
  if (!factors.empty()) in.push_back(b.F32({rope.n_dims / 2, 1, 1, 1}, factors));
  const std::vector<double> y = b.Run(Op::kRope, in, rope);
  return {std::atan2(y[2 * pair + 1], y[2 * pair]), std::hypot(y[2 * pair], y[2 * pair + 1])};
}

TEST(Evaluate, RopeScalesAndFactors) {
  graph::RopeAttrs rope;
  rope.n_dims = 4;
  rope.freq_scale = 0.25f;
  rope.attn_factor = 3;
  EXPECT_THAT(Turned(rope, 0, 2), ::testing::Pair(DoubleNear(0.5, 1e-12), DoubleNear(3, 1e-12)));
  EXPECT_NEAR(Turned(rope, 0, 2, {2, 1}).first, 0.25, 1e-12);
  EXPECT_NEAR(Turned(rope, 1, 2, {1, 0.5}).first, 0.01, 1e-12);
}

TEST(Evaluate, YarnKeepsFastPairsAndInterpolatesSlowOnes) {
  graph::RopeAttrs rope;
  rope.n_dims = 64;
  rope.freq_scale = 0.125f;
  rope.ext_factor = 1;
  rope.original_context = 2048;
  // Pairs that turn 32 times and once in 2048 positions: 64 ln(2048 / (32 * 2 pi)) / (2 ln 10000)
  // = 8.06 and 20.10, so that the ramp runs from 8 to 21.
  const auto own = [](int pair) { return std::pow(10000.0, -pair / 32.0); };
  const double length = 1 + 0.1 * std::log(8.0);
  for (const auto& [pair, kept] :
       {std::pair(0, 1.0), {8, 1.0}, {9, 12.0 / 13}, {20, 1.0 / 13}, {21, 0.0}, {31, 0.0}}) {
    const auto [angle, size] = Turned(rope, pair, 1);
    EXPECT_NEAR(angle, own(pair) * (kept + (1 - kept) / 8), 1e-9) << pair;
    EXPECT_NEAR(size, length, 1e-9);
  }
  rope.ext_factor = 0.5;  // half of the way back
  EXPECT_NEAR(Turned(rope, 0, 1).first, (1 + 0.125) / 2, 1e-9);
}

// One head of one dimension: k are the scores of q = 1, v tells the cells apart.
struct AttentionCase {
  std::vector<double> k = {0, 0, 0, 0};
  std::vector<double> q_cell = {2, 0};
  std::vector<double> kv_cells = {0, 0, 1, 0, 2, 0, 3, 0};
  double kv_len = 4;
  graph::AttentionAttrs attrs;
  std::vector<double> sinks;

  double Run() const {
    Build b;
    std::vector<ValueId> in = {b.F32({1, 1, 1, 1}, {1}),
                               b.F32({1, 1, 4, 1}, k),
                               b.F32({1, 1, 4, 1}, {1, 10, 100, 1000}),
                               b.I32({2, 1, 1, 1}, q_cell),
                               b.I32({2, 4, 1, 1}, kv_cells),
                               b.I32({1, 1, 1, 1}, {kv_len})};
    if (!sinks.empty()) in.push_back(b.F32({1, 1, 1, 1}, sinks));
    return b.Run(Op::kAttention, in, attrs)[0];
  }
};

TEST(Evaluate, AttentionSeesWhatItMay) {
  using Case = AttentionCase;
  EXPECT_NEAR(Case().Run(), 111.0 / 3, 1e-9);                         // causal
  EXPECT_NEAR((Case{.attrs = {1, false}}.Run()), 1111.0 / 4, 1e-9);   // not
  EXPECT_NEAR((Case{.kv_len = 2}.Run()), 11.0 / 2, 1e-9);             // cells in use
  EXPECT_NEAR((Case{.attrs = {1, true, 2}}.Run()), 110.0 / 2, 1e-9);  // window
  EXPECT_NEAR((Case{.kv_cells = {0, 0, 1, 7, 2, -1, 2, 0}}.Run()), 1001.0 / 2, 1e-9);
  EXPECT_EQ((Case{.kv_len = 0}.Run()), 0);  // nothing
  EXPECT_EQ((Case{.q_cell = {2, -1}, .kv_cells = {0, -1, 1, -1, 2, -1, 3, -1}}.Run()), 0);
  EXPECT_EQ((Case{.q_cell = {2, 5}, .sinks = {1}}.Run()), 0);
}

TEST(Evaluate, AttentionWeighsByScore) {
  using Case = AttentionCase;
  const double ln2 = std::log(2.0);
  Case c{.k = {0, 2 * ln2, 0, 0}, .attrs = {0.5f}};
  EXPECT_NEAR(c.Run(), (1 + 2 * 10 + 100) / 4.0, 1e-6);
  c.sinks = {std::log(4.0)};  // takes its share and gives nothing
  EXPECT_NEAR(c.Run(), (1 + 2 * 10 + 100) / 8.0, 1e-6);
  Case capped{.k = {0, 1e9, 0, 0}, .attrs = {1, true, 0, 1}};
  EXPECT_NEAR(capped.Run(), (1 + std::exp(1.0) * 10 + 100) / (2 + std::exp(1.0)), 1e-6);
  Case large{.k = {1e4, 1e4, 1e4, 0}};  // no overflow
  EXPECT_NEAR(large.Run(), 111.0 / 3, 1e-9);
}

TEST(Evaluate, AttentionSharesKvHeads) {
  Build b;
  const ValueId q = b.F32({1, 4, 1, 1}, {1, 1, 1, 1});
  const ValueId k = b.F32({1, 2, 1, 1}, {0, 0});
  const ValueId v = b.F32({2, 2, 1, 1}, {1, 2, 3, 4});
  EXPECT_THAT(b.Run(Op::kAttention,
                    {q, k, v, b.I32({2, 1, 1, 1}, {0, 0}), b.I32({2, 1, 1, 1}, {0, 0}),
                     b.I32({1, 1, 1, 1}, {1})},
                    graph::AttentionAttrs{}),
              ElementsAre(1, 2, 1, 2, 3, 4, 3, 4));
}

TEST(Evaluate, KvWriteRoundsAndDropsAndIsSeenAfterwards) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF16, {1, 2, 3, 1});
  b.inputs[cache] = {Type::kF16, {1, 2, 3, 1}, {1, 2, 3, 4, 5, 6}};
  const ValueId before = b.g.Add(Op::kDequantize, {cache}, "before");
  const ValueId x = b.F32({1, 2, 3, 1}, {10.001, 20, 30, 40, 50, 1e6});
  const ValueId written =
      b.g.Add(Op::kKvWrite, {cache, x, b.I32({3, 1, 1, 1}, {2, -1, 0})}, "written");
  const ValueId after = b.g.Add(Op::kDequantize, {cache}, "after");
  EXPECT_THAT(b.Read(before), ElementsAre(1, 2, 3, 4, 5, 6));
  for (ValueId id : {after, written, cache}) {
    EXPECT_THAT(b.Read(id), ElementsAre(50, kInf, 3, 4, 10, 20));
  }
}

TEST(Evaluate, StatesStartAsZerosAndInputsMustBeGiven) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF32, {2, 1, 1, 1});
  EXPECT_THAT(b.Run(Op::kDequantize, {cache}), ElementsAre(0, 0));
  b.Run(Op::kScale, {b.F32({1, 1, 1, 1}, {2})}, graph::ScaleAttrs{});
  b.inputs.clear();
  EXPECT_EQ(Evaluate(b.g, b.inputs).status().message(), "no tensor for 'x'");
}

TEST(Evaluate, Activations) {
  // At 0.5 and -1.5, by Python's math module.
  const std::vector<std::pair<graph::Activation, std::vector<double>>> kCases = {
      {graph::Activation::kNone, {0.5, -1.5}},
      {graph::Activation::kSilu, {0.3112296656009273, -0.2736382857095345}},
      {graph::Activation::kGelu, {0.34573123063700656, -0.10021080190328713}},
      {graph::Activation::kGeluTanh, {0.34571400982514394, -0.10042842301976707}},
      {graph::Activation::kGeluQuick, {0.35038843660638014, -0.10833780155292343}},
      {graph::Activation::kRelu, {0.5, 0}},
      {graph::Activation::kReluSquared, {0.25, 0}},
      {graph::Activation::kSigmoid, {0.6224593312018546, 0.18242552380635635}},
      {graph::Activation::kTanh, {0.46211715726000974, -0.9051482536448664}}};
  for (const auto& [activation, expected] : kCases) {
    Build b;
    const ValueId x = b.F32({2, 1, 1, 1}, {0.5, -1.5});
    EXPECT_THAT(b.Run(Op::kUnary, {x}, graph::ActivationAttrs{activation}), Near(expected))
        << graph::ActivationName(activation);
    const ValueId up = b.F32({2, 1, 1, 1}, {2, 4});
    EXPECT_THAT(b.Run(Op::kGated, {x, up}, graph::ActivationAttrs{activation}),
                Near({2 * expected[0], 4 * expected[1]}));
  }
}

TEST(Evaluate, BinaryRepeatsWhatIsOne) {
  Build b;
  const ValueId x = b.F32({2, 2, 1, 1}, {1, 2, 3, 4});
  const ValueId row = b.F32({2, 1, 1, 1}, {10, 20}), column = b.F32({1, 2, 1, 1}, {10, 20});
  const auto run = [&](graph::BinaryOp op, ValueId y) {
    return b.Run(Op::kBinary, {x, y}, graph::BinaryAttrs{op});
  };
  EXPECT_THAT(run(graph::BinaryOp::kAdd, row), ElementsAre(11, 22, 13, 24));
  EXPECT_THAT(run(graph::BinaryOp::kSub, column), ElementsAre(-9, -8, -17, -16));
  EXPECT_THAT(run(graph::BinaryOp::kMul, x), ElementsAre(1, 4, 9, 16));
  EXPECT_THAT(run(graph::BinaryOp::kDiv, b.F32({1, 1, 1, 1}, {4})),
              ElementsAre(0.25, 0.5, 0.75, 1));
}

TEST(Evaluate, ScaleSoftmaxTopK) {
  Build b;
  const ValueId x = b.F32({3, 2, 1, 1}, {1, 3, 1, 2, 2, 5});
  EXPECT_THAT(b.Run(Op::kScale, {x}, graph::ScaleAttrs{2, -1}), ElementsAre(1, 5, 1, 3, 3, 9));
  const double e = std::exp(1.0), e15 = std::exp(1.5);
  EXPECT_THAT(
      b.Run(Op::kSoftmax, {x}, graph::SoftmaxAttrs{0.5}),
      Near({1 / (2 + e), e / (2 + e), 1 / (2 + e), 1 / (2 + e15), 1 / (2 + e15), e15 / (2 + e15)}));
  EXPECT_THAT(b.Run(Op::kTopK, {x}, graph::TopKAttrs{2}), ElementsAre(1, 0, 2, 0));
}

TEST(Evaluate, ViewsShowTheirPart) {
  Build b;
  const ValueId x = b.F32({4, 3, 1, 1}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const ValueId view =
      b.g.Add(Op::kView, {x}, "view", graph::ViewAttrs{{2, 2, 1, 1}, {4, 32, 64, 64}, 4});
  EXPECT_THAT(b.Read(view), ElementsAre(1, 2, 9, 10));
  EXPECT_THAT(b.Run(Op::kScale, {view}, graph::ScaleAttrs{10, 0}), ElementsAre(10, 20, 90, 100));
  EXPECT_THAT(b.Run(Op::kTransfer, {view}, graph::TransferAttrs{}), ElementsAre(1, 2, 9, 10));
}

TEST(Evaluate, RefusesTensorsOfAnotherShape) {
  Build b;
  const ValueId x = b.F32({2, 1, 1, 1}, {1, 2});
  b.g.Add(Op::kScale, {x}, "y", graph::ScaleAttrs{});
  b.inputs[x].shape = {1, 2, 1, 1};
  EXPECT_FALSE(Evaluate(b.g, b.inputs).ok());
}

TEST(RoundTo, HalfAndBrain) {
  EXPECT_EQ(RoundTo(Type::kF16, 1 + 0x1p-11), 1);  // ties to even
  EXPECT_EQ(RoundTo(Type::kF16, 1 + 3 * 0x1p-11), 1 + 0x1p-9);
  EXPECT_EQ(RoundTo(Type::kF16, 65519), 65504);
  EXPECT_EQ(RoundTo(Type::kF16, -65520), -kInf);
  EXPECT_EQ(RoundTo(Type::kF16, 0x1p-24), 0x1p-24);  // the smallest there is
  EXPECT_EQ(RoundTo(Type::kF16, 0x1p-25), 0);
  EXPECT_EQ(RoundTo(Type::kBF16, 1 + 0x1p-8), 1);
  EXPECT_EQ(RoundTo(Type::kBF16, 1 + 0x1p-7), 1 + 0x1p-7);
}

TEST(EncodeTensor, BitsAreIeee) {
  const auto bits = [](Type type, double x) {
    const std::vector<std::byte> bytes = EncodeTensor({type, {1, 1, 1, 1}, {x}});
    uint32_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<uint32_t>(bytes[i]) << 8 * i;
    return value;
  };
  EXPECT_EQ(bits(Type::kF32, 1.5), 0x3fc00000u);
  EXPECT_EQ(bits(Type::kF16, 1.5), 0x3e00u);
  EXPECT_EQ(bits(Type::kF16, -0.0), 0x8000u);
  EXPECT_EQ(bits(Type::kF16, 65504), 0x7bffu);
  EXPECT_EQ(bits(Type::kF16, -1e9), 0xfc00u);
  EXPECT_EQ(bits(Type::kF16, 0x1p-14), 0x0400u);
  EXPECT_EQ(bits(Type::kF16, 0x1p-14 - 0x1p-24), 0x03ffu);
  EXPECT_EQ(bits(Type::kF16, 0x1p-24), 0x0001u);
  EXPECT_EQ(bits(Type::kF16, NAN) & 0x7fffu, 0x7c01u);
  EXPECT_EQ(bits(Type::kBF16, 1.5), 0x3fc0u);
  EXPECT_EQ(bits(Type::kBF16, -2), 0xc000u);
  EXPECT_EQ(bits(Type::kI32, -2), 0xfffffffeu);
  EXPECT_EQ(bits(Type::kI8, -2), 0xfeu);
}

}  // namespace
}  // namespace bantam::testing
