#pragma once

#include <cstdint>

namespace bantam::cpu::simd {

// out[i] = activation(gate[i]) * up[i]; `out` may be `gate` or `up`.
using GateFunction = void (*)(const float* gate, const float* up, float* out, int64_t n);

}  // namespace bantam::cpu::simd
