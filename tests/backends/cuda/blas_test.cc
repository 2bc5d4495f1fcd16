// Plain weights in prompts by cuBLAS, of which a stand-in (tests/cuda_emulator/fake_cublas.h) takes
// the place.

#include <dlfcn.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cuda/cublas_api.h"
#include "runtime/engine/engine.h"
#include "tests/backends/cuda/fixture.h"
#include "tests/cuda_emulator/fake_cublas.h"
#include "tests/support/tiny_model.h"

namespace bantam::cuda {
namespace {

using emulator::FakeCublas;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CudaBlas : public Cuda {
 protected:
  void SetUp() override {
    Cuda::SetUp();
    void* const library = dlopen(BANTAM_FAKE_CUBLAS, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << dlerror();
    auto* const find = reinterpret_cast<emulator::FakeCublasFunction*>(
        dlsym(library, emulator::kFakeCublasSymbol));
    ASSERT_NE(find, nullptr);
    fake_ = find();
    fake_->products.clear();
    fake_->wrong.clear();
    setenv("BANTAM_CUDA_CUBLAS", BANTAM_FAKE_CUBLAS, 1);
  }
  void TearDown() override {
    EXPECT_THAT(fake_->wrong, IsEmpty());
    EXPECT_EQ(fake_->streams, 0);  // none is kept that may be gone
    fake_->fail_create = fake_->fail_product_in = 0;
    TheFaults().cublas_names = {"libcublas-of-the-emulator.so"};
    unsetenv("BANTAM_CUDA_CUBLAS");
    Cuda::TearDown();
  }
  // And opens it anew, so that there is no handle yet.
  static void LoseTheDevice() {
    TheFaults().launch_in = 1;
    EXPECT_EQ(Describe().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(conformance::OpenedDevice(kDevice)->NewStream().ok());
  }
  // A product of 20 columns, compiled and run.
  static absl::StatusOr<std::string> Describe(Type type = Type::kF16) {
    Case c;
    const ValueId w = c.Weight(type, {64, 12, 1, 1});
    c.Output(Op::kMatMul, {w, c.Input({64, 20, 1, 1})}, graph::MatMulAttrs{});
    BANTAM_RETURN_IF_ERROR(graph::Infer(c.graph));
    Runner runner(kDevice, c);
    BANTAM_RETURN_IF_ERROR(runner.Run());
    return runner.executable().Describe();
  }

  FakeCublas* fake_ = nullptr;
};

// Rows of odd lengths too, which own kernels for tensor cores leave to those in f32; columns that
// f16 could not hold as they are, and one of zeros.
TEST_F(CudaBlas, ProductsOfAnySize) {
  for (auto [type, limit] :
       {std::pair{Type::kF32, 1e-12}, {Type::kF16, 1e-7}, {Type::kBF16, 1e-9}}) {
    for (auto [k, m, columns] : {std::array{136, 130, 70}, {37, 5, 9}, {1, 1, 11}}) {
      for (double range : {1e-6, 1.0, 1e6}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " k ", k, " m ", m, " range ", range));
        fake_->products.clear();
        Case c;
        const ValueId w = c.Weight(type, {k, m, 1, 1});
        const ValueId x = c.Input({k, columns, 1, 1}, -range, range);
        std::memset(c.data[1].second.data(), 0, k * sizeof(float));
        c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
        Runner runner(kDevice, c);
        runner.Check({0, limit});
        EXPECT_THAT(runner.executable().Describe(),
                    HasSubstr(absl::StrCat("matmul ", quant::Name(type), ", cuBLAS: 1 launch\n")));
        // Asked for once to load what it takes, and once more into the graph.
        const size_t planes = type == Type::kBF16 ? 2 : 1;
        ASSERT_EQ(fake_->products.size(), 2 * planes);
        for (size_t i = 0; i < fake_->products.size(); ++i) {
          const FakeCublas::Product& product = fake_->products[i];
          EXPECT_EQ(std::tie(product.m, product.n, product.k, product.lda, product.ldc),
                    std::tie(m, columns, k, k, m));
          EXPECT_EQ(product.beta, i % planes == 0 ? 0 : 1);
          EXPECT_EQ(product.workspace, fake_->products[0].workspace);
        }
        EXPECT_EQ(fake_->math_mode, cublas::kDisallowReducedPrecisionReduction);
      }
    }
  }
}

// A single plane of bf16 would not do, and a single scale for all columns neither.
TEST_F(CudaBlas, ColumnsKeepTheirPrecisionBesideOthers) {
  for (Type type : {Type::kF16, Type::kBF16}) {
    Case c;
    const ValueId w = c.Weight(type, {256, 40, 1, 1});
    const ValueId x = c.Input({256, 12, 1, 1});
    auto* values = reinterpret_cast<float*>(c.data[1].second.data());
    for (int i = 0; i < 256; ++i) values[i] *= 1e12f;  // the first column
    const ValueId out = c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
    ASSERT_TRUE(graph::Infer(c.graph).ok());
    Runner reference("reference", c), runner(kDevice, c);
    ASSERT_TRUE(reference.Run().ok() && runner.Run().ok());
    std::vector<float> expected = reference.Read(out), found = runner.Read(out);
    EXPECT_LE(Error(expected, found), 1e-6);
    expected.erase(expected.begin(), expected.begin() + 40);
    found.erase(found.begin(), found.begin() + 40);
    EXPECT_LE(Error(expected, found), type == Type::kF16 ? 1e-7 : 1e-9);
  }
}

// Parts of one type stacked in a launch are a product each; bias and activation come after them.
TEST_F(CudaBlas, PartsWithBiasAndActivation) {
  for (bool has_bias : {false, true}) {
    for (auto activation : {graph::Activation::kNone, graph::Activation::kSilu}) {
      SCOPED_TRACE(absl::StrCat(has_bias, " ", graph::ActivationName(activation)));
      fake_->products.clear();
      Case c;
      std::vector<ValueId> inputs;
      const std::pair<Type, int64_t> parts[] = {{Type::kF16, 24}, {Type::kF16, 6},
                                                {Type::kF16, 10}, {Type::kBF16, 4},
                                                {Type::kF32, 7},  {Type::kQ8_0, 3}};
      for (const auto& [type, m] : parts) inputs.push_back(c.Weight(type, {96, m, 1, 1}));
      inputs.push_back(c.Input({96, 19, 1, 1}));
      for (const auto& [type, m] : parts) {
        if (has_bias) inputs.push_back(c.Weight(Type::kF32, {m, 1, 1, 1}));
      }
      c.Output(Op::kMatMul, inputs, graph::MatMulAttrs{6, has_bias, activation});
      Runner runner(kDevice, c);
      runner.Check(conformance::kPlainMatMul);
      EXPECT_EQ(fake_->products.size(), 2u * (3 + 2 + 1));
      const std::string kernels = runner.executable().Describe();
      for (const char* line : {"halve: 2 launches\n", "matmul F16, cuBLAS: 1 launch\n",
                               "matmul F32, cuBLAS: 1 launch\n", "matmul Q8_0: 1 launch\n"}) {
        EXPECT_THAT(kernels, HasSubstr(line));
      }
    }
  }
}

// Columns with gaps are a matrix to cuBLAS where all gaps are alike, else they are not.
TEST_F(CudaBlas, ColumnsWithGaps) {
  for (auto [shape, by_blas] : {std::pair{graph::Shape{40, 15, 1, 1}, true},
                                {graph::Shape{40, 1, 15, 1}, true},
                                {graph::Shape{40, 3, 5, 1}, false}}) {
    for (Type type : {Type::kF32, Type::kF16}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", shape[1], " x ", shape[2]));
      Case c;
      const ValueId w = c.Weight(type, {40, 9, 1, 1});
      c.Output(Op::kMatMul, {w, c.Gapped(shape)}, graph::MatMulAttrs{});
      Runner runner(kDevice, c);
      runner.Check(conformance::kPlainMatMul);
      // F16 columns are rounded first, to where there are no gaps.
      const bool expected = by_blas || type == Type::kF16;
      EXPECT_EQ(runner.executable().Describe().find(", cuBLAS:") != std::string::npos, expected);
    }
  }
}

// The workspace, which cuBLAS may write as it likes, is nowhere where other launches keep things;
// it is predicted with the scratch of the whole, and every executable has the one it was given, or
// one of its own.
TEST_F(CudaBlas, TheWorkspaceIsScratchAndCounted) {
  for (Type type : {Type::kF32, Type::kBF16}) {
    SCOPED_TRACE(quant::Name(type));
    Case c;
    const ValueId x = c.Input({256, 10, 1, 1});
    for (Type of : {Type::kQ8_0, type, Type::kQ4_K, type}) {
      c.Output(Op::kMatMul, {c.Weight(of, {256, 16, 1, 1}), x}, graph::MatMulAttrs{});
    }
    fake_->products.clear();
    Runner runner(kDevice, c);
    runner.CompileWithOwnScratch();
    runner.Check(conformance::kQuantizedMatMul);
    const size_t each = fake_->products.size() / 2;
    ASSERT_EQ(each, type == Type::kF32 ? 4u : 8u);
    for (size_t i = 0; i < 2 * each; ++i) {
      EXPECT_EQ(fake_->products[i].workspace, fake_->products[i / each * each].workspace);
    }
    EXPECT_NE(fake_->products[0].workspace, fake_->products[each].workspace);
    if (type == Type::kF32) {  // which needs no columns rounded: those of int8 stay
      EXPECT_THAT(runner.executable().Describe(), HasSubstr("quantize: 1 launch\n"));
    }
    const auto [found, predicted] = runner.ScratchFoundAndPredicted();
    EXPECT_EQ(found, predicted);
    EXPECT_GE(predicted, 4u << 20);
    setenv("BANTAM_CUDA_CUBLAS", "0", 1);
    Runner own(kDevice, c);
    own.CompileWithOwnScratch();
    own.Check(conformance::kQuantizedMatMul);
    EXPECT_LT(own.ScratchFoundAndPredicted().second, 1u << 20);
    setenv("BANTAM_CUDA_CUBLAS", BANTAM_FAKE_CUBLAS, 1);
  }
}

TEST_F(CudaBlas, NotANumberIsSeenInItsColumnOnly) {
  for (Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
    for (float bad : {NAN, INFINITY}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", bad));
      Case c;
      const ValueId w = c.Weight(type, {64, 9, 1, 1});
      const ValueId x = c.Input({64, 20, 1, 1});
      std::memcpy(c.data[1].second.data() + 40 * sizeof(float), &bad, sizeof(bad));
      const ValueId out = c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
      ASSERT_TRUE(graph::Infer(c.graph).ok());
      Runner runner(kDevice, c);
      ASSERT_TRUE(runner.Run().ok());
      const std::vector<float> found = runner.Read(out);
      for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isfinite(found[i]), i >= 9) << i;
    }
  }
}

// Which computes, and why, is said; nothing is said where it makes no difference.
TEST_F(CudaBlas, WhatComputesIsSaid) {
  EXPECT_THAT(*Describe(), HasSubstr("cuda-emulated plain weights: cuBLAS 13.1.2 (/"));
  setenv("BANTAM_CUDA_CUBLAS", "0", 1);
  EXPECT_THAT(*Describe(), HasSubstr("plain weights: own kernels, as BANTAM_CUDA_CUBLAS is 0\n"));
  EXPECT_THAT(*Describe(Type::kQ8_0), Not(HasSubstr("plain weights")));
  unsetenv("BANTAM_CUDA_CUBLAS");
  EXPECT_THAT(*Describe(), HasSubstr("plain weights: own kernels: libcublas-of-the-emulator.so: "
                                     "cannot open shared object file"));
  EXPECT_THAT(fake_->products.size(), 2u);  // of the first
  // The first there is, of those that have all that is needed.
  TheFaults().cublas_names = {"libnone.so", BANTAM_FAKE_CUBLAS_OLD};
  EXPECT_THAT(*Describe(),
              AllOf(HasSubstr("own kernels: libnone.so: "),
                    HasSubstr("; " BANTAM_FAKE_CUBLAS_OLD ": has no cublasSetWorkspace_v2\n")));
  TheFaults().cublas_names = {"libnone.so", BANTAM_FAKE_CUBLAS_OLD, BANTAM_FAKE_CUBLAS};
  EXPECT_THAT(*Describe(), HasSubstr("plain weights: cuBLAS 13.1.2"));
  // One that was asked for by name must be there.
  setenv("BANTAM_CUDA_CUBLAS", "libnone.so", 1);
  const auto none = Describe();
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound) << none.status();
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("BANTAM_CUDA_CUBLAS: libnone.so"));
  EXPECT_TRUE(Describe(Type::kQ8_0).ok());
}

