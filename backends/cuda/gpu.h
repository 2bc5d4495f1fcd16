// One GPU opened: its memory, its copies. Shared by everything made from it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/blas.h"
#include "backends/cuda/driver.h"

namespace bantam::cuda {

class Gpu {
 public:
  // The GPU, opened once for the process: its context is made here. One that was lost is opened
  // anew when nothing is left of what was made from it; kUnavailable before.
  static absl::StatusOr<std::shared_ptr<Gpu>> Open(int device, const driver::DeviceInfo& info);
  ~Gpu();

  int device() const { return device_; }
  const driver::DeviceInfo& info() const { return info_; }
  bool lost() const { return lost_; }
  // Makes the GPU current on this thread; kUnavailable once it is lost.
  absl::Status Use() const;
  // Passes `status` through and notes whether the GPU is lost.
  absl::Status Note(absl::Status status) const;

  // cuBLAS, opened with the first product that wants it and kept: `library` ("": the one the system
  // has, and if it has none own kernels; kNoCublas: own kernels) is Settings::cublas.
  absl::StatusOr<BlasUse> UseBlas(const std::string& library);

  // Zero-filled, aligned to 256 bytes.
  absl::StatusOr<void*> Allocate(uint64_t bytes);
  void Free(void* memory);

  // Blocking copies through pinned memory: pieces in turn, so that the host fills (or empties) one
  // while the GPU copies the others.
  absl::Status CopyIn(void* to, std::span<const std::byte> data);
  absl::Status CopyOut(const void* from, std::span<std::byte> data);
  // Blocking; what other streams of `other` are to have written is there.
  absl::Status CopyFrom(void* to, const Gpu& other, const void* from, uint64_t bytes);

  // Pins the whole pages within host memory: CopyIn then copies from there as it lies.
  absl::Status Register(std::span<const std::byte> data);
  void Unregister(std::span<const std::byte> data);

 private:
  struct Piece {
    std::byte* memory = nullptr;  // pinned
    driver::Event done = nullptr;
  };
  static constexpr int kPieces = 4;
  static constexpr uint64_t kPieceBytes = 4 << 20;

  Gpu(int device, driver::DeviceInfo info) : device_(device), info_(std::move(info)) {}
  absl::Status Prepare();  // what copies need
  // The registered memory that begins at or before `at`, past `at`; empty: none. Locked.
  std::span<const std::byte> RegisteredFrom(const std::byte* at) const;

  const int device_;
  const driver::DeviceInfo info_;
  mutable std::atomic<bool> lost_{false};
  std::mutex blas_mutex_;
  struct KnownBlas {
    std::unique_ptr<Blas> blas;
    std::string what;
  };
  std::map<std::vector<std::string>, KnownBlas> blas_;  // by the files it may be
  std::mutex copy_mutex_;                               // of what follows
  Stream copies_ = nullptr;
  Piece pieces_[kPieces];
  std::map<const std::byte*, const std::byte*> registered_;  // from begin to end
  std::set<int> peers_;                                      // reached, or tried to
};

}  // namespace bantam::cuda
