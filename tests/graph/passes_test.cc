#include "runtime/graph/passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "runtime/graph/dump.h"
#include "runtime/graph/infer.h"
#include "tests/support/graph_eval.h"

namespace bantam::graph {
namespace {

using ::bantam::testing::Evaluate;
using ::bantam::testing::RandomTensor;
using ::bantam::testing::Tensors;
using quant::Type;

using Pass = absl::StatusOr<Graph> (*)(const Graph&);

// Weights of any kind for every input; the integers are valid ids, slots and cells alike.
Tensors RandomInputs(const Graph& graph) {
  std::mt19937 random(1);
  Tensors inputs;
  for (ValueId id = 0; id < static_cast<ValueId>(graph.values().size()); ++id) {
    const Value& value = graph.value(id);
    if (value.storage == Storage::kTemp) continue;
    inputs[id] = value.type == Type::kI32 ? RandomTensor(value.type, value.shape, random, 0, 2)
                                          : RandomTensor(value.type, value.shape, random);
  }
  return inputs;
}

// Runs the pass, checks that outputs and states come out the same bit for bit, and returns the
// nodes and outputs of the new graph as text.
std::string After(Pass pass, Graph graph) {
  const absl::Status status = Infer(graph);
  EXPECT_TRUE(status.ok()) << status;
  const absl::StatusOr<Graph> result = pass(graph);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return "";
  const Tensors inputs = RandomInputs(graph);
  const auto before = Evaluate(graph, inputs);
  const auto after = Evaluate(*result, inputs);
  EXPECT_TRUE(before.ok()) << before.status();
  EXPECT_TRUE(after.ok()) << after.status();
  if (!before.ok() || !after.ok()) return "";
  EXPECT_EQ(graph.outputs(), result->outputs());
  for (const auto& [id, tensor] : *before) {
    const bool is_output = std::count(graph.outputs().begin(), graph.outputs().end(), id) > 0;
    if (!is_output && graph.value(id).storage != Storage::kState) continue;
    EXPECT_EQ(after->at(id).data, tensor.data) << "%" << id;
  }
  std::string text = Dump(*result);
  const size_t first_node = text.find(" = " + std::string(OpName(result->nodes()[0].op)) + "(");
  return text.substr(text.rfind('\n', first_node) + 1);
}

struct Build {
  Graph g;
  int64_t n = 3;
  ValueId x = g.AddInput("x", Type::kF32, {8, n, 1, 1});

  explicit Build(int64_t rows = 3) : n(rows) {}
  ValueId Weight(absl::string_view name, int64_t out, Type type = Type::kF32) {
    return g.AddWeight(name, type, {8, out, 1, 1});
  }
  ValueId Vector(absl::string_view name, int64_t size) {
    return g.AddWeight(name, Type::kF32, {size, 1, 1, 1});
  }
  ValueId MatMul(absl::string_view name, ValueId w, ValueId from) {
    return g.Add(Op::kMatMul, {w, from}, name, MatMulAttrs{});
  }
  ValueId Binary(absl::string_view name, BinaryOp op, ValueId a, ValueId b) {
    return g.Add(Op::kBinary, {a, b}, name, BinaryAttrs{op});
  }
  ValueId Unary(absl::string_view name, ValueId from) {
    return g.Add(Op::kUnary, {from}, name, ActivationAttrs{});
  }
  ValueId Reshape(absl::string_view name, ValueId from, const Shape& shape) {
    return g.Add(Op::kReshape, {from}, name, ReshapeAttrs{shape});
  }
};

TEST(RemoveDeadNodes, KeepsWhatIsReadAndEveryKvWrite) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF16, {8, 1, 4, 1});
  const ValueId slots = b.g.AddInput("slots", Type::kI32, {3, 1, 1, 1});
  const ValueId unused = b.Unary("unused", b.x);
  b.Unary("unused too", unused);
  const ValueId y = b.Unary("y", b.x);
  const ValueId rows = b.Reshape("rows", b.Unary("z", b.x), {8, 1, 3, 1});
  b.g.Add(Op::kKvWrite, {cache, rows, slots}, "written");
  b.g.AddOutput(y);
  EXPECT_EQ(After(RemoveDeadNodes, b.g), R"(%5 = unary(%0 "x") activation=silu : f32 [8, 3] "y"
%6 = unary(%0 "x") activation=silu : f32 [8, 3] "z"
%7 = reshape(%6) : f32 [8, 1, 3] in %6 "rows"
%8 = kv_write(%1 "cache", %7, %2 "slots") : f16 [8, 1, 4] in %1 "written"
output %5
)");
}

