// The placement problem without anything of models or devices in it, and its exact solution.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace bantam::schedule {

inline constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
inline constexpr double kImpossible = std::numeric_limits<double>::infinity();

// Give each item a device, so that no device holds more than its capacity and the time is least.
struct Problem {
  struct Item {
    std::vector<double> seconds;  // by device; kImpossible: cannot be there
    std::vector<uint64_t> bytes;  // by device
  };
  // What item `from` makes and the items `to` read: costs once for each other device among theirs.
  struct Crossing {
    int from = 0;
    std::vector<int> to;
    std::vector<std::vector<double>> seconds;  // [from device][to device]
  };
  // Bytes held once on each device that has any of `items`.
  struct Shared {
    std::vector<int> items;
    std::vector<uint64_t> bytes;  // by device
  };

  std::vector<uint64_t> capacity;  // by device; bytes
  // By device the one whose capacity it takes; empty: each its own. (Of a device that stands for a
  // part here and a part there.)
  std::vector<int> room_of;
  std::vector<Item> items;  // in such an order that what crosses spans few of them
  std::vector<Crossing> crossings;
  std::vector<Shared> shared;
};

struct Solution {
  std::vector<int> device;  // by item
  double seconds = 0;
  double bound =
      0;  // no placement takes less: equal to `seconds` where this one is proven the best
};

// What a placement costs and holds, by the definitions above; bytes by whose room they take.
double SecondsOf(const Problem& problem, const std::vector<int>& device);
std::vector<uint64_t> BytesOf(const Problem& problem, const std::vector<int>& device);

// A placement of least time among those that fit; nullopt when none is found. Dynamic
// programming over the items, where the state is the devices of the items that later ones still
// have to do with, and labels (time, bytes on each device) are kept unless another is no worse in
// everything (Pareto) or a lower bound shows that they cannot lead to anything better than what is
// known. The bounds are Lagrangian: with a price on every byte, capacities out of the way, the best
// completion of a state is a shortest path (Beasley and Christofides 1989). Exact as long as the
// labels are not too many, which takes several limited devices and many groups to happen; then the
// most promising are followed, and `bound` says how far from the best the result can be.
std::optional<Solution> Solve(const Problem& problem);

}  // namespace bantam::schedule
