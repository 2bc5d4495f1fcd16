// The search for the scales and quants of least weighted error of one block. Internal to quant/.
//
// Written once (search_kernels.h) with vectors of eight and a fixed order of every sum, and
// compiled twice, for any processor and for AVX2, which gives the same bits: without fused
// multiply-add the two differ only in the instructions chosen.
#pragma once

#include "runtime/quant/encoding.h"
#include "runtime/quant/type.h"

namespace bantam::quant {

// A block to encode: at most 256 elements.
struct Problem {
  alignas(32) float x[256];   // the elements divided by `up`, a power of two
  alignas(32) float w[256];   // their weights, all positive
  alignas(32) float wx[256];  // the products
  float up, down;             // up * down == 1
};

// Fills what the type's Pack reads. A scale that f16 cannot hold becomes an infinity, or 0 if it is
// one over integer scales.
using SolveFn = void (*)(const Problem& problem, Encoding& e);

// nullptr for a type whose nearest values are the best there are (plain types, Q8_1, Q8_K).
SolveFn Solver(Type type);  // for this processor
SolveFn SolverPortable(Type type);
SolveFn SolverAvx2(Type type);  // may run only where the processor has AVX2

}  // namespace bantam::quant
