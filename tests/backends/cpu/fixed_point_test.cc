// Products of plain weights with many rows, which some sets make in fixed point
// (simd/matmul_fixed.h): numbers at the ends of their range and beyond, what rounding may cost, and
// memory. That ordinary ones are right is in tests/conformance, that the same bits come out
// whatever the batch in cpu_simd_test.cc.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "backends/cpu/kernel_sets.h"
#include "runtime/quant/encode.h"
#include "tests/backends/cpu/compiled.h"
#include "tests/backends/cpu/fenced.h"

namespace bantam::cpu {
namespace {

using conformance::Case;
using conformance::Op;
using conformance::Type;

constexpr Type kTypes[] = {Type::kF32, Type::kF16, Type::kBF16};
constexpr int64_t kRows = 37, kColumns = 20;  // more than a panel of any set, and than a few

std::vector<std::string> Sets() {
  std::vector<std::string> names;
  for (const char* name :
       {"portable", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neoni8mm"}) {
    if (ChooseKernels(name).ok()) names.push_back(name);
  }
  return names;
}

struct Operands {
  int64_t k;
  std::vector<float> w, x;  // kRows and kColumns rows
};

Operands Random(int64_t k, float most_w, float most_x) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Operands o = {k, std::vector<float>(k * kRows), std::vector<float>(k * kColumns)};
  for (float& w : o.w) w = uniform(random) * most_w;
  for (float& x : o.x) x = uniform(random) * most_x;
  return o;
}

class FixedPoint : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    device_ = *device::OpenDevice("cpu", {.threads = 2, .cpu_isa = GetParam()});
  }

  // Rounds the weights to `type` and multiplies.
  std::vector<float> Multiply(Type type, Operands& o) {
    Case c;
    std::vector<std::byte> bytes(quant::RowBytes(type, o.k) * kRows);
    EXPECT_TRUE(quant::EncodeRow(type, o.w.data(), bytes.data(), o.k * kRows).ok());
    quant::DecodeRow(type, bytes.data(), o.w.data(), o.k * kRows);
    const auto w = c.graph.AddWeight("w", type, {o.k, kRows, 1, 1});
    const auto x = c.graph.AddInput("x", Type::kF32, {o.k, kColumns, 1, 1});
    c.data.emplace_back(w, bytes);
    const auto span = std::as_bytes(std::span(o.x));
    c.data.emplace_back(x, std::vector<std::byte>(span.begin(), span.end()));
    c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
    std::vector<float> found = RunAndRead(*device_, c);
    EXPECT_EQ(found.size(), kRows * kColumns);
    found.resize(kRows * kColumns);
    return found;
  }

  std::unique_ptr<device::Device> device_;
};

double Exact(const Operands& o, int64_t row, int64_t column) {
  double sum = 0;
  for (int64_t i = 0; i < o.k; ++i) {
    sum += double{o.w[row * o.k + i]} * double{o.x[column * o.k + i]};
  }
  return sum;
}

// A number of a run is off by half a step of its scale at most, 1 / 16382 of the run's largest or,
// for powers of two, twice that.
TEST_P(FixedPoint, MagnitudesAtTheEndsOfTheirRange) {
  constexpr int64_t k = 70;
  for (Type type : kTypes) {
    for (const float w : {0.0f, 1e-44f, 1e-38f, 1e-33f, 1e-28f, 1e-7f, 1.0f, 6e4f, 1e20f, 3e38f}) {
      if (type == Type::kF16 && w > 6.5e4f) continue;
      for (const float x : {0.0f, 1e-44f, 1e-36f, 1e-28f, 1.0f, 1e30f, 3e38f}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", w, " x ", x));
        Operands o = Random(k, w, x);
        const std::vector<float> found = Multiply(type, o);
        // Below about 5e-29 a scale stops falling; a sum of f32 has as many roundings as terms, and
        // ends at denormal numbers.
        const double least = 5e-29, step = 1.0 / 8191;
        const double bound = k * step * std::max<double>(w, least) * std::max<double>(x, least) +
                             k * 2e-45 * (1 << 19);
        for (int64_t c = 0; c < kColumns; ++c) {
          for (int64_t r = 0; r < kRows; ++r) {
            const double exact = Exact(o, r, c);
            const float result = found[c * kRows + r];
            // A sum that passes the end on its way there may be an infinity.
            if (double{w} * x * k > 1e38 && !std::isfinite(result)) continue;
            ASSERT_NEAR(result, exact, bound) << r << ", " << c;
          }
        }
      }
    }
  }
}

