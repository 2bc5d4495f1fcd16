// Activation functions over contiguous f32.
#pragma once

#include <cstdint>

#include "runtime/graph/graph.h"

namespace bantam::cpu::reference {

// Applies an activation to x[0 .. n) in place.
using ActivationFunction = void (*)(float* x, int64_t n);
ActivationFunction ActivationOf(graph::Activation activation);

}  // namespace bantam::cpu::reference
