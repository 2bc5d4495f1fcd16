// Ops on activations: norms, activation functions, arithmetic, softmax, top-k, views.

#include "tests/conformance/harness.h"

namespace bantam::conformance {
namespace {

using graph::Activation;

class ActivationOps : public ::testing::TestWithParam<std::string> {};

// A row, odd sizes, a size of real models, batch dimensions, nothing.
const Shape kShapes[] = {{1, 1, 1, 1}, {7, 1, 1, 1},    {33, 5, 1, 1}, {576, 3, 1, 1},
                         {9, 4, 3, 2}, {2050, 2, 1, 1}, {16, 0, 1, 1}};

template <typename Body>
void ForShapes(const Body& body) {
  for (const Shape& shape : kShapes) {
    for (bool gapped : {false, true}) {
      SCOPED_TRACE(absl::StrCat("shape ", absl::StrJoin(shape, "x"), " gapped ", gapped));
      body(shape, gapped);
      if (::testing::Test::IsSkipped() || ::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST_P(ActivationOps, Norm) {
  for (graph::NormKind kind : {graph::NormKind::kRms, graph::NormKind::kLayer}) {
    for (int vectors : {0, 1, 2}) {
      ForShapes([&](const Shape& shape, bool gapped) {
        Case c;
        // Off centre, so that a layer norm that forgets the mean shows.
        std::vector<ValueId> inputs = {c.Activations(gapped, shape, -1, 3)};
        for (int i = 0; i < vectors; ++i) {
          inputs.push_back(c.Weight(Type::kF32, {shape[0], 1, 1, 1}));
        }
        c.Output(Op::kNorm, inputs, graph::NormAttrs{kind, 1e-3f});
        Check(GetParam(), c, kElementwise);
      });
    }
  }
}

TEST_P(ActivationOps, EveryActivation) {
  for (int a = 0; a <= static_cast<int>(Activation::kTanh); ++a) {
    const graph::ActivationAttrs attrs{static_cast<Activation>(a)};
    SCOPED_TRACE(graph::ActivationName(attrs.activation));
    ForShapes([&](const Shape& shape, bool gapped) {
      Case unary;
      unary.Output(Op::kUnary, {unary.Activations(gapped, shape, -6, 6)}, attrs);
      Check(GetParam(), unary, kElementwise, {.typical_square = 1});
      if (::testing::Test::IsSkipped()) return;
      Case gated;
      const ValueId gate = gated.Activations(gapped, shape, -6, 6);
      gated.Output(Op::kGated, {gate, gated.Activations(!gapped, shape)}, attrs);
      Check(GetParam(), gated, kElementwise, {.typical_square = 1});
    });
    // Far out, where a formula that forms infinity over infinity shows.
    Case far;
    far.Output(Op::kUnary, {far.Input({50, 1, 1, 1}, -200, 200)}, attrs);
    Check(GetParam(), far, kElementwise);
  }
}

TEST_P(ActivationOps, ClampedGated) {
  for (float limit : {0.0f, 1.5f}) {
    for (float offset : {0.0f, 1.0f}) {
      const graph::ActivationAttrs attrs{Activation::kGeluQuick, limit, offset};
      ForShapes([&](const Shape& shape, bool gapped) {
        Case c;
        const ValueId gate = c.Activations(gapped, shape, -6, 6);
        c.Output(Op::kGated, {gate, c.Activations(!gapped, shape, -3, 3)}, attrs);
        Check(GetParam(), c, kElementwise, {.typical_square = 1});
      });
    }
  }
}

TEST_P(ActivationOps, GatherElements) {
  for (auto [k, m, n] : {std::tuple{1, 1, 1}, {7, 3, 5}, {64, 8, 2}, {5, 5, 0}}) {
    for (bool gapped : {false, true}) {
      Case c;
      const ValueId x = c.Activations(gapped, {k, n, 1, 1});
      // Ids of both ends, inside and outside.
      std::vector<int32_t> ids(m * n);
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 5) % (k + 2) - 1;
      c.Output(Op::kGatherElements, {x, c.Ints({m, n, 1, 1}, ids)});
      Check(GetParam(), c, kExact);
      if (IsSkipped() || HasFatalFailure()) return;
      // Of whole numbers, whose bits are those of no usual float.
      Case whole;
      const ValueId numbers = whole.Weight(Type::kI32, {k, n, 1, 1});
      whole.Output(Op::kGatherElements, {numbers, whole.Ints({m, n, 1, 1}, ids)});
      Check(GetParam(), whole, kExact);
      if (IsSkipped() || HasFatalFailure()) return;
    }
  }
}

TEST_P(ActivationOps, BinaryWithEveryBroadcast) {
  for (graph::BinaryOp op : {graph::BinaryOp::kAdd, graph::BinaryOp::kSub, graph::BinaryOp::kMul,
                             graph::BinaryOp::kDiv}) {
    for (int broadcast = 0; broadcast < 16; ++broadcast) {
      ForShapes([&](const Shape& shape, bool gapped) {
        Shape small = shape;
        for (int d = 0; d < graph::kMaxDims; ++d) {
          if (broadcast >> d & 1) small[d] = 1;
        }
        Case c;
        const ValueId a = c.Activations(gapped, shape);
        c.Output(Op::kBinary, {a, c.Activations(gapped, small, 0.5, 2)}, graph::BinaryAttrs{op});
        Check(GetParam(), c, kElementwise);
      });
    }
  }
}

TEST_P(ActivationOps, Scale) {
  ForShapes([&](const Shape& shape, bool gapped) {
    Case c;
    c.Output(Op::kScale, {c.Activations(gapped, shape)}, graph::ScaleAttrs{-2.5f, 0.75f});
    Check(GetParam(), c, kElementwise);
  });
}

TEST_P(ActivationOps, Softmax) {
  for (float scale : {1.0f, 0.1f, -3.0f}) {
    ForShapes([&](const Shape& shape, bool gapped) {
      Case c;
      // Past the range of exp in f32 without subtracting the largest.
      c.Output(Op::kSoftmax, {c.Activations(gapped, shape, -150, 150)}, graph::SoftmaxAttrs{scale});
      // An exponent near 300 rounds by 300 * 2^-24 = 2e-5 of the result.
      Check(GetParam(), c, {1e-8, 1e-5});
    });
  }
}

TEST_P(ActivationOps, TopK) {
  for (auto [k, n] : {std::pair{1, 1}, {7, 3}, {64, 2}, {1000, 5}, {10007, 3}, {5, 0}}) {
    for (int32_t wanted : {1, 2, 5, 64}) {
      for (bool gapped : {false, true}) {
        if (wanted > k) continue;
        SCOPED_TRACE(absl::StrCat("k ", k, " n ", n, " wanted ", wanted));
        Case c;
        const ValueId x = c.Activations(gapped, {k, n, 1, 1}, 0, 20);
        // Whole numbers, so that there are equal ones.
        for (auto& [id, bytes] : c.data) {
          for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
            float value;
            std::memcpy(&value, bytes.data() + at, sizeof(value));
            value = std::floor(value);
            std::memcpy(bytes.data() + at, &value, sizeof(value));
          }
        }
        c.Output(Op::kTopK, {x}, graph::TopKAttrs{wanted});
        Check(GetParam(), c, kExact);
        if (IsSkipped() || HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(ActivationOps, Transfer) {
  ForShapes([&](const Shape& shape, bool gapped) {
    Case c;
    c.Output(Op::kTransfer, {c.Activations(gapped, shape)}, graph::TransferAttrs{});
    Check(GetParam(), c, kExact);
  });
}

TEST_P(ActivationOps, ViewsOfIntermediateValues) {
  Case c;
  const ValueId x = c.Input({12, 6, 1, 1});
  const ValueId doubled = c.graph.Add(Op::kScale, {x}, "doubled", graph::ScaleAttrs{2});
  const ValueId heads =
      c.graph.Add(Op::kReshape, {doubled}, "heads", graph::ReshapeAttrs{{4, 3, 6, 1}});
  // Heads and tokens swapped, the first token left out.
  const ValueId swapped = c.graph.Add(Op::kView, {heads}, "swapped",
                                      graph::ViewAttrs{{4, 5, 3, 1}, {4, 48, 16, 240}, 48});
  const ValueId sum = c.graph.Add(Op::kBinary, {swapped, swapped}, "sum", graph::BinaryAttrs{});
  c.graph.AddOutput(swapped);
  c.Output(Op::kSoftmax, {sum}, graph::SoftmaxAttrs{});
  Check(GetParam(), c, kElementwise);
}

// Several nodes in a row, twice, so that memory shared by lifetime is used again.
TEST_P(ActivationOps, ChainRunsAgainWithTheSameResult) {
  Case c;
  ValueId x = c.Input({64, 5, 1, 1});
  for (int layer = 0; layer < 4; ++layer) {
    const ValueId normed = c.graph.Add(Op::kNorm, {x, c.Weight(Type::kF32, {64, 1, 1, 1})}, "norm",
                                       graph::NormAttrs{});
    const ValueId up = c.graph.Add(Op::kMatMul, {c.Weight(Type::kQ8_0, {64, 96, 1, 1}), normed},
                                   "up", graph::MatMulAttrs{.activation = Activation::kSilu});
    const ValueId down = c.graph.Add(Op::kMatMul, {c.Weight(Type::kF16, {96, 64, 1, 1}), up},
                                     "down", graph::MatMulAttrs{});
    x = c.graph.Add(Op::kBinary, {x, down}, "residual", graph::BinaryAttrs{});
  }
  const ValueId out = c.Output(Op::kScale, {x}, graph::ScaleAttrs{});
  Runner runner(GetParam(), c);
  runner.Check({1e-11, 1e-4});
  if (IsSkipped() || HasFatalFailure()) return;
  const std::vector<float> before = runner.Read(out);
  auto stream = OpenedDevice(GetParam())->NewStream();
  ASSERT_TRUE(stream.ok()) << stream.status();
  ASSERT_TRUE(runner.executable().Run(**stream).ok());
  ASSERT_TRUE((*stream)->Synchronize().ok());
  EXPECT_EQ(runner.Read(out), before);
}

INSTANTIATE_TEST_SUITE_P(Devices, ActivationOps, ::testing::ValuesIn(DevicesAndSets()),
                         DeviceTestName);

}  // namespace
}  // namespace bantam::conformance
