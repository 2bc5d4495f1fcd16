#include "runtime/graph/infer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace bantam::graph {
namespace {

using quant::Type;
using ::testing::HasSubstr;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

// A graph under construction, with short ways to add what the tests need.
struct Build {
  Graph g;
  ValueId F32(const Shape& shape) { return g.AddInput("f", Type::kF32, shape); }
  ValueId I32(const Shape& shape) { return g.AddInput("i", Type::kI32, shape); }
  ValueId Weight(Type type, const Shape& shape) { return g.AddWeight("w", type, shape); }
  ValueId State(Type type, const Shape& shape) { return g.AddState("s", type, shape); }
  ValueId Add(Op op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    return g.Add(op, std::move(inputs), "y", std::move(attrs));
  }
};

// Infers what `build` makes and returns the value it returned.
Value Inferred(const std::function<ValueId(Build&)>& build) {
  Build b;
  const ValueId y = build(b);
  const absl::Status status = Infer(b.g);
  EXPECT_TRUE(status.ok()) << status;
  return b.g.value(y);
}

void ExpectPacked(const std::function<ValueId(Build&)>& build, Type type, const Shape& shape) {
  const Value y = Inferred(build);
  EXPECT_EQ(y.type, type);
  EXPECT_EQ(y.shape, shape);
  EXPECT_TRUE(y.IsContiguous());
  EXPECT_EQ(y.base, kNone);
}

std::string Problem(const std::function<void(Build&)>& build) {
  Build b;
  build(b);
  const absl::Status status = Infer(b.g);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(Infer, GatherRows) {
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kGatherRows, {b.Weight(Type::kQ4_0, {64, 9, 1, 1}), b.I32({3, 1, 1, 1})});
      },
      Type::kF32, {64, 3, 1, 1});
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kGatherRows, {b.F32({64, 9, 1, 1}), b.F32({3, 1, 1, 1})});
            }),
            R"(node 0, gather_rows "y": ids "f" is f32 [3]; expected i32 [?])");
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kGatherRows, {b.F32({4, 9, 2, 1}), b.I32({3, 1, 1, 1})});
            }),
            R"(node 0, gather_rows "y": table "f" is f32 [4, 9, 2]; expected any type [?, ?])");
}

TEST(Infer, MatMul) {
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kMatMul, {b.Weight(Type::kQ8_0, {64, 7, 1, 1}), b.F32({64, 5, 2, 3})},
                     MatMulAttrs{});
      },
      Type::kF32, {7, 5, 2, 3});
  // Parts may differ in type.
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kMatMul,
                     {b.Weight(Type::kQ4_0, {32, 7, 1, 1}), b.Weight(Type::kF16, {32, 2, 1, 1}),
                      b.F32({32, 5, 1, 1}), b.F32({7, 1, 1, 1}), b.F32({2, 1, 1, 1})},
                     MatMulAttrs{2, true, Activation::kTanh});
      },
      Type::kF32, {9, 5, 1, 1});
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kMatMul, {b.Weight(Type::kF32, {6, 7, 1, 1}), b.F32({4, 5, 1, 1})},
                    MatMulAttrs{});
            }),
            R"(node 0, matmul "y": weight "w" is f32 [6, 7]; expected any type [4, ?])");
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kMatMul,
                    {b.Weight(Type::kF32, {4, 7, 1, 1}), b.F32({4, 5, 1, 1}), b.F32({4, 1, 1, 1})},
                    MatMulAttrs{1, true});
            }),
            R"(node 0, matmul "y": bias "f" is f32 [4]; expected f32 [7])");
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kMatMul, {b.Weight(Type::kF32, {4, 7, 1, 1}), b.F32({4, 5, 1, 1})},
                    MatMulAttrs{1, true});
            }),
            R"(node 0, matmul "y": has 2 inputs; expected 3)");
  for (int32_t parts : {0, -1, 2, 1 << 30, std::numeric_limits<int32_t>::max()}) {
    EXPECT_THAT(Problem([&](Build& b) {
                  b.Add(Op::kMatMul, {b.Weight(Type::kF32, {4, 7, 1, 1}), b.F32({4, 5, 1, 1})},
                        MatMulAttrs{parts, true});
                }),
                HasSubstr("parts is"));
  }
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kMatMul, {b.Weight(Type::kF32, {4, 7, 1, 1}), b.F32({4, 5, 1, 1})},
                    MatMulAttrs{1, false, static_cast<Activation>(9)});
            }),
            R"(node 0, matmul "y": activation 9 is unknown)");
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kMatMul, {b.Weight(Type::kF32, {4, 7, 1, 1}), b.F32({4, 5, 1, 1})});
            }),
            R"(node 0, matmul "y": carries the attributes of another op)");
}

