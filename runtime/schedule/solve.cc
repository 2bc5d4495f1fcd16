#include "runtime/schedule/solve.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

namespace bantam::schedule {
namespace {

// Labels of a layer: a second or so of work. Those of several limited devices are compared in
// pairs.
constexpr size_t kWidth = 100'000, kWidthOfSeveral = 800;

// A step of the program: item i goes to `device`, which leads from one state to another.
struct Arc {
  int to = 0;
  int device = 0;
  double seconds = 0;
  uint64_t bytes = 0;  // on `device`
};

int RoomOf(const Problem& problem, int device) {
  return problem.room_of.empty() ? device : problem.room_of[device];
}

// `device` by item.
double CrossingSeconds(const Problem::Crossing& crossing, const std::vector<int>& device) {
  const int from = device[crossing.from];
  double seconds = 0;
  for (size_t i = 0; i < crossing.to.size(); ++i) {
    const int to = device[crossing.to[i]];
    const bool is_repeated = std::any_of(crossing.to.begin(), crossing.to.begin() + i,
                                         [&](int other) { return device[other] == to; });
    if (to != from && !is_repeated) seconds += crossing.seconds[from][to];
  }
  return seconds;
}

struct Label {
  double seconds = 0;
  std::vector<uint64_t> bytes;  // by limited device
  int parent = -1;              // label of the layer before
  int state = 0;
  int device = 0;
};

class Solver {
 public:
  explicit Solver(const Problem& problem)
      : p_(problem), devices_(static_cast<int>(problem.capacity.size())) {
    for (int d = 0; d < devices_; ++d) {
      const int room = RoomOf(p_, d);
      if (room != d) {  // comes after the one whose room it takes
        slot_.push_back(slot_[room]);
        continue;
      }
      slot_.push_back(p_.capacity[d] == kUnlimited ? -1 : static_cast<int>(limits_.size()));
      if (p_.capacity[d] != kUnlimited) limits_.push_back(p_.capacity[d]);
    }
    BuildArcs();
  }

  std::optional<Solution> Run() {
    // With several limits the prices lead to a path that fits only by luck.
    if (limits_.size() > 1) FillInTurn();
    FindPrices();
    // A narrow search finds something good, which makes the bounds of the wide one sharp.
    Search(64);
    const double dropped = Search(limits_.size() <= 1 ? kWidth : kWidthOfSeveral);
    if (best_.device.empty() && !p_.items.empty()) return std::nullopt;
    best_.bound = std::min(best_.seconds, dropped);
    return best_;
  }

 private:
  int items() const { return static_cast<int>(p_.items.size()); }

  void BuildArcs() {
    // An item is remembered until the last of those it shares something with has come.
    std::vector<int> last(p_.items.size());
    std::iota(last.begin(), last.end(), 0);
    std::vector<std::vector<const Problem::Crossing*>> crossings(p_.items.size());
    std::vector<std::vector<const Problem::Shared*>> shared(p_.items.size());
    for (const Problem::Crossing& crossing : p_.crossings) {
      int end = crossing.from;
      for (int item : crossing.to) end = std::max(end, item);
      last[crossing.from] = std::max(last[crossing.from], end);
      for (int item : crossing.to) last[item] = std::max(last[item], end);
      crossings[end].push_back(&crossing);
    }
    for (const Problem::Shared& s : p_.shared) {
      const int end = *std::max_element(s.items.begin(), s.items.end());
      for (int item : s.items) {
        last[item] = std::max(last[item], end);
        if (shared[item].empty() || shared[item].back() != &s) shared[item].push_back(&s);
      }
    }
    using State = std::vector<std::pair<int, int>>;  // item and device, of the remembered
    std::vector<State> states = {{}};
    arcs_.resize(p_.items.size());
    std::vector<int> device(p_.items.size(), -1);
    for (int i = 0; i < items(); ++i) {
      std::map<State, int> next;
      arcs_[i].resize(states.size());
      for (size_t s = 0; s < states.size(); ++s) {
        std::fill(device.begin(), device.end(), -1);
        for (const auto& [item, d] : states[s]) device[item] = d;
        for (int d = 0; d < devices_; ++d) {
          if (p_.items[i].seconds[d] == kImpossible) continue;
          device[i] = d;
          Arc arc;
          arc.device = d;
          arc.seconds = p_.items[i].seconds[d];
          for (const Problem::Crossing* c : crossings[i])
            arc.seconds += CrossingSeconds(*c, device);
          arc.bytes = p_.items[i].bytes[d];
          for (const Problem::Shared* sh : shared[i]) {
            const bool is_there = std::any_of(sh->items.begin(), sh->items.end(), [&](int item) {
              return item < i && device[item] == d;
            });
            if (!is_there) arc.bytes += sh->bytes[d];
          }
          State to;
          for (const auto& entry : states[s]) {
            if (last[entry.first] > i) to.push_back(entry);
          }
          if (last[i] > i) to.emplace_back(i, d);
          arc.to = next.try_emplace(std::move(to), static_cast<int>(next.size())).first->second;
          arcs_[i][s].push_back(arc);
        }
      }
      states.assign(next.size(), {});
      for (const auto& [state, index] : next) states[index] = state;
    }
    final_states_ = states.size();
  }

