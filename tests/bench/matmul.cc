// One matmul on the CPU device: weights {k, m} of a type, n rows, on so many threads. The counter
// `FLOP/s` counts a multiplication and an addition for each weight and row.

#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

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
  return absl::OkStatus();
}

void MatMul(benchmark::State& state, quant::Type type) {
  if (absl::Status status = Run(state, type); !status.ok()) {
    state.SkipWithError(status.ToString().c_str());
  }
}

// The down projection of SmolLM2 135M and a square of an 8B model.
void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"k", "m", "n", "threads"})->UseRealTime();
  for (auto [k, m] : {std::pair{1536, 576}, {4096, 4096}}) {
    for (int64_t n : {1, 512}) {
      for (int64_t threads : {1, 2}) benchmark->Args({k, m, n, threads});
    }
  }
}

BENCHMARK_CAPTURE(MatMul, F32, quant::Type::kF32)->Apply(Sizes);
BENCHMARK_CAPTURE(MatMul, F16, quant::Type::kF16)->Apply(Sizes);
BENCHMARK_CAPTURE(MatMul, Q4_1, quant::Type::kQ4_1)->Apply(Sizes);
BENCHMARK_CAPTURE(MatMul, Q4_K, quant::Type::kQ4_K)->Apply(Sizes);

}  // namespace
}  // namespace bantam