TEST(Infer, MatMulExpert) {
  for (int64_t per_token : {1, 2}) {
    ExpectPacked(
        [&](Build& b) {
          return b.Add(Op::kMatMulExpert, {b.Weight(Type::kQ4_0, {32, 7, 4, 1}),
                                           b.F32({32, per_token, 5, 1}), b.I32({2, 5, 1, 1})});
        },
        Type::kF32, {7, 2, 5, 1});
  }
  const auto problem = [](const Shape& w, const Shape& x, const Shape& ids) {
    return Problem([&](Build& b) {
      b.Add(Op::kMatMulExpert, {b.Weight(Type::kF32, w), b.F32(x), b.I32(ids)});
    });
  };
  EXPECT_THAT(problem({32, 7, 4, 1}, {32, 3, 5, 1}, {2, 5, 1, 1}),
              HasSubstr(R"(x "f" is f32 [32, 3, 5]; expected f32 [?, 2, 5])"));
  EXPECT_THAT(problem({32, 7, 4, 1}, {32, 2, 6, 1}, {2, 5, 1, 1}), HasSubstr("[?, 2, 5]"));
  EXPECT_THAT(problem({31, 7, 4, 1}, {32, 2, 5, 1}, {2, 5, 1, 1}), HasSubstr("[32, ?, ?]"));
  EXPECT_THAT(problem({32, 7, 4, 1}, {32, 2, 5, 1}, {2, 5, 2, 1}),
              HasSubstr("expected i32 [?, ?]"));
}

TEST(Infer, DequantizeAndTransfer) {
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kDequantize, {b.Weight(Type::kQ6_K, {256, 3, 2, 1})});
      },
      Type::kF32, {256, 3, 2, 1});
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kTransfer, {b.Weight(Type::kQ6_K, {256, 3, 2, 1})}, TransferAttrs{1});
      },
      Type::kQ6_K, {256, 3, 2, 1});
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kTransfer, {b.F32({4, 1, 1, 1})}, TransferAttrs{-1});
              }),
              HasSubstr("device is -1"));
}

TEST(Infer, Norm) {
  for (int extra = 0; extra < 3; ++extra) {
    ExpectPacked(
        [&](Build& b) {
          std::vector<ValueId> inputs = {b.F32({8, 3, 2, 1})};
          for (int i = 0; i < extra; ++i) inputs.push_back(b.Weight(Type::kF32, {8, 1, 1, 1}));
          return b.Add(Op::kNorm, inputs, NormAttrs{});
        },
        Type::kF32, {8, 3, 2, 1});
  }
  EXPECT_EQ(
      Problem([](Build& b) {
        b.Add(Op::kNorm, {b.F32({8, 3, 1, 1}), b.Weight(Type::kF16, {8, 1, 1, 1})}, NormAttrs{});
      }),
      R"(node 0, norm "y": weight "w" is f16 [8]; expected f32 [8])");
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kNorm, {b.F32({8, 3, 1, 1}), b.F32({8, 1, 1, 1}), b.F32({3, 1, 1, 1})},
                      NormAttrs{});
              }),
              HasSubstr(R"(bias "f" is f32 [3]; expected f32 [8])"));
  for (float epsilon : {-1e-5f, NAN, INFINITY}) {
    EXPECT_THAT(Problem([&](Build& b) {
                  b.Add(Op::kNorm, {b.F32({8, 3, 1, 1})}, NormAttrs{NormKind::kRms, epsilon});
                }),
                HasSubstr("epsilon is"));
  }
}

ValueId AddRope(Build& b, const RopeAttrs& attrs, int64_t factors = 0) {
  std::vector<ValueId> inputs = {b.F32({16, 4, 3, 1}), b.I32({3, 1, 1, 1})};
  if (factors > 0) inputs.push_back(b.F32({factors, 1, 1, 1}));
  return b.Add(Op::kRope, inputs, attrs);
}

