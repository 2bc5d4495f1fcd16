// Register-blocked: R rows of w times C columns of x share their loads and keep R * C accumulators
// of four lanes in registers; baseline x86-64 and Arm have at least 16.

#include "backends/cpu/reference/dot.h"

#include <array>
#include <cstring>

namespace bantam::cpu::reference {
namespace {

// The compilers' portable vector type, rather than an array of 4, because GCC keeps a block of
// these in registers and a block of arrays not always. Machines without vectors get scalar code
// with the same results.
using Lanes __attribute__((vector_size(16))) = float;
constexpr int kLanes = 4;
constexpr int kMaxRows = 3;

inline Lanes Load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// The last count < 4 elements; zeros after them leave a lane's sum as it is.
inline Lanes LoadPart(const float* p, int64_t count) {
  float v[kLanes] = {};
  std::memcpy(v, p, count * sizeof(float));
  return Load(v);
}

template <int R, int C>
void Block(const float* w, int64_t w_stride, const float* const* x, float* const* out, int64_t at,
           int64_t k, bool accumulate) {
  Lanes sum[R][C] = {};
  const float* columns[C];
  for (int c = 0; c < C; ++c) columns[c] = x[c];
  auto step = [&](int64_t i, auto load) __attribute__((always_inline)) {
    Lanes row[R];
    for (int r = 0; r < R; ++r) row[r] = load(w + r * w_stride + i);
    for (int c = 0; c < C; ++c) {
      const Lanes column = load(columns[c] + i);
      for (int r = 0; r < R; ++r) sum[r][c] += row[r] * column;
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) step(i, Load);
  if (i < k) step(i, [&](const float* p) { return LoadPart(p, k - i); });
  for (int c = 0; c < C; ++c) {
    for (int r = 0; r < R; ++r) {
      const Lanes& s = sum[r][c];
      const float total = (s[0] + s[2]) + (s[1] + s[3]);
      out[c][at + r] = accumulate ? out[c][at + r] + total : total;
    }
  }
}

using BlockFunction = void (*)(const float*, int64_t, const float* const*, float* const*, int64_t,
                               int64_t, bool);

template <int R>
constexpr std::array<BlockFunction, kDotColumns> kRowOfBlocks = {&Block<R, 1>, &Block<R, 2>,
                                                                 &Block<R, 3>, &Block<R, 4>};
constexpr std::array<std::array<BlockFunction, kDotColumns>, kMaxRows> kBlocks = {
    kRowOfBlocks<1>, kRowOfBlocks<2>, kRowOfBlocks<3>};

}  // namespace

void DotPanel(const float* w, int64_t w_stride, int64_t rows, const float* const* x,
              float* const* out, int columns, int64_t k, bool accumulate) {
  for (int64_t r = 0; r < rows; r += kMaxRows) {
    const int64_t height = rows - r < kMaxRows ? rows - r : kMaxRows;
    kBlocks[height - 1][columns - 1](w + r * w_stride, w_stride, x, out, r, k, accumulate);
  }
}

}  // namespace bantam::cpu::reference
