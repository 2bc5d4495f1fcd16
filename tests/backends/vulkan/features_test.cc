// What is made of what a driver says: recorded GPUs, earlier versions, a memory budget.

#include "runtime/device/features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/vulkan/gpu.h"
#include "backends/vulkan/instance.h"
#include "backends/vulkan/traits.h"
#include "runtime/engine/engine.h"
#include "tests/backends/vulkan/support.h"
#include "tests/support/tiny_model.h"

namespace bantam::vulkan {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::StrEq;

VkCooperativeMatrixPropertiesKHR Matrix(uint32_t m, uint32_t n, uint32_t k,
                                        VkComponentTypeKHR from = VK_COMPONENT_TYPE_FLOAT16_KHR,
                                        VkComponentTypeKHR to = VK_COMPONENT_TYPE_FLOAT32_KHR) {
  VkCooperativeMatrixPropertiesKHR matrix = {};
  matrix.MSize = m;
  matrix.NSize = n;
  matrix.KSize = k;
  matrix.AType = matrix.BType = from;
  matrix.CType = matrix.ResultType = to;
  matrix.scope = VK_SCOPE_SUBGROUP_KHR;
  return matrix;
}

// As a driver of 2024 says it of a discrete GPU of 8 GiB, with a window of 256 MiB for the host.
Reported Discrete() {
  Reported r;
  r.base.apiVersion = VK_MAKE_API_VERSION(0, 1, 3, 277);
  r.base.vendorID = 0x10DE;
  r.base.deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  std::strcpy(r.base.deviceName, "A discrete GPU");
  VkPhysicalDeviceLimits& limits = r.base.limits;
  limits.maxStorageBufferRange = UINT32_MAX;
  limits.maxComputeSharedMemorySize = 49152;
  limits.maxComputeWorkGroupInvocations = 1024;
  limits.maxComputeWorkGroupSize[0] = 1024;
  limits.minStorageBufferOffsetAlignment = 16;
  r.properties11.maxMemoryAllocationSize = 0xFFE00000;
  r.properties11.subgroupSize = 32;
  r.properties11.subgroupSupportedStages = VK_SHADER_STAGE_COMPUTE_BIT;
  r.properties11.subgroupSupportedOperations =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
  r.features11.storageBuffer16BitAccess = VK_TRUE;
  r.features12.storageBuffer8BitAccess = VK_TRUE;
  r.features12.shaderFloat16 = r.features12.shaderInt8 = VK_TRUE;
  r.features12.timelineSemaphore = r.features12.bufferDeviceAddress = VK_TRUE;
  r.features12.vulkanMemoryModel = r.features12.vulkanMemoryModelDeviceScope = VK_TRUE;
  r.subgroup_size_features.subgroupSizeControl = VK_TRUE;
  r.subgroup_size_features.computeFullSubgroups = VK_TRUE;
  r.subgroup_size_properties.minSubgroupSize = r.subgroup_size_properties.maxSubgroupSize = 32;
  r.subgroup_size_properties.requiredSubgroupSizeStages = VK_SHADER_STAGE_COMPUTE_BIT;
  r.dot_features.shaderIntegerDotProduct = VK_TRUE;
  r.dot_properties.integerDotProduct4x8BitPackedSignedAccelerated = VK_TRUE;
  r.maintenance4.maxBufferSize = uint64_t{1} << 40;
  r.cooperative_matrix = true;
  r.matrix_stages = VK_SHADER_STAGE_COMPUTE_BIT;
  r.matrices = {Matrix(16, 16, 16, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT16_KHR),
                Matrix(16, 8, 8), Matrix(16, 16, 16), Matrix(16, 8, 16)};
  r.extensions = {VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME};
  r.queues.resize(3);
  r.queues[0].queueFlags = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
  r.queues[1].queueFlags = VK_QUEUE_TRANSFER_BIT;
  r.queues[2].queueFlags = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags kMapped =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  r.memory.memoryHeapCount = 3;
  r.memory.memoryHeaps[0] = {uint64_t{8} << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  r.memory.memoryHeaps[1] = {uint64_t{16} << 30, 0};
  r.memory.memoryHeaps[2] = {256 << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  r.memory.memoryTypeCount = 5;
  r.memory.memoryTypes[0] = {0, 1};
  r.memory.memoryTypes[1] = {kLocal, 0};
  r.memory.memoryTypes[2] = {kMapped, 1};
  r.memory.memoryTypes[3] = {kMapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 1};
  r.memory.memoryTypes[4] = {kLocal | kMapped, 2};
  return r;
}

Traits Chosen(const Reported& reported, const Settings& settings = {}) {
  const auto traits = Choose(reported, settings, /*matrix_shader=*/true);
  EXPECT_TRUE(traits.ok()) << traits.status();
  return traits.ok() ? *traits : Traits();
}
std::string Lines(const Traits& traits) { return absl::StrJoin(traits.lines, "\n"); }

TEST(VulkanFeatures, ADiscreteGpu) {
  const Traits traits = Chosen(Discrete());
  EXPECT_EQ(traits.subgroup_size, 32);
  EXPECT_TRUE(traits.integer_dot);
  EXPECT_TRUE(traits.small_storage);
  EXPECT_TRUE(traits.device_address);
  EXPECT_THAT(Lines(traits), HasSubstr("buffer device address: used for weights larger"));
  EXPECT_TRUE(traits.memory_budget);
  EXPECT_EQ(traits.queue_family, 0);
  EXPECT_EQ(traits.transfer_family, 1);
  EXPECT_EQ(traits.device_memory, 1);
  EXPECT_EQ(traits.mapped_memory, 4);
  EXPECT_EQ(traits.mapped_heap, 2);
  EXPECT_EQ(traits.staging_memory, 3);
  EXPECT_FALSE(traits.host_writes);
  EXPECT_EQ(traits.heap_bytes, uint64_t{8} << 30);
  EXPECT_EQ(traits.binding_limit, uint64_t{1} << 31);
  EXPECT_EQ(traits.allocation_limit, 0xFFE00000);
  EXPECT_EQ(traits.matrix, (MatrixSize{16, 16, 16}));
  // What came with Vulkan 1.3 is no extension to enable.
  EXPECT_THAT(traits.extensions, ElementsAre(StrEq(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME),
                                             StrEq(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)));
  // As an older shader compiler has it.
  const auto without = Choose(Discrete(), {}, /*matrix_shader=*/false);
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_EQ(without->matrix, MatrixSize());
  EXPECT_THAT(without->extensions, ElementsAre(StrEq(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)));
  EXPECT_THAT(Lines(*without), HasSubstr("cooperative matrix: there and not used; the compiler"));
}

// A driver of Vulkan 1.2 brings by extensions what came with 1.3.
TEST(VulkanFeatures, Vulkan12) {
  Reported reported = Discrete();
  reported.base.apiVersion = VK_MAKE_API_VERSION(0, 1, 2, 198);
  reported.extensions = {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME,
                         VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME};
  reported.cooperative_matrix = false;
  const Traits traits = Chosen(reported);
  EXPECT_EQ(traits.subgroup_size, 32);
  EXPECT_TRUE(traits.integer_dot);
  EXPECT_THAT(traits.extensions,
              ElementsAre(StrEq(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME),
                          StrEq(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)));
  EXPECT_FALSE(traits.memory_budget);
  EXPECT_THAT(Lines(traits), HasSubstr("memory budget: not there"));
  EXPECT_THAT(Lines(traits), HasSubstr("cooperative matrix: not there"));
  // And without them.
  reported.extensions.clear();
  reported.subgroup_size_features = {};
  reported.subgroup_size_properties = {};
  reported.dot_features = {};
  reported.dot_properties = {};
  reported.maintenance4 = {};
  const Traits least = Chosen(reported);
  EXPECT_EQ(least.subgroup_size, 0);
  EXPECT_FALSE(least.integer_dot);
  EXPECT_THAT(least.extensions, IsEmpty());
  EXPECT_EQ(least.allocation_limit, 0xFFE00000);
}

TEST(VulkanFeatures, WhichMatrices) {
  Reported reported = Discrete();
  const auto because = [&](absl::string_view why) {
    const Traits traits = Chosen(reported);
    EXPECT_EQ(traits.matrix, MatrixSize());
    EXPECT_THAT(Lines(traits), HasSubstr(absl::StrCat("cooperative matrix: ", why)));
    reported = Discrete();
  };
  reported.matrices = {Matrix(8, 8, 8), Matrix(8, 16, 32), Matrix(32, 32, 16), Matrix(16, 16, 64)};
  EXPECT_EQ(Chosen(reported).matrix, (MatrixSize{8, 16, 32}));
  reported.matrices = {Matrix(32, 32, 16), Matrix(16, 16, 64)};
  because("there and not used; none");
  reported.matrices[2].saturatingAccumulation = VK_TRUE;
  reported.matrices[1].scope = reported.matrices[3].scope = static_cast<VkScopeKHR>(2);
  because("there and not used; none");
  reported.cooperative_matrix = false;
  because("not there");
  reported.features12.shaderFloat16 = VK_FALSE;
  because("there and not used; it lacks f16");
  reported.features12.vulkanMemoryModel = VK_FALSE;
  because("there and not used; it lacks f16");
  reported.features12.vulkanMemoryModelDeviceScope = VK_FALSE;
  because("there and not used; it lacks f16");
  reported.subgroup_size_features.subgroupSizeControl = VK_FALSE;
  because("there and not used; it needs workgroups");
  reported.base.limits.maxComputeWorkGroupInvocations = 64;
  because("there and not used; it needs workgroups");
  reported.base.deviceType = VK_PHYSICAL_DEVICE_TYPE_CPU;
  EXPECT_EQ(Chosen(reported, {.cooperative_matrix = true}).matrix, (MatrixSize{16, 16, 16}));
  because("there and not used; it is no faster");
  reported.base.vendorID = 0x8086;
  EXPECT_EQ(Chosen(reported).matrix, (MatrixSize{16, 16, 16}));
  reported.subgroup_size_properties.minSubgroupSize = 8;
  because("there and not used; its matrices want subgroups");
}

TEST(VulkanFeatures, WhichF16) {
  Reported reported = Discrete();
  EXPECT_FALSE(Chosen(reported).half_products);
  EXPECT_THAT(Lines(Chosen(reported)), HasSubstr("f16 arithmetic: used in cooperative matrices"));
  reported.cooperative_matrix = false;
  EXPECT_TRUE(Chosen(reported).half_products);
  EXPECT_THAT(Lines(Chosen(reported)),
              HasSubstr("f16 arithmetic: used for products of many columns with f16 weights\n"));
  reported.dot_properties.integerDotProduct4x8BitPackedSignedAccelerated = VK_FALSE;
  EXPECT_THAT(Lines(Chosen(reported)),
              HasSubstr("f16 arithmetic: used for products of many columns\n"));
  reported.base.deviceType = VK_PHYSICAL_DEVICE_TYPE_CPU;
  EXPECT_FALSE(Chosen(reported).half_products);
  EXPECT_THAT(Lines(Chosen(reported)),
              HasSubstr("f16 arithmetic: there and not used; a processor"));
  EXPECT_TRUE(Chosen(reported, {.half_products = true}).half_products);
  reported.features12.shaderFloat16 = VK_FALSE;
  EXPECT_FALSE(Chosen(reported, {.half_products = true}).half_products);
  EXPECT_THAT(Lines(Chosen(reported)), HasSubstr("f16 arithmetic: not there"));
}

TEST(VulkanFeatures, WhatCannotRun) {
  Reported reported = Discrete();
  reported.queues.resize(2);
  reported.queues[0].queueFlags = VK_QUEUE_GRAPHICS_BIT;
  EXPECT_EQ(Choose(reported, {}, true).status().code(), absl::StatusCode::kFailedPrecondition);
  reported = Discrete();
  reported.memory.memoryTypeCount = 1;
  EXPECT_EQ(Choose(reported, {}, true).status().code(), absl::StatusCode::kFailedPrecondition);
}

// What `bantam devices -v` says is what is used.
TEST_F(Vulkan, EveryAbilityHasALine) {
  auto instance = Instance::Get();
  ASSERT_TRUE(instance.ok());
  const Reported reported = Ask(**instance, (*instance)->gpus()[0], {});
  Settings settings;
  settings.small_storage = settings.subgroups = false;
  settings.integer_dot = settings.transfer_queue = settings.staging = true;
  settings.half_products = true;
  const std::string others = Lines(Chosen(reported, settings));
  EXPECT_THAT(others, HasSubstr("subgroup operations: not used"));
  EXPECT_THAT(others, HasSubstr("8-bit and 16-bit storage: not used"));
  EXPECT_THAT(others, HasSubstr("integer dot product: used"));
  EXPECT_THAT(others, HasSubstr("buffer device address: there and not used"));
  EXPECT_THAT(others, HasSubstr("transfer queue: used"));
  EXPECT_THAT(others, HasSubstr("f16 arithmetic: used for products of many columns with f16"));
  for (const Traits& traits : {Chosen(reported), Chosen(Discrete()), Chosen(reported, settings)}) {
    for (const char* ability :
         {"subgroup operations: ", "cooperative matrix: ", "integer dot product: ",
          "8-bit and 16-bit storage: ", "f16 arithmetic: ", "int8 arithmetic: ",
          "timeline semaphores: ", "memory budget: ", "buffer device address: ", "memory: ",
          "transfer queue: ", "limits: "}) {
      EXPECT_THAT(traits.lines, Contains(StartsWith(ability)));
    }
  }
}

// As if the driver had a memory budget, of `granted` bytes on every heap, of which others use some.
class VulkanBudget : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto instance = Instance::Get();
    ASSERT_TRUE(instance.ok());
    Dispatcher& functions = (*instance)->functions();
    real_ = functions;
    functions.vkEnumerateDeviceExtensionProperties = &Extensions;
    functions.vkGetPhysicalDeviceMemoryProperties2 = &MemoryProperties;
    functions.vkCreateDevice = &CreateDevice;
  }
  static void TearDownTestSuite() { (*Instance::Get())->functions() = real_; }
  void SetUp() override {
    granted_ = uint64_t{1} << 30;
    others_ = 0;
    // With a setting of its own, so that no GPU that was opened before is taken.
    auto device = OpenWith("splits=1");
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }

  static VkResult Extensions(VkPhysicalDevice gpu, const char* layer, uint32_t* count,
                             VkExtensionProperties* extensions) {
    VkExtensionProperties budget = {};
    std::strcpy(budget.extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    if (extensions == nullptr) {
      const VkResult result =
          real_.vkEnumerateDeviceExtensionProperties(gpu, layer, count, nullptr);
      ++*count;
      return result;
    }
    uint32_t others = *count - 1;
    const VkResult result =
        real_.vkEnumerateDeviceExtensionProperties(gpu, layer, &others, extensions);
    extensions[others] = budget;
    *count = others + 1;
    return result;
  }
  static void MemoryProperties(VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties2* memory) {
    auto* budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(memory->pNext);
    memory->pNext = nullptr;
    real_.vkGetPhysicalDeviceMemoryProperties2(gpu, memory);
    memory->pNext = budget;
    if (budget == nullptr) return;
    ASSERT_EQ(budget->sType, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
    for (uint32_t i = 0; i < memory->memoryProperties.memoryHeapCount; ++i) {
      budget->heapBudget[i] = granted_;
      budget->heapUsage[i] = Gpu::AllocatedBytes(gpu) + others_;
    }
  }
  static VkResult CreateDevice(VkPhysicalDevice gpu, const VkDeviceCreateInfo* info,
                               const VkAllocationCallbacks* callbacks, VkDevice* device) {
    std::vector<const char*> extensions(
        info->ppEnabledExtensionNames, info->ppEnabledExtensionNames + info->enabledExtensionCount);
    EXPECT_THAT(extensions, Contains(StrEq(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)));
    std::erase_if(extensions, [](const char* name) {
      return absl::string_view(name) == VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    });
    VkDeviceCreateInfo without = *info;
    without.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
    without.ppEnabledExtensionNames = extensions.data();
    return real_.vkCreateDevice(gpu, &without, callbacks, device);
  }

  static Dispatcher real_;
  static uint64_t granted_, others_;
  std::unique_ptr<device::Device> device_;
};
Dispatcher VulkanBudget::real_;
uint64_t VulkanBudget::granted_, VulkanBudget::others_;

TEST_F(VulkanBudget, IsWhatIsFree) {
  const uint64_t total = device_->memory().total;
  EXPECT_GT(total, granted_);
  const uint64_t ours = granted_ - device_->memory().free;  // kept by GPUs that are open
  others_ = 300 << 20;
  EXPECT_EQ(device_->memory().free, granted_ - ours - others_);
  EXPECT_EQ(device_->memory().total, total);
  granted_ = 200 << 20;  // another program has begun
  EXPECT_EQ(device_->memory().free, 0);
  others_ = 0;
  granted_ = UINT64_MAX;
  EXPECT_EQ(device_->memory().free, total - ours);
  auto* features = dynamic_cast<device::HasFeatures*>(device_.get());
  ASSERT_NE(features, nullptr);
  EXPECT_THAT(features->features(), Contains("memory budget: used"));
}

TEST_F(VulkanBudget, IsObeyed) {
  ASSERT_TRUE(device_->Allocate(1).ok());  // opens the GPU
  others_ = 24 << 20;
  granted_ = others_ + (granted_ - device_->memory().free - others_) + (40 << 20);
  ASSERT_EQ(device_->memory().free, 40 << 20);
  auto first = device_->Allocate(30 << 20);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(device_->memory().free, 10 << 20);
  const auto refused = device_->Allocate(20 << 20);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("20.0 MiB of memory cannot be had; 10.0 MiB are left of the "));
  EXPECT_EQ(device_->memory().free, 10 << 20);
  EXPECT_TRUE(device_->Allocate(10 << 20).ok());
  first->reset();
  EXPECT_TRUE(device_->Allocate(20 << 20).ok());
  others_ = granted_;  // what was allocated stays; there is no more
  EXPECT_EQ(device_->memory().free, 0);
  EXPECT_EQ(device_->Allocate(16).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(VulkanBudget, IsTooSmallForAModel) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path);
  ASSERT_TRUE(device_->Allocate(1).ok());
  const uint64_t ours = granted_ - device_->memory().free;
  const auto load = [&] {
    return WithSettings("splits=1", [&]() -> absl::Status {
      BANTAM_ASSIGN_OR_RETURN(auto model, engine::Model::Load(path, {.device = "vulkan"}));
      return engine::Session::Create(std::move(model), {.context = 64, .ubatch = 2}).status();
    });
  };
  EXPECT_TRUE(load().ok());
  granted_ = ours + 10000;
  const absl::Status status = load();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  granted_ = uint64_t{1} << 30;
  EXPECT_TRUE(load().ok());
}

}  // namespace
}  // namespace bantam::vulkan