TEST(Infer, Rope) {
  RopeAttrs good;
  good.n_dims = 16;
  const Shape shape = {16, 4, 3, 1};
  ExpectPacked([&](Build& b) { return AddRope(b, good); }, Type::kF32, shape);
  ExpectPacked([&](Build& b) { return AddRope(b, good, 8); }, Type::kF32, shape);
  EXPECT_THAT(Problem([&](Build& b) { AddRope(b, good, 16); }), HasSubstr("expected f32 [8]"));
  RopeAttrs yarn = good;
  yarn.ext_factor = 1;
  yarn.original_context = 4096;
  ExpectPacked([&](Build& b) { return AddRope(b, yarn); }, Type::kF32, shape);

  const auto problem = [](const RopeAttrs& attrs) {
    return Problem([&](Build& b) { AddRope(b, attrs); });
  };
  for (int32_t n_dims : {-2, 0, 3, 17, 18, std::numeric_limits<int32_t>::max()}) {
    RopeAttrs bad = good;
    bad.n_dims = n_dims;
    EXPECT_THAT(problem(bad), HasSubstr("expected an even number from 2 to the 16 of a head"));
  }
  for (float RopeAttrs::*field :
       {&RopeAttrs::theta_base, &RopeAttrs::freq_scale, &RopeAttrs::ext_factor,
        &RopeAttrs::attn_factor, &RopeAttrs::beta_fast, &RopeAttrs::beta_slow}) {
    RopeAttrs bad = yarn;
    bad.*field = NAN;
    EXPECT_THAT(problem(bad), HasSubstr(" is nan; expected a "));
  }
  for (float RopeAttrs::*field :
       {&RopeAttrs::theta_base, &RopeAttrs::freq_scale, &RopeAttrs::beta_fast}) {
    RopeAttrs bad = yarn;
    bad.*field = 0;
    EXPECT_THAT(problem(bad), HasSubstr(" is 0; expected a "));
  }
  yarn.theta_base = 1;  // its logarithm is divided by
  EXPECT_THAT(problem(yarn), HasSubstr("theta_base is 1"));
  yarn = {RopeLayout::kNeox, 16};
  yarn.ext_factor = 1;
  EXPECT_THAT(problem(yarn), HasSubstr("original_context is 0"));
}

struct AttentionShapes {
  Shape q = {16, 6, 5, 1}, k = {16, 2, 9, 1}, v = {8, 2, 9, 1};
  Shape q_cells = {2, 5, 1, 1}, kv_cells = {2, 9, 1, 1}, kv_len = {1, 1, 1, 1};
  Shape sinks = {6, 1, 1, 1};
  Type type = Type::kF16;
};

ValueId AddAttention(Build& b, const AttentionShapes& s, const AttentionAttrs& attrs = {}) {
  return b.Add(Op::kAttention,
               {b.F32(s.q), b.State(s.type, s.k), b.State(s.type, s.v), b.I32(s.q_cells),
                b.I32(s.kv_cells), b.I32(s.kv_len), b.F32(s.sinks)},
               attrs);
}

TEST(Infer, Attention) {
  for (Type type : {Type::kF32, Type::kF16}) {
    ExpectPacked(
        [&](Build& b) {
          AttentionShapes s;
          s.type = type;
          return AddAttention(b, s);
        },
        Type::kF32, {8, 6, 5, 1});
  }
  const auto problem = [](AttentionShapes s) {
    return Problem([&](Build& b) { AddAttention(b, s); });
  };
  using S = AttentionShapes;
  EXPECT_THAT(problem(S{.q = {16, 5, 5, 1}}),
              HasSubstr(R"(k "s" has 2 heads; expected a divisor of the 5 of q)"));
  EXPECT_THAT(problem(S{.k = {16, 0, 9, 1}, .v = {8, 0, 9, 1}}), HasSubstr("has 0 heads"));
  EXPECT_THAT(problem(S{.k = {8, 2, 9, 1}}), HasSubstr("[16, ?, ?]"));
  EXPECT_THAT(problem(S{.v = {8, 2, 8, 1}}), HasSubstr("[?, 2, 9]"));
  EXPECT_THAT(problem(S{.q_cells = {5, 2, 1, 1}}), HasSubstr("expected i32 [2, 5]"));
  EXPECT_THAT(problem(S{.kv_cells = {2, 8, 1, 1}}), HasSubstr("expected i32 [2, 9]"));
  EXPECT_THAT(problem(S{.kv_len = {2, 1, 1, 1}}), HasSubstr("expected i32 [1]"));
  EXPECT_THAT(problem(S{.sinks = {2, 1, 1, 1}}), HasSubstr("expected f32 [6]"));
  EXPECT_THAT(problem(S{.type = Type::kBF16}), HasSubstr("expected f32, f16 or a quantized type"));
  for (const AttentionAttrs& attrs :
       {AttentionAttrs{NAN}, AttentionAttrs{1, true, -1}, AttentionAttrs{1, true, 0, -1.0f},
        AttentionAttrs{1, true, 0, INFINITY}}) {
    EXPECT_THAT(Problem([&](Build& b) { AddAttention(b, S{}, attrs); }), HasSubstr("expected a "));
  }
}

