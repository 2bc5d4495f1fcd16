// What several kernels share.
#pragma once

#include <cstdint>

#include "backends/cuda/kernels.h"
#include "backends/cuda/kernels/simt.h"

namespace bantam::cuda {

BANTAM_DEVICE int64_t At(const View& view, int i1, int i2, int i3) {
  return i1 * view.strides[1] + i2 * view.strides[2] + i3 * view.strides[3];
}
// Row `r` of all rows, dimension 1 fastest.
BANTAM_DEVICE unsigned char* Row(const View& view, int r) {
  const int i1 = r % view.shape[1];
  r /= view.shape[1];
  return view.data + At(view, i1, r % view.shape[2], r / view.shape[2]);
}
BANTAM_DEVICE const float* RowF(const View& view, int r) {
  return reinterpret_cast<const float*>(Row(view, r));
}
// Whether every row of the weights begins with a word of 16 bytes.
inline bool AreWords16(const MatMulParams& p) {
  uint64_t all = reinterpret_cast<uintptr_t>(p.w) | static_cast<uint64_t>(p.w_stride);
  for (const MatMulParams::Part& part : p.more) all |= reinterpret_cast<uintptr_t>(part.w);
  return all % 16 == 0;
}
inline int Rows(const View& view) { return view.shape[1] * view.shape[2] * view.shape[3]; }

BANTAM_DEVICE float Activate(graph::Activation activation, float x) {
  switch (activation) {
    case graph::Activation::kNone:
      return x;
    case graph::Activation::kSilu:
      return x / (1.0f + expf(-x));
    case graph::Activation::kGelu:  // 1 + erf(z) = erfc(-z), without cancellation for negative z
      return 0.5f * x * erfcf(x * -0.70710678118654752f);
    case graph::Activation::kGeluTanh:  // (1 + tanh z) / 2 = sigmoid(2 z), for the same reason
      return x / (1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case graph::Activation::kGeluQuick:
      return x / (1.0f + expf(-1.702f * x));
    case graph::Activation::kRelu:
      return x < 0 ? 0.0f : x;
    case graph::Activation::kReluSquared:
      return x < 0 ? 0.0f : x * x;
    case graph::Activation::kSigmoid:
      return 1.0f / (1.0f + expf(-x));
    case graph::Activation::kTanh:
      return tanhf(x);
  }
  return x;
}

// The 16 quants of one half of a run of a column, in one plane.
BANTAM_DEVICE int8_t* HalfRun(const QuantizedX& x, int64_t column, int run, int plane, int half) {
  constexpr int kRuns = 32;
  const int in_chunk = ((2 * plane + half) * kRuns + run % kRuns) * 16;
  return x.quants + (column * x.chunks + run / kRuns) * kChunkBytes + in_chunk;
}

// Sums of products of int8 begin at these bits, those of 1.5 * 2^23, and so are the bits of a float
// that is off by as much: turning an integer into a float is four times slower on a GPU.
inline constexpr int kDotStart = 0x4B400000;
BANTAM_DEVICE float DotToFloat(int dot) { return BitsToFloat(dot) - 12582912.0f; }

// A power of two to divide by, so that the largest of some numbers becomes 2^14 to 2^15, which f16
// holds. What is no number, or none but zeros, is left as it is.
BANTAM_DEVICE float HalfScale(float peak) {
  if (!(peak > 0 && peak < INFINITY)) return 1;
  int exponent;
  frexpf(peak, &exponent);
  return ldexpf(1.0f, (exponent < -100 ? -100 : exponent) - 15);
}

// What sums of attention are multiplied by in the end, when exp(score - top) add up to `sum`. The
// sink, if there is one, is as a cell of no value.
BANTAM_DEVICE float FinalScale(float top, float sum, const float* sink) {
  float keep = 1;
  if (sink != nullptr) {
    const float now = fmaxf(top, *sink);
    keep = top == -INFINITY ? 0.0f : expf(top - now);
    sum = sum * keep + expf(*sink - now);
  }
  return sum == 0 ? 0.0f : keep / sum;
}

// One element of graph::Op::kGated.
BANTAM_DEVICE float Gate(graph::Activation activation, float limit, float up_offset, float gate,
                         float up) {
  if (limit != 0) {  // a NaN stays one
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up < -limit ? -limit : up;
  }
  return Activate(activation, gate) * (up + up_offset);
}

// Row `row` of the stacked matrices of a product, and its bias.
BANTAM_DEVICE const unsigned char* WeightRow(const MatMulParams& p, int row) {
  const unsigned char* w = p.w;
  int first = 0;
  BANTAM_UNROLL
  for (int i = 0; i < MatMulParams::kMore; ++i) {
    if (row >= p.more[i].first) {
      w = p.more[i].w;
      first = p.more[i].first;
    }
  }
  return w + (row - first) * p.w_stride;
}
BANTAM_DEVICE float BiasOf(const MatMulParams& p, int row) {
  const float* bias = p.bias;
  if (bias == nullptr) return 0;
  int first = 0;
  BANTAM_UNROLL
  for (int i = 0; i < MatMulParams::kMore; ++i) {
    if (row >= p.more[i].first) {
      bias = p.more[i].bias;
      first = p.more[i].first;
    }
  }
  return bias[row - first];
}

inline unsigned Blocks(int64_t items, int64_t each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

}  // namespace bantam::cuda
