// What Place and Evaluate (placement.h) are made of: placer.cc says what a placement takes,
// placer_problem.cc puts the choice into numbers, placer_search.cc makes it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/schedule/placement.h"
#include "runtime/schedule/solve.h"

namespace bantam::schedule {

class Placer {
 public:
  // To which card weights may be brought; -1: to none.
  struct StreamWish {
    int card = -1;
    bool with_experts = false;
  };

  // Of steps whose experts are split, `whole` is of the same steps before that, and `hot` says how:
  // times are those of the whole, shared between both sides.
  Placer(const PlacementRequest& request, std::span<const DeviceProfile> devices,
         const Placer* whole = nullptr, std::span<const HotExperts> hot = {})
      : request_(request), devices_(devices), whole_(whole), hot_(hot.begin(), hot.end()) {}

  absl::Status Init();
  absl::StatusOr<Placement> Place();
  absl::StatusOr<Placement> Evaluate(std::vector<int> device_of_group, const Streaming& streaming);
  // The same with these experts apart, which are groups only then: `device_of_group` is without
  // them, and of their layers' experts it does not matter. What is streamed is chosen.
  absl::StatusOr<Placement> PlaceSplit(const std::vector<int>& device_of_group,
                                       std::span<const HotExperts> hot,
                                       const StreamWish& wish) const;

 private:
  // Experts of a layer on a card and on the host: to the solver a device of its own, which takes
  // room of the card.
  struct Mix {
    int card = 0;
    int32_t sixteenths = 0;  // of a layer's experts, the most used, are on the card
  };
  // Of one step: all that it does, and what the busiest device does of that. While two steps are
  // under way each device works on one of them, but for those that are the same processor.
  struct Times {
    double sum = 0;         // hot experts beside the cold ones of their layer
    double one_by_one = 0;  // all after each other
    double busiest = 0;
    std::vector<double> busy;  // by device
    double streamed = 0;       // with weights copied beside
  };

  int host() const { return static_cast<int>(devices_.size()) - 1; }
  std::vector<std::vector<double>> SecondsOfGroups(size_t s) const;
  std::vector<std::vector<double>> SecondsOfSplitGroups(size_t s) const;
  // Of one side of a layer's experts, a group of this step, on a device.
  double SideSeconds(size_t s, int group, std::span<const int32_t> hot, bool is_hot,
                     int device) const;
  absl::StatusOr<device::Scratch> ScratchOf(size_t s, const Partition& partition, int index);
  void FindSeconds();
  void FindPossible();
  absl::StatusOr<Partition> PartitionOf(size_t s, const Placement& placement) const;
  Times TimesOf(size_t s, const Partition& partition, const Placement& placement) const;
  uint64_t StateBytes(const graph::Value& value, size_t d) const;
  uint64_t WeightBytes(const graph::Value& value, size_t d) const;
  uint64_t InputsOn(size_t d) const;
  // Whether what was given to `card` is computed while `other` computes what is submitted after it.
  bool RunBeside(int card, int other) const;
  bool IsDoubled(const Placement& placement) const;

  size_t ProblemStep() const;
  double Weight(int device) const { return weights_.empty() ? 1 : weights_[device]; }
  Problem Build(const StreamWish& wish) const;
  void AddMixes(Problem& problem) const;
  void AddCrossings(Problem& problem) const;
  void ChargeForCopies(Problem& problem) const;
  int MainOf(int device) const;
  int32_t ExpertCount(int group) const;
  void FindMixes();
  // Whether this group's experts may be on two devices, one of them `card`.
  bool MayMix(int group, int card) const;
  bool MayMixAny();
  std::vector<int32_t> HotOfMix(int group, const Mix& mix) const;  // empty: impossible
  double MixSeconds(int group, std::span<const int32_t> hot, int card) const;
  uint64_t HotBytes(int group, int64_t count, int card) const;  // with the table of slots
  std::vector<HotExperts> HotOf(const std::vector<int>& device) const;
  // Gives the room that hot experts take, and what is left beside, to those that gain most.
  void Refine(const Problem& problem, const std::vector<int>& device,
              std::vector<HotExperts>& hot) const;

  absl::StatusOr<Placement> PlaceFor(const StreamWish& wish, bool may_mix);
  bool Overlaps() const;
  absl::StatusOr<Placement> PlaceForTwoSteps(bool may_mix);
  // What the problem's step takes while another is under way.
  double OverlappedSeconds(const Problem& problem, const std::vector<int>& device) const;
  // Changes one or two items as long as that makes it less. `problem` has the weights 1.
  void Rebalance(const Problem& problem, std::vector<int>& device) const;
  std::vector<StreamCandidate> Candidates(const std::vector<int>& device_of_group,
                                          const StreamWish& wish) const;
  absl::StatusOr<Streaming> ChooseStreaming(const std::vector<int>& device_of_group,
                                            const StreamWish& wish);
  double Cost(const Placement& placement) const;
  absl::Status CheckPossible() const;
  absl::Status DoesNotFit(const Problem& problem) const;

  const PlacementRequest& request_;
  const std::span<const DeviceProfile> devices_;
  const Placer* const whole_;
  const std::vector<HotExperts> hot_;
  std::vector<uint64_t> alignments_;                       // by device
  std::vector<Grouping> groupings_;                        // by step
  std::vector<std::vector<std::vector<double>>> seconds_;  // by step, group and device
  std::vector<std::vector<bool>> possible_;                // by group and device
  std::vector<uint64_t> weight_bytes_;                     // by group
  // What a second of each device, and of a transfer, counts in the problem; empty: 1.
  std::vector<double> weights_;
  double transfer_weight_ = 1;
  // By step, device, and what the first and the last node of a segment make.
  std::map<std::tuple<size_t, int, graph::ValueId, graph::ValueId>, device::Scratch> scratch_;
  std::vector<Mix> mixes_;                    // devices of the problem beyond the real ones
  std::vector<std::vector<int32_t>> ranked_;  // by group: the layer's experts by their use
};

// The groups that each root is used by, in the order of the groups.
std::vector<std::vector<int>> UsersOfRoots(const graph::Graph& graph, const Grouping& grouping);

}  // namespace bantam::schedule
