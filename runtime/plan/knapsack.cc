// The linear relaxation first: along the lower convex hulls of all groups the steps that lower the
// cost most per byte are taken until the budget ends (Sinha and Zoltners 1979). The slope there,
// the price of a byte, gives every option a reduced cost: what choosing it costs at the least. Then
// the integer optimum by dynamic programming over lists of partial selections (Nemhauser and
// Ullmann 1969), kept short by leaving out those whose reduced costs exceed the distance between
// the relaxation and the best selection known (Dyer et al. 1995).
#include "runtime/plan/knapsack.h"

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace bantam::plan {
namespace {

struct Step {
  int group, from, to;
  double saved;  // cost per byte
  uint64_t bytes;
};

// The options on the lower convex hull of (bytes, cost), from the smallest on.
std::vector<int> Hull(const std::vector<Option>& options) {
  std::vector<int> order(options.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return std::make_pair(options[a].bytes, options[a].cost) <
           std::make_pair(options[b].bytes, options[b].cost);
  });
  std::vector<int> hull;
  for (int i : order) {
    const Option& o = options[i];
    if (!hull.empty() && o.cost >= options[hull.back()].cost) continue;  // larger and no better
    while (hull.size() >= 2) {
      const Option& a = options[hull[hull.size() - 2]];
      const Option& b = options[hull.back()];
      const double through = (o.cost - a.cost) * static_cast<double>(b.bytes - a.bytes);
      if ((b.cost - a.cost) * static_cast<double>(o.bytes - a.bytes) < through) break;
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

class Solver {
 public:
  Solver(std::span<const std::vector<Option>> groups, uint64_t budget, size_t max_states)
      : groups_(groups), budget_(budget), max_states_(max_states) {}

  absl::StatusOr<Selection> Solve() {
    uint64_t least = 0;
    for (const std::vector<Option>& options : groups_) {
      hulls_.push_back(Hull(options));
      least += options[hulls_.back().front()].bytes;
    }
    if (least > budget_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the smallest choice takes ", least, " bytes, the budget is ", budget_));
    }
    Relax();
    Search();
    return best_;
  }

 private:
  void Relax() {
    best_.choice.resize(groups_.size());
    std::vector<Step> steps;
    for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
      const std::vector<int>& hull = hulls_[g];
      const std::vector<Option>& options = groups_[g];
      best_.choice[g] = hull[0];
      for (size_t i = 1; i < hull.size(); ++i) {
        const Option &a = options[hull[i - 1]], &b = options[hull[i]];
        const uint64_t bytes = b.bytes - a.bytes;
        steps.push_back(
            {g, hull[i - 1], hull[i], (a.cost - b.cost) / static_cast<double>(bytes), bytes});
      }
    }
    // Within a group the steps fall, so that sorting keeps their order.
    std::stable_sort(steps.begin(), steps.end(),
                     [](const Step& a, const Step& b) { return a.saved > b.saved; });
    Total();
    bool ended = false;
    for (const Step& step : steps) {
      if (best_.choice[step.group] != step.from) continue;  // a step before did not fit
      if (step.bytes <= budget_ - best_.bytes) {
        best_.choice[step.group] = step.to;
        best_.bytes += step.bytes;
      } else if (!ended) {
        price_ = step.saved;
        ended = true;
      }
    }
    Total();
    // Each group by itself at that price, and the price of the whole budget given back.
    bound_ = -price_ * static_cast<double>(budget_);
    for (const std::vector<Option>& options : groups_) {
      double least = std::numeric_limits<double>::infinity();
      for (const Option& o : options) least = std::min(least, Priced(o));
      bound_ += least;
    }
    best_.bound = std::min(bound_, best_.cost);
  }

  double Priced(const Option& o) const { return o.cost + price_ * static_cast<double>(o.bytes); }

  void Total() {
    best_.bytes = 0;
    best_.cost = 0;
    for (size_t g = 0; g < groups_.size(); ++g) {
      best_.bytes += groups_[g][best_.choice[g]].bytes;
      best_.cost += groups_[g][best_.choice[g]].cost;
    }
  }

  struct State {
    uint64_t bytes;
    double reduced;  // sum of reduced costs
    double cost;
    int32_t parent;  // among all states ever
    int32_t option;
  };
  struct Link {
    int32_t parent, option;
  };

  void Search() {
    const double gap = best_.cost - bound_;
    // A gap of rounding errors alone is none.
    const double tolerance = 1e-12 * std::max(1.0, std::abs(best_.cost));
    if (gap <= tolerance) {
      best_.bound = best_.cost;
      return;
    }
    // What each group may still add.
    std::vector<std::vector<int>> candidates(groups_.size());
    std::vector<uint64_t> least(groups_.size() + 1, 0), most(groups_.size() + 1, 0);
    std::vector<double> cheapest(groups_.size());
    for (size_t g = groups_.size(); g-- > 0;) {
      const std::vector<Option>& options = groups_[g];
      cheapest[g] = std::numeric_limits<double>::infinity();
      for (const Option& o : options) cheapest[g] = std::min(cheapest[g], Priced(o));
      uint64_t low = std::numeric_limits<uint64_t>::max(), high = 0;
      for (size_t i = 0; i < options.size(); ++i) {
        if (Priced(options[i]) - cheapest[g] >= gap) continue;
        candidates[g].push_back(static_cast<int>(i));
        low = std::min(low, options[i].bytes);
        high = std::max(high, options[i].bytes);
      }
      least[g] = least[g + 1] + low;
      most[g] = most[g + 1] + high;
    }
    std::vector<Link> links;
    std::vector<State> states = {{0, 0, 0, -1, -1}}, next;
    bool complete = true;
    for (size_t g = 0; g < groups_.size(); ++g) {
      next.clear();
      for (const State& state : states) {
        const auto parent = static_cast<int32_t>(links.size());
        links.push_back({state.parent, state.option});
        for (int i : candidates[g]) {
          const Option& o = groups_[g][i];
          State s{state.bytes + o.bytes, state.reduced + Priced(o) - cheapest[g],
                  state.cost + o.cost, parent, i};
          if (s.bytes + least[g + 1] > budget_) continue;
          // Bytes that cannot be used any more are paid for all the same.
          const uint64_t reach = s.bytes + most[g + 1];
          const double unused = reach < budget_ ? static_cast<double>(budget_ - reach) : 0;
          if (s.reduced + price_ * unused >= gap - tolerance) continue;
          next.push_back(s);
        }
      }
      complete &= Thin(next);
      states.swap(next);
    }
    const auto better =
        std::min_element(states.begin(), states.end(),
                         [](const State& a, const State& b) { return a.cost < b.cost; });
    if (better != states.end() && better->cost < best_.cost) {
      int32_t parent = better->parent, option = better->option;
      for (size_t g = groups_.size(); g-- > 0;) {
        best_.choice[g] = option;
        option = links[parent].option;
        parent = links[parent].parent;
      }
      Total();
    }
    best_.bound = complete ? best_.cost : std::min(bound_, best_.cost);
  }

  // Leaves out states that another is no larger and no more expensive than. False when still too
  // many are left and the most expensive at the price of a byte had to go.
  bool Thin(std::vector<State>& states) const {
    std::sort(states.begin(), states.end(), [](const State& a, const State& b) {
      return std::make_pair(a.bytes, a.cost) < std::make_pair(b.bytes, b.cost);
    });
    double cheapest = std::numeric_limits<double>::infinity();
    std::erase_if(states, [&](const State& s) {
      if (s.cost >= cheapest) return true;
      cheapest = s.cost;
      return false;
    });
    if (states.size() <= max_states_) return true;
    std::nth_element(states.begin(), states.begin() + static_cast<ptrdiff_t>(max_states_),
                     states.end(),
                     [](const State& a, const State& b) { return a.reduced < b.reduced; });
    states.resize(max_states_);
    return false;
  }

  const std::span<const std::vector<Option>> groups_;
  const uint64_t budget_;
  const size_t max_states_;
  std::vector<std::vector<int>> hulls_;
  double price_ = 0;  // cost per byte
  double bound_ = 0;
  Selection best_;
};

}  // namespace

absl::StatusOr<Selection> Select(std::span<const std::vector<Option>> groups, uint64_t budget,
                                 size_t max_states) {
  for (const std::vector<Option>& options : groups) {
    if (options.empty()) return absl::InvalidArgumentError("a group has no option");
  }
  return Solver(groups, budget, max_states).Solve();
}

}  // namespace bantam::plan
