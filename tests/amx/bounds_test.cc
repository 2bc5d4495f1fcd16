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

  void Run(Step& step) {
    RunFenced(Kernels(), step);
    ASSERT_EQ(step.origin, "amx");
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
        const graph::Shape weights = {k, m, 1, 1}, columns = {k, n, 1, 1}, results = {m, n, 1, 1};
        const Fenced w(BytesOf(type, weights)), x(BytesOf(Type::kF32, columns)),
            out(BytesOf(Type::kF32, results));
        Fill(w, conformance::RandomBytes(type, weights, random_, -1, 1));
        Fill(x, conformance::RandomBytes(Type::kF32, columns, random_, -1, 1));
        Step step;
        step.op = graph::Op::kMatMul;
        step.attrs = graph::MatMulAttrs{};
        step.inputs = {TensorAt(w, type, weights), TensorAt(x, Type::kF32, columns)};
        step.output = TensorAt(out, Type::kF32, results);
        Run(step);
      }
    }
  }
}

TEST_F(AmxBounds, ProductsOfExperts) {
  using quant::Type;
  for (Type type : {Type::kQ4_K, Type::kQ8_0, Type::kF16}) {
    for (const auto& [experts, n] : {std::pair{3, 20}, {1, 9}, {4, 300}, {2, 700}}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", experts, " experts, ", n));
      const int64_t k = 256, m = 41, top_k = 2;
      const graph::Shape weights = {k, m, experts, 1}, columns = {k, 1, n, 1};
      const graph::Shape chosen = {top_k, n, 1, 1}, results = {m, top_k, n, 1};
      const Fenced w(BytesOf(type, weights)), x(BytesOf(Type::kF32, columns)),
          ids(BytesOf(Type::kI32, chosen)), out(BytesOf(Type::kF32, results));
      Fill(w, conformance::RandomBytes(type, weights, random_, -1, 1));
      Fill(x, conformance::RandomBytes(Type::kF32, columns, random_, -1, 1));
      auto* id = reinterpret_cast<int32_t*>(ids.data());
      // Most choose the first; some none.
      for (int64_t i = 0; i < top_k * n; ++i) {
        id[i] = i % 11 == 0 ? -1 : static_cast<int32_t>(i % 5 == 0 ? i / 5 % experts : 0);
      }
      Step step;
      step.op = graph::Op::kMatMulExpert;
      step.inputs = {TensorAt(w, type, weights), TensorAt(x, Type::kF32, columns),
                     TensorAt(ids, Type::kI32, chosen)};
      step.output = TensorAt(out, Type::kF32, results);
      Run(step);
    }
  }
}

}  // namespace
}  // namespace bantam::cpu::amx

#endif