  // The least of time + price of bytes from each state of each layer to the end, for given prices;
  // and what the cheapest path holds.
  double Relax(const std::vector<double>& prices, std::vector<std::vector<double>>& least,
               Solution& path, std::vector<uint64_t>& held) const {
    least.assign(p_.items.size() + 1, {});
    least.back().assign(final_states_, 0);
    for (int i = items() - 1; i >= 0; --i) {
      least[i].assign(arcs_[i].size(), kImpossible);
      for (size_t s = 0; s < arcs_[i].size(); ++s) {
        for (const Arc& arc : arcs_[i][s]) {
          least[i][s] = std::min(least[i][s], Cost(arc, prices) + least[i + 1][arc.to]);
        }
      }
    }
    if (least[0][0] == kImpossible) return kImpossible;
    held.assign(limits_.size(), 0);
    int state = 0;
    for (int i = 0; i < items(); ++i) {
      const Arc* taken = nullptr;
      for (const Arc& arc : arcs_[i][state]) {
        if (taken == nullptr || Cost(arc, prices) + least[i + 1][arc.to] <
                                    Cost(*taken, prices) + least[i + 1][taken->to]) {
          taken = &arc;
        }
      }
      path.device.push_back(taken->device);
      path.seconds += taken->seconds;
      if (slot_[taken->device] >= 0) held[slot_[taken->device]] += taken->bytes;
      state = taken->to;
    }
    return least[0][0];
  }

  double Cost(const Arc& arc, const std::vector<double>& prices) const {
    const int slot = slot_[arc.device];
    return arc.seconds + (slot < 0 ? 0 : prices[slot] * static_cast<double>(arc.bytes));
  }

  void Keep(Solution solution) {
    if (best_.device.empty() || solution.seconds < best_.seconds) best_ = std::move(solution);
  }

  // Subgradient steps (Polyak's) towards the prices with the highest bound, shorter ones whenever
  // that has not risen for a while (Held, Wolfe and Crowder 1974).
  void FindPrices() {
    std::vector<double> prices(limits_.size(), 0);
    double best_bound = -kImpossible;
    double ceiling = 0;  // stands for the best known time while nothing is known
    double shorter = 1;
    for (int step = 0, last_rise = 0; step < 1000 && shorter > 1e-3; ++step) {
      std::vector<std::vector<double>> least;
      Solution path;
      std::vector<uint64_t> held;
      double bound = Relax(prices, least, path, held);
      if (bound == kImpossible) return;
      bool fits = true;
      std::vector<double> excess(limits_.size());
      double norm = 0;
      for (size_t k = 0; k < limits_.size(); ++k) {
        excess[k] = static_cast<double>(held[k]) - static_cast<double>(limits_[k]);
        bound -= prices[k] * static_cast<double>(limits_[k]);
        fits &= held[k] <= limits_[k];
        if (excess[k] > 0 || prices[k] > 0) norm += excess[k] * excess[k];
      }
      if (bound > best_bound) {
        best_bound = bound;
        last_rise = step;
        bounds_ = {std::move(least), prices};
      }
      if (fits) Keep(std::move(path));
      if (norm == 0) return;
      ceiling = best_.device.empty() ? std::max(ceiling, 1.2 * std::abs(bound)) : best_.seconds;
      if (step - last_rise >= 15) {
        shorter /= 2;
        last_rise = step;
      }
      const double length = shorter * (ceiling - bound) / norm;
      if (length <= 0) return;
      for (size_t k = 0; k < limits_.size(); ++k) {
        prices[k] = std::max(0.0, prices[k] + length * excess[k]);
      }
    }
  }

