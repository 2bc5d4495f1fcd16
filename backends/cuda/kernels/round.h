// Rounding columns of x to two planes of int8: what QuantizedX (kernels.h) holds.
#pragma once

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/unpack.h"

namespace bantam::cuda {

// Rounds a run of a column, an element to each lane of a warp; a column has `runs`.
BANTAM_DEVICE void RoundRun(const QuantizedX& to, int64_t column, int runs, int run, float value) {
  const int lane = ThreadX() % kWarp;
  const float peak = WarpMax(fabsf(value));
  float sum = value;  // of a half
  BANTAM_UNROLL
  for (int mask = 1; mask < kHalfRun; mask *= 2) sum += ShuffleXor(sum, mask);
  const float whole_sum = sum + ShuffleXor(sum, kHalfRun);
  // fmaxf drops a NaN, and an infinity has no quant: either is to be seen in the result.
  const float scale = fabsf(whole_sum) < INFINITY ? peak / (127.0f * kFine) : NAN;
  const float scaled = value * (peak > 0 ? 127.0f / peak : 0.0f);
  const int high = RoundToInt(scaled);
  const int low = RoundToInt((scaled - static_cast<float>(high)) * kFine);
  const int half = lane / kHalfRun, in_half = lane % kHalfRun;
  HalfRun(to, column, run, 0, half)[in_half] = static_cast<int8_t>(high);
  HalfRun(to, column, run, 1, half)[in_half] = static_cast<int8_t>(low);
  const int64_t at = column * runs + run;
  if (lane == 0) to.scales[at] = scale;
  if (in_half == 0) to.sums[2 * at + half] = sum;
}

}  // namespace bantam::cuda
