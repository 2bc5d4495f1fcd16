// Activations, gated activations, arithmetic of two tensors, scaling.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/reference/activation.h"
#include "backends/cpu/reference/kernels.h"

namespace bantam::cpu::reference {
namespace {

using graph::Activation;
using graph::BinaryOp;

template <Activation kActivation>
float Activate(float x) {
  if constexpr (kActivation == Activation::kSilu) return x / (1.0f + std::exp(-x));
  // 1 + erf(z) = erfc(-z), without the cancellation for negative z.
  if constexpr (kActivation == Activation::kGelu) {
    return 0.5f * x * std::erfc(x * -0.70710678118654752f);
  }
  // (1 + tanh z) / 2 = sigmoid(2 z), for the same reason.
  if constexpr (kActivation == Activation::kGeluTanh) {
    constexpr float kSqrt2OverPi = 0.79788456080286536f;
    return x / (1.0f + std::exp(-2.0f * kSqrt2OverPi * (x + 0.044715f * x * x * x)));
  }
  if constexpr (kActivation == Activation::kGeluQuick) return x / (1.0f + std::exp(-1.702f * x));
  if constexpr (kActivation == Activation::kRelu) return x < 0 ? 0.0f : x;
  if constexpr (kActivation == Activation::kReluSquared) return x < 0 ? 0.0f : x * x;
  if constexpr (kActivation == Activation::kSigmoid) return 1.0f / (1.0f + std::exp(-x));
  if constexpr (kActivation == Activation::kTanh) return std::tanh(x);
  return x;
}

template <Activation kActivation>
void ActivateAll(float* x, int64_t n) {
  if constexpr (kActivation == Activation::kNone) return;
  for (int64_t i = 0; i < n; ++i) x[i] = Activate<kActivation>(x[i]);
}

// Calls body(row) for every row, in parallel; `cost` is that of one element.
template <typename Body>
void ForRows(const Tensor& t, const RunContext& context, int64_t cost, const Body& body) {
  context.pool.ParallelFor(t.rows(), Grain(t.shape[0] * cost),
                           [&](int64_t begin, int64_t end, int) {
                             for (int64_t r = begin; r < end; ++r) body(r);
                           });
}

constexpr int64_t kExpCost = 12;  // of an exponential, in additions

void RunUnary(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const int64_t n = x.shape[0];
  const auto activate = ActivationOf(std::get<graph::ActivationAttrs>(step.attrs).activation);
  ForRows(x, context, kExpCost, [&](int64_t r) {
    float* out = step.output.RowAs<float>(r);
    std::memmove(out, x.Row(r), n * sizeof(float));
    activate(out, n);
  });
}

void RunGated(const Step& step, const RunContext& context) {
  const Tensor& gate = step.inputs[0];
  const Tensor& up = step.inputs[1];
  const int64_t n = gate.shape[0];
  const auto activate = ActivationOf(std::get<graph::ActivationAttrs>(step.attrs).activation);
  ForRows(gate, context, kExpCost, [&](int64_t r) {
    float* out = step.output.RowAs<float>(r);
    const float* u = up.RowAs<const float>(r);
    std::memcpy(out, gate.Row(r), n * sizeof(float));
    activate(out, n);
    for (int64_t i = 0; i < n; ++i) out[i] *= u[i];
  });
}

void RunClampedGated(const Step& step, const RunContext& context) {
  const Tensor& gate = step.inputs[0];
  const Tensor& up = step.inputs[1];
  const int64_t n = gate.shape[0];
  const auto& attrs = std::get<graph::ActivationAttrs>(step.attrs);
  const auto activate = ActivationOf(attrs.activation);
  const float limit = attrs.limit == 0 ? INFINITY : attrs.limit;
  ForRows(gate, context, kExpCost, [&](int64_t r) {
    float* out = step.output.RowAs<float>(r);
    const float* g = gate.RowAs<const float>(r);
    const float* u = up.RowAs<const float>(r);
    // A NaN stays one.
    for (int64_t i = 0; i < n; ++i) out[i] = g[i] > limit ? limit : g[i];
    activate(out, n);
    for (int64_t i = 0; i < n; ++i) out[i] *= std::clamp(u[i], -limit, limit) + attrs.up_offset;
  });
}

template <BinaryOp kOp>
float Apply(float a, float b) {
  if constexpr (kOp == BinaryOp::kAdd) return a + b;
  if constexpr (kOp == BinaryOp::kSub) return a - b;
  if constexpr (kOp == BinaryOp::kMul) return a * b;
  if constexpr (kOp == BinaryOp::kDiv) return a / b;
}

template <BinaryOp kOp>
void RunBinary(const Step& step, const RunContext& context) {
  const Tensor& a = step.inputs[0];
  Tensor b = step.inputs[1];
  const int64_t n = a.shape[0];
  // Broadcasting is a stride of 0.
  const bool one_element = b.shape[0] == 1;
  for (int d = 1; d < graph::kMaxDims; ++d) {
    if (b.shape[d] == 1) b.strides[d] = 0;
    b.shape[d] = a.shape[d];
  }
  ForRows(a, context, 1, [&](int64_t r) {
    const float* x = a.RowAs<const float>(r);
    const float* y = b.RowAs<const float>(r);
    float* out = step.output.RowAs<float>(r);
    if (one_element) {
      const float value = y[0];
      for (int64_t i = 0; i < n; ++i) out[i] = Apply<kOp>(x[i], value);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = Apply<kOp>(x[i], y[i]);
    }
  });
}

void RunScale(const Step& step, const RunContext& context) {
  const Tensor& x = step.inputs[0];
  const auto& attrs = std::get<graph::ScaleAttrs>(step.attrs);
  ForRows(x, context, 1, [&](int64_t r) {
    const float* in = x.RowAs<const float>(r);
    float* out = step.output.RowAs<float>(r);
    for (int64_t i = 0; i < x.shape[0]; ++i) out[i] = in[i] * attrs.scale + attrs.bias;
  });
}

}  // namespace

ActivationFunction ActivationOf(Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return &ActivateAll<Activation::kNone>;
    case Activation::kSilu:
      return &ActivateAll<Activation::kSilu>;
    case Activation::kGelu:
      return &ActivateAll<Activation::kGelu>;
    case Activation::kGeluTanh:
      return &ActivateAll<Activation::kGeluTanh>;
    case Activation::kGeluQuick:
      return &ActivateAll<Activation::kGeluQuick>;
    case Activation::kRelu:
      return &ActivateAll<Activation::kRelu>;
    case Activation::kReluSquared:
      return &ActivateAll<Activation::kReluSquared>;
    case Activation::kSigmoid:
      return &ActivateAll<Activation::kSigmoid>;
    case Activation::kTanh:
      return &ActivateAll<Activation::kTanh>;
  }
  return &ActivateAll<Activation::kNone>;
}

