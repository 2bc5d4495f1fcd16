#include "backends/cuda/blas.h"

#include <dlfcn.h>

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/cuda/cublas_api.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"

namespace bantam::cuda {

struct CublasFunctions {
  cublas::CreateFunction* create = nullptr;
  cublas::DestroyFunction* destroy = nullptr;
  cublas::GetVersionFunction* get_version = nullptr;
  cublas::SetMathModeFunction* set_math_mode = nullptr;
  cublas::SetStreamFunction* set_stream = nullptr;
  cublas::SetWorkspaceFunction* set_workspace = nullptr;
  cublas::GemmFunction* gemm = nullptr;
  cublas::GetStatusStringFunction* get_status_string = nullptr;
};

namespace {

// Opened once, and never closed: a library of CUDA's leaves things behind in the driver.
absl::StatusOr<const CublasFunctions*> Load(const std::string& name) {
  static std::mutex mutex;
  static auto* const loaded = new std::map<std::string, CublasFunctions>;
  std::lock_guard lock(mutex);
  if (const auto found = loaded->find(name); found != loaded->end()) return &found->second;
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::NotFoundError(dlerror());
  CublasFunctions functions;
  const char* missing = nullptr;
  const auto find = [&]<typename F>(const char* symbol, F*& function) {
    function = reinterpret_cast<F*>(dlsym(library, symbol));
    if (function == nullptr) missing = symbol;
  };
  find("cublasCreate_v2", functions.create);
  find("cublasDestroy_v2", functions.destroy);
  find("cublasGetVersion_v2", functions.get_version);
  find("cublasSetMathMode", functions.set_math_mode);
  find("cublasSetStream_v2", functions.set_stream);
  find("cublasSetWorkspace_v2", functions.set_workspace);
  find("cublasGemmEx", functions.gemm);
  find("cublasGetStatusString", functions.get_status_string);
  if (missing != nullptr) {
    dlclose(library);
    return absl::NotFoundError(absl::StrCat(name, ": has no ", missing));
  }
  return &loaded->emplace(name, functions).first->second;
}

// What NVIDIA's documentation recommends. With less the library may choose slower kernels.
uint64_t WorkspaceBytes(int capability) {
  const uint64_t mebibytes = capability >= 120 ? 12 : capability >= 90 ? 32 : 4;
  return mebibytes << 20;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Blas>> Blas::Open(std::span<const std::string> names,
                                                 int capability) {
  const CublasFunctions* functions = nullptr;
  std::string name;
  std::vector<std::string> reasons;
  for (const std::string& candidate : names) {
    auto loaded = Load(candidate);
    if (loaded.ok()) {
      functions = *loaded;
      name = candidate;
      break;
    }
    reasons.emplace_back(loaded.status().message());
  }
  if (functions == nullptr) return absl::NotFoundError(absl::StrJoin(reasons, "; "));
  std::unique_ptr<Blas> blas(new Blas(*functions));
  cublas::Handle handle = nullptr;
  const int created = functions->create(&handle);
  if (created != cublas::kSuccess) {
    const absl::Status status = blas->ToStatus(created, "opening cuBLAS");
    if (!absl::IsInternal(status)) return status;
    // It says of short memory, too, that it could not be initialised.
    uint64_t free = 0, total = 0;
    BANTAM_RETURN_IF_ERROR(driver::MemoryInfo(free, total));
    return absl::NotFoundError(absl::StrCat(name, ": ", functions->get_status_string(created),
                                            " (with ", FormatByteSize(free), " free)"));
  }
  blas->handle_ = handle;
  int version = 0;
  BANTAM_RETURN_IF_ERROR(
      blas->ToStatus(functions->get_version(handle, &version), "asking cuBLAS for its version"));
  BANTAM_RETURN_IF_ERROR(
      blas->ToStatus(functions->set_math_mode(handle, cublas::kDisallowReducedPrecisionReduction),
                     "setting up cuBLAS"));
  blas->name_ = absl::StrCat("cuBLAS ", version / 10000, ".", version / 100 % 100, ".",
                             version % 100, " (", name, ")");
  blas->workspace_bytes_ = WorkspaceBytes(capability) + cublas::kWorkspaceAlignment;
  return blas;
}

Blas::~Blas() {
  if (handle_ != nullptr) functions_.destroy(static_cast<cublas::Handle>(handle_));
}

absl::Status Blas::ToStatus(int status, absl::string_view what) const {
  if (status == cublas::kSuccess) return absl::OkStatus();
  // Where the device is lost, CUDA says it better.
  BANTAM_RETURN_IF_ERROR(driver::LaunchStatus());
  const std::string message =
      absl::StrCat(what, ": ", functions_.get_status_string(status), " (", status, ")");
  if (status == cublas::kAllocFailed) return absl::ResourceExhaustedError(message);
  return absl::InternalError(
      absl::StrCat(message, "; BANTAM_CUDA_CUBLAS=0 computes without cuBLAS"));
}

absl::Status Blas::Multiply(const BlasProduct& p, std::byte* workspace, Stream stream) {
  const auto at = reinterpret_cast<uintptr_t>(workspace);
  constexpr uintptr_t kAlignment = cublas::kWorkspaceAlignment;
  workspace += (kAlignment - at % kAlignment) % kAlignment;
  const int type = p.type == quant::Type::kF32   ? cublas::kF32
                   : p.type == quant::Type::kF16 ? cublas::kF16
                                                 : cublas::kBF16;
  const float alpha = 1, beta = p.adds ? 1 : 0;
  auto* const handle = static_cast<cublas::Handle>(handle_);
  std::lock_guard lock(mutex_);
  BANTAM_RETURN_IF_ERROR(ToStatus(functions_.set_stream(handle, stream), "choosing a stream"));
  // After the stream, which resets it. Without one cuBLAS would allocate, and share it between
  // streams.
  BANTAM_RETURN_IF_ERROR(ToStatus(
      functions_.set_workspace(handle, workspace, workspace_bytes_ - kAlignment), "a workspace"));
  // Rows of w lie in memory as columns of a matrix of cuBLAS's.
  const absl::Status status = ToStatus(
      functions_.gemm(handle, cublas::kTranspose, cublas::kNone, p.m, p.columns, p.k, &alpha, p.w,
                      type, static_cast<int>(p.w_stride), p.x, type, static_cast<int>(p.x_stride),
                      &beta, p.out, cublas::kF32, static_cast<int>(p.out_stride),
                      cublas::kCompute32F, cublas::kDefaultAlgorithm),
      "a product");
  // Of the caller's, the handle keeps nothing: it may be gone by the next time.
  functions_.set_stream(handle, nullptr);
  return status;
}

}  // namespace bantam::cuda
