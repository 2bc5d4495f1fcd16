#include "runtime/graph/dump.h"

#include <gtest/gtest.h>

#include "runtime/graph/infer.h"

namespace bantam::graph {
namespace {

using quant::Type;

// Every op once, with attributes that are not the default.
Graph EveryOp() {
  Graph g;
  const ValueId table = g.AddWeight("token_embd.weight", Type::kQ4_0, {32, 100, 1, 1});
  const ValueId norm = g.AddWeight("norm.weight", Type::kF32, {32, 1, 1, 1});
  const ValueId wq = g.AddWeight("q.weight", Type::kQ8_0, {32, 16, 1, 1});
  const ValueId wk = g.AddWeight("k.weight", Type::kF16, {32, 16, 1, 1});
  const ValueId bq = g.AddWeight("q.bias", Type::kF32, {16, 1, 1, 1});
  const ValueId bk = g.AddWeight("k.bias", Type::kF32, {16, 1, 1, 1});
  const ValueId experts = g.AddWeight("experts.weight", Type::kF32, {32, 16, 4, 1});
  const ValueId tokens = g.AddInput("tokens", Type::kI32, {5, 1, 1, 1});
  const ValueId q_cells = g.AddInput("query_cells", Type::kI32, {2, 5, 1, 1});
  const ValueId kv_cells = g.AddInput("kv_cells", Type::kI32, {2, 64, 1, 1});
  const ValueId kv_len = g.AddInput("kv_length", Type::kI32, {1, 1, 1, 1});
  const ValueId cache = g.AddState("kv_cache", Type::kF16, {8, 2, 64, 1});

  const ValueId x = g.Add(Op::kGatherRows, {table, tokens}, "embedding");
  const ValueId h = g.Add(Op::kNorm, {x, norm}, "normed", NormAttrs{NormKind::kLayer, 1e-6f});
  const ValueId qk =
      g.Add(Op::kMatMul, {wq, wk, h, bq, bk}, "qk", MatMulAttrs{2, true, Activation::kRelu});
  const Strides strides = {4, 32, 128, 640};
  const ValueId q = g.Add(Op::kView, {qk}, "q", ViewAttrs{{8, 2, 5, 1}, strides, 0});
  const ValueId k = g.Add(Op::kView, {qk}, "k", ViewAttrs{{8, 2, 5, 1}, strides, 64});
  RopeAttrs rope;
  rope.layout = RopeLayout::kNeox;
  rope.n_dims = 8;
  rope.theta_base = 500000;
  rope.freq_scale = 0.25f;
  rope.ext_factor = 1;
  rope.attn_factor = 1.5f;
  rope.beta_fast = 16;
  rope.beta_slow = 2;
  rope.original_context = 4096;
  const ValueId rotated = g.Add(Op::kRope, {q, tokens}, "q_rope", rope);
  const ValueId written = g.Add(Op::kKvWrite, {cache, k, tokens}, "k_written");
  const ValueId heads =
      g.Add(Op::kAttention, {rotated, written, written, q_cells, kv_cells, kv_len}, "attention",
            AttentionAttrs{0.125f, false, 32, 50});
  const ValueId flat = g.Add(Op::kReshape, {heads}, "joined", ReshapeAttrs{{16, 5, 1, 1}});
  const ValueId act = g.Add(Op::kUnary, {flat}, "act", ActivationAttrs{Activation::kGeluTanh});
  const ValueId gated = g.Add(Op::kGated, {act, flat}, "gated", ActivationAttrs{});
  const ValueId scaled = g.Add(Op::kScale, {gated}, "scaled", ScaleAttrs{2, -1});
  const ValueId added = g.Add(Op::kBinary, {scaled, bq}, "", BinaryAttrs{BinaryOp::kDiv});
  const ValueId probabilities = g.Add(Op::kSoftmax, {added}, "probabilities", SoftmaxAttrs{0.5f});
  const ValueId best = g.Add(Op::kTopK, {probabilities}, "best", TopKAttrs{2});
  const ValueId each = g.Add(Op::kReshape, {h}, "each", ReshapeAttrs{{32, 1, 5, 1}});
  const ValueId mixed = g.Add(Op::kMatMulExpert, {experts, each, best}, "mixed");
  const ValueId weights = g.Add(Op::kDequantize, {wq}, "plain");
  g.Add(Op::kTransfer, {weights}, "moved", TransferAttrs{1});
  g.AddOutput(mixed);
  g.AddOutput(cache);
  return g;
}

TEST(Dump, EveryOp) {
  Graph g = EveryOp();
  const absl::Status status = Infer(g);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Dump(g), R"(%0 = weight "token_embd.weight" : q4_0 [32, 100]
%1 = weight "norm.weight" : f32 [32]
%2 = weight "q.weight" : q8_0 [32, 16]
%3 = weight "k.weight" : f16 [32, 16]
%4 = weight "q.bias" : f32 [16]
%5 = weight "k.bias" : f32 [16]
%6 = weight "experts.weight" : f32 [32, 16, 4]
%7 = input "tokens" : i32 [5]
%8 = input "query_cells" : i32 [2, 5]
%9 = input "kv_cells" : i32 [2, 64]
%10 = input "kv_length" : i32 [1]
%11 = state "kv_cache" : f16 [8, 2, 64]
%12 = gather_rows(%0 "token_embd.weight", %7 "tokens") : f32 [32, 5] "embedding"
%13 = norm(%12, %1 "norm.weight") kind=layer epsilon=1e-06 : f32 [32, 5] "normed"
%14 = matmul(%2 "q.weight", %3 "k.weight", %13, %4 "q.bias", %5 "k.bias") parts=2 bias=yes activation=relu : f32 [32, 5] "qk"
%15 = view(%14) : f32 [8, 2, 5] in %14, strides [4, 32, 128] "q"
%16 = view(%14) : f32 [8, 2, 5] in %14 + 64, strides [4, 32, 128] "k"
%17 = rope(%15, %7 "tokens") layout=neox n_dims=8 theta_base=500000 freq_scale=0.25 ext_factor=1 attn_factor=1.5 beta_fast=16 beta_slow=2 original_context=4096 : f32 [8, 2, 5] "q_rope"
%18 = kv_write(%11 "kv_cache", %16, %7 "tokens") : f16 [8, 2, 64] in %11 "k_written"
%19 = attention(%17, %18, %18, %8 "query_cells", %9 "kv_cells", %10 "kv_length") scale=0.125 causal=no window=32 softcap=50 : f32 [8, 2, 5] "attention"
%20 = reshape(%19) : f32 [16, 5] in %19 "joined"
%21 = unary(%20) activation=gelu_tanh : f32 [16, 5] "act"
%22 = gated(%21, %20) activation=silu : f32 [16, 5] "gated"
%23 = scale(%22) scale=2 bias=-1 : f32 [16, 5] "scaled"
%24 = binary(%23, %4 "q.bias") op=div : f32 [16, 5]
%25 = softmax(%24) scale=0.5 : f32 [16, 5] "probabilities"
%26 = top_k(%25) k=2 : i32 [2, 5] "best"
%27 = reshape(%13) : f32 [32, 1, 5] in %13 "each"
%28 = matmul_expert(%6 "experts.weight", %27, %26) : f32 [16, 2, 5] "mixed"
%29 = dequantize(%2 "q.weight") : f32 [32, 16] "plain"
%30 = transfer(%29) device=1 : f32 [32, 16] "moved"
output %28
output %11 "kv_cache"
)");
}

TEST(Dump, DefaultsAreLeftOut) {
  Graph g;
  const ValueId w = g.AddWeight("w", Type::kF32, {4, 4, 1, 1});
  const ValueId x = g.AddInput("x", Type::kF32, {4, 0, 1, 1});
  const ValueId y = g.Add(Op::kMatMul, {w, x}, "y", MatMulAttrs{});
  g.Add(Op::kNorm, {y}, "z", NormAttrs{});
  ASSERT_TRUE(Infer(g).ok());
  EXPECT_EQ(Dump(g), R"(%0 = weight "w" : f32 [4, 4]
%1 = input "x" : f32 [4, 0]
%2 = matmul(%0 "w", %1 "x") : f32 [4, 0] "y"
%3 = norm(%2) : f32 [4, 0] "z"
)");
}

TEST(Dump, TakesGraphsThatAreWrong) {
  Graph g;
  const ValueId w = g.AddWeight("w\n", Type::kF32, {4, 4, 1, 1});
  g.value(w).type = static_cast<Type>(99);
  g.Add(static_cast<Op>(77), {-5, 12}, "y", ActivationAttrs{static_cast<Activation>(44)});
  g.Add(Op::kBinary, {w}, "z", BinaryAttrs{static_cast<BinaryOp>(9)});
  g.nodes()[1].output = 50;
  g.AddOutput(-1);
  EXPECT_EQ(Dump(g), R"(%0 = weight "w\n" : type 99 [4, 4]
%1 = ?(%-5?, %12?) activation=? : f32 [0] "y"
%50? = binary(%0 "w\n") op=?
output %-1?
)");
}

}  // namespace
}  // namespace bantam::graph
