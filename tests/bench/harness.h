// Running a graph of one op over and over on the device "cpu".
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"

namespace bantam::bench {

// The instruction sets of this machine.
inline std::vector<std::string> InstructionSets() {
  std::vector<std::string> names;
  for (const char* name :
       {"portable", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neoni8mm"}) {
    if (device::OpenDevice("cpu", {.threads = 1, .cpu_isa = name}).ok()) names.push_back(name);
  }
  return names;
}

// What a step does. Rates are reported of what is not 0, in the best of the runs: what else the
// machine does only ever slows one down.
struct Work {
  double flops = 0;  // additions and multiplications
  double bytes = 0;  // read
};

// Seconds. One thread, which is this one, is held to the time that it had a processor for itself.
inline double Now(int threads) {
  timespec now;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Bytes of 1 are ordinary numbers in every type; memory never written would be one page of zeros.
// Integer inputs are the numbers 0, 1, ... or, where they come in pairs (attention cells), pairs of
// those and 0; one alone is `length`.
inline absl::Status Run(benchmark::State& state, const std::string& isa, int threads,
                        graph::Graph graph, const Work& work, int32_t length = 0) {
  BANTAM_ASSIGN_OR_RETURN(const auto device,
                          device::OpenDevice("cpu", {.threads = threads, .cpu_isa = isa}));
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  const graph::MemoryPlan plan = graph::PlanMemory(graph);
  std::vector<device::Binding> bindings(graph.values().size());
  std::vector<std::unique_ptr<device::Buffer>> buffers;
  for (size_t i = 0; i < graph.values().size(); ++i) {
    const graph::Value& value = graph.values()[i];
    if (value.storage == graph::Storage::kTemp || value.base != graph::kNone) continue;
    BANTAM_ASSIGN_OR_RETURN(auto buffer, device->Allocate(value.SpanBytes()));
    std::byte* data = buffer->host().data();
    std::memset(data, 1, buffer->size());
    if (value.type == quant::Type::kI32) {
      auto* ints = reinterpret_cast<int32_t*>(data);
      const int64_t count = graph::ElementCount(value.shape);
      const bool pairs = value.shape[0] == 2;
      for (int64_t j = 0; j < count; ++j) {
        ints[j] = static_cast<int32_t>(pairs ? (j % 2 == 0 ? j / 2 : 0) : j);
      }
      if (count == 1) ints[0] = length;
    }
    bindings[i] = {buffer.get(), 0};
    buffers.push_back(std::move(buffer));
  }
  BANTAM_ASSIGN_OR_RETURN(const auto temp, device->Allocate(std::max<int64_t>(plan.size, 1)));
  BANTAM_ASSIGN_OR_RETURN(const auto executable,
                          device->Compile({graph, plan, bindings, {temp.get(), 0}}));
  BANTAM_ASSIGN_OR_RETURN(const auto stream, device->NewStream());
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const double start = Now(threads);
    BANTAM_RETURN_IF_ERROR(executable->Run(*stream));
    best = std::min(best, Now(threads) - start);
  }
  if (work.flops > 0) state.counters["FLOP/s"] = work.flops / best;
  if (work.bytes > 0) state.counters["B/s"] = work.bytes / best;
  return absl::OkStatus();
}

inline void Report(benchmark::State& state, const absl::Status& status) {
  if (!status.ok()) state.SkipWithError(status.ToString().c_str());
}

}  // namespace bantam::bench
