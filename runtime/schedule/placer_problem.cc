#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "runtime/base/align.h"
#include "runtime/schedule/placer.h"

namespace bantam::schedule {

using graph::Graph;
using graph::Node;
using graph::Storage;
using graph::Value;
using graph::ValueId;

// The groups that each root is used by, in the order of the groups.
std::vector<std::vector<int>> UsersOfRoots(const Graph& graph, const Grouping& grouping) {
  std::vector<std::vector<int>> users(graph.values().size());
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    for (ValueId id : graph.nodes()[n].inputs)
      users[graph.RootOf(id)].push_back(grouping.of_node[n]);
  }
  for (std::vector<int>& groups : users) {
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  }
  return users;
}

size_t Placer::ProblemStep() const {
  return request_.prefer == Prefer::kPrompt ? request_.steps.size() - 1 : 0;
}

// Times of one step, bytes of all. The capacities lack what every used device holds: inputs, and
// small weights that all layers share.
Problem Placer::Build(const StreamWish& wish) const {
  const size_t step = ProblemStep();
  const Graph& graph = request_.steps[step];
  const Grouping& grouping = groupings_[step];
  const size_t count = devices_.size();
  Problem problem;
  problem.items.resize(grouping.groups.size());
  for (size_t g = 0; g < problem.items.size(); ++g) {
    problem.items[g].bytes.assign(count, 0);
    problem.items[g].seconds = seconds_[step][g];
    for (size_t d = 0; d < count; ++d) {
      double& seconds = problem.items[g].seconds[d];
      seconds = possible_[g][d] ? seconds * Weight(static_cast<int>(d)) : kImpossible;
    }
  }
  const bool is_doubled = request_.two_in_flight && count > 1 && wish.card < 0;
  std::vector<uint64_t> common(count);
  for (size_t d = 0; d < count; ++d) common[d] = InputsOn(d) * (is_doubled ? 2 : 1);
  const std::vector<std::vector<int>> users = UsersOfRoots(graph, grouping);
  for (size_t v = 0; v < users.size(); ++v) {
    const Value& value = graph.value(static_cast<ValueId>(v));
    if (users[v].empty() || value.storage == Storage::kInput) continue;
    if (value.storage == Storage::kTemp) continue;
    std::vector<uint64_t> bytes(count);
    for (size_t d = 0; d < count; ++d) {
      bytes[d] = value.storage == Storage::kState ? StateBytes(value, d) : WeightBytes(value, d);
    }
    if (users[v].size() == 1) {
      std::vector<uint64_t>& own = problem.items[users[v][0]].bytes;
      for (size_t d = 0; d < count; ++d) own[d] += bytes[d];
    } else if (users[v].size() == 2) {
      problem.shared.push_back({users[v], bytes});
    } else {
      for (size_t d = 0; d < count; ++d) common[d] += bytes[d];
    }
  }
  for (size_t d = 0; d < count; ++d) {
    uint64_t capacity = devices_[d].capacity;
    if (capacity != kUnlimited) capacity -= std::min(capacity, common[d]);
    problem.capacity.push_back(capacity);
  }
  AddMixes(problem);
  AddCrossings(problem);
  if (request_.prefer == Prefer::kMemory) ChargeForCopies(problem);
  return problem;
}

// To the solver a mix is one more device, which takes room of its card.
void Placer::AddMixes(Problem& problem) const {
  const int real = static_cast<int>(devices_.size());
  if (mixes_.empty()) return;
  for (int d = 0; d < real; ++d) problem.room_of.push_back(d);
  for (const Mix& mix : mixes_) {
    problem.room_of.push_back(mix.card);
    problem.capacity.push_back(kUnlimited);
    for (size_t g = 0; g < problem.items.size(); ++g) {
      Problem::Item& item = problem.items[g];
      const std::vector<int32_t> hot = HotOfMix(static_cast<int>(g), mix);
      item.seconds.push_back(hot.empty() ? kImpossible
                                         : MixSeconds(static_cast<int>(g), hot, mix.card));
      item.bytes.push_back(HotBytes(static_cast<int>(g), std::ssize(hot), mix.card));
    }
    for (Problem::Shared& shared : problem.shared) shared.bytes.push_back(shared.bytes[mix.card]);
  }
}

// Where `device` of the problem adds up what it computes.
int Placer::MainOf(int device) const {
  const int real = static_cast<int>(devices_.size());
  return device < real ? device : mixes_[device - real].card;
}

