#include "backends/vulkan/pipelines.h"

#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

uint64_t Fnv1a(const void* data, size_t size, uint64_t hash = 0xCBF29CE484222325u) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3u;
  return hash;
}

uint64_t HashOfShaders() {
  static const uint64_t hash = [] {
    uint64_t h = Fnv1a(nullptr, 0);
    for (int i = 0; i < kShaderCount; ++i) {
      for (bool small_storage : {false, true}) {
        const auto code = ShaderCode(static_cast<Shader>(i), small_storage);
        h = Fnv1a(code.data(), code.size_bytes(), h);
      }
    }
    return h;
  }();
  return hash;
}

// The file: this header, then the driver's bytes.
struct CacheHeader {
  char magic[8] = {'b', 'a', 'n', 't', 'a', 'm', 'v', '1'};
  uint64_t key = 0;   // of the driver and the shaders
  uint64_t size = 0;  // of what follows
  uint64_t hash = 0;  // of what follows
};

std::string CacheFolder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return absl::StrCat(cache, "/bantam");
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/') return "";
  return absl::StrCat(home, "/.cache/bantam");
}

std::vector<char> ReadCache(const std::string& path, uint64_t key) {
  std::ifstream in(path, std::ios::binary);
  CacheHeader header, expected;
  constexpr uint64_t kLargest = 1 << 30;
  if (!in.read(reinterpret_cast<char*>(&header), sizeof(header)) ||
      std::memcmp(header.magic, expected.magic, sizeof(header.magic)) != 0 || header.key != key ||
      header.size > kLargest) {
    return {};
  }
  std::error_code error;
  if (std::filesystem::file_size(path, error) != sizeof(header) + header.size || error) return {};
  std::vector<char> data(header.size);
  if (!in.read(data.data(), static_cast<std::streamsize>(data.size())) ||
      Fnv1a(data.data(), data.size()) != header.hash) {
    return {};
  }
  return data;
}

}  // namespace

Pipelines::Pipelines(const DeviceFunctions& vk, VkDevice device, const std::string& identity,
                     bool small_storage)
    : vk_(vk), device_(device), identity_(identity), small_storage_(small_storage) {
  const std::string folder = CacheFolder();
  if (!folder.empty()) {
    cache_path_ =
        absl::StrFormat("%s/vulkan-%016x.bin", folder, Fnv1a(identity.data(), identity.size()));
  }
}

Pipelines::~Pipelines() = default;

absl::Status Pipelines::MakeCache() {
  if (cache_.get() != VK_NULL_HANDLE) return absl::OkStatus();
  std::vector<char> data;
  if (!cache_path_.empty()) {
    data = ReadCache(cache_path_, Fnv1a(identity_.data(), identity_.size(), HashOfShaders()));
  }
  VkPipelineCacheCreateInfo info{VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  info.initialDataSize = data.size();
  info.pInitialData = data.data();
  VkPipelineCache cache;
  BANTAM_RETURN_IF_ERROR(ToStatus(vk_.CreatePipelineCache(device_, &info, nullptr, &cache),
                                  "creating a pipeline cache"));
  cache_ = {device_, cache, vk_.DestroyPipelineCache};
  return absl::OkStatus();
}

void Pipelines::Save() {
  std::lock_guard lock(mutex_);
  if (!changed_ || cache_path_.empty()) return;
  changed_ = false;
  size_t size = 0;
  if (vk_.GetPipelineCacheData(device_, cache_.get(), &size, nullptr) != VK_SUCCESS) return;
  std::vector<char> data(size);
  if (vk_.GetPipelineCacheData(device_, cache_.get(), &size, data.data()) != VK_SUCCESS) return;
  CacheHeader header;
  header.key = Fnv1a(identity_.data(), identity_.size(), HashOfShaders());
  header.size = size;
  header.hash = Fnv1a(data.data(), size);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(cache_path_).parent_path(), error);
  auto file = AtomicFile::Create(cache_path_);
  if (!file.ok()) return;
  const bool written = (*file)->Append(std::as_bytes(std::span(&header, 1))).ok() &&
                       (*file)->Append(std::as_bytes(std::span(data.data(), size))).ok();
  if (written) (*file)->Commit().IgnoreError();
}