// Sums of 32 products of the largest magnitudes fit their 32 bits, whatever the signs.
TEST_P(FixedPoint, RunsOfEqualNumbers) {
  for (Type type : kTypes) {
    for (const float w : {1.0f, -1.0f, 0x1.ffcp-1f, 0x1.fep-1f, 0x1.fffffep-1f, -0x1.fffffep-1f}) {
      for (const float x : {0x1.fffffep-1f, -1.0f}) {
        Operands o = {96, std::vector<float>(96 * kRows, w), std::vector<float>(96 * kColumns, x)};
        const std::vector<float> found = Multiply(type, o);
        const double exact = Exact(o, 0, 0);
        for (float result : found) {
          ASSERT_NEAR(result, exact, 1e-6 * std::abs(exact)) << quant::Name(type) << " " << w;
        }
      }
    }
  }
}

// What is huge only meets zeros.
TEST_P(FixedPoint, HugeTimesZero) {
  Operands o = Random(128, 1, 1);
  for (int64_t r = 0; r < kRows; ++r) std::fill_n(o.w.begin() + r * 128, 32, 3e38f);
  for (int64_t c = 0; c < kColumns; ++c) {
    std::fill_n(o.x.begin() + c * 128, 32, 0.0f);
    std::fill_n(o.x.begin() + c * 128 + 64, 32, 3e38f);
  }
  for (int64_t r = 0; r < kRows; ++r) std::fill_n(o.w.begin() + r * 128 + 64, 32, 0.0f);
  for (Type type : {Type::kF32, Type::kBF16}) {
    Operands same = o;
    const std::vector<float> found = Multiply(type, same);
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      ASSERT_NEAR(found[i], Exact(same, i % kRows, i / kRows), 64 * 2.0 / 8191);
    }
  }
}

// Outliers cost the others of their run bits. By itself one makes 32 / 12 of a step squared of its
// own square: 4e-8, or with a power of two for a step 1.6e-7; and so for both sides.
TEST_P(FixedPoint, Outliers) {
  for (Type type : kTypes) {
    for (const float factor : {10.0f, 100.0f, 1000.0f}) {
      Operands o = Random(1024, 1, 1);
      for (size_t i = 7; i < o.w.size(); i += 97) o.w[i] *= factor;
      for (size_t i = 3; i < o.x.size(); i += 103) o.x[i] *= factor;
      const std::vector<float> found = Multiply(type, o);
      double error = 0, size = 0, w = 0, x = 0;
      for (float v : o.w) w += double{v} * v;
      for (float v : o.x) x += double{v} * v;
      for (int64_t i = 0; i < kRows * kColumns; ++i) {
        error += std::pow(found[i] - Exact(o, i % kRows, i / kRows), 2);
      }
      size = w * x / o.k;  // of products of rows that have nothing to do with each other
      EXPECT_LE(error, 2e-7 * size) << quant::Name(type) << " " << factor;
    }
  }
}

TEST_P(FixedPoint, WhatIsNoNumberReachesItsResults) {
  for (Type type : kTypes) {
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
      for (const int64_t at : {0, 31, 32, 66}) {
        Operands o = Random(67, 1, 1);
        o.w[35 * 67 + at] = bad;
        o.x[9 * 67 + at] = bad;
        const std::vector<float> found = Multiply(type, o);
        for (int64_t c = 0; c < kColumns; ++c) {
          for (int64_t r = 0; r < kRows; ++r) {
            const float result = found[c * kRows + r];
            ASSERT_EQ(std::isfinite(result), r != 35 && c != 9)
                << quant::Name(type) << " " << bad << " at " << at << ": " << r << ", " << c;
            // An infinity, if it is one, is the right one.
            if (std::isinf(result)) {
              ASSERT_EQ(result, Exact(o, r, c)) << r << ", " << c;
            }
          }
        }
      }
    }
  }
}

TEST_P(FixedPoint, ProductsStayWithinTheirMemory) {
  std::mt19937 random(7);
  const KernelSet& set = **ChooseKernels(GetParam());
  for (Type type : {Type::kF32, Type::kF16, Type::kBF16, Type::kQ8_0}) {
    for (const int64_t blocks : {1, 3, 9, 33}) {
      const int64_t k = type == Type::kQ8_0 ? 32 * blocks : 37 * blocks;
      for (const auto& [m, n] : {std::pair{1, 9}, {33, 16}, {64, 17}, {95, 40}, {2, 515}}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", k, " x ", m, " x ", n));
        RunFencedProduct(set, type, k, m, n, random);
      }
    }
  }
}

TEST_P(FixedPoint, ProductsOfExpertsStayWithinTheirMemory) {
  std::mt19937 random(7);
  const KernelSet& set = **ChooseKernels(GetParam());
  for (Type type : kTypes) {
    for (const auto& [experts, n] : {std::pair{3, 20}, {1, 9}, {2, 700}}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", experts, " experts, ", n));
      RunFencedExperts(set, type, 71, experts, n, random);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, FixedPoint, ::testing::ValuesIn(Sets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace bantam::cpu
