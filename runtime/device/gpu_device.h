// What devices of GPU backends have in common: the GPU is opened with the first use, weights stay
// as they are in the file, and programs read the GPU's own memory only.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/device/device.h"
#include "runtime/device/plain_weights.h"

namespace bantam::device {

// `Gpu` is the GPU opened; of the backend's own types, Own::Buffer has Allocate, Own::Stream has
// Make and Own::Executable has Compile and Predict, each of which takes it.
template <typename Gpu, typename Own>
class GpuDevice : public Device {
 public:
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Own::Buffer::Allocate(std::move(gpu), bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> WrapHost(std::span<const std::byte>) override {
    return absl::UnimplementedError("programs of this device read GPU memory only");
  }
  uint64_t PackedBytes(quant::Type type, const graph::Shape& shape) const override {
    return PlainWeightBytes(type, shape);
  }
  absl::Status LoadWeight(quant::Type type, const graph::Shape& shape,
                          std::span<const std::byte> data, const Binding& where) override {
    return LoadPlainWeight(type, shape, data, where);
  }
  absl::StatusOr<std::unique_ptr<Executable>> Compile(const CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Own::Executable::Compile(args, std::move(gpu));
  }
  absl::StatusOr<Scratch> PredictScratch(const CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Own::Executable::Predict(args, *gpu);
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Own::Stream::Make(std::move(gpu));
  }

 protected:
  virtual absl::StatusOr<std::shared_ptr<Gpu>> Open() const = 0;
  // Whether what was opened is to be let go of, and opened anew.
  virtual bool IsOver(const Gpu&) const { return false; }

  absl::StatusOr<std::shared_ptr<Gpu>> Opened() const {
    std::lock_guard lock(mutex_);
    if (gpu_ != nullptr && IsOver(*gpu_)) gpu_.reset();
    if (gpu_ == nullptr) {
      BANTAM_ASSIGN_OR_RETURN(gpu_, Open());
    }
    return gpu_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Gpu> gpu_;
};

}  // namespace bantam::device
