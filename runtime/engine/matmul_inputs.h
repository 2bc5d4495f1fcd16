// Reading what matrix multiplications were given, after a step: graph::KeepMatMulInputs kept it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/device/device.h"
#include "runtime/engine/engine.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/memory_plan.h"

namespace bantam::engine {

// An intermediate value's place in the temporary buffer.
struct StoredValue {
  uint64_t offset = 0;
  uint64_t bytes = 0;  // that it spans
  graph::Shape shape = {};
  graph::Strides strides = {};
};

struct MatMulInput {
  std::vector<std::string> weights;
  StoredValue x;    // f32 {k, tokens, ...}, or {k, 1 or top_k, tokens} for experts
  StoredValue ids;  // i32 {top_k, tokens} for experts, else empty
  int64_t experts = 0;
};

std::vector<MatMulInput> FindMatMulInputs(const graph::Graph& graph, const graph::MemoryPlan& plan);

// Calls `row` for the first `tokens` tokens.
absl::Status ReadMatMulInput(const MatMulInput& input, device::Buffer& temp, int64_t tokens,
                             Session::ObserveFn row);

}  // namespace bantam::engine