TEST(FoldViews, AViewOfAViewIsOneView) {
  Build b;
  const ValueId y = b.Unary("y", b.x);
  const ValueId right =
      b.g.Add(Op::kView, {y}, "right", ViewAttrs{{4, 3, 1, 1}, {4, 32, 96, 96}, 16});
  const ValueId last =
      b.g.Add(Op::kView, {right}, "last", ViewAttrs{{2, 2, 1, 1}, {4, 32, 64, 64}, 32 + 8});
  b.g.AddOutput(b.Unary("out", last));
  EXPECT_EQ(After(FoldViews, b.g), R"(%1 = unary(%0 "x") activation=silu : f32 [8, 3] "y"
%3 = view(%1) : f32 [2, 2] in %1 + 56, strides [4, 32] "last"
%4 = unary(%3) activation=silu : f32 [2, 2] "out"
output %4
)");
}

TEST(FoldViews, AReshapeOfAReshapeIsOneOrNone) {
  Build b;
  const ValueId y = b.Unary("y", b.x);
  const ValueId flat = b.Reshape("flat", y, {24, 1, 1, 1});
  const ValueId heads = b.Reshape("heads", flat, {4, 2, 3, 1});
  const ValueId back = b.Reshape("back", heads, {8, 3, 1, 1});
  b.g.AddOutput(b.Unary("a", heads));
  b.g.AddOutput(b.Unary("b", back));
  EXPECT_EQ(After(FoldViews, b.g), R"(%1 = unary(%0 "x") activation=silu : f32 [8, 3] "y"
%3 = reshape(%1) : f32 [4, 2, 3] in %1 "heads"
%5 = unary(%3) activation=silu : f32 [4, 2, 3] "a"
%6 = unary(%1) activation=silu : f32 [8, 3] "b"
output %5
output %6
)");
}

TEST(FoldViews, GraphOutputsStay) {
  Build b;
  const ValueId same = b.Reshape("same", b.x, {8, 3, 1, 1});
  b.g.AddOutput(b.Reshape("out", same, {8, 3, 1, 1}));
  b.g.AddOutput(b.Unary("y", same));
  EXPECT_EQ(After(FoldViews, b.g), R"(%2 = reshape(%0 "x") : f32 [8, 3] in %0 "out"
%3 = unary(%0 "x") activation=silu : f32 [8, 3] "y"
output %2
output %3
)");
}

// The output of a KV write has the layout of the cache, but stands for the time after the write.
TEST(FoldViews, DoesNotLookThroughAKvWrite) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF32, {8, 1, 4, 1});
  const ValueId slots = b.g.AddInput("slots", Type::kI32, {3, 1, 1, 1});
  const ValueId before = b.g.Add(Op::kDequantize, {cache}, "before");
  const ValueId rows = b.Reshape("rows", b.x, {8, 1, 3, 1});
  const ValueId written = b.g.Add(Op::kKvWrite, {cache, rows, slots}, "written");
  const ValueId flat =
      b.Reshape("flat", b.Reshape("flatter", written, {32, 1, 1, 1}), {8, 4, 1, 1});
  b.g.AddOutput(before);
  b.g.AddOutput(b.Unary("after", flat));
  EXPECT_EQ(After(FoldViews, b.g), R"(%3 = dequantize(%1 "cache") : f32 [8, 1, 4] "before"
%4 = reshape(%0 "x") : f32 [8, 1, 3] in %0 "rows"
%5 = kv_write(%1 "cache", %4, %2 "slots") : f32 [8, 1, 4] in %1 "written"
%7 = reshape(%5) : f32 [8, 4] in %1 "flat"
%8 = unary(%7) activation=silu : f32 [8, 4] "after"
output %3
output %8
)");
}

