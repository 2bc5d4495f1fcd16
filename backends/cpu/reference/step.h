// One node compiled: what to call, on which memory.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/cpu/reference/tensor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/graph/graph.h"

namespace bantam::cpu::reference {

struct RunContext {
  ThreadPool& pool;
  std::byte* scratch;      // worker_scratch bytes for each worker, 64-byte aligned
  int64_t worker_scratch;  // a multiple of 64

  float* Scratch(int worker) const {
    return reinterpret_cast<float*>(scratch + worker * worker_scratch);
  }
};

struct Step {
  using Function = void (*)(const Step& step, const RunContext& context);

  Function run = nullptr;
  std::string kernel;  // for Describe
  std::vector<Tensor> inputs;
  Tensor output;
  graph::Attrs attrs;
  std::vector<double> table;   // constants computed once (rope)
  int64_t worker_scratch = 0;  // bytes each worker needs
};

// Each picks the kernel and states the scratch for a step whose other fields are set; types,
// shapes, pointers and alignment have been checked (executable.cc).
void PrepareGatherRows(Step& step);
void PrepareMatMul(Step& step);
void PrepareMatMulExpert(Step& step);
void PrepareDequantize(Step& step);
void PrepareNorm(Step& step);
void PrepareRope(Step& step);
void PrepareAttention(Step& step);
void PrepareKvWrite(Step& step);
void PrepareUnary(Step& step);
void PrepareGated(Step& step);
void PrepareBinary(Step& step);
void PrepareScale(Step& step);
void PrepareSoftmax(Step& step);
void PrepareTopK(Step& step);
void PrepareTransfer(Step& step);

// Items per chunk of a parallel loop, given the rough cost of one in elementary operations. Waking
// a thread costs about ten microseconds: chunks that take less are not worth handing out.
inline int64_t Grain(int64_t cost) {
  constexpr int64_t kChunkCost = 16384;
  return std::max<int64_t>(1, kChunkCost / std::max<int64_t>(1, cost));
}

}  // namespace bantam::cpu::reference