void Placer::AddCrossings(Problem& problem) const {
  const size_t step = ProblemStep();
  const Graph& graph = request_.steps[step];
  const Grouping& grouping = groupings_[step];
  const int real = static_cast<int>(devices_.size());
  const int count = real + static_cast<int>(mixes_.size());
  struct Readers {
    std::set<int> groups;
    bool apart = false;  // both sides of experts read it; what is added to their sum, one does
  };
  std::map<ValueId, Readers> readers;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    for (ValueId id : node.inputs) {
      const ValueId root = graph.RootOf(id);
      if (graph.value(root).storage != Storage::kTemp) continue;
      const int g = grouping.of_node[n];
      if (grouping.of_node[graph.value(root).producer] == g) continue;
      readers[id].groups.insert(g);
      const auto* binary = std::get_if<graph::BinaryAttrs>(&node.attrs);
      const bool is_added = binary != nullptr && binary->op == graph::BinaryOp::kAdd;
      readers[id].apart |= grouping.groups[g].part == Part::kExperts && !is_added;
    }
  }
  // Values that go the same way are one crossing.
  std::map<std::pair<int, std::vector<int>>, std::vector<std::vector<double>>> seconds;
  for (const auto& [id, readers_of] : readers) {
    const int from = grouping.of_node[graph.value(graph.RootOf(id)).producer];
    const std::set<int>& groups = readers_of.groups;
    auto& sum = seconds[{from, {groups.begin(), groups.end()}}];
    sum.resize(count, std::vector<double>(count, 0));
    const int64_t bytes = quant::RowBytes(graph.value(id).type, graph.value(id).shape[0]) *
                          graph::RowCount(graph.value(id).shape);
    const auto transfer = [&](int a, int b) {
      return a == b ? 0 : transfer_weight_ * TransferSeconds(bytes, devices_[a], devices_[b]);
    };
    for (int a = 0; a < count; ++a) {
      for (int b = 0; b < count; ++b) {
        sum[a][b] += transfer(MainOf(a), MainOf(b));
        if (b >= real && readers_of.apart) sum[a][b] += transfer(MainOf(a), host());
      }
    }
  }
  for (auto& [way, sum] : seconds) problem.crossings.push_back({way.first, way.second, sum});
}

// A second for every byte loaded twice outweighs any step.
void Placer::ChargeForCopies(Problem& problem) const {
  const size_t count = problem.capacity.size();
  for (const Problem::Shared& shared : problem.shared) {
    std::vector<std::vector<double>> seconds(count, std::vector<double>(count));
    for (size_t a = 0; a < count; ++a) {
      for (size_t b = 0; b < count; ++b) seconds[a][b] = static_cast<double>(shared.bytes[b]);
    }
    problem.crossings.push_back({shared.items[0], {shared.items[1]}, seconds});
  }
}

int32_t Placer::ExpertCount(int group) const {
  const Graph& graph = request_.steps[0];
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (groupings_[0].of_node[n] != group || node.op != graph::Op::kMatMulExpert) continue;
    return static_cast<int32_t>(graph.value(node.inputs[0]).shape[2]);
  }
  return 0;
}

bool Placer::MayMix(int group, int card) const {
  const Group& of = groupings_[0].groups[group];
  if (of.part != Part::kExperts || request_.expert_use == nullptr) return false;
  if (card == host() || !possible_[group][card] || !possible_[group][host()]) return false;
  const auto& counts = request_.expert_use->counts;
  return of.layer < std::ssize(counts) && !ranked_[group].empty() &&
         std::ssize(counts[of.layer]) == ExpertCount(group);
}

std::vector<int32_t> Placer::HotOfMix(int group, const Mix& mix) const {
  if (!MayMix(group, mix.card)) return {};
  const std::vector<int32_t>& ranked = ranked_[group];
  const size_t count = std::max<size_t>(1, ranked.size() * mix.sixteenths / 16);
  if (count >= ranked.size()) return {};
  return {ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(count)};
}

void Placer::FindMixes() {
  ranked_.assign(groupings_[0].groups.size(), {});
  mixes_.clear();
  if (request_.expert_use == nullptr || devices_.size() < 2) return;
  const device::Device* last = devices_.back().device;
  if (last != nullptr && last->kind() != device::Kind::kCpu) return;
  size_t most = 0;
  for (size_t g = 0; g < ranked_.size(); ++g) {
    if (groupings_[0].groups[g].part != Part::kExperts) continue;
    ranked_[g] = request_.expert_use->Ranked(groupings_[0].groups[g].layer);
    most = std::max(most, ranked_[g].size());
  }
  // A few: Refine finds the number for each layer. Several cards have as many devices as that each.
  std::set<int32_t> sixteenths = {1, 2, 4, 6, 8, 10, 12, 14};
  if (devices_.size() > 2) sixteenths = {3, 8, 13};
  if (most <= 16) {  // every number of them
    sixteenths.clear();
    for (size_t h = 1; h < most; ++h) {
      sixteenths.insert(static_cast<int32_t>((16 * h + most - 1) / most));
    }
  }
  for (int card = 0; card < host(); ++card) {
    for (const int32_t of_sixteen : sixteenths) mixes_.push_back({card, of_sixteen});
  }
}

