// Matrix products of every weight type with every instruction set: weights {k, m}, n rows. `FLOP/s`
// counts a multiplication and an addition for each weight and row, `B/s` the weights read once.

#include <algorithm>
#include <atomic>

#include "runtime/base/thread_pool.h"
#include "tests/bench/harness.h"

namespace bantam::bench {
namespace {

void MatMul(benchmark::State& state, const std::string& isa, quant::Type type) {
  const int64_t k = state.range(0), m = state.range(1), n = state.range(2);
  graph::Graph g;
  const graph::ValueId w = g.AddWeight("w", type, {k, m, 1, 1});
  const graph::ValueId x = g.AddInput("x", quant::Type::kF32, {k, n, 1, 1});
  g.AddOutput(g.Add(graph::Op::kMatMul, {w, x}, "out", graph::MatMulAttrs{}));
  const Work work = {2.0 * static_cast<double>(k * m * n),
                     static_cast<double>(quant::RowBytes(type, k) * m)};
  Report(state, Run(state, isa, static_cast<int>(state.range(3)), std::move(g), work));
}

// What the "B/s" of one row can at best be: reading memory larger than the caches.
void StreamingRead(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  constexpr int64_t kWords = int64_t{64} << 20 >> 3, kChunk = 1 << 14;
  std::vector<uint64_t> memory(kWords, 1);
  std::atomic<uint64_t> total{0};
  for (auto _ : state) {
    pool.ParallelFor(kWords / kChunk, 1, [&](int64_t begin, int64_t end, int) {
      uint64_t sum = 0;
      for (int64_t i = begin * kChunk; i < end * kChunk; ++i) sum += memory[i];
      total.fetch_add(sum, std::memory_order_relaxed);
    });
  }
  benchmark::DoNotOptimize(total.load());
  state.counters["B/s"] = benchmark::Counter(static_cast<double>(kWords * 8),
                                             benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(StreamingRead)->Arg(1)->Arg(2)->ArgName("threads")->UseRealTime();

// The feed-forward projection of an 8B model; of the portable set, which is there for its results,
// a small part.
void Sizes(benchmark::internal::Benchmark* benchmark, bool is_portable) {
  benchmark->ArgNames({"k", "m", "n", "threads"})->UseRealTime();
  for (int64_t threads : {1, 2}) {
    for (int64_t n : {1, 4, 512}) {
      benchmark->Args(
          {4096, is_portable ? 256 : 14336, is_portable ? std::min<int64_t>(n, 32) : n, threads});
    }
    // Weights that stay in the second-level cache: what computing alone costs, in times so short
    // that a busy machine leaves some undisturbed.
    if (!is_portable) benchmark->Args({2048, 256, 1, threads})->Args({2048, 256, 64, threads});
    // A step of a prompt.
    if (!is_portable) benchmark->Args({2048, 16384, 128, threads});
  }
}

[[maybe_unused]] const int kRegistered = [] {
  for (const std::string& isa : InstructionSets()) {
    for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id) {
      if (!quant::IsValidType(id)) continue;
      const auto type = static_cast<quant::Type>(id);
      Sizes(benchmark::RegisterBenchmark(
                absl::StrCat("MatMul/", isa, "/", quant::Name(type)).c_str(),
                [isa, type](benchmark::State& state) { MatMul(state, isa, type); }),
            isa == "portable");
    }
  }
  return 0;
}();

}  // namespace
}  // namespace bantam::bench
