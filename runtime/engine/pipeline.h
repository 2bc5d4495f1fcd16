// Steps of a long prompt, two at a time.
#pragma once

#include <array>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/engine/program.h"

namespace bantam::engine {

// While one step is on a device, the next is on another, or moves between them. Step i runs on lane
// i % 2: two compilations of one program with inputs and intermediate values of their own, and the
// same KV cache. A segment of a step waits for the same segment of the step before, which so has
// written the cache that it reads, and for the device, which runs one segment at a time; so the
// results are the same bits as of one step after the other.
//
// Runs `count` steps. `prepare` writes the inputs of a step on its lane; it is called for each in
// order, never twice at once, from two threads. The first error ends both lanes and is returned.
// Starts a thread, so it is worth it for steps that take milliseconds.
absl::Status RunInPipeline(std::array<Program*, 2> lanes, int64_t count,
                           absl::FunctionRef<absl::Status(int64_t step, int lane)> prepare);

}  // namespace bantam::engine
