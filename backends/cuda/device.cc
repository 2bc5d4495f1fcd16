#include "backends/cuda/device.h"

#include <mutex>

#include "absl/strings/str_cat.h"
#include "backends/cuda/buffer.h"
#include "backends/cuda/executable.h"
#include "backends/cuda/lowering.h"
#include "runtime/base/status.h"
#include "runtime/device/plain_weights.h"

namespace bantam::cuda {
namespace {

class Registration : public device::HostRegistration {
 public:
  Registration(std::shared_ptr<Gpu> gpu, std::span<const std::byte> data)
      : gpu_(std::move(gpu)), data_(data) {}
  ~Registration() override { gpu_->Unregister(data_); }

 private:
  const std::shared_ptr<Gpu> gpu_;
  const std::span<const std::byte> data_;
};

class Device : public device::Device {
 public:
  Device(std::string name, int number, driver::DeviceInfo info)
      : name_(std::move(name)), number_(number), info_(std::move(info)) {}

  std::string name() const override { return name_; }
  std::string description() const override { return absl::StrCat(info_.name, ", ", info_.driver); }
  device::Kind kind() const override {
    if (info_.is_emulated) return device::Kind::kCpu;
    return info_.is_integrated ? device::Kind::kIntegratedGpu : device::Kind::kDiscreteGpu;
  }
  // Asked with the context made, so that what the context takes is not counted as free.
  device::MemoryInfo memory() const override {
    uint64_t free = 0, total = info_.memory;
    auto gpu = Opened();
    if (!gpu.ok() || !(*gpu)->Use().ok() || !driver::MemoryInfo(free, total).ok()) {
      return {info_.memory, 0};
    }
    return {total, free};
  }
  std::string hardware_id() const override { return info_.hardware_id; }
  device::Limits limits() const override { return {info_.memory, 256}; }
  bool Supports(const graph::Graph& graph, const graph::Node& node) const override {
    return CheckSupported(graph, node).ok();
  }

  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(uint64_t bytes) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Buffer::Allocate(std::move(gpu), bytes);
  }
  absl::StatusOr<std::unique_ptr<device::Buffer>> WrapHost(std::span<const std::byte>) override {
    return absl::UnimplementedError("CUDA kernels read GPU memory only");
  }
  absl::StatusOr<std::unique_ptr<device::HostRegistration>> RegisterHost(
      std::span<const std::byte> data) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    BANTAM_RETURN_IF_ERROR(gpu->Register(data));
    return std::make_unique<Registration>(std::move(gpu), data);
  }
  uint64_t PackedBytes(quant::Type type, const graph::Shape& shape) const override {
    return device::PlainWeightBytes(type, shape);
  }
  absl::Status LoadWeight(quant::Type type, const graph::Shape& shape,
                          std::span<const std::byte> data, const device::Binding& where) override {
    return device::LoadPlainWeight(type, shape, data, where);
  }
  absl::StatusOr<std::unique_ptr<device::Executable>> Compile(
      const device::CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Executable::Compile(args, std::move(gpu));
  }
  absl::StatusOr<device::Scratch> PredictScratch(const device::CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Executable::Predict(args, *gpu);
  }
  absl::StatusOr<std::unique_ptr<device::Stream>> NewStream() override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return CudaStream::Make(std::move(gpu));
  }

 private:
  // Opened with the first use: naming devices starts none.
  absl::StatusOr<std::shared_ptr<Gpu>> Opened() const {
    std::lock_guard lock(mutex_);
    if (gpu_ != nullptr && gpu_->lost()) gpu_.reset();
    if (gpu_ == nullptr) {
      BANTAM_ASSIGN_OR_RETURN(gpu_, Gpu::Open(number_, info_));
    }
    return gpu_;
  }

  const std::string name_;
  const int number_;
  const driver::DeviceInfo info_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Gpu> gpu_;
};

class Backend : public device::Backend {
 public:
  std::string name() const override { return std::string(driver::BackendName()); }
  absl::StatusOr<std::vector<std::unique_ptr<device::Device>>> Enumerate(
      const device::BackendOptions&) override {
    BANTAM_ASSIGN_OR_RETURN(const int count, driver::DeviceCount());
    std::vector<std::unique_ptr<device::Device>> devices;
    std::string unusable;
    for (int i = 0; i < count; ++i) {
      BANTAM_ASSIGN_OR_RETURN(driver::DeviceInfo info, driver::Info(i));
      constexpr int kLeastCapability = 75;
      if (info.capability < kLeastCapability) {
        absl::StrAppend(&unusable, unusable.empty() ? "" : "; ", info.name, ": ", info.driver,
                        "; at least 7.5 is needed");
        continue;
      }
      devices.push_back(std::make_unique<Device>(absl::StrCat(name(), ":", i), i, std::move(info)));
    }
    if (devices.empty()) return absl::NotFoundError(unusable);
    return devices;
  }
};

}  // namespace

std::unique_ptr<device::Backend> NewBackend() { return std::make_unique<Backend>(); }

}  // namespace bantam::cuda
