#include "backends/cuda/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bantam::cuda {
namespace {

// YaRN (Peng et al. 2023), section 3.2: the share of the original frequency in pair `i`, by how
// many turns the pair makes over the original context: all of it above beta_fast, none below
// beta_slow.
double OriginalShare(const graph::RopeAttrs& attrs, int i) {
  if (attrs.ext_factor == 0) return 0;
  auto pair_of = [&](double turns) {
    return attrs.n_dims * std::log(attrs.original_context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(double{attrs.theta_base}));
  };
  const double low = std::max(0.0, std::floor(pair_of(attrs.beta_fast)));
  const double high = std::min(attrs.n_dims - 1.0, std::ceil(pair_of(attrs.beta_slow)));
  const double ramp = (i - low) / std::max(0.001, high - low);
  return attrs.ext_factor * (1 - std::clamp(ramp, 0.0, 1.0));
}

}  // namespace

RopeTable MakeRopeTable(const graph::RopeAttrs& attrs) {
  RopeTable table;
  for (int i = 0; i < attrs.n_dims / 2; ++i) {
    const double share = OriginalShare(attrs, i);
    const double radians = std::pow(double{attrs.theta_base}, -2.0 * i / attrs.n_dims) *
                           (attrs.freq_scale * (1 - share) + share);
    table.turns.push_back(radians / (2 * std::numbers::pi));
  }
  const double correction =
      attrs.ext_factor == 0 ? 1.0 : 1.0 + 0.1 * std::log(1.0 / double{attrs.freq_scale});
  table.magnitude = static_cast<float>(attrs.attn_factor * correction);
  return table;
}

}  // namespace bantam::cuda
