// What of a model is placed as one: its tensor groups.
#pragma once

#include <compare>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/graph/graph.h"

namespace bantam::schedule {

enum class Part : uint8_t {
  kEmbedding,
  kAttention,    // of a layer: projections and their norms
  kKv,           // of a layer: its states (the KV cache), and the nodes that read and write them
  kFeedForward,  // of a layer: with norms, router and shared experts
  kExperts,      // of a layer: those a router chooses from
  kHotExperts,   // of them some on another device (hot_experts.h)
  kOutput,       // the last norm and the output head
};
absl::string_view PartName(Part part);  // "attention"

struct Group {
  Part part = Part::kEmbedding;
  int layer = -1;  // -1: of no layer
  friend auto operator<=>(const Group&, const Group&) = default;
};
std::string GroupName(const Group& group);  // "attention of layer 3"

struct Grouping {
  std::vector<Group> groups;  // by first node
  std::vector<int> of_node;   // by NodeId: an index into `groups`

  int Find(const Group& group) const;  // its index, or -1
};

// By names as GGUF files have them ("blk.3.attn_q.weight") of what a node touches: a state decides
// before a weight, and a node with neither follows the input that was produced last. A view stays
// with what it shows; where hot and cold experts are added up, that is with the hot ones. A weight
// belongs to each group that has a node that reads it.
// kInvalidArgument names a state that two groups touch. `graph` is inferred, optimised or not.
absl::StatusOr<Grouping> FindGroups(const graph::Graph& graph);

}  // namespace bantam::schedule
