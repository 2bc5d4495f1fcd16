#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/schedule/placer.h"

namespace bantam::schedule {

using graph::Graph;

absl::StatusOr<Placement> Placer::Place() {
  BANTAM_RETURN_IF_ERROR(CheckPossible());
  BANTAM_ASSIGN_OR_RETURN(const Placement plain, PlaceFor({}, /*may_mix=*/false));
  Placement best = plain;
  const bool mixes = MayMixAny();
  const auto seconds = [&](const Placement& placement) {
    return request_.prefer == Prefer::kPrompt ? placement.prompt_seconds : placement.decode_seconds;
  };
  if (mixes) {
    const auto other = PlaceFor({}, /*may_mix=*/true);
    if (other.ok() && seconds(*other) < seconds(best)) best = *other;
  }
  if (!request_.may_stream || request_.steps.size() < 2) return best;
  for (int card = 0; card < host(); ++card) {
    for (const bool with_experts : {false, true}) {
      const StreamWish wish{card, with_experts};
      if (Candidates(plain.device, wish).empty()) continue;
      for (int may_mix = 0; may_mix <= static_cast<int>(mixes); ++may_mix) {
        const auto other = PlaceFor(wish, may_mix != 0);
        if (other.ok() && other->streaming.rows > 0 && Cost(*other) < Cost(best)) best = *other;
      }
    }
  }
  return best;
}

bool Placer::MayMixAny() {
  FindMixes();
  std::vector<HotExperts> some;
  for (size_t g = 0; g < groupings_[0].groups.size(); ++g) {
    const int group = static_cast<int>(g);
    for (int card = 0; card < host(); ++card) {
      if (mixes_.empty() || !MayMix(group, card)) continue;
      some.push_back({groupings_[0].groups[g].layer, card, {0}, ExpertCount(group), 0});
      break;
    }
  }
  mixes_.clear();
  return !some.empty() && SplitExperts(request_.steps[0], some).ok();
}

absl::StatusOr<Placement> Placer::PlaceFor(const StreamWish& wish, bool may_mix) {
  mixes_.clear();
  if (may_mix) FindMixes();
  Problem problem = Build(wish);
  const std::vector<uint64_t> base = problem.capacity;
  std::vector<uint64_t> compute(devices_.size(), 0);
  for (;;) {
    problem.capacity = base;
    for (size_t d = 0; d < devices_.size(); ++d) {
      if (base[d] == kUnlimited) continue;
      problem.capacity[d] -= std::min(base[d], compute[d]);
      if (problem.capacity[d] > 0) continue;
      for (Problem::Item& item : problem.items) {
        for (size_t m = 0; m < item.seconds.size(); ++m) {
          if (MainOf(static_cast<int>(m)) == static_cast<int>(d)) item.seconds[m] = kImpossible;
        }
      }
    }
    const std::optional<Solution> solution = Solve(problem);
    if (!solution.has_value()) return DoesNotFit(problem);
    std::vector<int> device = solution->device;
    std::vector<HotExperts> hot = HotOf(device);
    if (!hot.empty()) Refine(problem, device, hot);
    for (int& d : device) d = MainOf(d);
    absl::StatusOr<Placement> placement;
    if (hot.empty()) {
      BANTAM_ASSIGN_OR_RETURN(const Streaming streaming, ChooseStreaming(device, wish));
      placement = Evaluate(device, streaming);
    } else {
      placement = PlaceSplit(device, hot, wish);
    }
    BANTAM_RETURN_IF_ERROR(placement.status());
    bool fits = true;
    for (size_t d = 0; d < devices_.size(); ++d) {
      const DeviceMemory& memory = placement->memory[d];
      if (memory.total() <= devices_[d].capacity) continue;
      if (base[d] <= compute[d]) return DoesNotFit(problem);
      // What is to grow must: inputs and all else were counted before.
      compute[d] = std::max(compute[d] + 1, memory.compute + memory.scratch + memory.streamed);
      fits = false;
    }
    if (fits) return placement;
  }
}

absl::StatusOr<Placement> Placer::PlaceSplit(const std::vector<int>& device_of_group,
                                             std::span<const HotExperts> hot,
                                             const StreamWish& wish) const {
  std::vector<Graph> steps;
  for (const Graph& step : request_.steps) {
    BANTAM_ASSIGN_OR_RETURN(steps.emplace_back(), SplitExperts(step, hot));
  }
  PlacementRequest request = request_;
  request.steps = steps;
  request.allowed.clear();
  Placer split(request, devices_, this, hot);
  BANTAM_RETURN_IF_ERROR(split.Init());
  std::vector<int> device;
  for (const Group& group : split.groupings_[0].groups) {
    const auto layer = std::find_if(
        hot.begin(), hot.end(), [&](const HotExperts& one) { return one.layer == group.layer; });
    if (group.part == Part::kHotExperts) {
      device.push_back(layer->device);
    } else if (group.part == Part::kExperts && layer != hot.end()) {
      device.push_back(host());
    } else {
      device.push_back(device_of_group[groupings_[0].Find(group)]);
    }
  }
  BANTAM_ASSIGN_OR_RETURN(const Streaming streaming, split.ChooseStreaming(device, wish));
  return split.Evaluate(std::move(device), streaming);
}

// Groups with weights on the last device that the card may compute. Of a table rows are gathered
// and of the head one row is computed: neither is worth it.
std::vector<StreamCandidate> Placer::Candidates(const std::vector<int>& device_of_group,
                                                const StreamWish& wish) const {
  std::vector<StreamCandidate> candidates;
  if (wish.card < 0) return candidates;
  const DeviceProfile& card = devices_[wish.card];
  for (size_t g = 0; g < device_of_group.size(); ++g) {
    const Part part = groupings_[0].groups[g].part;
    const bool is_worth_it = part == Part::kAttention || part == Part::kFeedForward ||
                             (part == Part::kExperts && wish.with_experts);
    if (device_of_group[g] != host() || !is_worth_it || !possible_[g][wish.card]) continue;
    StreamCandidate candidate;
    candidate.group = static_cast<int>(g);
    candidate.link =
        card.transfer_seconds + static_cast<double>(weight_bytes_[g]) / card.transfer_bandwidth;
    candidate.saved = seconds_.back()[g][host()] - seconds_.back()[g][wish.card];
    candidates.push_back(candidate);
  }
  return candidates;
}

absl::StatusOr<Streaming> Placer::ChooseStreaming(const std::vector<int>& device_of_group,
                                                  const StreamWish& wish) {
  Streaming streaming;
  const std::vector<StreamCandidate> candidates = Candidates(device_of_group, wish);
  double sum = 0;
  for (size_t g = 0; g < device_of_group.size(); ++g) {
    sum += seconds_.back()[g][device_of_group[g]];
  }
  const std::vector<int> chosen = WorthStreaming(candidates, sum);
  if (chosen.empty()) return streaming;
  streaming.device = wish.card;
  streaming.is_streamed.assign(device_of_group.size(), false);
  for (const int g : chosen) streaming.is_streamed[g] = true;
  Placement streamed;
  streamed.device = device_of_group;
  Placement plain = streamed;
  streamed.streaming = streaming;
  for (size_t s = request_.steps.size(); s-- > 1;) {
    const int64_t rows = RowsOf(request_.steps[s]);
    streamed.streaming.rows = rows;
    BANTAM_ASSIGN_OR_RETURN(const Partition with, PartitionOf(s, streamed));
    BANTAM_ASSIGN_OR_RETURN(const Partition without, PartitionOf(s, plain));
    if (TimesOf(s, with, streamed).streamed >= TimesOf(s, without, plain).sum) break;
    streaming.rows = rows;
  }
  return streaming;
}

// What the choice between streaming and not goes by.
double Placer::Cost(const Placement& placement) const {
  const double prompt = placement.prompt_seconds / static_cast<double>(placement.prompt_rows);
  return request_.prefer == Prefer::kPrompt ? prompt : prompt + placement.decode_seconds / 2;
}

absl::Status Placer::CheckPossible() const {
  for (size_t g = 0; g < possible_.size(); ++g) {
    if (std::find(possible_[g].begin(), possible_[g].end(), true) == possible_[g].end()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "no device that may hold ", GroupName(groupings_[0].groups[g]), " can run it"));
    }
  }
  return absl::OkStatus();
}

absl::Status Placer::DoesNotFit(const Problem& problem) const {
  uint64_t needed = 0;
  std::string names;
  for (const Problem::Item& item : problem.items) needed += item.bytes[host()];
  for (const Problem::Shared& shared : problem.shared) needed += shared.bytes[host()];
  for (size_t d = 0; d < devices_.size(); ++d) {
    absl::StrAppend(
        &names, names.empty() ? "" : ", ", devices_[d].name, " ",
        devices_[d].capacity == kUnlimited ? "no limit" : FormatByteSize(devices_[d].capacity));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "weights and KV cache of ", FormatByteSize(needed), " do not fit where they may go (", names,
      "); ask for a smaller context, allow more memory or place less by hand"));
}

}  // namespace bantam::schedule