// Offsets count from what is viewed, which here does not start where its memory does.
TEST(FoldViews, OffsetsAreThoseWithinTheSource) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF32, {8, 1, 8, 1});
  const ValueId slots = b.g.AddInput("slots", Type::kI32, {3, 1, 1, 1});
  const ValueId half =
      b.g.Add(Op::kView, {cache}, "half", ViewAttrs{{8, 1, 4, 1}, {4, 32, 32, 128}, 128});
  const ValueId rows = b.Reshape("rows", b.x, {8, 1, 3, 1});
  const ValueId written = b.g.Add(Op::kKvWrite, {half, rows, slots}, "written");
  const ValueId flat = b.Reshape("flat", written, {8, 4, 1, 1});
  const ValueId last =
      b.g.Add(Op::kView, {flat}, "last", ViewAttrs{{8, 2, 1, 1}, {4, 32, 64, 64}, 64});
  b.g.AddOutput(b.Unary("out", last));
  EXPECT_EQ(After(FoldViews, b.g),
            R"(%3 = view(%1 "cache") : f32 [8, 1, 4] in %1 + 128 "half"
%4 = reshape(%0 "x") : f32 [8, 1, 3] in %0 "rows"
%5 = kv_write(%3, %4, %2 "slots") : f32 [8, 1, 4] in %1 + 128 "written"
%7 = view(%5) : f32 [8, 2] in %1 + 192 "last"
%8 = unary(%7) activation=silu : f32 [8, 2] "out"
output %8
)");
}

TEST(FuseNormScale, TakesWeightAndBias) {
  Build b;
  const ValueId w = b.Vector("w", 8), bias = b.Vector("bias", 8);
  const ValueId normed = b.g.Add(Op::kNorm, {b.x}, "normed", NormAttrs{NormKind::kLayer});
  const ValueId scaled = b.Binary("scaled", BinaryOp::kMul, normed, w);
  b.g.AddOutput(b.Binary("biased", BinaryOp::kAdd, scaled, bias));
  EXPECT_EQ(After(FuseNormScale, b.g),
            R"(%5 = norm(%0 "x", %1 "w", %2 "bias") kind=layer : f32 [8, 3] "biased"
output %5
)");
}

TEST(FuseNormScale, LeavesWhatOthersRead) {
  Build b;
  const ValueId w = b.Vector("w", 8), bias = b.Vector("bias", 8);
  const ValueId normed = b.g.Add(Op::kNorm, {b.x}, "normed", NormAttrs{});
  const ValueId scaled = b.Binary("scaled", BinaryOp::kMul, normed, w);
  b.g.AddOutput(scaled);  // the bias must stay on its own
  b.g.AddOutput(b.Binary("biased", BinaryOp::kAdd, scaled, bias));
  const ValueId second = b.g.Add(Op::kNorm, {b.x}, "second", NormAttrs{});
  b.g.AddOutput(b.Binary("squared", BinaryOp::kMul, second, second));
  EXPECT_EQ(After(FuseNormScale, b.g), R"(%4 = norm(%0 "x", %1 "w") : f32 [8, 3] "scaled"
%5 = binary(%4, %2 "bias") op=add : f32 [8, 3] "biased"
%6 = norm(%0 "x") : f32 [8, 3] "second"
%7 = binary(%6, %6) op=mul : f32 [8, 3] "squared"
output %4
output %5
output %7
)");
}