TEST(Infer, KvWriteIsAViewOfTheWholeState) {
  const Value y = Inferred([](Build& b) {
    const ValueId state = b.State(Type::kF16, {16, 2, 9, 1});
    return b.Add(Op::kKvWrite, {state, b.F32({16, 2, 5, 1}), b.I32({5, 1, 1, 1})});
  });
  EXPECT_EQ(y.base, 0);
  EXPECT_EQ(y.byte_offset, 0);
  EXPECT_EQ(y.type, Type::kF16);
  EXPECT_EQ(y.shape, (Shape{16, 2, 9, 1}));

  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kKvWrite, {b.Weight(Type::kF16, {16, 2, 9, 1}), b.F32({16, 2, 5, 1}),
                                     b.I32({5, 1, 1, 1})});
              }),
              HasSubstr(R"(cache "w" is not the memory of a state)"));
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kKvWrite, {b.State(Type::kF16, {16, 2, 9, 1}), b.F32({16, 3, 5, 1}),
                                     b.I32({5, 1, 1, 1})});
              }),
              HasSubstr("expected f32 [16, 2, ?]"));
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kKvWrite, {b.State(Type::kF16, {16, 2, 9, 1}), b.F32({16, 2, 5, 1}),
                                     b.I32({4, 1, 1, 1})});
              }),
              HasSubstr("expected i32 [5]"));
  EXPECT_THAT(Problem([](Build& b) {
                const ValueId state = b.State(Type::kF32, {16, 2, 9, 1});
                const ValueId part =
                    b.Add(Op::kView, {state}, ViewAttrs{{16, 2, 1, 1}, {4, 64, 128, 128}, 0});
                b.Add(Op::kKvWrite, {state, part, b.I32({1, 1, 1, 1})});
              }),
              HasSubstr(R"(x "y" shares memory with the cache)"));
  EXPECT_THAT(Problem([](Build& b) {
                const ValueId state = b.State(Type::kF32, {16, 2, 9, 1});
                const ValueId repeated =
                    b.Add(Op::kView, {state}, ViewAttrs{{16, 2, 9, 1}, {4, 64, 0, 0}, 0});
                b.Add(Op::kKvWrite, {repeated, b.F32({16, 2, 1, 1}), b.I32({1, 1, 1, 1})});
              }),
              HasSubstr("repeats dimension 2"));
}

