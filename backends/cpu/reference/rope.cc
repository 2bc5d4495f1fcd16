// Rotary embedding. Angles are computed in double: at position 100000 the angle of the fastest pair
// in f32 would be off by a hundredth of a radian.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "backends/cpu/reference/kernels.h"

namespace bantam::cpu::reference {
namespace {

// The share of extrapolation in pair i (YaRN, Peng et al. 2023, section 3.2): 1 for pairs that turn
// more than beta_fast times over the original context, 0 below beta_slow turns, linear in i
// between.
double ExtrapolationShare(const graph::RopeAttrs& attrs, int64_t pair) {
  if (attrs.ext_factor == 0) return 0;
  // The pair that makes `turns` turns over the original context.
  auto pair_with = [&](double turns) {
    return attrs.n_dims * std::log(attrs.original_context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(double{attrs.theta_base}));
  };
  const double low = std::max(0.0, std::floor(pair_with(attrs.beta_fast)));
  const double high = std::min(attrs.n_dims - 1.0, std::ceil(pair_with(attrs.beta_slow)));
  constexpr double kLeastWidth = 0.001;  // a step instead of a ramp, without dividing by 0
  const double ramp = (static_cast<double>(pair) - low) / std::max(kLeastWidth, high - low);
  return attrs.ext_factor * (1 - std::clamp(ramp, 0.0, 1.0));
}

// One task is a token: its sines and cosines are computed once for all heads.
void RunRope(const Step& step, const RunContext& context) {
  const auto& attrs = std::get<graph::RopeAttrs>(step.attrs);
  const Tensor& x = step.inputs[0];
  const auto* positions = reinterpret_cast<const int32_t*>(step.inputs[1].data);
  const float* factors =
      step.inputs.size() > 2 ? reinterpret_cast<const float*>(step.inputs[2].data) : nullptr;
  const int64_t pairs = attrs.n_dims / 2, heads = x.shape[1];
  const double magnitude = RopeMagnitude(attrs);
  const bool neox = attrs.layout == graph::RopeLayout::kNeox;
  // Element `a` of pair i is at i * step_between, its partner `partner` further on.
  const int64_t step_between = neox ? 1 : 2;
  const int64_t partner = neox ? pairs : 1;
  auto rotate_token = [&](int64_t token, float* cosines) {
    float* sines = cosines + pairs;
    for (int64_t i = 0; i < pairs; ++i) {
      double theta = positions[token] * step.table[i];
      if (factors != nullptr) theta /= factors[i];
      cosines[i] = static_cast<float>(std::cos(theta) * magnitude);
      sines[i] = static_cast<float>(std::sin(theta) * magnitude);
    }
    for (int64_t head = 0; head < heads; ++head) {
      const float* in = reinterpret_cast<const float*>(x.Row(head, token, 0));
      float* out = reinterpret_cast<float*>(step.output.Row(head, token, 0));
      for (int64_t i = 0; i < pairs; ++i) {
        const int64_t at = i * step_between;
        const float a = in[at], b = in[at + partner];
        out[at] = a * cosines[i] - b * sines[i];
        out[at + partner] = a * sines[i] + b * cosines[i];
      }
      std::memcpy(out + attrs.n_dims, in + attrs.n_dims,
                  (x.shape[0] - attrs.n_dims) * sizeof(float));
    }
  };
  constexpr int64_t kTrigonometryCost = 50;
  context.pool.ParallelFor(x.shape[2], Grain(pairs * (kTrigonometryCost + 4 * heads)),
                           [&](int64_t begin, int64_t end, int worker) {
                             for (int64_t token = begin; token < end; ++token) {
                               rotate_token(token, context.Scratch(worker));
                             }
                           });
}

}  // namespace

double RopeMagnitude(const graph::RopeAttrs& attrs) {
  const double correction =
      attrs.ext_factor == 0 ? 1.0 : 1.0 + 0.1 * std::log(1.0 / double{attrs.freq_scale});
  return attrs.attn_factor * correction;
}

void PrepareRope(Step& step) {
  const auto& attrs = std::get<graph::RopeAttrs>(step.attrs);
  step.run = &RunRope;
  step.kernel = attrs.layout == graph::RopeLayout::kNeox ? "rope neox" : "rope interleaved";
  if (attrs.ext_factor != 0) step.kernel += " yarn";
  for (int64_t i = 0; i < attrs.n_dims / 2; ++i) {
    const double share = ExtrapolationShare(attrs, i);
    const double frequency = std::pow(double{attrs.theta_base}, -2.0 * i / attrs.n_dims);
    step.table.push_back(frequency * (attrs.freq_scale * (1 - share) + share));
  }
  step.worker_scratch = attrs.n_dims * static_cast<int64_t>(sizeof(float));
}

}  // namespace bantam::cpu::reference