// With one row an activation has the shape of a weight.
TEST(FuseNormScale, TakesNoActivationAndNoOtherShape) {
  Build b(1);
  b.x = b.g.AddInput("row", Type::kF32, {8, 1, 1, 1});
  const ValueId other = b.g.AddInput("other", Type::kF32, {8, 1, 1, 1});
  const ValueId one = b.Vector("one", 1);
  ValueId normed = b.g.Add(Op::kNorm, {b.x}, "normed", NormAttrs{});
  b.g.AddOutput(b.Binary("a", BinaryOp::kMul, normed, other));
  normed = b.g.Add(Op::kNorm, {b.x}, "normed", NormAttrs{});
  b.g.AddOutput(b.Binary("b", BinaryOp::kMul, normed, one));
  EXPECT_EQ(After(FuseNormScale, b.g), R"(%4 = norm(%1 "row") : f32 [8] "normed"
%5 = binary(%4, %2 "other") op=mul : f32 [8] "a"
%6 = norm(%1 "row") : f32 [8] "normed"
%7 = binary(%6, %3 "one") op=mul : f32 [8] "b"
output %5
output %7
)");
}

// x is read where it was read before, not where the scale stood.
TEST(FuseNormScale, ReadsAStateBeforeItIsWritten) {
  Build b;
  const ValueId w = b.Vector("w", 8);
  const ValueId cache = b.g.AddState("cache", Type::kF32, {8, 1, 4, 1});
  const ValueId slots = b.g.AddInput("slots", Type::kI32, {3, 1, 1, 1});
  const ValueId normed = b.g.Add(Op::kNorm, {cache}, "normed", NormAttrs{});
  b.g.Add(Op::kKvWrite, {cache, b.Reshape("rows", b.x, {8, 1, 3, 1}), slots}, "written");
  b.g.AddOutput(b.Binary("scaled", BinaryOp::kMul, normed, w));
  EXPECT_EQ(After(FuseNormScale, b.g),
            R"(%7 = norm(%2 "cache", %1 "w") : f32 [8, 1, 4] "scaled"
%5 = reshape(%0 "x") : f32 [8, 1, 3] in %0 "rows"
%6 = kv_write(%2 "cache", %5, %3 "slots") : f32 [8, 1, 4] in %2 "written"
output %7
)");
}

TEST(FuseBiasActivation, TakesBiasThenActivation) {
  Build b;
  const ValueId w = b.Weight("w", 4), bias = b.Vector("bias", 4);
  const ValueId both = b.Binary("biased", BinaryOp::kAdd, b.MatMul("m", w, b.x), bias);
  b.g.AddOutput(b.Unary("both", both));
  b.g.AddOutput(b.Unary("activation alone", b.MatMul("m", w, b.x)));
  EXPECT_EQ(After(FuseBiasActivation, b.g),
            R"(%5 = matmul(%1 "w", %0 "x", %2 "bias") bias=yes activation=silu : f32 [4, 3] "both"
%7 = matmul(%1 "w", %0 "x") activation=silu : f32 [4, 3] "activation alone"
output %5
output %7
)");
}

TEST(FuseBiasActivation, LeavesWhatOthersReadAndResiduals) {
  Build b(1);
  b.x = b.g.AddInput("row", Type::kF32, {8, 1, 1, 1});
  const ValueId w = b.Weight("w", 8), bias = b.Vector("bias", 8);
  const ValueId m = b.MatMul("m", w, b.x);
  b.g.AddOutput(b.Binary("residual", BinaryOp::kAdd, m, b.x));
  const ValueId shared = b.MatMul("shared", w, b.x);
  b.g.AddOutput(b.Binary("biased", BinaryOp::kAdd, shared, bias));
  b.g.AddOutput(b.Unary("plain", shared));
  const ValueId less = b.MatMul("less", w, b.x);
  b.g.AddOutput(b.Binary("difference", BinaryOp::kSub, less, bias));
  EXPECT_EQ(After(FuseBiasActivation, b.g), R"(%4 = matmul(%2 "w", %1 "row") : f32 [8] "m"
%5 = binary(%4, %1 "row") op=add : f32 [8] "residual"
%6 = matmul(%2 "w", %1 "row") : f32 [8] "shared"
%7 = binary(%6, %3 "bias") op=add : f32 [8] "biased"
%8 = unary(%6) activation=silu : f32 [8] "plain"
%9 = matmul(%2 "w", %1 "row") : f32 [8] "less"
%10 = binary(%9, %3 "bias") op=sub : f32 [8] "difference"
output %5
output %7
output %8
output %10
)");
}

