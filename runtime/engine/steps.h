// The steps a session compiles, and what they take.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/engine/engine.h"
#include "runtime/graph/graph.h"
#include "runtime/model/architecture.h"

namespace bantam::engine {

// `options` with the context filled in and the micro-batch cut to it. kInvalidArgument and
// kUnimplemented name the model by `name`.
absl::StatusOr<SessionOptions> CheckOptions(const SessionOptions& options,
                                            const model::Config& config, absl::string_view name);

// Row counts of the steps that a session compiles: 1, 2, 4, ... ubatch.
std::vector<int64_t> ShapeClasses(int64_t ubatch);

// The graph of one of them.
absl::StatusOr<graph::Graph> BuildStep(const model::Architecture& architecture,
                                       const SessionOptions& options, int64_t rows,
                                       int64_t output_rows);

}  // namespace bantam::engine