TEST(Infer, Elementwise) {
  const Shape shape = {4, 3, 2, 5};
  ExpectPacked([&](Build& b) { return b.Add(Op::kUnary, {b.F32(shape)}, ActivationAttrs{}); },
               Type::kF32, shape);
  ExpectPacked([&](Build& b) { return b.Add(Op::kScale, {b.F32(shape)}, ScaleAttrs{}); },
               Type::kF32, shape);
  ExpectPacked([&](Build& b) { return b.Add(Op::kSoftmax, {b.F32(shape)}, SoftmaxAttrs{}); },
               Type::kF32, shape);
  ExpectPacked(
      [&](Build& b) {
        return b.Add(Op::kGated, {b.F32(shape), b.F32(shape)}, ActivationAttrs{});
      },
      Type::kF32, shape);
  for (const Shape& b_shape : {shape, Shape{1, 1, 1, 1}, Shape{4, 1, 1, 1}, Shape{1, 3, 1, 5}}) {
    ExpectPacked(
        [&](Build& b) {
          return b.Add(Op::kBinary, {b.F32(shape), b.F32(b_shape)}, BinaryAttrs{});
        },
        Type::kF32, shape);
  }
  EXPECT_EQ(Problem([](Build& b) {
              b.Add(Op::kBinary, {b.F32({4, 3, 1, 1}), b.F32({4, 2, 1, 1})}, BinaryAttrs{});
            }),
            R"(node 0, binary "y": b "f" is f32 [4, 2]; expected the shape of a, [4, 3], or 1 in )"
            "places");
  // a is never the one that is repeated.
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kBinary, {b.F32({4, 1, 1, 1}), b.F32({4, 3, 1, 1})}, BinaryAttrs{});
              }),
              HasSubstr("expected the shape of a"));
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kGated, {b.F32({4, 3, 1, 1}), b.F32({4, 1, 1, 1})}, ActivationAttrs{});
              }),
              HasSubstr("expected f32 [4, 3]"));
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kBinary, {b.F32({4, 3, 1, 1}), b.Weight(Type::kF16, {4, 1, 1, 1})},
                      BinaryAttrs{});
              }),
              HasSubstr(R"(b "w" is f16 [4]; expected f32 of any shape)"));
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kScale, {b.F32({4, 1, 1, 1})}, ScaleAttrs{NAN, 0});
              }),
              HasSubstr("scale is nan"));
}

TEST(Infer, TopK) {
  ExpectPacked(
      [](Build& b) {
        return b.Add(Op::kTopK, {b.F32({8, 3, 1, 1})}, TopKAttrs{8});
      },
      Type::kI32, {8, 3, 1, 1});
  for (int32_t k : {-1, 0, 9}) {
    EXPECT_THAT(Problem([&](Build& b) {
                  b.Add(Op::kTopK, {b.F32({8, 3, 1, 1})}, TopKAttrs{k});
                }),
                HasSubstr("expected 1 to the 8 elements of a row"));
  }
}

TEST(Infer, Reshape) {
  const Value y = Inferred([](Build& b) {
    return b.Add(Op::kReshape, {b.F32({12, 5, 1, 1})}, ReshapeAttrs{{4, 3, 5, 1}});
  });
  EXPECT_EQ(y.base, 0);
  EXPECT_TRUE(y.IsContiguous());
  const auto problem = [](Type type, const Shape& from, const Shape& to) {
    return Problem(
        [&](Build& b) { b.Add(Op::kReshape, {b.Weight(type, from)}, ReshapeAttrs{to}); });
  };
  EXPECT_EQ(problem(Type::kF32, {12, 5, 1, 1}, {4, 3, 4, 1}),
            R"(node 0, reshape "y": x "w" is f32 [12, 5], 60 elements; expected the 48 of )"
            "[4, 3, 4]");
  EXPECT_THAT(problem(Type::kF32, {12, 5, 1, 1}, {-12, -5, 1, 1}), HasSubstr("no negative size"));
  EXPECT_THAT(problem(Type::kQ4_0, {64, 5, 1, 1}, {16, 20, 1, 1}), HasSubstr("block size"));
  EXPECT_THAT(problem(Type::kF32, {0, 5, 1, 1}, {kHuge, kHuge, 0, 1}), HasSubstr("too large"));
  EXPECT_THAT(problem(Type::kI8, {0, 1, 1, 1}, {int64_t{1} << 32, int64_t{1} << 32, 1, 1}),
              HasSubstr("too large"));
  EXPECT_THAT(Problem([](Build& b) {
                const ValueId view = b.Add(Op::kView, {b.F32({12, 5, 1, 1})},
                                           ViewAttrs{{6, 5, 1, 1}, {4, 48, 240, 240}, 0});
                b.Add(Op::kReshape, {view}, ReshapeAttrs{{30, 1, 1, 1}});
              }),
              HasSubstr("view with gaps"));
}

TEST(Infer, ViewsShareTheMemoryOfTheRoot) {
  Build b;
  const ValueId x = b.F32({12, 5, 1, 1});
  const ValueId right = b.Add(Op::kView, {x}, ViewAttrs{{6, 5, 1, 1}, {4, 48, 240, 240}, 24});
  const ValueId lower = b.Add(Op::kView, {right}, ViewAttrs{{2, 3, 3, 1}, {4, 8, 48, 144}, 2 * 48});
  ASSERT_TRUE(Infer(b.g).ok()) << Infer(b.g);
  EXPECT_EQ(b.g.value(right).base, x);
  EXPECT_EQ(b.g.value(right).byte_offset, 24);
  EXPECT_EQ(b.g.value(right).SpanBytes(), 4 * 48 + 24);
  EXPECT_EQ(b.g.value(lower).base, x);
  EXPECT_EQ(b.g.value(lower).byte_offset, 24 + 96);
  EXPECT_FALSE(b.g.value(lower).IsContiguous());
}

