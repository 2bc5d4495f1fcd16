// What fits where: for each recipe the size of a model, the memory it takes beside that, the
// longest context that still fits, a bound on its speed, and one recommendation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bantam::plan {

struct Machine {
  uint64_t ram = 0;      // bytes that may be used
  uint64_t vram = 0;     // the same of a graphics card; 0: none
  double bandwidth = 0;  // bytes per second read from RAM; 0: not known
};

// Bytes per second that `threads` threads read from memory that no cache holds.
double MeasureBandwidth(int threads);

struct Request {
  Machine machine;
  int64_t context = 0;  // tokens; 0: 4096, or what the model was trained for where that is less
  int64_t ubatch = 128;
};

struct Memory {
  uint64_t kv_cache = 0;
  uint64_t compute = 0;
};

struct Row {
  std::string recipe;
  uint64_t weights = 0;  // bytes
  double bits_per_weight = 0;
  Memory memory;  // at the context asked for
  bool fits = false;
  // Layers whose weights and KV cache go to the graphics card.
  int64_t gpu_layers = 0;
  uint64_t in_vram = 0, in_ram = 0;
  int64_t longest_context = 0;  // 0: not even a short one fits
  // Generated tokens per second are at most this: reading the weights takes the rest of the time.
  std::optional<double> most_tokens_per_second;

  uint64_t total() const { return weights + memory.kv_cache + memory.compute; }
};

struct Plan {
  std::string model;    // its name, or the shape that stands for a size
  bool exact = false;   // from a file; else estimated from a typical shape of that size
  int64_t context = 0;  // looked at
  int64_t trained_context = 0;
  int64_t layers = 0;
  std::vector<Row> rows;  // the largest first
  int recommended = -1;   // of rows; -1: none fits
  std::string reason;
};

// From a model file of any type: weights by the recipes' types for its tensors, KV cache and
// intermediate values by the planner that the engine runs with.
absl::StatusOr<Plan> PlanFile(const std::string& path, const Request& request);

// From a number of weights ("7B", "360M"), by the shape of well-known models near that size.
absl::StatusOr<Plan> PlanSize(double weights, const Request& request);

// "7B", "0.5b", "135M" as a number of weights; nothing for other text.
std::optional<double> ParseWeights(absl::string_view text);

}  // namespace bantam::plan
