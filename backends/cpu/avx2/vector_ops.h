// Operations on contiguous f32, for the ops between the products.
#pragma once

#include <cstdint>

#include "backends/cpu/reference/activation.h"
#include "runtime/quant/type.h"

namespace bantam::cpu::avx2 {

// Null for activations without a vector version; the reference has all.
reference::ActivationFunction ActivationOf(graph::Activation activation);

// out[i] *= b[i]
void Multiply(float* out, const float* b, int64_t n);
// sum x[i]^2, in f64.
double SumOfSquares(const float* x, int64_t n);
// out[i] = x[i] * scale * (weight == nullptr ? 1 : weight[i])
void ScaleBy(const float* x, float scale, const float* weight, float* out, int64_t n);
void FloatsToHalves(const float* x, uint16_t* out, int64_t n);
void HalvesToFloats(const uint16_t* x, float* out, int64_t n);
// As quant::DecodeRow; fast for the usual types of a KV cache.
void DecodeCacheRow(quant::Type type, const uint8_t* row, float* out, int64_t n);

// p[i] = e^(p[i] - highest) for i < n, and their sum. p has room for n rounded up to 8.
float Exponentials(float* p, int64_t n, float highest);
// x[i] *= scale for i < n; the largest of them and `highest`. x has room for n rounded up to 8.
float ScaleAndMax(float* x, int64_t n, float scale, float highest);
// Cosines and sines, times `magnitude`, of the angles position * frequencies[i] / factors[i]
// (factors may be null), i < pairs.
void Angles(double position, const double* frequencies, const float* factors, double magnitude,
            int64_t pairs, float* cosines, float* sines);
// Rotates `pairs` pairs: (a[i], b[i]), or (a[2i], a[2i + 1]).
void RotateHalves(const float* a, const float* b, const float* cosines, const float* sines,
                  int64_t pairs, float* out_a, float* out_b);
void RotateNeighbours(const float* a, const float* cosines, const float* sines, int64_t pairs,
                      float* out);

}  // namespace bantam::cpu::avx2