TEST(FuseParallelMatMuls, ReshapesBecomeViewsWithGaps) {
  Build b;
  const ValueId q = b.MatMul("q", b.Weight("wq", 8), b.x);
  const ValueId k = b.MatMul("k", b.Weight("wk", 4, Type::kF16), b.x);
  const ValueId v = b.MatMul("v", b.Weight("wv", 4), b.x);
  b.g.AddOutput(b.Unary("q out", b.Reshape("q heads", q, {4, 2, 3, 1})));
  b.g.AddOutput(b.Unary("k out", b.Reshape("k heads", k, {4, 1, 3, 1})));
  b.g.AddOutput(b.Unary("v out", v));
  EXPECT_EQ(After(FuseParallelMatMuls, b.g),
            R"(%12 = matmul(%1 "wq", %3 "wk", %5 "wv", %0 "x") parts=3 : f32 [16, 3] "q + k + v"
%6 = view(%12) : f32 [4, 3] in %12 + 48, strides [4, 64] "v"
%7 = view(%12) : f32 [4, 2, 3] in %12, strides [4, 16, 64] "q heads"
%8 = unary(%7) activation=silu : f32 [4, 2, 3] "q out"
%9 = view(%12) : f32 [4, 1, 3] in %12 + 32, strides [4, 16, 64] "k heads"
%10 = unary(%9) activation=silu : f32 [4, 1, 3] "k out"
%11 = unary(%6) activation=silu : f32 [4, 3] "v out"
output %8
output %10
output %11
)");
}

TEST(FuseParallelMatMuls, GroupsByBias) {
  Build b;
  const auto biased = [&](const char* name) {
    return b.g.Add(Op::kMatMul, {b.Weight("w", 4), b.x, b.Vector("b", 4)}, name,
                   MatMulAttrs{1, true});
  };
  const ValueId q = biased("q");
  const ValueId k = b.MatMul("k", b.Weight("w", 4), b.x);
  const ValueId v = biased("v");
  const ValueId o = b.MatMul("o", b.Weight("w", 4), b.x);
  for (ValueId id : {q, k, v, o}) b.g.AddOutput(b.Unary("y", id));
  EXPECT_EQ(
      After(FuseParallelMatMuls, b.g),
      R"(%16 = matmul(%1 "w", %6 "w", %0 "x", %2 "b", %7 "b") parts=2 bias=yes : f32 [8, 3] "q + v"
%3 = view(%16) : f32 [4, 3] in %16, strides [4, 32] "q"
%15 = matmul(%4 "w", %9 "w", %0 "x") parts=2 : f32 [8, 3] "k + o"
%5 = view(%15) : f32 [4, 3] in %15, strides [4, 32] "k"
%8 = view(%16) : f32 [4, 3] in %16 + 16, strides [4, 32] "v"
%10 = view(%15) : f32 [4, 3] in %15 + 16, strides [4, 32] "o"
%11 = unary(%3) activation=silu : f32 [4, 3] "y"
%12 = unary(%5) activation=silu : f32 [4, 3] "y"
%13 = unary(%8) activation=silu : f32 [4, 3] "y"
%14 = unary(%10) activation=silu : f32 [4, 3] "y"
output %11
output %12
output %13
output %14
)");
}

