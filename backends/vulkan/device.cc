#include "backends/vulkan/device.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/vulkan/buffer.h"
#include "backends/vulkan/executable.h"
#include "backends/vulkan/lowering.h"
#include "runtime/base/status.h"
#include "runtime/device/features.h"
#include "runtime/device/gpu_device.h"

namespace bantam::vulkan {
namespace {

struct Own {
  using Buffer = vulkan::Buffer;
  using Executable = vulkan::Executable;
  using Stream = vulkan::Stream;
};

class Device : public device::GpuDevice<Gpu, Own>, public device::HasFeatures {
 public:
  Device(std::string name, Instance& instance, vk::PhysicalDevice physical, Traits traits,
         const Settings& settings)
      : name_(std::move(name)),
        instance_(instance),
        physical_(physical),
        traits_(std::move(traits)),
        settings_(settings) {}

  std::string name() const override { return name_; }
  std::string description() const override {
    return absl::StrCat(traits_.name, ", ", traits_.driver);
  }
  std::vector<std::string> features() const override { return traits_.lines; }
  device::Kind kind() const override {
    switch (traits_.type) {
      case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return device::Kind::kDiscreteGpu;
      case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return device::Kind::kIntegratedGpu;
      default:
        return device::Kind::kCpu;
    }
  }
  std::string hardware_id() const override { return traits_.hardware_id; }
  device::MemoryInfo memory() const override {
    const uint64_t allocated = Gpu::AllocatedBytes(physical_);
    return {traits_.heap_bytes, FreeBytes(instance_, physical_, traits_, allocated)};
  }
  device::Limits limits() const override {
    return {traits_.allocation_limit - 16, std::max<uint64_t>(64, traits_.offset_alignment)};
  }
  bool Supports(const graph::Graph& graph, const graph::Node& node) const override {
    return CheckSupported(graph, node, traits_).ok();
  }

  absl::StatusOr<std::unique_ptr<device::Buffer>> AllocateWeights(uint64_t bytes) override {
    BANTAM_ASSIGN_OR_RETURN(std::shared_ptr<Gpu> gpu, Opened());
    return Buffer::Allocate(std::move(gpu), bytes, /*in_pieces=*/true);
  }

 private:
  absl::StatusOr<std::shared_ptr<Gpu>> Open() const override {
    return Gpu::Open(instance_, physical_, settings_);
  }

  const std::string name_;
  Instance& instance_;
  const vk::PhysicalDevice physical_;
  const Traits traits_;
  const Settings settings_;
};

class Backend : public device::Backend {
 public:
  std::string name() const override { return "vulkan"; }
  absl::StatusOr<std::vector<std::unique_ptr<device::Device>>> Enumerate(
      const device::BackendOptions&) override {
    BANTAM_ASSIGN_OR_RETURN(const Settings settings, SettingsFromEnvironment());
    BANTAM_ASSIGN_OR_RETURN(Instance * instance, Instance::Get());
    std::vector<std::unique_ptr<device::Device>> devices;
    std::vector<std::string> unusable = instance->unusable();
    for (vk::PhysicalDevice gpu : instance->gpus()) {
      auto traits = QueryTraits(*instance, gpu, settings);
      if (!traits.ok()) {
        unusable.emplace_back(traits.status().message());
        continue;
      }
      devices.push_back(std::make_unique<Device>(absl::StrCat("vulkan:", devices.size()), *instance,
                                                 gpu, *std::move(traits), settings));
    }
    if (devices.empty()) {
      return absl::NotFoundError(unusable.empty() ? "no Vulkan device on this machine"
                                                  : absl::StrJoin(unusable, "; "));
    }
    return devices;
  }
};

}  // namespace

std::unique_ptr<device::Backend> NewBackend() { return std::make_unique<Backend>(); }

}  // namespace bantam::vulkan
