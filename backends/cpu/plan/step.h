// One node compiled: what to call, on which memory.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "backends/cpu/plan/tensor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/graph/graph.h"

namespace bantam::cpu {

struct RunContext {
  ThreadPool& pool;
  std::byte* scratch;      // worker_scratch bytes for each worker, 64-byte aligned
  int64_t worker_scratch;  // a multiple of 64
  std::byte* shared;       // shared_scratch bytes, 64-byte aligned

  float* Scratch(int worker) const {
    return reinterpret_cast<float*>(scratch + worker * worker_scratch);
  }
};

struct Step {
  using Function = void (*)(const Step& step, const RunContext& context);

  Function run = nullptr;
  graph::Op op = graph::Op::kReshape;
  // For Describe: whose kernel runs ("reference", "avx2") and which.
  absl::string_view origin = "reference";
  std::string kernel;
  std::vector<Tensor> inputs;
  Tensor output;
  graph::Attrs attrs;
  std::vector<double> table;   // constants computed once (rope)
  int64_t worker_scratch = 0;  // bytes each worker needs
  int64_t shared_scratch = 0;  // bytes all workers need together
};

// Items per chunk of a parallel loop, given the rough cost of one in elementary operations. Waking
// a thread costs about ten microseconds: chunks that take less are not worth handing out.
inline int64_t Grain(int64_t cost) {
  constexpr int64_t kChunkCost = 16384;
  return std::max<int64_t>(1, kChunkCost / std::max<int64_t>(1, cost));
}

}  // namespace bantam::cpu
