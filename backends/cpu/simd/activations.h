// Rows of activations quantized to int8, the right-hand side of the integer matrix products.
//
// A row is cut into runs of 32 elements. A run has a scale d = max |x| / 127 and quants
// q[i] = round(x[i] / d), so that x[i] = d q[i] within d / 2: against uniform activations a
// normalised squared error of 1.5e-5. d is f32: unlike the f16 of a Q8_0 block it neither overflows
// nor adds an error of its own. A run with a NaN or infinity gets d = NaN, which every result that
// depends on it becomes too.
//
// Real activations have outliers: a tenth of the runs then makes half to three quarters of a row's
// error (Gemma 3, SmolLM2). Such a run is kept in two parts: what rounding left of it, its rest, is
// a run of its own with a scale 254 times smaller, which meets the same weights once more. Products
// with rests are summed by themselves, since few columns have one for the same run.
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
  int32_t
      rest;  // the run that is the rest of this one; of a rest what it is a rest of, kRestOf - run
};
inline constexpr int32_t kNoRest = -1;  // a run has no rest
inline constexpr int32_t kRestOf = -2;

// The rests of a row follow its k / kRun runs, in their order, and after the last is an empty run
// with kNoRest.
struct ActivationRow {
  const int8_t* quants;  // kRun for each run
  const RunOfActivations* runs;
};

// A rest of a row, and what it is a rest of: of none after the last.
struct NextRest {
  int32_t rest;
  int32_t run;
  static constexpr int32_t kNone = INT32_MAX;
};
inline NextRest NextRestOf(const ActivationRow& row, int32_t rest) {
  const RunOfActivations& run = row.runs[rest];
  return {rest, run.rest == kNoRest ? NextRest::kNone : kRestOf - run.rest};
}

// Quantized rows of k elements (a multiple of kRun), one after the other.
struct ActivationRows {
  std::byte* data;  // 64-byte aligned
  int64_t k;

  // Most runs with a rest.
  static int64_t MostRests(int64_t k) { return (k / kRun + 7) / 8; }
  static int64_t MostRuns(int64_t k) { return k / kRun + MostRests(k); }
  static int64_t BytesOfRow(int64_t k) {
    const int64_t bytes = MostRuns(k) * (kRun + static_cast<int64_t>(sizeof(RunOfActivations)));
    return (bytes + static_cast<int64_t>(sizeof(RunOfActivations)) + 63) / 64 * 64;
  }
  int8_t* Quants(int64_t r) const { return reinterpret_cast<int8_t*>(data + r * BytesOfRow(k)); }
  RunOfActivations* Runs(int64_t r) const {
    return reinterpret_cast<RunOfActivations*>(data + r * BytesOfRow(k) + MostRuns(k) * kRun);
  }
  ActivationRow Row(int64_t r) const { return {Quants(r), Runs(r)}; }
};

}  // namespace bantam::cpu::simd
