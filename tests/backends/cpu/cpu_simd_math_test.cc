// The elementary functions that sets of kernels share, against double precision: as AVX2's, or
// NEON's; the exponential and activations as AVX-512's too.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

// The exponential as each set compiles it. x has room for n rounded up to 16.
#if defined(__x86_64__)
#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/vectors.h"
#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/kernels.h"
#include "backends/cpu/avx512/set.h"
#include "backends/cpu/avx512/vectors.h"
BANTAM_AVX2_BEGIN
namespace bantam::cpu::avx2 {
namespace {
#include "backends/cpu/simd/exp.inc"

void Exponentials(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += V::kWidth) V::Store(x + i, Exp(V::Load(x + i)));
}
}  // namespace
}  // namespace bantam::cpu::avx2
BANTAM_AVX2_END
BANTAM_AVX512_BEGIN
namespace bantam::cpu::avx512 {
namespace {
#include "backends/cpu/simd/exp.inc"

void Exponentials(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += V::kWidth) V::Store(x + i, Exp(V::Load(x + i)));
}
}  // namespace
}  // namespace bantam::cpu::avx512
BANTAM_AVX512_END
namespace set = bantam::cpu::avx2;
#elif defined(__aarch64__)
#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/vectors.h"
namespace bantam::cpu::neon {
namespace {
#include "backends/cpu/simd/exp.inc"

void Exponentials(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += V::kWidth) V::Store(x + i, Exp(V::Load(x + i)));
}
}  // namespace
}  // namespace bantam::cpu::neon
namespace set = bantam::cpu::neon;
#endif

#if defined(__x86_64__) || defined(__aarch64__)
namespace bantam::cpu {
namespace {

using namespace set;  // NOLINT: the names of one set

// Of every set that has its own.
std::vector<void (*)(float*, int64_t)> EveryExponentials() {
  std::vector<void (*)(float*, int64_t)> all = {&set::Exponentials};
#if defined(__x86_64__)
  if (avx512::Kernels().runs_here()) all.push_back(&avx512::Exponentials);
#endif
  return all;
}

std::vector<decltype(&set::Weigh)> EveryWeigh() {
  std::vector<decltype(&set::Weigh)> all = {&set::Weigh};
#if defined(__x86_64__)
  if (avx512::Kernels().runs_here()) all.push_back(&avx512::Weigh);
#endif
  return all;
}

std::vector<decltype(&set::ActivationOf)> EveryActivations() {
  std::vector<decltype(&set::ActivationOf)> all = {&set::ActivationOf};
#if defined(__x86_64__)
  if (avx512::Kernels().runs_here()) all.push_back(&avx512::ActivationOf);
#endif
  return all;
}

class VectorMath : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
      GTEST_SKIP() << "this processor has no AVX2";
    }
#endif
  }
};

// Scores become e^(score - highest): where the highest so far is 0, e^score.
float WeighOne(decltype(&set::Weigh) weigh, float* scores, int64_t n) {
  simd::SoftmaxState state = {0.0f, 0.0f};
  simd::SoftmaxState* states[] = {&state};
  float keep;
  weigh(&scores, n, 1.0f, 0.0f, 1, states, &keep);
  EXPECT_EQ(keep, 0);
  return state.sum;
}

TEST_F(VectorMath, ExponentialIsWithinTwoUlp) {
  for (const auto exponentials : EveryExponentials()) {
    // Every 4096th float of the range where e^x is a normal f32.
    for (float x = -87.33f; x < 88.72f;
         x = std::nextafter(x, 100.0f) + std::abs(x) * 5e-4f + 1e-6f) {
      float p[16] = {x};
      exponentials(p, 1);
      ASSERT_NEAR(p[0] / std::exp(double{x}), 1, 2 * 1.2e-7) << x;
    }
  }
}

TEST_F(VectorMath, ExponentialsEdges) {
  for (const auto exponentials : EveryExponentials()) {
    float p[16] = {-88.0f, -INFINITY, 89.0f, INFINITY, NAN, 0.0f, -0.0f};
    exponentials(p, 7);
    EXPECT_EQ(p[0], 0);
    EXPECT_EQ(p[1], 0);
    EXPECT_EQ(p[2], INFINITY);
    EXPECT_EQ(p[3], INFINITY);
    EXPECT_TRUE(std::isnan(p[4]));
    EXPECT_EQ(p[5], 1);
    EXPECT_EQ(p[6], 1);
  }
}

TEST_F(VectorMath, WeightIsWithinTwoUlp) {
  for (const auto weigh : EveryWeigh()) {
    // A few thousand floats of the range where e^x is a normal f32.
    for (float x = -87.33f; x <= 0; x = std::nextafter(x, 100.0f) + std::abs(x) * 5e-4f + 1e-6f) {
      float p[16] = {x};
      const float sum = WeighOne(weigh, p, 1);
      ASSERT_NEAR(p[0] / std::exp(double{x}), 1, 2 * 1.2e-7) << x;
      ASSERT_EQ(sum, p[0]);
    }
  }
}

