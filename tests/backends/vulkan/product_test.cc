// Products of many columns in the ways that GPUs have: integer dot products, f16, matrices of f16.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/instance.h"
#include "backends/vulkan/traits.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/encode.h"
#include "tests/backends/vulkan/support.h"

namespace bantam::vulkan {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Columns of ordinary activations, and a weight.
class VulkanProducts : public Vulkan {
 protected:
  // A product, and its dispatches.
  struct Product {
    std::vector<float> values;
    std::string kernels;
  };

  void SetUp() override {
    Vulkan::SetUp();
    Draw(512, 70, 40);
  }
  void Draw(int64_t width, int64_t rows, int64_t columns) {
    width_ = width;
    rows_ = rows;
    columns_ = columns;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    w_.resize(width * rows);
    x_.resize(width * columns);
    for (float& v : w_) v = 0.02f * normal(random);
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = normal(random) * (i % 509 == 0 ? 100.0f : 1.0f);
  }

  void Encode(Type type) {
    type_ = type;
    const auto row_bytes = static_cast<size_t>(quant::RowBytes(type, width_));
    encoded_.assign(row_bytes * rows_, {});
    for (int64_t row = 0; row < rows_; ++row) {
      const auto status =
          quant::EncodeRow(type, &w_[row * width_], &encoded_[row * row_bytes], width_);
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  Product Multiply(const char* settings, const std::vector<float>& x) const {
    auto device = OpenWith(settings);
    EXPECT_TRUE(device.ok()) << device.status();
    graph::Graph graph;
    const ValueId w = graph.AddWeight("w", type_, {width_, rows_, 1, 1});
    const ValueId input = graph.AddInput("x", Type::kF32, {width_, columns_, 1, 1});
    const ValueId out = graph.Add(Op::kMatMul, {w, input}, "out", graph::MatMulAttrs{});
    graph.AddOutput(out);
    Compiled compiled;
    const absl::Status status = compiled.Make(**device, graph);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(compiled.Set(w, encoded_).ok() && compiled.Set(input, x).ok() &&
                compiled.Run().ok());
    return {compiled.Get(out, rows_ * columns_), compiled.kernels()};
  }

  // How far `found` is from `exact`, of the size of `exact`.
  static double Difference(const Product& found, const Product& exact) {
    double difference = 0, square = 0;
    for (size_t i = 0; i < found.values.size(); ++i) {
      difference += std::pow(double{found.values[i]} - exact.values[i], 2);
      square += std::pow(double{exact.values[i]}, 2);
    }
    return std::sqrt(difference / square);
  }

  // What is no number stays none, in its column alone.
  void CheckBrokenColumns(const char* settings, const Product& found) const {
    std::vector<float> broken = x_;
    broken[3 * width_ + 100] = NAN;
    broken[5 * width_ + 7] = INFINITY;
    const Product nan = Multiply(settings, broken);
    for (size_t i = 0; i < nan.values.size(); ++i) {
      const bool is_broken = i / rows_ == 3 || i / rows_ == 5;
      ASSERT_EQ(std::isfinite(nan.values[i]), !is_broken) << i;
      if (!is_broken) {
        ASSERT_EQ(nan.values[i], found.values[i]) << i;
      }
    }
  }

  // The same where a weight is larger than a binding and read at an address, once for those parts
  // of x that fit; or cut too.
  void CheckByAddress(const char* settings, absl::string_view kernel, const Product& found) const {
    for (int64_t parts : {8, 16}) {
      const Product again = Multiply(
          absl::StrCat(settings, ",tile=1,binding=16384,address=", parts == 8).c_str(), x_);
      EXPECT_THAT(again.kernels, HasSubstr(absl::StrCat("matmul ", kernel, quant::Name(type_), ": ",
                                                        parts, " dispatches\n")));
      EXPECT_LT(Difference(again, found), 1e-6);
    }
  }

  int64_t width_ = 0, rows_ = 0, columns_ = 0;
  std::vector<float> x_, w_;
  Type type_ = Type::kF32;
  std::vector<std::byte> encoded_;
};

// Two planes of int8 keep activations nearly whole, those beside large ones too.
TEST_F(VulkanProducts, IntegerDotProductsAreAsGoodAsF32) {
  for (Type type : {Type::kQ4_1, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0}) {
    SCOPED_TRACE(quant::Name(type));
    Encode(type);
    const Product exact = Multiply("dot=0,matrix=0,f16=0", x_);
    const Product found = Multiply("dot=1,matrix=0", x_);
    EXPECT_THAT(exact.kernels, Not(HasSubstr("int8")));
    EXPECT_THAT(found.kernels, HasSubstr(absl::StrCat("matmul int8 ", quant::Name(type))));
    EXPECT_THAT(found.kernels, HasSubstr("quantize: 1 dispatch\n"));
    const double difference = Difference(found, exact);
    std::printf("%s: %.1e of the result\n", std::string(quant::Name(type)).c_str(), difference);
    // With one plane it would be 1e-2: activations as large as 300 beside those of 1.
    EXPECT_LT(difference, 1e-4);
    EXPECT_GT(difference, 0);
    CheckBrokenColumns("dot=1,matrix=0", found);
    if (type == Type::kQ4_K) CheckByAddress("dot=1,matrix=0", "int8 ", found);
  }
}

// What this GPU would multiply if matrices were used.
MatrixSize Matrices() {
  auto instance = Instance::Get();
  EXPECT_TRUE(instance.ok());
  const auto traits = QueryTraits(**instance, (*instance)->gpus()[0], {.cooperative_matrix = true});
  EXPECT_TRUE(traits.ok());
  return traits->matrix;
}

// Activations and weights rounded to 11 bits each, however large or small they are: what `kernel`
// does with `settings`.
class VulkanHalves : public VulkanProducts {
 protected:
  void CheckProducts(const char* settings, absl::string_view kernel) {
    Draw(512, 70, 40);
    for (Type type : {Type::kF16, Type::kQ4_K}) {
      SCOPED_TRACE(quant::Name(type));
      Encode(type);
      const Product exact = Multiply(kExact, x_);
      const Product found = Multiply(settings, x_);
      EXPECT_THAT(exact.kernels, Not(HasSubstr(std::string(kernel))));
      EXPECT_THAT(found.kernels, HasSubstr(absl::StrCat("matmul ", kernel, quant::Name(type))));
      EXPECT_THAT(found.kernels, HasSubstr("halves: 1 dispatch\n"));
      const double difference = Difference(found, exact);
      std::printf("%s: %.1e of the result\n", std::string(quant::Name(type)).c_str(), difference);
      // 2^-11 / sqrt 3 at most for each of the two.
      EXPECT_LT(difference, 4.1e-4);
      EXPECT_GT(difference, 0);
      CheckBrokenColumns(settings, found);
      if (type == Type::kQ4_K) CheckByAddress(settings, kernel, found);
      // Each column has a power of two of its own, from far outside what f16 holds.
      std::vector<float> scaled = x_;
      const auto power = [](int64_t column) { return static_cast<int>(column * 5 % 101 - 50); };
      for (int64_t i = 0; i < width_ * columns_; ++i) {
        scaled[i] = std::ldexp(scaled[i], power(i / width_));
      }
      const Product again = Multiply(settings, scaled);
      for (int64_t i = 0; i < rows_ * columns_; ++i) {
        ASSERT_EQ(again.values[i], std::ldexp(found.values[i], power(i / rows_))) << i;
      }
    }
    // Many tiles, some of them not full.
    Draw(64, 8200, 130);
    Encode(Type::kF16);
    EXPECT_LT(Difference(Multiply(settings, x_), Multiply(kExact, x_)), 4.1e-4);
    // Types that f16 has no room for are left to f32.
    Encode(Type::kBF16);
    EXPECT_THAT(Multiply(settings, x_).kernels, Not(HasSubstr(std::string(kernel))));
  }

  static constexpr char kExact[] = "matrix=0,f16=0,dot=0";
};

TEST_F(VulkanHalves, InMatrices) {
  const MatrixSize matrix = Matrices();
  if (matrix.m == 0) {
    GTEST_SKIP() << "the shader compiler or the driver lacks cooperative matrices";
  }
  std::printf("matrices of %u x %u x %u\n", matrix.m, matrix.n, matrix.k);
  CheckProducts("matrix=1", "matrices ");
}

TEST_F(VulkanHalves, WithoutMatrices) {
  CheckProducts("f16=1,matrix=0,dot=0", "halves ");
  CheckProducts("f16=1,matrix=0,dot=0,gpu=1", "halves ");
  // Quantized weights stay integers where those are fast; f16 weights have no such.
  Draw(512, 70, 40);
  Encode(Type::kQ4_K);
  EXPECT_THAT(Multiply("f16=1,matrix=0,dot=1", x_).kernels, HasSubstr("matmul int8 Q4_K"));
  Encode(Type::kF16);
  EXPECT_THAT(Multiply("f16=1,matrix=0,dot=1", x_).kernels, HasSubstr("matmul halves F16"));
}

}  // namespace
}  // namespace bantam::vulkan