TEST_F(CudaBlas, AHandleThatCannotBeMade) {
  for (bool by_name : {false, true}) {
    SCOPED_TRACE(by_name);
    LoseTheDevice();
    if (by_name) {
      setenv("BANTAM_CUDA_CUBLAS", BANTAM_FAKE_CUBLAS, 1);
    } else {
      unsetenv("BANTAM_CUDA_CUBLAS");
      TheFaults().cublas_names = {BANTAM_FAKE_CUBLAS};
    }
    const int handles = fake_->handles;
    // Short memory is what whoever places weights can do something about.
    fake_->fail_create = cublas::kAllocFailed;
    EXPECT_EQ(Describe().status().code(), absl::StatusCode::kResourceExhausted);
    fake_->fail_create = cublas::kNotInitialized;
    const auto text = Describe();
    if (by_name) {
      EXPECT_EQ(text.status().code(), absl::StatusCode::kNotFound) << text.status();
    } else {
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_THAT(*text, ContainsRegex("own kernels: .*: the library was not initialized "
                                       "\\(with [0-9.]+ GiB free\\)\n"));
    }
    EXPECT_EQ(fake_->handles, handles);
    if (!by_name) {  // nor is it tried again: memory was predicted without
      EXPECT_EQ(*Describe(), *text);
      LoseTheDevice();
    }
    EXPECT_THAT(*Describe(), HasSubstr("plain weights: cuBLAS"));
    EXPECT_EQ(fake_->handles, handles + 1);
  }
}