// Both sides, beside each other where no other step is under way; and the way of what the host adds
// up to the card.
double Placer::MixSeconds(int group, std::span<const int32_t> hot, int card) const {
  const size_t step = ProblemStep();
  const Graph& graph = request_.steps[step];
  int64_t bytes = 0;
  for (size_t n = 0; n < graph.nodes().size() && bytes == 0; ++n) {
    const Node& node = graph.nodes()[n];
    if (groupings_[step].of_node[n] != group || node.op != graph::Op::kMatMulExpert) continue;
    const Value& x = graph.value(node.inputs[1]);
    bytes = x.shape[0] * x.shape[2] * static_cast<int64_t>(sizeof(float));
  }
  const double near = Weight(card) * SideSeconds(step, group, hot, /*is_hot=*/true, card);
  const double far = Weight(host()) * SideSeconds(step, group, hot, /*is_hot=*/false, host());
  const bool is_beside = !Overlaps() && RunBeside(card, host());
  return (is_beside ? std::max(near, far) : near + far) +
         transfer_weight_ * TransferSeconds(bytes, devices_[host()], devices_[card]);
}

uint64_t Placer::HotBytes(int group, int64_t count, int card) const {
  const Graph& graph = request_.steps[0];
  const uint64_t alignment = devices_[card].alignment;
  if (count == 0) return 0;
  uint64_t bytes = AlignUp(ranked_[group].size() * sizeof(int32_t), alignment);
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    if (groupings_[0].of_node[n] != group) continue;
    for (const ValueId id : graph.nodes()[n].inputs) {
      Value weight = graph.value(id);
      if (weight.storage != Storage::kWeight || !absl::StrContains(weight.name, "_exps.")) continue;
      weight.shape[graph.nodes()[n].op == graph::Op::kMatMulExpert ? 2 : 1] = count;
      weight.strides = graph::ContiguousStrides(weight.type, weight.shape);
      bytes += AlignUp(devices_[card].PackedBytes(weight), alignment);
    }
  }
  return bytes;
}

std::vector<HotExperts> Placer::HotOf(const std::vector<int>& device) const {
  const int real = static_cast<int>(devices_.size());
  std::vector<HotExperts> hot;
  for (size_t g = 0; g < device.size(); ++g) {
    if (device[g] < real) continue;
    const Mix& mix = mixes_[device[g] - real];
    HotExperts& layer = hot.emplace_back();
    layer.layer = groupings_[0].groups[g].layer;
    layer.device = mix.card;
    layer.experts = HotOfMix(static_cast<int>(g), mix);
    layer.count = static_cast<int32_t>(ranked_[g].size());
    layer.cold_apart = request_.cold_apart;
  }
  return hot;
}

void Placer::Refine(const Problem& problem, const std::vector<int>& device,
                    std::vector<HotExperts>& hot) const {
  struct Layer {
    HotExperts* hot;
    int group;
    double seconds;
  };
  const std::vector<uint64_t> held = BytesOf(problem, device);
  for (int card = 0; card < host(); ++card) {
    std::vector<Layer> layers;
    // What of the problem's capacity is not theirs.
    uint64_t room = problem.capacity[card] - std::min(problem.capacity[card], held[card]);
    double before = 0, after = 0;
    for (HotExperts& one : hot) {
      if (one.device != card) continue;
      const int g = groupings_[0].Find({Part::kExperts, one.layer});
      before += MixSeconds(g, one.experts, card);
      room += HotBytes(g, std::ssize(one.experts), card) - HotBytes(g, 1, card);
      layers.push_back({&one, g, MixSeconds(g, std::span(ranked_[g]).first(1), card)});
    }
    std::vector<int64_t> counts(layers.size(), 1);
    // What the next expert of a layer gains for its bytes; the first of them gains most.
    struct Next {
      double worth;
      size_t layer;
      double seconds;
      uint64_t bytes;
      bool operator<(const Next& other) const { return worth < other.worth; }
    };
    std::priority_queue<Next> queue;
    const auto push = [&](size_t l) {
      const int g = layers[l].group;
      if (counts[l] + 1 >= std::ssize(ranked_[g])) return;
      const double seconds = MixSeconds(g, std::span(ranked_[g]).first(counts[l] + 1), card);
      const uint64_t bytes = HotBytes(g, counts[l] + 1, card) - HotBytes(g, counts[l], card);
      if (seconds >= layers[l].seconds) return;
      const double per = static_cast<double>(std::max<uint64_t>(bytes, 1));
      queue.push({(layers[l].seconds - seconds) / per, l, seconds, bytes});
    };
    for (size_t l = 0; l < layers.size(); ++l) push(l);
    while (!queue.empty()) {
      const Next next = queue.top();
      queue.pop();
      if (next.bytes > room) continue;
      room -= next.bytes;
      layers[next.layer].seconds = next.seconds;
      ++counts[next.layer];
      push(next.layer);
    }
    for (const Layer& layer : layers) after += layer.seconds;
    if (after > before) continue;
    for (size_t l = 0; l < layers.size(); ++l) {
      const std::vector<int32_t>& ranked = ranked_[layers[l].group];
      layers[l].hot->experts.assign(ranked.begin(), ranked.begin() + counts[l]);
    }
  }
  for (HotExperts& one : hot) {
    one.share = request_.expert_use->Share(one.layer, one.experts);
  }
}

}  // namespace bantam::schedule