TEST(FuseParallelMatMuls, JoinsWhatHasSeveralPartsAlready) {
  Build b;
  const ValueId two =
      b.g.Add(Op::kMatMul, {b.Weight("w0", 2), b.Weight("w1", 2), b.x}, "two", MatMulAttrs{2});
  const ValueId one = b.MatMul("one", b.Weight("w2", 4), b.x);
  b.g.AddOutput(b.g.Add(Op::kGated, {two, one}, "y", ActivationAttrs{}));
  EXPECT_EQ(After(FuseParallelMatMuls, b.g),
            R"(%7 = matmul(%1 "w0", %2 "w1", %4 "w2", %0 "x") parts=3 : f32 [8, 3] "two + one"
%3 = view(%7) : f32 [4, 3] in %7, strides [4, 32] "two"
%5 = view(%7) : f32 [4, 3] in %7 + 16, strides [4, 32] "one"
%6 = gated(%3, %5) activation=silu : f32 [4, 3] "y"
output %6
)");
}

// Each of these would need its output packed, or has nothing to share.
TEST(FuseParallelMatMuls, LeavesWhatCannotBeAView) {
  Build b;
  const ValueId a = b.MatMul("graph output", b.Weight("w", 4), b.x);
  const ValueId c = b.MatMul("viewed by a graph output", b.Weight("w", 4), b.x);
  const ValueId d = b.MatMul("rows joined", b.Weight("w", 4), b.x);
  const ValueId e = b.g.Add(Op::kMatMul, {b.Weight("w", 4), b.x}, "activated",
                            MatMulAttrs{1, false, Activation::kRelu});
  const ValueId f = b.MatMul("other x", b.Weight("w", 4), b.Unary("x2", b.x));
  const ValueId good = b.MatMul("the only one left", b.Weight("w", 4), b.x);
  b.g.AddOutput(a);
  b.g.AddOutput(b.Reshape("heads", c, {2, 2, 3, 1}));
  b.g.AddOutput(b.Unary("y", b.Reshape("flat", d, {12, 1, 1, 1})));
  for (ValueId id : {e, f, good}) b.g.AddOutput(b.Unary("y", id));
  const std::string text = After(FuseParallelMatMuls, b.g);
  EXPECT_EQ(text.find("parts="), std::string::npos) << text;
}

// With a single row there are no gaps: whatever shape it is given, it stays packed.
TEST(FuseParallelMatMuls, ASingleRowMayTakeAnyShape) {
  Build b(1);
  b.x = b.g.AddInput("row", Type::kF32, {8, 1, 1, 1});
  const ValueId q = b.MatMul("q", b.Weight("w", 8), b.x);
  const ValueId k = b.MatMul("k", b.Weight("w", 4), b.x);
  b.g.AddOutput(b.Unary("y", b.Reshape("square", q, {2, 2, 2, 1})));
  b.g.AddOutput(b.Unary("z", b.Reshape("column", k, {1, 4, 1, 1})));
  EXPECT_EQ(After(FuseParallelMatMuls, b.g),
            R"(%10 = matmul(%2 "w", %4 "w", %1 "row") parts=2 : f32 [12] "q + k"
%6 = view(%10) : f32 [2, 2, 2] in %10 "square"
%7 = unary(%6) activation=silu : f32 [2, 2, 2] "y"
%8 = view(%10) : f32 [1, 4] in %10 + 32 "column"
%9 = unary(%8) activation=silu : f32 [1, 4] "z"
output %7
output %9
)");
}

TEST(FuseParallelMatMuls, BatchesKeepTheirDimensions) {
  Build b;
  b.x = b.g.AddInput("batch", Type::kF32, {8, 2, 3, 2});
  const ValueId q = b.MatMul("q", b.Weight("wq", 4), b.x);
  const ValueId k = b.MatMul("k", b.Weight("wk", 4), b.x);
  const ValueId rows = b.Reshape("rows", q, {4, 12, 1, 1});
  const ValueId halves = b.Reshape("halves", k, {2, 2, 6, 2});
  b.g.AddOutput(b.Unary("q out", rows));
  b.g.AddOutput(b.Unary("k out", halves));
  b.g.AddOutput(b.Unary("whole", k));
  EXPECT_EQ(After(FuseParallelMatMuls, b.g),
            R"(%11 = matmul(%2 "wq", %4 "wk", %1 "batch") parts=2 : f32 [8, 2, 3, 2] "q + k"
%5 = view(%11) : f32 [4, 2, 3, 2] in %11 + 16, strides [4, 32, 64, 192] "k"
%6 = view(%11) : f32 [4, 12] in %11, strides [4, 32] "rows"
%7 = view(%11) : f32 [2, 2, 6, 2] in %11 + 16, strides [4, 8, 32, 192] "halves"
%8 = unary(%6) activation=silu : f32 [4, 12] "q out"
%9 = unary(%7) activation=silu : f32 [2, 2, 6, 2] "k out"
%10 = unary(%5) activation=silu : f32 [4, 2, 3, 2] "whole"
output %8
output %9
output %10
)");
}

