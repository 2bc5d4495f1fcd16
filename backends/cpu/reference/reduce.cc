// Ops over whole rows: norm, softmax, top-k. Sums are in double, in order of the elements.

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "backends/cpu/reference/kernels.h"

namespace bantam::cpu::reference {
namespace {

void RunNorm(const Step& step, const RunContext& context) {
  const auto& attrs = std::get<graph::NormAttrs>(step.attrs);
  const Tensor& x = step.inputs[0];
  const int64_t k = x.shape[0];
  const float* weight =
      step.inputs.size() > 1 ? reinterpret_cast<const float*>(step.inputs[1].data) : nullptr;
  const float* bias =
      step.inputs.size() > 2 ? reinterpret_cast<const float*>(step.inputs[2].data) : nullptr;
  auto normalize = [&](int64_t r) {
    const float* in = x.RowAs<const float>(r);
    float* out = step.output.RowAs<float>(r);
    double mean = 0;
    if (attrs.kind == graph::NormKind::kLayer) {
      for (int64_t i = 0; i < k; ++i) mean += in[i];
      mean /= static_cast<double>(k);
    }
    double variance = 0;
    for (int64_t i = 0; i < k; ++i) {
      const double centered = in[i] - mean;
      variance += centered * centered;
    }
    variance /= static_cast<double>(k);
    const float center = static_cast<float>(mean);
    const float scale = static_cast<float>(1.0 / std::sqrt(variance + attrs.epsilon));
    for (int64_t i = 0; i < k; ++i) out[i] = (in[i] - center) * scale;
    if (weight != nullptr) {
      for (int64_t i = 0; i < k; ++i) out[i] *= weight[i];
    }
    if (bias != nullptr) {
      for (int64_t i = 0; i < k; ++i) out[i] += bias[i];
    }
  };
  context.pool.ParallelFor(x.rows(), Grain(4 * k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) normalize(r);
  });
}

void RunSoftmax(const Step& step, const RunContext& context) {
  const float scale = std::get<graph::SoftmaxAttrs>(step.attrs).scale;
  const Tensor& x = step.inputs[0];
  const int64_t k = x.shape[0];
  context.pool.ParallelFor(x.rows(), Grain(16 * k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const float* in = x.RowAs<const float>(r);
      float* out = step.output.RowAs<float>(r);
      float highest = -INFINITY;
      for (int64_t i = 0; i < k; ++i) {
        out[i] = in[i] * scale;
        highest = std::max(highest, out[i]);
      }
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        out[i] = std::exp(out[i] - highest);
        sum += out[i];
      }
      const float inverse = static_cast<float>(1.0 / sum);
      for (int64_t i = 0; i < k; ++i) out[i] *= inverse;
    }
  });
}

void RunTopK(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const int64_t k = x.shape[0], wanted = step.output.shape[0];
  // Inserts each element into the sorted winners so far; NaN comes last.
  auto select = [&](int64_t r) {
    const float* in = x.RowAs<const float>(r);
    int32_t* best = step.output.RowAs<int32_t>(r);
    auto before = [&](int64_t a, int64_t b) {
      return in[a] > in[b] || (std::isnan(in[b]) && !std::isnan(in[a]));
    };
    int64_t count = 0;
    for (int64_t i = 0; i < k; ++i) {
      if (count == wanted && !before(i, best[count - 1])) continue;
      int64_t at = count < wanted ? count++ : count - 1;
      for (; at > 0 && before(i, best[at - 1]); --at) best[at] = best[at - 1];
      best[at] = static_cast<int32_t>(i);
    }
  };
  context.pool.ParallelFor(x.rows(), Grain(4 * k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) select(r);
  });
}

}  // namespace

void PrepareNorm(Step& step) {
  const auto& attrs = std::get<graph::NormAttrs>(step.attrs);
  step.run = &RunNorm;
  step.kernel = attrs.kind == graph::NormKind::kRms ? "rms_norm" : "layer_norm";
  if (step.inputs.size() > 1) absl::StrAppend(&step.kernel, " weight");
  if (step.inputs.size() > 2) absl::StrAppend(&step.kernel, " bias");
}

void PrepareSoftmax(Step& step) {
  step.run = &RunSoftmax;
  step.kernel = "softmax";
}

void PrepareTopK(Step& step) {
  step.run = &RunTopK;
  step.kernel = "top_k";
}

}  // namespace bantam::cpu::reference
