// The ops between the products, with every instruction set, at the size of an 8B model: one token
// and a prompt of 128, on one thread and on two.

#include "tests/bench/harness.h"

namespace bantam::bench {
namespace {

using graph::Graph;
using graph::Op;
using graph::ValueId;
using quant::Type;

constexpr int64_t kWidth = 4096, kHidden = 14336, kHeads = 32, kKvHeads = 8, kHeadDim = 128;

int Threads(const benchmark::State& state) { return static_cast<int>(state.range(1)); }

void Norm(benchmark::State& state, const std::string& isa) {
  const int64_t n = state.range(0);
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {kWidth, n, 1, 1});
  const ValueId w = g.AddWeight("w", Type::kF32, {kWidth, 1, 1, 1});
  g.AddOutput(g.Add(Op::kNorm, {x, w}, "out", graph::NormAttrs{}));
  Report(state, Run(state, isa, Threads(state), std::move(g), {0, 4.0 * kWidth * n}));
}

void Add(benchmark::State& state, const std::string& isa) {
  const int64_t n = state.range(0);
  Graph g;
  const ValueId a = g.AddInput("a", Type::kF32, {kWidth, n, 1, 1});
  const ValueId b = g.AddInput("b", Type::kF32, {kWidth, n, 1, 1});
  g.AddOutput(g.Add(Op::kBinary, {a, b}, "out", graph::BinaryAttrs{}));
  Report(state, Run(state, isa, Threads(state), std::move(g), {0, 8.0 * kWidth * n}));
}

void Gated(benchmark::State& state, const std::string& isa) {
  const int64_t n = state.range(0);
  Graph g;
  const ValueId gate = g.AddInput("gate", Type::kF32, {kHidden, n, 1, 1});
  const ValueId up = g.AddInput("up", Type::kF32, {kHidden, n, 1, 1});
  g.AddOutput(g.Add(Op::kGated, {gate, up}, "out", graph::ActivationAttrs{}));
  Report(state, Run(state, isa, Threads(state), std::move(g), {0, 8.0 * kHidden * n}));
}

void Rope(benchmark::State& state, const std::string& isa) {
  const int64_t n = state.range(0);
  Graph g;
  const ValueId x = g.AddInput("x", Type::kF32, {kHeadDim, kHeads, n, 1});
  const ValueId positions = g.AddInput("positions", Type::kI32, {n, 1, 1, 1});
  g.AddOutput(g.Add(Op::kRope, {x, positions}, "out", graph::RopeAttrs{.n_dims = kHeadDim}));
  Report(state, Run(state, isa, Threads(state), std::move(g), {0, 4.0 * kHeadDim * kHeads * n}));
}

void KvWrite(benchmark::State& state, const std::string& isa, Type type) {
  const int64_t n = state.range(0);
  Graph g;
  const ValueId cache = g.AddState("cache", type, {kHeadDim, kKvHeads, 4096, 1});
  const ValueId x = g.AddInput("x", Type::kF32, {kHeadDim, kKvHeads, n, 1});
  const ValueId slots = g.AddInput("slots", Type::kI32, {n, 1, 1, 1});
  g.AddOutput(g.Add(Op::kKvWrite, {cache, x, slots}, "out"));
  Report(state, Run(state, isa, Threads(state), std::move(g), {0, 4.0 * kHeadDim * kKvHeads * n}));
}

void Attention(benchmark::State& state, const std::string& isa, Type type) {
  const int64_t n = state.range(0), cells = state.range(2), width = state.range(3);
  Graph g;
  const ValueId q = g.AddInput("q", Type::kF32, {width, kHeads, n, 1});
  const ValueId k = g.AddInput("k", type, {width, kKvHeads, cells, 1});
  const ValueId v = g.AddInput("v", type, {width, kKvHeads, cells, 1});
  const ValueId queries = g.AddInput("queries", Type::kI32, {2, n, 1, 1});
  const ValueId kv_cells = g.AddInput("cells", Type::kI32, {2, cells, 1, 1});
  const ValueId length = g.AddInput("length", Type::kI32, {1, 1, 1, 1});
  g.AddOutput(g.Add(Op::kAttention, {q, k, v, queries, kv_cells, length}, "out",
                    graph::AttentionAttrs{.scale = 0.1f, .causal = false}));
  const Work work = {4.0 * static_cast<double>(width * kHeads * n * cells),
                     2.0 * static_cast<double>(quant::RowBytes(type, width) * kKvHeads * cells)};
  Report(state, Run(state, isa, Threads(state), std::move(g), work, static_cast<int32_t>(cells)));
}

[[maybe_unused]] const int kRegistered = [] {
  const std::pair<const char*, void (*)(benchmark::State&, const std::string&)> ops[] = {
      {"Norm", &Norm}, {"Add", &Add}, {"Gated", &Gated}, {"Rope", &Rope}};
  for (const std::string& isa : InstructionSets()) {
    for (const auto& [name, run] : ops) {
      benchmark::RegisterBenchmark(absl::StrCat(name, "/", isa).c_str(),
                                   [isa, run](benchmark::State& state) { run(state, isa); })
          ->ArgNames({"n", "threads"})
          ->ArgsProduct({{1, 128}, {1, 2}})
          ->UseRealTime();
    }
    for (Type type : {Type::kF32, Type::kF16, Type::kQ8_0, Type::kQ4_0}) {
      const std::string suffix = absl::StrCat("/", isa, "/", quant::Name(type));
      if (!quant::Traits(type).is_quantized) {
        benchmark::RegisterBenchmark(
            ("KvWrite" + suffix).c_str(),
            [isa, type](benchmark::State& state) { KvWrite(state, isa, type); })
            ->ArgNames({"n", "threads"})
            ->ArgsProduct({{1, 128}, {1, 2}})
            ->UseRealTime();
      }
      auto* attention = benchmark::RegisterBenchmark(
          ("Attention" + suffix).c_str(),
          [isa, type](benchmark::State& state) { Attention(state, isa, type); });
      attention->ArgNames({"n", "threads", "cells", "width"})->UseRealTime();
      for (int64_t threads : {1, 2}) {
        for (int64_t width : {64, 128}) {
          // One query: cells in a cache, and in memory.
          attention->Args({1, threads, 4096, width})->Args({1, threads, 65536, width});
          if (isa != "portable") attention->Args({128, threads, 1024, width});
        }
      }
    }
  }
  return 0;
}();

}  // namespace
}  // namespace bantam::bench