TEST_F(CudaBlas, AProductThatFailsIsAStatus) {
  ASSERT_TRUE(Describe().ok());  // and the handle is there
  const uint64_t before = emulator::AllocatedBytes();
  for (int at : {1, 2}) {  // while loading, and while the graph is captured
    for (auto [failure, code] :
         {std::pair<int, absl::StatusCode>{cublas::kExecutionFailed, absl::StatusCode::kInternal},
          {cublas::kAllocFailed, absl::StatusCode::kResourceExhausted}}) {
      SCOPED_TRACE(absl::StrCat(at, " ", failure));
      fake_->fail_product = failure;
      fake_->fail_product_in = at;
      const absl::Status status = Describe().status();
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("matmul F16, cuBLAS: a product: the "));
      EXPECT_EQ(absl::IsInternal(status),
                status.message().find("BANTAM_CUDA_CUBLAS=0") != std::string::npos);
      EXPECT_EQ(emulator::AllocatedBytes(), before);
      EXPECT_TRUE(Describe().ok());
    }
  }
}

// Whole models, of which every allocation fails in turn; and a device that is lost takes its handle
// with it.
TEST_F(CudaBlas, WholeModels) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  std::vector<int32_t> prompt(21);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 13 % 200);
  const auto decode = [&](const char* device) -> absl::StatusOr<std::vector<float>> {
    BANTAM_ASSIGN_OR_RETURN(auto model, engine::Model::Load(path, {.device = device}));
    BANTAM_ASSIGN_OR_RETURN(auto session,
                            engine::Session::Create(model, {.context = 64, .ubatch = 16}));
    if (device == kDevice) {
      EXPECT_THAT(session->Describe(), Not(HasSubstr("cuBLAS")));
      EXPECT_THAT(session->DescribePrompt(), HasSubstr("cuBLAS"));
    }
    BANTAM_RETURN_IF_ERROR(session->Decode(prompt));
    return std::vector<float>(session->Logits().begin(), session->Logits().end());
  };
  for (Type type : {Type::kF32, Type::kF16, Type::kBF16}) {
    SCOPED_TRACE(quant::Name(type));
    testing::WriteTinyLlama(path, {.weight_type = type});
    const auto expected = decode("reference");
    ASSERT_TRUE(expected.ok()) << expected.status();
    auto found = decode(kDevice);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_LE(Error(*expected, *found), 1e-6);
    const std::vector<float> again = *decode(kDevice);
    EXPECT_EQ(*found, again);
  }
  int failures = 0;
  for (int fault = 1; fault < 100; ++fault) {
    TheFaults().allocation_in = fault;
    const absl::Status status = decode(kDevice).status();
    if (status.ok()) break;
    ++failures;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  EXPECT_GE(failures, 5);
  TheFaults().allocation_in = 0;
  const int handles = fake_->handles;
  LoseTheDevice();
  EXPECT_TRUE(decode(kDevice).ok());
  EXPECT_EQ(fake_->handles, handles + 1);  // the lost one is not touched again
}

}  // namespace
}  // namespace bantam::cuda
