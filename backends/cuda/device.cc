#include "backends/cuda/device.h"

#include "absl/strings/str_cat.h"
#include "backends/cuda/buffer.h"
#include "backends/cuda/executable.h"
#include "backends/cuda/lowering.h"
#include "runtime/base/status.h"
#include "runtime/device/gpu_device.h"

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

struct Own {
  using Buffer = cuda::Buffer;
  using Executable = cuda::Executable;
  using Stream = CudaStream;
};

class Device : public device::GpuDevice<Gpu, Own> {
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

  absl::StatusOr<std::unique_ptr<device::HostRegistration>> RegisterHost(
      std::span<const std::byte> data) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    BANTAM_RETURN_IF_ERROR(gpu->Register(data));
    return std::make_unique<Registration>(std::move(gpu), data);
  }

 private:
  absl::StatusOr<std::shared_ptr<Gpu>> Open() const override { return Gpu::Open(number_, info_); }
  bool IsOver(const Gpu& gpu) const override { return gpu.lost(); }

  const std::string name_;
  const int number_;
  const driver::DeviceInfo info_;
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
