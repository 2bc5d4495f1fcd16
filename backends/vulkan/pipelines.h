// Compute pipelines, made when a graph first needs them and kept; and the driver's cache of
// compiled shaders on disk.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/vulkan/api.h"

namespace bantam::vulkan {

// The compute shaders of shaders/, by file name.
enum class Shader : uint8_t {
  kArgMax,
  kAttention,
  kAttentionMerge,
  kDecode,
  kElementwise,
  kGroupExperts,
  kHalves,
  kKvWrite,
  kMatMul,
  kMatMulInt8,
  kMatMulMatrix,
  kMatVec,
  kMatVecSubgroups,
  kNorm,
  kQuantize,
  kRope,
  kSoftmax,
  kTopK,
};
inline constexpr int kShaderCount = static_cast<int>(Shader::kTopK) + 1;
absl::string_view ShaderName(Shader shader);
// SPIR-V; with `small_storage` what may use 8-bit and 16-bit storage. Empty where the shader
// compiler did not know the language: kMatMulMatrix.
std::span<const uint32_t> ShaderCode(Shader shader, bool small_storage);

inline constexpr int kMaxBindings = 8;
inline constexpr int kPushBytes = 128;  // what every driver has

// A shader with its specialization constants, in order of constant_id.
struct PipelineKey {
  Shader shader = Shader::kElementwise;
  uint8_t bindings = 0;
  uint32_t subgroup_size = 0;  // 0: any
  std::array<uint32_t, 10> constants = {};
  auto operator<=>(const PipelineKey&) const = default;
};

struct Pipeline {
  VkPipeline pipeline = VK_NULL_HANDLE;
  VkPipelineLayout layout = VK_NULL_HANDLE;
  VkDescriptorSetLayout set_layout = VK_NULL_HANDLE;
};

// Thread-safe.
class Pipelines {
 public:
  // `identity` names the driver and its version: the cache file of another is not used.
  Pipelines(const DeviceFunctions& vk, VkDevice device, const std::string& identity,
            bool small_storage = false);
  ~Pipelines();
  absl::StatusOr<Pipeline> Get(const PipelineKey& key);
  // Writes the driver's cache to disk if pipelines were made since the last time. Best effort: it
  // is a cache.
  void Save();
  const std::string& cache_path() const { return cache_path_; }

 private:
  struct Layout {
    Handle<VkDescriptorSetLayout> set;
    Handle<VkPipelineLayout> pipeline;
  };
  absl::StatusOr<const Layout*> LayoutFor(int bindings);
  absl::StatusOr<VkShaderModule> Module(Shader shader);
  absl::Status MakeCache();

  const DeviceFunctions& vk_;
  const VkDevice device_;
  const std::string identity_;
  const bool small_storage_;
  std::string cache_path_;  // empty: not kept
  std::mutex mutex_;
  Handle<VkPipelineCache> cache_;
  bool changed_ = false;
  std::array<Layout, kMaxBindings + 1> layouts_;
  std::array<Handle<VkShaderModule>, kShaderCount> modules_;
  std::map<PipelineKey, Handle<VkPipeline>> pipelines_;
};

}  // namespace bantam::vulkan
