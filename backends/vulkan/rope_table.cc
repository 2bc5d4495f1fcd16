#include "backends/vulkan/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bantam::vulkan {
namespace {

// YaRN (Peng et al. 2023), section 3.2: the share of the original frequency in pair `i`, by how
// many turns the pair makes over the original context: all of it above beta_fast, none below
// beta_slow.
long double OriginalShare(const graph::RopeAttrs& attrs, int i) {
  if (attrs.ext_factor == 0) return 0;
  auto pair_of = [&](long double turns) {
    return attrs.n_dims *
           std::log(attrs.original_context / (turns * 2 * std::numbers::pi_v<long double>)) /
           (2 * std::log(static_cast<long double>(attrs.theta_base)));
  };
  const long double low = std::max(0.0L, std::floor(pair_of(attrs.beta_fast)));
  const long double high = std::min(attrs.n_dims - 1.0L, std::ceil(pair_of(attrs.beta_slow)));
  const long double ramp = (i - low) / std::max(0.001L, high - low);
  return attrs.ext_factor * (1 - std::clamp(ramp, 0.0L, 1.0L));
}

}  // namespace

RopeTable MakeRopeTable(const graph::RopeAttrs& attrs) {
  RopeTable table;
  for (int i = 0; i < attrs.n_dims / 2; ++i) {
    const long double share = OriginalShare(attrs, i);
    const long double radians =
        std::pow(static_cast<long double>(attrs.theta_base), -2.0L * i / attrs.n_dims) *
        (attrs.freq_scale * (1 - share) + share);
    long double turns = radians / (2 * std::numbers::pi_v<long double>);
    if (!std::isfinite(turns)) turns = 0;
    turns = std::fmod(turns, 4294967296.0L);
    if (turns < 0) turns += 4294967296.0L;
    for (int word = 0; word < 3; ++word) {
      const long double whole = std::floor(turns);
      table.words.push_back(static_cast<uint32_t>(std::min(whole, 4294967295.0L)));
      turns = (turns - whole) * 4294967296.0L;
    }
  }
  const double correction =
      attrs.ext_factor == 0 ? 1.0 : 1.0 + 0.1 * std::log(1.0 / double{attrs.freq_scale});
  table.magnitude = static_cast<float>(attrs.attn_factor * correction);
  return table;
}

}  // namespace bantam::vulkan