TEST(Infer, StridesOfSingleRowsDoNotMakeGaps) {
  const Value y = Inferred([](Build& b) {
    return b.Add(Op::kView, {b.F32({12, 1, 1, 1})}, ViewAttrs{{6, 1, 1, 1}, {4, 48, 48, 48}, 24});
  });
  EXPECT_TRUE(y.IsContiguous());
}

TEST(Infer, EmptyViewsLieAnywhere) {
  const Value y = Inferred([](Build& b) {
    return b.Add(Op::kView, {b.F32({12, 0, 1, 1})}, ViewAttrs{{6, 0, 1, 1}, {4, 48, 0, 0}, 24});
  });
  EXPECT_EQ(y.byte_offset, 0);
  EXPECT_EQ(y.SpanBytes(), 0);
}

TEST(Infer, ViewsMustFit) {
  const auto problem = [](const ViewAttrs& attrs, Type type = Type::kF32) {
    return Problem([&](Build& b) { b.Add(Op::kView, {b.Weight(type, {64, 4, 1, 1})}, attrs); });
  };
  EXPECT_EQ(problem({{64, 4, 1, 1}, {4, 256, 1024, 1024}, 4}),
            R"(node 0, view "y": it reaches beyond "w": the view ends at byte 1028 of 1024)");
  EXPECT_THAT(problem({{64, 5, 1, 1}, {4, 256, 1024, 1024}, 0}), HasSubstr("at byte 1280 of 1024"));
  EXPECT_THAT(problem({{64, 2, 1, 1}, {4, kHuge & ~3, 4, 4}, 0}), HasSubstr("far outside"));
  EXPECT_THAT(problem({{64, 1, 1, 1}, {4, 4, 4, 4}, kHuge & ~3}), HasSubstr("far outside"));
  EXPECT_THAT(problem({{kHuge, 1, 1, 1}, {4, 4, 4, 4}, 0}), HasSubstr("too large"));
  EXPECT_THAT(problem({{64, 2, 1, 1}, {4, -256, 4, 4}, 256}), HasSubstr("nothing negative"));
  EXPECT_THAT(problem({{64, 1, 1, 1}, {4, 4, 4, 4}, -4}), HasSubstr("nothing negative"));
  EXPECT_THAT(problem({{32, 4, 1, 1}, {8, 256, 1024, 1024}, 0}), HasSubstr("first stride exactly"));
  EXPECT_THAT(problem({{60, 2, 1, 1}, {4, 256, 512, 512}, 2}), HasSubstr("multiples of 4 bytes"));
  // Quantized: whole blocks only (Q4_0 has 18 bytes for 32 elements).
  const auto view = [](const Shape& shape, const Strides& strides, int64_t offset) {
    return ViewAttrs{shape, strides, offset};
  };
  EXPECT_EQ(Inferred([&](Build& b) {
              return b.Add(Op::kView, {b.Weight(Type::kQ4_0, {64, 4, 1, 1})},
                           view({32, 4, 1, 1}, {18, 36, 144, 144}, 18));
            }).SpanBytes(),
            3 * 36 + 18);
  EXPECT_THAT(problem(view({16, 4, 1, 1}, {18, 36, 144, 144}, 0), Type::kQ4_0),
              HasSubstr("the block size of q4_0"));
  EXPECT_THAT(problem(view({32, 4, 1, 1}, {18, 36, 144, 144}, 9), Type::kQ4_0),
              HasSubstr("multiples of 18 bytes, the size of a block"));
}