  // Items in their order to one limited device after another as long as they fit, the rest to
  // whichever has no limit, for every order of the devices; and what changes of one or two items
  // make of that.
  void FillInTurn() {
    std::vector<int> order, unlimited;
    for (int d = 0; d < devices_; ++d) {
      if (RoomOf(p_, d) == d) (slot_[d] >= 0 ? order : unlimited).push_back(d);
    }
    if (unlimited.empty() || order.size() > 4) return;
    const auto possible = [&](size_t i, int d) { return p_.items[i].seconds[d] != kImpossible; };
    do {
      std::vector<int> device(p_.items.size(), -1);
      size_t turn = 0;
      for (size_t i = 0; i < device.size(); ++i) {
        const auto rest =
            std::find_if(unlimited.begin(), unlimited.end(), [&](int d) { return possible(i, d); });
        if (rest == unlimited.end()) return;
        device[i] = *rest;
      }
      for (size_t i = 0; i < device.size() && turn < order.size(); ++i) {
        if (!possible(i, order[turn])) continue;
        const int rest = std::exchange(device[i], order[turn]);
        if (IsWithinLimits(device)) continue;
        device[i] = rest;
        ++turn;
      }
      Improve(std::move(device));
    } while (std::next_permutation(order.begin(), order.end()));
  }

  bool IsWithinLimits(const std::vector<int>& device) const {
    const std::vector<uint64_t> bytes = BytesOf(p_, device);
    for (int d = 0; d < devices_; ++d) {
      if (RoomOf(p_, d) == d && bytes[d] > p_.capacity[d]) return false;
    }
    return true;
  }

  void Improve(std::vector<int> device) {
    double least = SecondsOf(p_, device);
    // Takes the change that was made, or has it undone.
    const auto is_better = [&] {
      const double seconds = SecondsOf(p_, device);
      if (!(seconds < least * (1 - 1e-9)) || !IsWithinLimits(device)) return false;
      least = seconds;
      return true;
    };
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < device.size(); ++i) {
        for (int d = 0; d < devices_; ++d) {
          if (d == device[i]) continue;
          const int before = std::exchange(device[i], d);
          is_better() ? changed = true : device[i] = before;
        }
        for (size_t j = 0; j < i; ++j) {
          if (device[i] == device[j]) continue;
          std::swap(device[i], device[j]);
          is_better() ? void(changed = true) : std::swap(device[i], device[j]);
        }
      }
    }
    Keep({std::move(device), least});
  }

  // No completion of such a label takes less time.
  double Bound(int layer, const Label& label) const {
    double bound = label.seconds + bounds_.least[layer][label.state];
    for (size_t k = 0; k < limits_.size(); ++k) {
      bound -= bounds_.prices[k] * static_cast<double>(limits_[k] - label.bytes[k]);
    }
    return bound;
  }

  // Keeps at most `width` labels of each layer, those with the best bounds. Returns the best bound
  // of those it dropped for that.
  double Search(size_t width) {
    double dropped = kImpossible;
    if (bounds_.least.empty()) return dropped;
    std::vector<std::vector<Label>> layers(p_.items.size() + 1);
    Label start;
    start.bytes.assign(limits_.size(), 0);
    layers[0].push_back(start);
    for (int i = 0; i < items(); ++i) {
      std::vector<Label> next;
      for (size_t l = 0; l < layers[i].size(); ++l) {
        const Label& from = layers[i][l];
        for (const Arc& arc : arcs_[i][from.state]) {
          Label label;
          const int slot = slot_[arc.device];
          if (slot >= 0 && arc.bytes > limits_[slot] - from.bytes[slot]) continue;
          label.bytes = from.bytes;
          if (slot >= 0) label.bytes[slot] += arc.bytes;
          label.seconds = from.seconds + arc.seconds;
          label.parent = static_cast<int>(l);
          label.state = arc.to;
          label.device = arc.device;
          if (IsHopeless(Bound(i + 1, label))) continue;
          next.push_back(std::move(label));
        }
      }
      KeepPareto(next);
      if (next.size() > width) {
        std::nth_element(
            next.begin(), next.begin() + static_cast<ptrdiff_t>(width), next.end(),
            [&](const Label& a, const Label& b) { return Bound(i + 1, a) < Bound(i + 1, b); });
        for (size_t l = width; l < next.size(); ++l) {
          dropped = std::min(dropped, Bound(i + 1, next[l]));
        }
        next.resize(width);
      }
      layers[i + 1] = std::move(next);
    }
    const std::vector<Label>& ends = layers.back();
    const auto end = std::min_element(ends.begin(), ends.end(), [](const Label& a, const Label& b) {
      return a.seconds < b.seconds;
    });
    if (end == ends.end()) return dropped;
    Solution solution;
    solution.seconds = end->seconds;
    int at = static_cast<int>(end - ends.begin());
    for (int i = items(); i > 0; --i) {
      solution.device.push_back(layers[i][at].device);
      at = layers[i][at].parent;
    }
    std::reverse(solution.device.begin(), solution.device.end());
    Keep(std::move(solution));
    return dropped;
  }

