// That products on tiles stay within their memory: weights, activations, results and both scratches
// each end where a page begins that cannot be touched, and begin behind bytes that must not change.

#include <gtest/gtest.h>

#if defined(__x86_64__)

#include <random>

#include "absl/strings/str_cat.h"
#include "backends/cpu/amx/kernels.h"
#include "backends/cpu/amx/matmul.h"
#include "tests/amx/emulator.h"
#include "tests/backends/cpu/fenced.h"
#include "tests/conformance/harness.h"

namespace bantam::cpu::amx {
namespace {

class AmxBounds : public ::testing::Test {
 protected:
  void SetUp() override {
    amx_emulator::Executed();  // so that the library is linked
    if (!Kernels().runs_here()) GTEST_SKIP() << "this processor lacks the AVX-512 of the set amx";
  }

  std::mt19937 random_{7};
};

TEST_F(AmxBounds, Products) {
  using quant::Type;
  for (Type type : conformance::kAllTypes) {
    const int64_t block = quant::Traits(type).block_size;
    for (const int64_t blocks : {1, 3, 9}) {
      const int64_t k = block == 1 ? 37 * blocks : block * blocks;
      for (const auto& [m, n] : {std::pair{1, 9}, {33, 16}, {64, 17}, {95, 40}, {2, 515}}) {
        if (n > 100 && type != Type::kQ8_0 && type != Type::kF16) continue;
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", k, " x ", m, " x ", n));
        ASSERT_EQ(RunFencedProduct(Kernels(), type, k, m, n, random_), "amx");
      }
    }
  }
}

TEST_F(AmxBounds, ProductsOfExperts) {
  using quant::Type;
  for (Type type : {Type::kQ4_K, Type::kQ8_0, Type::kF16}) {
    for (const auto& [experts, n] : {std::pair{3, 20}, {1, 9}, {4, 300}, {2, 700}}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", experts, " experts, ", n));
      ASSERT_EQ(RunFencedExperts(Kernels(), type, 256, experts, n, random_), "amx");
    }
  }
}

}  // namespace
}  // namespace bantam::cpu::amx

#endif
