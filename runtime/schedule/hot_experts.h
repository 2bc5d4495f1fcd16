// A layer's experts on two devices: those chosen most, the hot ones, on a card and the rest on the
// host.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/graph/graph.h"

namespace bantam::schedule {

struct HotExperts {
  int layer = 0;
  int device = 0;                // where they are; the others are on the last device
  std::vector<int32_t> experts;  // that are; [slot] in the tensors that hold them
  int32_t count = 0;             // of all experts of the layer
  double share = 0;              // of the choices in use so far
  // The others are in tensors of their own too, and not in the file's: for a host that copies
  // weights, so that it copies no hot ones.
  bool cold_apart = false;
};

// The experts of one side; their slots in the tensors that hold only them.
std::vector<int32_t> ExpertsOf(const HotExperts& hot, bool is_hot);

// What a graph reads in place of a weight of the file "blk.3.ffn_up_exps.weight" for hot experts,
// or for cold ones that are apart, and the slot that each expert has there (or, cold, in the
// file's), or -1: i32 {count}.
std::string SideName(absl::string_view weight, bool hot);  // "blk.3.ffn_up_exps.hot.weight"
std::string SlotsName(int layer, bool hot);                // "blk.3.ffn_exps.hot_slots"
// By expert, what a weight of that name holds.
std::vector<int32_t> Slots(const HotExperts& hot, bool is_hot);

// The graph of a step with the experts of these layers apart. Each side maps the ids that the
// router chose to its slots; the one it lacks gives zeros (Op::kMatMulExpert), and so does its
// share of the sum. The two sums are added, which is a rounding more than one sum of all. A cold
// side that is not apart keeps the file's tensors, of which it never reads the hot experts.
// kUnimplemented names a layer whose experts are not a sum of products as mixtures have them.
absl::StatusOr<graph::Graph> SplitExperts(const graph::Graph& graph,
                                          std::span<const HotExperts> hot);

}  // namespace bantam::schedule