TEST(FuseParallelMatMuls, DoesNotReadAStateBeforeItIsWritten) {
  Build b;
  const ValueId cache = b.g.AddState("cache", Type::kF32, {8, 1, 4, 1});
  const ValueId slots = b.g.AddInput("slots", Type::kI32, {3, 1, 1, 1});
  const ValueId first = b.MatMul("first", b.Weight("w", 4), cache);
  const ValueId second = b.MatMul("second", b.Weight("w", 4), cache);
  b.g.Add(Op::kKvWrite, {cache, b.Reshape("rows", b.x, {8, 1, 3, 1}), slots}, "written");
  const ValueId third = b.MatMul("third", b.Weight("w", 4), cache);
  const ValueId fourth = b.MatMul("fourth", b.Weight("w", 4), cache);
  for (ValueId id : {first, second, third, fourth}) b.g.AddOutput(b.Unary("y", id));
  const std::string text = After(FuseParallelMatMuls, b.g);
  EXPECT_NE(text.find("\"first + second\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"third + fourth\""), std::string::npos) << text;
}

TEST(FuseParallelMatMuls, AWeightThatIsComputedLaterWaits) {
  Build b;
  const ValueId a = b.MatMul("a", b.Weight("w", 4), b.x);
  const ValueId computed = b.g.Add(Op::kDequantize, {b.Weight("h", 4, Type::kF16)}, "computed");
  const ValueId c = b.MatMul("c", computed, b.x);
  const ValueId d = b.MatMul("d", b.Weight("w", 4), b.x);
  for (ValueId id : {a, c, d}) b.g.AddOutput(b.Unary("y", id));
  const std::string text = After(FuseParallelMatMuls, b.g);
  EXPECT_NE(text.find("\"c + d\""), std::string::npos) << text;
}

TEST(Passes, RefuseWhatInferRefuses) {
  Graph g;
  g.Add(Op::kScale, {-3}, "bad", ScaleAttrs{});
  for (Pass pass : {RemoveDeadNodes, FoldViews, FuseNormScale, FuseBiasActivation,
                    FuseParallelMatMuls, Optimize}) {
    EXPECT_EQ(pass(g).status(), Infer(g));
  }
}

