// What fits where: for each recipe the size of a model, what of it goes to which device, the
// longest context that still fits, the speed to expect, and one recommendation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/plan/typical.h"
#include "runtime/schedule/cost.h"
#include "runtime/schedule/placement.h"

namespace bantam::plan {

struct Machine {
  // Graphics cards, and last the host, whose profile has no limit: that is `ram`. A profile of a
  // device that is here refers to it; it says then what its programs need besides.
  std::vector<schedule::DeviceProfile> devices;
  std::vector<std::shared_ptr<device::Device>> open;  // those devices
  uint64_t ram = 0;                                   // bytes of the host's memory that may be used

  uint64_t vram() const;  // of all cards
};

// Typical of what people own, for a machine that is only described. Bandwidths in bytes per second.
schedule::DeviceProfile TypicalCard(std::string name, uint64_t capacity, double bandwidth = 2.7e11);
schedule::DeviceProfile TypicalHost(double bandwidth = 4e10);

struct Request {
  Machine machine;
  int64_t context = 0;  // tokens; 0: 4096, or what the model was trained for where that is less
  int64_t ubatch = 0;   // 0: as the first device wants it
  // By name, the largest first; empty: the usual ones.
  std::vector<std::string> recipes;
  bool find_longest_context = true;  // which takes as long as ten plans
  // Where it is kept how often a model's experts are used (schedule/expert_use.h); "": not known.
  std::string expert_use_folder;
};

struct Row {
  std::string recipe;
  uint64_t weights = 0;  // bytes in the file
  double bits_per_weight = 0;
  double divergence = 0;          // expected, from the model as it was: an estimate (loss.h)
  schedule::Placement placement;  // at the context asked for
  bool fits = false;              // what is left for the host does
  bool on_cards = false;          // all layers and the output head are
  uint64_t in_vram = 0;           // bytes of weights and KV cache on cards
  uint64_t total = 0;             // bytes on all devices
  int64_t longest_context = 0;    // 0: not even a short one fits, or it was not looked for

  double generate_speed() const { return 1 / placement.decode_seconds; }  // tokens per second
  double prompt_speed() const {
    return static_cast<double>(placement.prompt_rows) / placement.prompt_seconds;
  }
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

// Of a model file of any type, or one that is only described: weights by the recipes' types for its
// tensors, placed by the scheduler as the engine would, to the byte.
absl::StatusOr<Plan> MakePlan(const gguf::File& file, const Request& request);

// From a file, or from a size by the shape of a well-known model near it.
absl::StatusOr<Plan> PlanFile(const std::string& path, const Request& request);
absl::StatusOr<Plan> PlanSize(const ModelSize& size, const Request& request);

}  // namespace bantam::plan
