// The Vulkan loader and its instance: which GPUs there are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/vulkan/api.h"

namespace bantam::vulkan {

// One for the process, made on first use and never destroyed: drivers do not like to be unloaded.
class Instance {
 public:
  // kNotFound when there is no loader or no driver; said in a line either way.
  static absl::StatusOr<Instance*> Get();

  const Dispatcher& vk() const { return vk_; }
  vk::Instance handle() const { return instance_; }
  // For tests, which replace some to play another driver, before any GPU is opened.
  Dispatcher& functions() { return vk_; }
  // GPUs that can run the shaders, discrete ones first, then integrated, then processors.
  const std::vector<vk::PhysicalDevice>& gpus() const { return gpus_; }
  // GPUs that cannot, a line each.
  const std::vector<std::string>& unusable() const { return unusable_; }
  // Messages of the validation layer since the start. Validation is on when the process has
  // BANTAM_VULKAN_VALIDATION=1, and then every message goes to standard error.
  static int validation_messages();

 private:
  Instance() = default;
  absl::Status Create();
  absl::Status FindGpus();

  Dispatcher vk_;
  vk::Instance instance_;
  std::vector<vk::PhysicalDevice> gpus_;
  std::vector<std::string> unusable_;
};

}  // namespace bantam::vulkan
