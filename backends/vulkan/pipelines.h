// Compute pipelines, made when a graph first needs them and kept; and the driver's cache of
// compiled shaders on disk.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "backends/vulkan/api.h"
#include "backends/vulkan/shader_code.h"

namespace bantam::vulkan {

struct Pipeline {
  vk::Pipeline pipeline;
  vk::PipelineLayout layout;
  vk::DescriptorSetLayout set_layout;
};

// Thread-safe.
class Pipelines {
 public:
  // `identity` names the driver and its version: the cache file of another is not used.
  Pipelines(const Dispatcher& vk, vk::Device device, const std::string& identity,
            bool small_storage = false);
  absl::StatusOr<Pipeline> Get(const PipelineKey& key);
  // Writes the driver's cache to disk if pipelines were made since the last time. Best effort: it
  // is a cache.
  void Save();
  const std::string& cache_path() const { return cache_path_; }

 private:
  struct Layout {
    Unique<vk::DescriptorSetLayout> set;
    Unique<vk::PipelineLayout> pipeline;
  };
  absl::StatusOr<const Layout*> LayoutFor(int bindings);
  absl::StatusOr<vk::ShaderModule> Module(Shader shader, bool by_address);
  absl::Status MakeCache();

  const Dispatcher& vk_;
  const vk::Device device_;
  const std::string identity_;
  const bool small_storage_;
  std::string cache_path_;  // empty: not kept
  std::mutex mutex_;
  Unique<vk::PipelineCache> cache_;
  bool changed_ = false;
  std::array<Layout, kMaxBindings + 1> layouts_;
  std::array<Unique<vk::ShaderModule>, kShaderCount> modules_[2];  // the second by address
  std::map<PipelineKey, Unique<vk::Pipeline>> pipelines_;
};

}  // namespace bantam::vulkan