  // Times that differ by rounding are the same.
  bool IsHopeless(double bound) const {
    return !best_.device.empty() && bound >= best_.seconds - 1e-10 * std::abs(best_.seconds);
  }

  // Drops labels that another of their state is no worse than in time and on every device.
  void KeepPareto(std::vector<Label>& labels) const {
    std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) {
      if (a.state != b.state) return a.state < b.state;
      if (a.seconds != b.seconds) return a.seconds < b.seconds;
      return a.bytes < b.bytes;
    });
    std::vector<Label> kept;
    size_t first = 0;  // of this state
    uint64_t least = kUnlimited;
    for (Label& label : labels) {
      if (kept.size() > first && kept[first].state != label.state) first = kept.size();
      if (limits_.empty()) {
        if (kept.size() > first) continue;
      } else if (limits_.size() == 1) {  // earlier ones are faster: only a lighter one is worth it
        if (kept.size() == first) least = kUnlimited;
        if (label.bytes[0] >= least) continue;
        least = label.bytes[0];
      } else if (std::any_of(kept.rbegin(), kept.rend() - static_cast<ptrdiff_t>(first),
                             [&](const Label& other) { return IsNoHeavier(other, label); })) {
        continue;
      }
      kept.push_back(std::move(label));
    }
    labels = std::move(kept);
  }

  static bool IsNoHeavier(const Label& a, const Label& b) {
    for (size_t k = 0; k < a.bytes.size(); ++k) {
      if (a.bytes[k] > b.bytes[k]) return false;
    }
    return true;
  }

  const Problem& p_;
  const int devices_;
  std::vector<int> slot_;         // by device: its index among the limited, or -1
  std::vector<uint64_t> limits_;  // of the limited devices
  std::vector<std::vector<std::vector<Arc>>> arcs_;  // by item, then state before it
  size_t final_states_ = 0;
  struct {
    std::vector<std::vector<double>> least;  // by layer and state
    std::vector<double> prices;              // by limited device; seconds per byte
  } bounds_;
  Solution best_;
};

}  // namespace

double SecondsOf(const Problem& problem, const std::vector<int>& device) {
  double seconds = 0;
  for (size_t i = 0; i < device.size(); ++i) seconds += problem.items[i].seconds[device[i]];
  for (const Problem::Crossing& crossing : problem.crossings) {
    seconds += CrossingSeconds(crossing, device);
  }
  return seconds;
}

std::vector<uint64_t> BytesOf(const Problem& problem, const std::vector<int>& device) {
  std::vector<uint64_t> bytes(problem.capacity.size(), 0);
  for (size_t i = 0; i < device.size(); ++i) {
    bytes[RoomOf(problem, device[i])] += problem.items[i].bytes[device[i]];
  }
  for (const Problem::Shared& shared : problem.shared) {
    for (size_t d = 0; d < bytes.size(); ++d) {
      const bool is_there = std::any_of(shared.items.begin(), shared.items.end(), [&](int item) {
        return device[item] == static_cast<int>(d);
      });
      if (is_there) bytes[RoomOf(problem, static_cast<int>(d))] += shared.bytes[d];
    }
  }
  return bytes;
}

std::optional<Solution> Solve(const Problem& problem) { return Solver(problem).Run(); }

}  // namespace bantam::schedule
