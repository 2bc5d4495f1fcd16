// cuBLAS, which multiplies plain weights with the columns of prompts where it is there. It is
// opened at run time: linked in it would be some hundred megabytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/driver.h"
#include "runtime/quant/type.h"

namespace bantam::cuda {

struct CublasFunctions;

// out[column][i] = w[i] . x[column], with sums in f32. Strides count elements.
struct BlasProduct {
  quant::Type type = quant::Type::kF32;  // of w and of x: kF32, kF16 or kBF16
  int32_t m = 0, columns = 0, k = 0;
  const void* w = nullptr;
  int64_t w_stride = 0;  // from row to row
  const void* x = nullptr;
  int64_t x_stride = 0;  // from column to column
  float* out = nullptr;
  int64_t out_stride = 0;  // from column to column
  bool adds = false;       // to what out holds
};

class Blas;
// What multiplies plain weights with the columns of prompts: cuBLAS, or where `blas` is null the
// backend's own kernels.
struct BlasUse {
  Blas* blas = nullptr;
  std::string what;  // for people: which, and why
};

// A cuBLAS handle on the GPU that was current when it was made, and is to be when it is used.
class Blas {
 public:
  // The first of `names` that the system finds. kNotFound, in one line that says why, where there
  // is none or what is there does not work on this GPU; kResourceExhausted where memory is short.
  static absl::StatusOr<std::unique_ptr<Blas>> Open(std::span<const std::string> names,
                                                    int capability);
  // With the GPU current, and everything done that it was used for.
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  const std::string& name() const { return name_; }  // "cuBLAS 13.1.0 (libcublas.so.13)"
  // Of memory that Multiply needs, and that nothing else may use meanwhile.
  uint64_t workspace_bytes() const { return workspace_bytes_; }
  // Asks for the product on `stream`, which may be captured: nothing is allocated, and the same
  // numbers come out every time. Thread-safe.
  absl::Status Multiply(const BlasProduct& product, std::byte* workspace, Stream stream);

 private:
  explicit Blas(const CublasFunctions& functions) : functions_(functions) {}
  absl::Status ToStatus(int status, absl::string_view what) const;

  const CublasFunctions& functions_;
  std::string name_;
  uint64_t workspace_bytes_ = 0;
  std::mutex mutex_;  // of the handle, which a call prepares and then uses
  void* handle_ = nullptr;
};

}  // namespace bantam::cuda