TEST(Infer, ShapesOfDamagedFilesAreRefused) {
  const auto problem = [](Type type, const Shape& shape) {
    return Problem([&](Build& b) { b.Weight(type, shape); });
  };
  EXPECT_EQ(
      problem(Type::kQ4_K, {100, 2, 1, 1}),
      R"(weight "w" is q4_k [100, 2]; expected rows of a multiple of 256 elements, the block )"
      "size of q4_k");
  EXPECT_THAT(problem(Type::kF32, {kHuge, 1, 1, 1}), HasSubstr("too large"));
  EXPECT_THAT(problem(Type::kI8, {kHuge, 1, 1, 1}), HasSubstr("too large"));
  EXPECT_THAT(problem(Type::kF32, {kHuge, kHuge, kHuge, 0}), HasSubstr("too large"));
  EXPECT_THAT(problem(Type::kF32, {1 << 20, 1 << 20, 1 << 20, 1 << 20}), HasSubstr("too large"));
  EXPECT_THAT(problem(Type::kF32, {4, -1, 1, 1}), HasSubstr("no negative size"));
  // What is too large may also come about in the graph.
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kMatMul,
                      {b.Weight(Type::kF32, {1, int64_t{1} << 30, 1, 1}),
                       b.F32({1, int64_t{1} << 30, 1, 1})},
                      MatMulAttrs{});
              }),
              HasSubstr("its output is f32 [1073741824, 1073741824], which is too large"));
}

TEST(Infer, NamesAreOnOneLineWhateverTheyHold) {
  Build b;
  b.g.AddWeight("a\"\n\x01", Type::kF32, {-1, 1, 1, 1});
  EXPECT_EQ(Infer(b.g).message(),
            R"(weight "a\"\n\001" has shape [-1]; expected no negative size)");
}

TEST(Infer, TheOrderOfNodesIsTheOrderOfExecution) {
  EXPECT_EQ(Problem([](Build& b) {
              const ValueId x = b.F32({4, 1, 1, 1});
              const ValueId later = b.g.Add(Op::kScale, {x}, "later", ScaleAttrs{});
              b.Add(Op::kScale, {later}, ScaleAttrs{});
              std::swap(b.g.nodes()[0], b.g.nodes()[1]);
            }),
            R"(node 0, scale "y": input 0, "later", is used before a node gives it a value)");
  EXPECT_THAT(Problem([](Build& b) {
                b.Add(Op::kScale, {0}, ScaleAttrs{});  // itself
              }),
              HasSubstr("is used before"));
}

TEST(Infer, IdsMustExist) {
  for (ValueId id : {-1, 7, std::numeric_limits<ValueId>::min()}) {
    EXPECT_THAT(Problem([&](Build& b) { b.Add(Op::kScale, {id}, ScaleAttrs{}); }),
                HasSubstr("; the graph has 1 values"));
    EXPECT_THAT(Problem([&](Build& b) { b.g.AddOutput(id); }), HasSubstr("a graph output is %"));
    EXPECT_THAT(Problem([&](Build& b) {
                  b.Add(Op::kScale, {b.F32({1, 1, 1, 1})}, ScaleAttrs{});
                  b.g.nodes()[0].output = id;
                }),
                HasSubstr("its output is %"));
  }
}

TEST(Infer, AValueComesFromOneNode) {
  EXPECT_THAT(Problem([](Build& b) {
                const ValueId x = b.F32({1, 1, 1, 1});
                const ValueId y = b.Add(Op::kScale, {x}, ScaleAttrs{});
                b.Add(Op::kScale, {x}, ScaleAttrs{});
                b.g.nodes()[1].output = y;
              }),
              HasSubstr("already has a value"));
  EXPECT_THAT(Problem([](Build& b) {
                const ValueId x = b.F32({1, 1, 1, 1});
                b.Add(Op::kScale, {x}, ScaleAttrs{});
                b.g.nodes()[0].output = x;
              }),
              HasSubstr("already has a value"));
}

// A node that a pass removed leaves its value behind.
TEST(Infer, ValuesOfNoNodeAreIgnoredUnlessUsed) {
  Build b;
  const ValueId x = b.F32({4, 1, 1, 1});
  const ValueId gone = b.Add(Op::kScale, {x}, ScaleAttrs{});
  ASSERT_TRUE(Infer(b.g).ok());
  b.g.nodes().clear();
  EXPECT_TRUE(Infer(b.g).ok());
  EXPECT_EQ(b.g.value(gone).producer, kNone);
  b.g.AddOutput(gone);
  EXPECT_EQ(Infer(b.g).message(), R"(graph output "y" is given a value by no node)");
}

}  // namespace
}  // namespace bantam::graph
