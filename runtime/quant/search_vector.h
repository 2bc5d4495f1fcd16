// Part of search_kernels.h: vectors of eight with a fixed order of every sum.

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

using F8 = float __attribute__((vector_size(32)));
using F4 = float __attribute__((vector_size(16)));
using I8 = int32_t __attribute__((vector_size(32)));

#define BANTAM_INLINE inline __attribute__((always_inline))

BANTAM_INLINE F8 Load(const float* p) {
  F8 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
BANTAM_INLINE F8 Load(const float* lo, const float* hi) {
  F4 a, b;
  std::memcpy(&a, lo, sizeof(a));
  std::memcpy(&b, hi, sizeof(b));
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
BANTAM_INLINE F8 Set(float x) { return F8{x, x, x, x, x, x, x, x}; }
BANTAM_INLINE F8 Min(F8 a, F8 b) { return a < b ? a : b; }
BANTAM_INLINE F8 Max(F8 a, F8 b) { return a > b ? a : b; }
BANTAM_INLINE F8 Abs(F8 a) {
  const I8 bits = (I8)a & 0x7FFFFFFF;
  return (F8)bits;
}
// To nearest, ties to even; |a| below 2^22.
BANTAM_INLINE F8 Round(F8 a) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (a + kMagic) - kMagic;
}
// The sum of each half, in its first element.
BANTAM_INLINE F8 SumHalves(F8 v) {
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
  return v + __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
}
BANTAM_INLINE float Sum(F8 v) {
  v = SumHalves(v);
  return v[0] + v[4];
}
BANTAM_INLINE F8 MinHalves(F8 v) {
  v = Min(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  return Min(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
}
BANTAM_INLINE float Largest(const float* x, int n) {
  F8 max = Abs(Load(x));
  for (int i = 8; i < n; i += 8) max = Max(max, Abs(Load(x + i)));
  float largest = max[0];
  for (int j = 1; j < 8; ++j) largest = max[j] > largest ? max[j] : largest;
  return largest;
}

// `x` as an f16 holds its original.
BANTAM_INLINE float RoundHalf(const Problem& p, float x) {
  return HalfToFloat(FloatToHalf(x * p.up)) * p.down;
}
BANTAM_INLINE float Inverse(float x) { return x == 0 ? 0.0f : 1.0f / x; }

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
