// One matmul on the CPU device: weights {k, m} of a type, n rows, on so many threads. The counter
// `FLOP/s` counts a multiplication and an addition for each weight and row.

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/registry.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"

namespace bantam {
namespace {

absl::Status Run(benchmark::State& state, quant::Type type) {
  const int64_t k = state.range(0), m = state.range(1), n = state.range(2);
  auto device = device::OpenDevice("cpu", {.threads = static_cast<int>(state.range(3))});
  if (!device.ok()) return device.status();
  graph::Graph g;
  const graph::ValueId w = g.AddWeight("w", type, {k, m, 1, 1});
  const graph::ValueId x = g.AddInput("x", quant::Type::kF32, {k, n, 1, 1});
  g.AddOutput(g.Add(graph::Op::kMatMul, {w, x}, "out", graph::MatMulAttrs{}));
  if (absl::Status status = graph::Infer(g); !status.ok()) return status;
  const graph::MemoryPlan plan = graph::PlanMemory(g);
  auto weights = (*device)->Allocate(g.value(w).SpanBytes());
  auto rows = (*device)->Allocate(g.value(x).SpanBytes());
  auto temp = (*device)->Allocate(plan.size);
  if (!weights.ok() || !rows.ok() || !temp.ok()) return absl::ResourceExhaustedError("memory");
  // Bytes of 1 are ordinary numbers in every type; memory never written would be one shared page.
  for (auto& buffer : {std::ref(*weights), std::ref(*rows)}) {
    std::memset(buffer.get()->host().data(), 1, buffer.get()->size());
  }
  std::vector<device::Binding> bindings(g.values().size());
  bindings[w] = {weights->get(), 0};
  bindings[x] = {rows->get(), 0};
  auto executable = (*device)->Compile({g, plan, bindings, {temp->get(), 0}});
  auto stream = (*device)->NewStream();
  if (!executable.ok()) return executable.status();
  if (!stream.ok()) return stream.status();
  for (auto _ : state) {
    if (absl::Status status = (*executable)->Run(**stream); !status.ok()) return status;
  }
  state.counters["FLOP/s"] = benchmark::Counter(2.0 * static_cast<double>(k * m * n),
                                                benchmark::Counter::kIsIterationInvariantRate);
  state.counters["weight B/s"] = benchmark::Counter(static_cast<double>(g.value(w).SpanBytes()),
                                                    benchmark::Counter::kIsIterationInvariantRate);
  return absl::OkStatus();
}

void MatMul(benchmark::State& state, quant::Type type) {
  if (absl::Status status = Run(state, type); !status.ok()) {
    state.SkipWithError(status.ToString().c_str());
  }
}

// What the "weight B/s" of one row can at best be: reading memory larger than the caches.
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

// The feed-forward projection of an 8B model.
void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"k", "m", "n", "threads"})->UseRealTime();
  for (int64_t n : {1, 512}) benchmark->Args({4096, 14336, n, 2});
}

[[maybe_unused]] const int kRegistered = [] {
  for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id) {
    if (!quant::IsValidType(id)) continue;
    const auto type = static_cast<quant::Type>(id);
    Sizes(benchmark::RegisterBenchmark(absl::StrCat("MatMul/", quant::Name(type)).c_str(),
                                       [type](benchmark::State& state) { MatMul(state, type); }));
  }
  return 0;
}();

}  // namespace
}  // namespace bantam
