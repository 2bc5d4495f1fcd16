// Rows of activations quantized to int8, the right-hand side of the integer matrix products.
//
// A row is cut into runs of 32 elements. A run has a scale d = max |x| / 127 and quants
// q[i] = round(x[i] / d), so that x[i] = d q[i] within d / 2: against uniform activations a
// normalised squared error of 1.5e-5. d is f32: unlike the f16 of a Q8_0 block it neither overflows
// nor adds an error of its own. A run with a NaN or infinity gets d = NaN, which every result that
// depends on it becomes too.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bantam::cpu::simd {

inline constexpr int64_t kRun = 32;

struct RunOfActivations {
  float d;
  float total;      // d * sum
  int32_t sum;      // of the quants
  int16_t half[2];  // sums of the first and the last 16 quants
};

struct ActivationRow {
  const int8_t* quants;          // k of them
  const RunOfActivations* runs;  // k / kRun
};

// Quantized rows of k elements (a multiple of kRun), one after the other.
struct ActivationRows {
  std::byte* data;  // 64-byte aligned
  int64_t k;

  static int64_t BytesOfRow(int64_t k) {
    const int64_t bytes = k + k / kRun * static_cast<int64_t>(sizeof(RunOfActivations));
    return (bytes + 63) / 64 * 64;
  }
  int8_t* Quants(int64_t r) const { return reinterpret_cast<int8_t*>(data + r * BytesOfRow(k)); }
  RunOfActivations* Runs(int64_t r) const {
    return reinterpret_cast<RunOfActivations*>(data + r * BytesOfRow(k) + k);
  }
  ActivationRow Row(int64_t r) const { return {Quants(r), Runs(r)}; }
};

}  // namespace bantam::cpu::simd
