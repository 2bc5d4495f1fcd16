#include "runtime/schedule/group.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace bantam::schedule {
namespace {

using graph::Graph;
using graph::Node;
using graph::NodeId;
using graph::Storage;
using graph::ValueId;

// Cuts "blk.12." off `name`; -1 where there is none.
int TakeLayer(absl::string_view& name) {
  absl::string_view rest = name;
  if (!absl::ConsumePrefix(&rest, "blk.")) return -1;
  const size_t dot = rest.find('.');
  int layer = -1;
  if (dot == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, dot), &layer)) return -1;
  name = rest.substr(dot + 1);
  return layer;
}

bool StartsWithAny(absl::string_view name, std::initializer_list<absl::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](absl::string_view prefix) { return absl::StartsWith(name, prefix); });
}

// The group that a weight's name puts a node in; nullopt for a weight that all layers share
// (rope_freqs), which says nothing.
std::optional<Group> GroupOfWeight(absl::string_view name, graph::Op op) {
  const int layer = TakeLayer(name);
  if (layer >= 0) {
    if (absl::StrContains(name, "_exps.hot")) return Group{Part::kHotExperts, layer};
    if (absl::StrContains(name, "_exps")) return Group{Part::kExperts, layer};
    if (StartsWithAny(name, {"ffn", "post_ffw", "exp_probs", "layer_out"})) {
      return Group{Part::kFeedForward, layer};
    }
    return Group{Part::kAttention, layer};
  }
  // A tied table is the embedding where rows are gathered and the head where it is multiplied.
  if (StartsWithAny(name, {"token_embd", "token_types", "position_embd", "per_layer"})) {
    const bool is_head = op == graph::Op::kMatMul && absl::StartsWith(name, "token_embd.");
    return Group{is_head ? Part::kOutput : Part::kEmbedding};
  }
  if (StartsWithAny(name, {"output", "cls"})) return Group{Part::kOutput};
  return std::nullopt;
}

}  // namespace

absl::string_view PartName(Part part) {
  static constexpr std::array<absl::string_view, 7> kNames = {
      "embedding", "attention", "KV", "feed-forward", "experts", "hot experts", "output head"};
  return kNames[static_cast<size_t>(part)];
}

std::string GroupName(const Group& group) {
  if (group.layer < 0) return std::string(PartName(group.part));
  return absl::StrCat(PartName(group.part), " of layer ", group.layer);
}

int Grouping::Find(const Group& group) const {
  const auto found = std::find(groups.begin(), groups.end(), group);
  return found == groups.end() ? -1 : static_cast<int>(found - groups.begin());
}

absl::StatusOr<Grouping> FindGroups(const Graph& graph) {
  Grouping result;
  std::vector<int> of_state(graph.values().size(), -1);
  for (const Node& node : graph.nodes()) {
    std::optional<Group> group;
    ValueId state = graph::kNone;
    NodeId latest = graph::kNone;
    for (ValueId id : node.inputs) {
      const ValueId root = graph.RootOf(id);
      if (graph.value(root).storage == Storage::kState && state == graph::kNone) state = root;
      latest = std::max(latest, graph.value(id).producer);
    }
    if (state != graph::kNone) {
      absl::string_view name = graph.value(state).name;
      group = Group{Part::kKv, TakeLayer(name)};
    }
    for (size_t i = 0; i < node.inputs.size() && !group.has_value(); ++i) {
      const graph::Value& root = graph.value(graph.RootOf(node.inputs[i]));
      if (root.storage == Storage::kWeight) group = GroupOfWeight(root.name, node.op);
    }
    int index = 0;
    if (group.has_value()) {
      index = result.Find(*group);
      if (index < 0) {
        index = static_cast<int>(result.groups.size());
        result.groups.push_back(*group);
      }
    } else if (latest != graph::kNone) {
      index = result.of_node[latest];
      // The sum of hot and cold experts.
      for (ValueId id : node.inputs) {
        const NodeId maker = graph.value(id).producer;
        if (maker == graph::kNone || result.groups[index].part != Part::kExperts) continue;
        if (result.groups[result.of_node[maker]].part == Part::kHotExperts) {
          index = result.of_node[maker];
        }
      }
    } else if (result.groups.empty()) {
      result.groups.push_back(Group{Part::kEmbedding});
    }
    for (ValueId id : node.inputs) {
      const ValueId root = graph.RootOf(id);
      if (graph.value(root).storage != Storage::kState) continue;
      if (of_state[root] >= 0 && of_state[root] != index) {
        return absl::InvalidArgumentError(absl::StrCat(
            "state '", graph.value(root).name, "' is used by the groups ",
            GroupName(result.groups[of_state[root]]), " and ", GroupName(result.groups[index])));
      }
      of_state[root] = index;
    }
    result.of_node.push_back(index);
  }
  return result;
}

}  // namespace bantam::schedule