void PrepareUnary(Step& step) {
  step.run = &RunUnary;
  step.kernel =
      std::string(graph::ActivationName(std::get<graph::ActivationAttrs>(step.attrs).activation));
}

void PrepareGated(Step& step) {
  const auto& attrs = std::get<graph::ActivationAttrs>(step.attrs);
  const bool clamped = attrs.limit != 0 || attrs.up_offset != 0;
  step.run = clamped ? &RunClampedGated : &RunGated;
  step.kernel =
      absl::StrCat(clamped ? "clamped gated " : "gated ", graph::ActivationName(attrs.activation));
}

void PrepareBinary(Step& step) {
  switch (std::get<graph::BinaryAttrs>(step.attrs).op) {
    case BinaryOp::kAdd:
      step.run = &RunBinary<BinaryOp::kAdd>;
      step.kernel = "add";
      break;
    case BinaryOp::kSub:
      step.run = &RunBinary<BinaryOp::kSub>;
      step.kernel = "subtract";
      break;
    case BinaryOp::kMul:
      step.run = &RunBinary<BinaryOp::kMul>;
      step.kernel = "multiply";
      break;
    case BinaryOp::kDiv:
      step.run = &RunBinary<BinaryOp::kDiv>;
      step.kernel = "divide";
      break;
  }
}

void PrepareScale(Step& step) {
  step.run = &RunScale;
  step.kernel = "scale";
}

}  // namespace bantam::cpu::reference