TEST_F(VectorMath, WeightsEdges) {
  for (const auto weigh : EveryWeigh()) {
    float p[16] = {-88.0f, -INFINITY, -1e30f, 0.0f, -0.0f};
    EXPECT_EQ(WeighOne(weigh, p, 5), 2);
    EXPECT_EQ(p[0], 0);
    EXPECT_EQ(p[1], 0);
    EXPECT_EQ(p[2], 0);
    EXPECT_EQ(p[3], 1);
    EXPECT_EQ(p[4], 1);
    float q[16] = {0.0f, NAN};
    EXPECT_TRUE(std::isnan(WeighOne(weigh, q, 2)));
    EXPECT_TRUE(std::isnan(q[1]));
  }
}

TEST_F(VectorMath, AnglesAreRoundedOnce) {
  std::mt19937 random(1);
  std::vector<double> frequencies(37);
  for (double& f : frequencies) f = std::exp(-10.0 * (random() % 1000) / 1000.0);
  std::vector<float> cosines(37), sines(37);
  for (double position : {0.0, 1.0, -3.0, 4096.0, 131071.0, 2147483647.0}) {
    Angles(position, frequencies.data(), nullptr, 1.0, 37, cosines.data(), sines.data());
    for (int i = 0; i < 37; ++i) {
      const double theta = position * frequencies[i];
      // Half an ulp of f32, and what the argument of 2^31 is uncertain by.
      EXPECT_NEAR(cosines[i], std::cos(theta), 6e-8 + std::abs(theta) * 1e-15) << theta;
      EXPECT_NEAR(sines[i], std::sin(theta), 6e-8 + std::abs(theta) * 1e-15) << theta;
    }
  }
}

TEST_F(VectorMath, ActivationsOfEveryLength) {
  struct Function {
    graph::Activation activation;
    double (*exact)(double);
  };
  const Function functions[] = {
      {graph::Activation::kSilu, [](double x) { return x / (1 + std::exp(-x)); }},
      {graph::Activation::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {graph::Activation::kGeluQuick, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {graph::Activation::kGeluTanh, [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       }}};
  std::mt19937 random(2);
  for (const Function& f : functions) {
    for (const auto activation_of : EveryActivations()) {
      const auto [activate, gate] = activation_of(f.activation);
      ASSERT_NE(activate, nullptr);
      ASSERT_NE(gate, nullptr);
      for (int n : {0, 1, 7, 8, 9, 15, 16, 17, 64, 101}) {
        std::vector<float> x(n + 1, 77.0f), up(n), gated(n + 1, 77.0f);
        for (int i = 0; i < n; ++i) {
          x[i] = static_cast<float>(random() % 20000) / 1000.0f - 10.0f;
          up[i] = static_cast<float>(random() % 20000) / 1000.0f - 10.0f;
        }
        const std::vector<float> before = x;
        gate(x.data(), up.data(), gated.data(), n);
        ASSERT_EQ(x, before);
        activate(x.data(), n);
        for (int i = 0; i < n; ++i) {
          // The argument of e^x is itself rounded: an error of up to 20 half ulps.
          const double exact = f.exact(before[i]);
          EXPECT_NEAR(x[i], exact, 3e-6 * std::abs(exact) + 1e-7);
          EXPECT_EQ(gated[i], x[i] * up[i]);
        }
        EXPECT_EQ(x[n], 77.0f);
        EXPECT_EQ(gated[n], 77.0f);
      }
    }
  }
}

// 1 / (1 + e^-x), which takes the exponential over all of its range.
TEST_F(VectorMath, SigmoidOfEverything) {
  for (const auto activation_of : EveryActivations()) {
    const auto [activate, gate] = activation_of(graph::Activation::kSigmoid);
    for (float x = -88.7f; x < 88.0f; x += 0.037f) {
      float y = x;
      activate(&y, 1);
      const double exact = 1 / (1 + std::exp(-double{x}));
      ASSERT_NEAR(y / exact, 1, 4 * 1.2e-7) << x;
    }
    float edges[] = {-89.0f, -INFINITY, 89.0f, INFINITY, NAN};
    activate(edges, 5);
    EXPECT_EQ(edges[0], 0);
    EXPECT_EQ(edges[1], 0);
    EXPECT_EQ(edges[2], 1);
    EXPECT_EQ(edges[3], 1);
    EXPECT_TRUE(std::isnan(edges[4]));
  }
}

}  // namespace
}  // namespace bantam::cpu
#endif