// A layer as models build it: norm, biased Q beside K and V without, rotation, cache, attention,
// gated feed-forward.
TEST(Optimize, ALayer) {
  Build b;
  Graph& g = b.g;
  const ValueId ids = g.AddInput("positions", Type::kI32, {3, 1, 1, 1});
  const ValueId q_cells = g.AddInput("query_cells", Type::kI32, {2, 3, 1, 1});
  const ValueId kv_cells = g.AddInput("kv_cells", Type::kI32, {2, 6, 1, 1});
  const ValueId kv_len = g.AddInput("kv_length", Type::kI32, {1, 1, 1, 1});
  const ValueId k_cache = g.AddState("cache.k", Type::kF16, {4, 1, 6, 1});
  const ValueId v_cache = g.AddState("cache.v", Type::kF16, {4, 1, 6, 1});
  ValueId h = g.Add(Op::kNorm, {b.x}, "normalized", NormAttrs{});
  h = b.Binary("attn_norm", BinaryOp::kMul, h, b.Vector("attn_norm.weight", 8));
  ValueId q = b.MatMul("q", b.Weight("q.weight", 8), h);
  q = b.Binary("q.biased", BinaryOp::kAdd, q, b.Vector("q.bias", 8));
  const ValueId k = b.MatMul("k", b.Weight("k.weight", 4), h);
  const ValueId v = b.MatMul("v", b.Weight("v.weight", 4), h);
  RopeAttrs rope;
  rope.n_dims = 4;
  q = g.Add(Op::kRope, {b.Reshape("q.heads", q, {4, 2, 3, 1}), ids}, "q.rope", rope);
  const ValueId k_rope =
      g.Add(Op::kRope, {b.Reshape("k.heads", k, {4, 1, 3, 1}), ids}, "k.rope", rope);
  const ValueId v_heads = b.Reshape("v.heads", v, {4, 1, 3, 1});
  const ValueId k_written = g.Add(Op::kKvWrite, {k_cache, k_rope, ids}, "k_written");
  const ValueId v_written = g.Add(Op::kKvWrite, {v_cache, v_heads, ids}, "v_written");
  const ValueId attended =
      g.Add(Op::kAttention, {q, k_written, v_written, q_cells, kv_cells, kv_len}, "attention",
            AttentionAttrs{0.5f});
  const ValueId joined = b.Reshape("joined", attended, {8, 3, 1, 1});
  const ValueId x =
      b.Binary("residual", BinaryOp::kAdd, b.MatMul("o", b.Weight("o.weight", 8), joined), b.x);
  const ValueId gate = b.MatMul("gate", b.Weight("gate.weight", 8), x);
  const ValueId up = b.MatMul("up", b.Weight("up.weight", 8), x);
  const ValueId hidden = g.Add(Op::kGated, {gate, up}, "hidden", ActivationAttrs{});
  g.AddOutput(b.MatMul("down", b.Weight("down.weight", 8), hidden));
  EXPECT_EQ(After(Optimize, g),
            R"(%9 = norm(%0 "x", %8 "attn_norm.weight") : f32 [8, 3] "attn_norm"
%13 = matmul(%10 "q.weight", %9, %12 "q.bias") bias=yes : f32 [8, 3] "q.biased"
%37 = matmul(%14 "k.weight", %16 "v.weight", %9) parts=2 : f32 [8, 3] "k + v"
%18 = reshape(%13) : f32 [4, 2, 3] in %13 "q.heads"
%19 = rope(%18, %1 "positions") n_dims=4 : f32 [4, 2, 3] "q.rope"
%20 = view(%37) : f32 [4, 1, 3] in %37, strides [4, 16, 32] "k.heads"
%21 = rope(%20, %1 "positions") n_dims=4 : f32 [4, 1, 3] "k.rope"
%22 = view(%37) : f32 [4, 1, 3] in %37 + 16, strides [4, 16, 32] "v.heads"
%23 = kv_write(%5 "cache.k", %21, %1 "positions") : f16 [4, 1, 6] in %5 "k_written"
%24 = kv_write(%6 "cache.v", %22, %1 "positions") : f16 [4, 1, 6] in %6 "v_written"
%25 = attention(%19, %23, %24, %2 "query_cells", %3 "kv_cells", %4 "kv_length") scale=0.5 : f32 [4, 2, 3] "attention"
%26 = reshape(%25) : f32 [8, 3] in %25 "joined"
%28 = matmul(%27 "o.weight", %26) : f32 [8, 3] "o"
%29 = binary(%28, %0 "x") op=add : f32 [8, 3] "residual"
%38 = matmul(%30 "gate.weight", %32 "up.weight", %29) parts=2 : f32 [16, 3] "gate + up"
%31 = view(%38) : f32 [8, 3] in %38, strides [4, 64] "gate"
%33 = view(%38) : f32 [8, 3] in %38 + 32, strides [4, 64] "up"
%34 = gated(%31, %33) activation=silu : f32 [8, 3] "hidden"
%36 = matmul(%35 "down.weight", %34) : f32 [8, 3] "down"
output %36
)");
}

}  // namespace
}  // namespace bantam::graph