absl::StatusOr<const Pipelines::Layout*> Pipelines::LayoutFor(int bindings) {
  Layout& layout = layouts_[bindings];
  if (layout.pipeline.get() != VK_NULL_HANDLE) return &layout;
  std::vector<VkDescriptorSetLayoutBinding> descriptors(bindings);
  for (int i = 0; i < bindings; ++i) {
    descriptors[i].binding = static_cast<uint32_t>(i);
    descriptors[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    descriptors[i].descriptorCount = 1;
    descriptors[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
  set.bindingCount = static_cast<uint32_t>(bindings);
  set.pBindings = descriptors.data();
  VkDescriptorSetLayout set_layout;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk_.CreateDescriptorSetLayout(device_, &set, nullptr, &set_layout),
               "creating a descriptor set layout"));
  layout.set = {device_, set_layout, vk_.DestroyDescriptorSetLayout};
  const VkPushConstantRange push{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  VkPipelineLayoutCreateInfo info{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  info.setLayoutCount = 1;
  info.pSetLayouts = &set_layout;
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &push;
  VkPipelineLayout pipeline_layout;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk_.CreatePipelineLayout(device_, &info, nullptr, &pipeline_layout),
               "creating a pipeline layout"));
  layout.pipeline = {device_, pipeline_layout, vk_.DestroyPipelineLayout};
  return &layout;
}

absl::StatusOr<VkShaderModule> Pipelines::Module(Shader shader) {
  Handle<VkShaderModule>& module = modules_[static_cast<size_t>(shader)];
  if (module.get() == VK_NULL_HANDLE) {
    const std::span<const uint32_t> code = ShaderCode(shader, small_storage_);
    VkShaderModuleCreateInfo info{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    info.codeSize = code.size_bytes();
    info.pCode = code.data();
    VkShaderModule made;
    BANTAM_RETURN_IF_ERROR(ToStatus(vk_.CreateShaderModule(device_, &info, nullptr, &made),
                                    absl::StrCat("creating the shader ", ShaderName(shader))));
    module = {device_, made, vk_.DestroyShaderModule};
  }
  return module.get();
}

absl::StatusOr<Pipeline> Pipelines::Get(const PipelineKey& key) {
  std::lock_guard lock(mutex_);
  BANTAM_ASSIGN_OR_RETURN(const Layout* layout, LayoutFor(key.bindings));
  Handle<VkPipeline>& pipeline = pipelines_[key];
  if (pipeline.get() == VK_NULL_HANDLE) {
    BANTAM_RETURN_IF_ERROR(MakeCache());
    BANTAM_ASSIGN_OR_RETURN(const VkShaderModule module, Module(key.shader));
    std::array<VkSpecializationMapEntry, std::tuple_size_v<decltype(key.constants)>> entries;
    for (uint32_t i = 0; i < entries.size(); ++i) {
      entries[i] = {i, static_cast<uint32_t>(i * sizeof(uint32_t)), sizeof(uint32_t)};
    }
    const VkSpecializationInfo constants{entries.size(), entries.data(), sizeof(key.constants),
                                         key.constants.data()};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups{
        VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO};
    subgroups.requiredSubgroupSize = key.subgroup_size;
    VkComputePipelineCreateInfo info{VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
    info.layout = layout->pipeline.get();
    info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
    info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
    info.stage.module = module;
    info.stage.pName = "main";
    info.stage.pSpecializationInfo = &constants;
    if (key.subgroup_size != 0) {
      info.stage.pNext = &subgroups;
      info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    }
    VkPipeline made = VK_NULL_HANDLE;
    const VkResult result =
        vk_.CreateComputePipelines(device_, cache_.get(), 1, &info, nullptr, &made);
    BANTAM_RETURN_IF_ERROR(
        ToStatus(result, absl::StrCat("compiling the shader ", ShaderName(key.shader))));
    pipeline = {device_, made, vk_.DestroyPipeline};
    changed_ = true;
  }
  return Pipeline{pipeline.get(), layout->pipeline.get(), layout->set.get()};
}

}  // namespace bantam::vulkan
