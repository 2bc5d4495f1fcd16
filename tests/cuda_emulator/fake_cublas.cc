#include "tests/cuda_emulator/fake_cublas.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "backends/cuda/cublas_api.h"
#include "runtime/quant/float16.h"
#include "tests/cuda_emulator/library_stream.h"

namespace cublas = bantam::cuda::cublas;
using bantam::cuda::emulator::FakeCublas;
using bantam::cuda::emulator::LibraryStream;

namespace {

FakeCublas fake;

struct State {
  void* stream = nullptr;
  std::byte* workspace = nullptr;
  size_t workspace_bytes = 0;
  const LibraryStream& library() const {
    return **static_cast<const LibraryStream* const*>(stream);
  }
};
State* Of(cublas::Handle handle) { return reinterpret_cast<State*>(handle); }

int Refuse(const char* why) {
  fake.wrong.emplace_back(why);
  return cublas::kInvalidValue;
}

size_t BytesOf(int type) { return type == cublas::kF32 ? 4 : 2; }

double ElementAt(const void* matrix, int type, int64_t at) {
  if (type == cublas::kF32) return static_cast<const float*>(matrix)[at];
  const uint16_t bits = static_cast<const uint16_t*>(matrix)[at];
  return type == cublas::kF16 ? bantam::quant::HalfToFloat(bits)
                              : bantam::quant::BFloat16ToFloat(bits);
}

}  // namespace

extern "C" {

FakeCublas* bantam_fake_cublas() { return &fake; }

int cublasCreate_v2(cublas::Handle* handle) {
  if (fake.fail_create != 0) return std::exchange(fake.fail_create, 0);
  *handle = reinterpret_cast<cublas::Handle>(new State);
  ++fake.handles;
  fake.math_mode = 0;
  return cublas::kSuccess;
}
int cublasDestroy_v2(cublas::Handle handle) {
  delete Of(handle);
  --fake.handles;
  return cublas::kSuccess;
}
int cublasGetVersion_v2(cublas::Handle, int* version) {
  *version = 130102;
  return cublas::kSuccess;
}
int cublasSetMathMode(cublas::Handle, int mode) {
  fake.math_mode = mode;
  return cublas::kSuccess;
}
int cublasSetStream_v2(cublas::Handle handle, void* stream) {
  State& state = *Of(handle);
  fake.streams += (stream != nullptr) - (state.stream != nullptr);
  state = {stream};
  return cublas::kSuccess;
}
#ifndef BANTAM_FAKE_CUBLAS_LACKS_WORKSPACE
int cublasSetWorkspace_v2(cublas::Handle handle, void* workspace, size_t bytes) {
  State& state = *Of(handle);
  if (reinterpret_cast<uintptr_t>(workspace) % cublas::kWorkspaceAlignment != 0) {
    return Refuse("a workspace that is not aligned");
  }
  if (state.stream == nullptr || !state.library().owns(workspace, bytes)) {
    return Refuse("a workspace past its allocation, or without a stream");
  }
  state.workspace = static_cast<std::byte*>(workspace);
  state.workspace_bytes = bytes;
  return cublas::kSuccess;
}
#endif
const char* cublasGetStatusString(int status) {
  return status == cublas::kAllocFailed       ? "the resource allocation failed"
         : status == cublas::kNotInitialized  ? "the library was not initialized"
         : status == cublas::kExecutionFailed ? "the function failed to launch on the GPU"
                                              : "another failure";
}

int cublasGemmEx(cublas::Handle handle, int op_a, int op_b, int m, int n, int k,
                 const void* alpha_at, const void* a, int a_type, int lda, const void* b,
                 int b_type, int ldb, const void* beta_at, void* c, int c_type, int ldc,
                 int compute_type, int algorithm) {
  const State state = *Of(handle);
  if (state.workspace == nullptr) return Refuse("a product without a workspace would allocate");
  if (op_a != cublas::kTranspose || op_b != cublas::kNone) return Refuse("other transposes");
  if (a_type != b_type || c_type != cublas::kF32 || compute_type != cublas::kCompute32F ||
      algorithm != cublas::kDefaultAlgorithm ||
      (a_type != cublas::kF32 && a_type != cublas::kF16 && a_type != cublas::kBF16)) {
    return Refuse("types that do not go together");
  }
  if (m <= 0 || n <= 0 || k <= 0 || lda < k || ldb < k || ldc < m) return Refuse("dimensions");
  const auto owns = [&](const void* matrix, size_t element, int64_t columns, int64_t stride,
                        int64_t rows) {
    return reinterpret_cast<uintptr_t>(matrix) % element == 0 &&
           state.library().owns(matrix, element * ((columns - 1) * stride + rows));
  };
  if (!owns(a, BytesOf(a_type), m, lda, k) || !owns(b, BytesOf(b_type), n, ldb, k) ||
      !owns(c, sizeof(float), n, ldc, m)) {
    return Refuse("a matrix past its allocation, or not aligned");
  }
  const float alpha = *static_cast<const float*>(alpha_at);
  const float beta = *static_cast<const float*>(beta_at);
  fake.products.push_back({m, n, k, lda, ldb, ldc, a_type, beta, a, b, c, state.workspace});
  if (fake.fail_product_in > 0 && --fake.fail_product_in == 0) return fake.fail_product;
  state.library().submit(state.stream, [=] {
    // Nothing that is still wanted may lie there.
    std::memset(state.workspace, 0xFF, state.workspace_bytes);
    auto* out = static_cast<float*>(c);
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t row = 0; row < m; ++row) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          sum += ElementAt(a, a_type, row * lda + i) * ElementAt(b, b_type, column * ldb + i);
        }
        float& at = out[column * ldc + row];
        at = static_cast<float>(alpha * sum + (beta == 0 ? 0 : double{beta} * at));
      }
    }
  });
  return cublas::kSuccess;
}

}  // extern "C"
