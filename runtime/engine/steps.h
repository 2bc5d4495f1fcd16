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

// Whether on several devices two of the largest steps are to run at once. `options` as CheckOptions
// leaves them.
bool TwoStepsInFlight(const SessionOptions& options);

// Of the layers that have one; 0 where none has.
int64_t LongestWindow(const model::Config& config);

// Cells that the KV cache of layers with a window has: the window, the tokens of a step, whose keys
// are all written before the first of them is computed, and drafts that are taken back. `options`
// as CheckOptions leaves them; 0 where no layer has a window.
int64_t WindowCells(const model::Config& config, const SessionOptions& options);

// The layer whose router chose these ids, an output of a step that counts experts; else -1.
int RoutedLayer(const graph::Graph& graph, const graph::Value& ids);

// The graph of one of them.
absl::StatusOr<graph::Graph> BuildStep(const model::Architecture& architecture,
                                       const SessionOptions& options, int64_t rows,
                                       int64_t output_rows);

}  // namespace bantam::engine
