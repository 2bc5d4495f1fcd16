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
      for (Reads reads : {Reads::kWords, Reads::kSmallStorage, Reads::kAddress}) {
        const auto code = ShaderCode(static_cast<Shader>(i), reads);
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

Pipelines::Pipelines(const Dispatcher& vk, vk::Device device, const std::string& identity,
                     bool small_storage)
    : vk_(vk), device_(device), identity_(identity), small_storage_(small_storage) {
  const std::string folder = CacheFolder();
  if (!folder.empty()) {
    cache_path_ =
        absl::StrFormat("%s/vulkan-%016x.bin", folder, Fnv1a(identity.data(), identity.size()));
  }
}

absl::Status Pipelines::MakeCache() {
  if (cache_) return absl::OkStatus();
  std::vector<char> data;
  if (!cache_path_.empty()) {
    data = ReadCache(cache_path_, Fnv1a(identity_.data(), identity_.size(), HashOfShaders()));
  }
  const vk::PipelineCacheCreateInfo info{.initialDataSize = data.size(),
                                         .pInitialData = data.data()};
  return Take(device_.createPipelineCacheUnique(info, nullptr, vk_), cache_,
              "creating a pipeline cache");
}

void Pipelines::Save() {
  std::lock_guard lock(mutex_);
  if (!changed_ || cache_path_.empty()) return;
  changed_ = false;
  const auto [result, data] = device_.getPipelineCacheData(*cache_, vk_);
  if (result != vk::Result::eSuccess) return;
  CacheHeader header;
  header.key = Fnv1a(identity_.data(), identity_.size(), HashOfShaders());
  header.size = data.size();
  header.hash = Fnv1a(data.data(), data.size());
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(cache_path_).parent_path(), error);
  auto file = AtomicFile::Create(cache_path_);
  if (!file.ok()) return;
  const bool written = (*file)->Append(std::as_bytes(std::span(&header, 1))).ok() &&
                       (*file)->Append(std::as_bytes(std::span(data))).ok();
  if (written) (*file)->Commit().IgnoreError();
}

absl::StatusOr<const Pipelines::Layout*> Pipelines::LayoutFor(int bindings) {
  Layout& layout = layouts_[bindings];
  if (layout.pipeline) return &layout;
  std::vector<vk::DescriptorSetLayoutBinding> descriptors(bindings);
  for (int i = 0; i < bindings; ++i) {
    descriptors[i] =
        vk::DescriptorSetLayoutBinding{.binding = static_cast<uint32_t>(i),
                                       .descriptorType = vk::DescriptorType::eStorageBuffer,
                                       .descriptorCount = 1,
                                       .stageFlags = vk::ShaderStageFlagBits::eCompute};
  }
  const vk::DescriptorSetLayoutCreateInfo set{.bindingCount = static_cast<uint32_t>(bindings),
                                              .pBindings = descriptors.data()};
  BANTAM_RETURN_IF_ERROR(Take(device_.createDescriptorSetLayoutUnique(set, nullptr, vk_),
                              layout.set, "creating a descriptor set layout"));
  const vk::PushConstantRange push{.stageFlags = vk::ShaderStageFlagBits::eCompute,
                                   .size = kPushBytes};
  const vk::PipelineLayoutCreateInfo info{.setLayoutCount = 1,
                                          .pSetLayouts = &*layout.set,
                                          .pushConstantRangeCount = 1,
                                          .pPushConstantRanges = &push};
  BANTAM_RETURN_IF_ERROR(Take(device_.createPipelineLayoutUnique(info, nullptr, vk_),
                              layout.pipeline, "creating a pipeline layout"));
  return &layout;
}

absl::StatusOr<vk::ShaderModule> Pipelines::Module(Shader shader, bool by_address) {
  Unique<vk::ShaderModule>& module = modules_[by_address][static_cast<size_t>(shader)];
  if (!module) {
    const Reads reads = by_address       ? Reads::kAddress
                        : small_storage_ ? Reads::kSmallStorage
                                         : Reads::kWords;
    const std::span<const uint32_t> code = ShaderCode(shader, reads);
    const vk::ShaderModuleCreateInfo info{.codeSize = code.size_bytes(), .pCode = code.data()};
    BANTAM_RETURN_IF_ERROR(Take(device_.createShaderModuleUnique(info, nullptr, vk_), module,
                                absl::StrCat("creating the shader ", ShaderName(shader))));
  }
  return *module;
}

absl::StatusOr<Pipeline> Pipelines::Get(const PipelineKey& key) {
  std::lock_guard lock(mutex_);
  BANTAM_ASSIGN_OR_RETURN(const Layout* layout, LayoutFor(key.bindings));
  Unique<vk::Pipeline>& pipeline = pipelines_[key];
  if (!pipeline) {
    BANTAM_RETURN_IF_ERROR(MakeCache());
    BANTAM_ASSIGN_OR_RETURN(const vk::ShaderModule module, Module(key.shader, key.by_address));
    std::array<vk::SpecializationMapEntry, std::tuple_size_v<decltype(key.constants)>> entries;
    for (uint32_t i = 0; i < entries.size(); ++i) {
      entries[i] = vk::SpecializationMapEntry{i, static_cast<uint32_t>(i * sizeof(uint32_t)),
                                              sizeof(uint32_t)};
    }
    const vk::SpecializationInfo constants{entries.size(), entries.data(), sizeof(key.constants),
                                           key.constants.data()};
    const vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups{.requiredSubgroupSize =
                                                                              key.subgroup_size};
    vk::ComputePipelineCreateInfo info{.stage = {.stage = vk::ShaderStageFlagBits::eCompute,
                                                 .module = module,
                                                 .pName = "main",
                                                 .pSpecializationInfo = &constants},
                                       .layout = *layout->pipeline};
    if (key.subgroup_size != 0) {
      info.stage.pNext = &subgroups;
      info.stage.flags = vk::PipelineShaderStageCreateFlagBits::eRequireFullSubgroups;
    }
    BANTAM_RETURN_IF_ERROR(Take(device_.createComputePipelineUnique(*cache_, info, nullptr, vk_),
                                pipeline,
                                absl::StrCat("compiling the shader ", ShaderName(key.shader))));
    changed_ = true;
  }
  return Pipeline{*pipeline, *layout->pipeline, *layout->set};
}

}  // namespace bantam::vulkan
