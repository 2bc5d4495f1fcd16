#include <algorithm>
#include <cmath>
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
  const auto place = [&](bool may_mix) {
    return Overlaps() ? PlaceForTwoSteps(may_mix) : PlaceFor({}, may_mix);
  };
  BANTAM_ASSIGN_OR_RETURN(const Placement plain, place(/*may_mix=*/false));
  Placement best = plain;
  const bool mixes = MayMixAny();
  const auto seconds = [&](const Placement& placement) {
    return request_.prefer == Prefer::kPrompt ? placement.prompt_seconds : placement.decode_seconds;
  };
  if (mixes) {
    const auto other = place(/*may_mix=*/true);
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
  std::optional<Problem> plain;  // with the weights 1
  if (Overlaps() && wish.card < 0) {
    const std::vector<double> weights = std::exchange(weights_, {});
    const double transfer_weight = std::exchange(transfer_weight_, 1);
    plain = Build(wish);
    weights_ = weights;
    transfer_weight_ = transfer_weight;
  }
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
    if (plain.has_value()) {
      plain->capacity = problem.capacity;
      Rebalance(*plain, device);
    }
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

bool Placer::Overlaps() const {
  return request_.prefer == Prefer::kPrompt && request_.two_in_flight && devices_.size() > 1;
}

double Placer::OverlappedSeconds(const Problem& problem, const std::vector<int>& device) const {
  std::vector<double> busy(devices_.size(), 0);
  double processor = 0;
  const auto add = [&](int d, double seconds) {
    (devices_[d].is_processor ? processor : busy[d]) += seconds;
  };
  for (size_t g = 0; g < device.size(); ++g) {
    const double seconds = problem.items[g].seconds[device[g]];
    const int mix = device[g] - static_cast<int>(devices_.size());
    if (mix < 0) {
      add(device[g], seconds);
      continue;
    }
    const std::vector<int32_t> hot = HotOfMix(static_cast<int>(g), mixes_[mix]);
    for (const bool is_hot : {false, true}) {
      const int d = is_hot ? mixes_[mix].card : host();
      add(d, SideSeconds(ProblemStep(), static_cast<int>(g), hot, is_hot, d));
    }
  }
  const double busiest = std::max(processor, *std::max_element(busy.begin(), busy.end()));
  return std::max(busiest, SecondsOf(problem, device) / 2);
}

void Placer::Rebalance(const Problem& problem, std::vector<int>& device) const {
  // Where there are many items, the exchange of two gains little and takes long to find.
  constexpr size_t kFew = 64;
  double least = OverlappedSeconds(problem, device);
  const auto is_better = [&] {
    const double seconds = OverlappedSeconds(problem, device);
    if (!(seconds < least * (1 - 1e-9))) return false;
    const std::vector<uint64_t> bytes = BytesOf(problem, device);
    for (size_t d = 0; d < devices_.size(); ++d) {
      if (bytes[d] > problem.capacity[d]) return false;
    }
    least = seconds;
    return true;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < device.size(); ++i) {
      for (int d = 0; d < static_cast<int>(problem.capacity.size()); ++d) {
        const int before = device[i];
        if (d == before || problem.items[i].seconds[d] == kImpossible) continue;
        device[i] = d;
        is_better() ? changed = true : device[i] = before;
      }
      for (size_t j = 0; j < i && device.size() <= kFew; ++j) {
        const auto possible = [&](size_t a, size_t b) {
          return problem.items[a].seconds[device[b]] != kImpossible;
        };
        if (device[i] == device[j] || !possible(i, j) || !possible(j, i)) continue;
        std::swap(device[i], device[j]);
        is_better() ? void(changed = true) : std::swap(device[i], device[j]);
      }
    }
  }
}

// With two steps at a time a prompt takes the most of what each device computes of one, and of half
// of what one takes by itself. The least of a maximum is bounded by weighted sums of what it is of,
// each of which the solver makes least; weights grow where the most is (multiplicative weights,
// Plotkin, Shmoys and Tardos 1995). What comes out is judged as it is.
absl::StatusOr<Placement> Placer::PlaceForTwoSteps(bool may_mix) {
  constexpr int kRounds = 8;
  BANTAM_ASSIGN_OR_RETURN(Placement best, PlaceFor({}, may_mix));
  const size_t count = devices_.size();
  std::vector<double> shares(count + 1, 1.0);  // by device, and last of half a step
  Placement last = best;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> times = last.prompt_busy;
    times.push_back(last.prompt_alone / 2);
    const double most = *std::max_element(times.begin(), times.end());
    double sum = 0;
    for (size_t k = 0; k <= count; ++k) {
      shares[k] *= std::exp(2.0 / (1 + round / 3) * (times[k] / most - 1));
      sum += shares[k];
    }
    for (double& share : shares) share = std::max(share / sum, 1e-4);
    weights_.assign(count, shares[count] / 2);
    for (size_t d = 0; d < count; ++d) weights_[d] += shares[d];
    transfer_weight_ = shares[count] / 2;
    auto placement = PlaceFor({}, may_mix);
    if (!placement.ok()) break;
    last = *std::move(placement);
    if (last.prompt_seconds < best.prompt_seconds) best = last;
  }
  weights_.clear();
  transfer_weight_ = 1;
  return best;
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
