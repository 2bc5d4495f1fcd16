// An activation function over contiguous f32, as sets with vector instructions provide it.
#pragma once

#include <cstdint>

#include "backends/cpu/reference/activation.h"

namespace bantam::cpu::simd {

struct ActivationFunctions {
  reference::ActivationFunction in_place = nullptr;
  // out[i] = activation(gate[i]) * up[i]; `out` may be `gate` or `up`.
  void (*gate)(const float* gate, const float* up, float* out, int64_t n) = nullptr;
};

// In place: that of a set (avx2/set.h), or else the reference's; null for none.
template <typename Isa>
reference::ActivationFunction ActivationInPlace(graph::Activation activation) {
  if (activation == graph::Activation::kNone) return nullptr;
  const reference::ActivationFunction vectorised = Isa::ActivationOf(activation).in_place;
  return vectorised != nullptr ? vectorised : reference::ActivationOf(activation);
}

}  // namespace bantam::cpu::simd
