// One GPU opened: its queue, its memory, its pipelines. Shared by everything made from it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/vulkan/api.h"
#include "backends/vulkan/instance.h"
#include "backends/vulkan/pipelines.h"
#include "backends/vulkan/settings.h"
#include "backends/vulkan/traits.h"
#include "runtime/device/device.h"

namespace bantam::vulkan {

// Memory with one buffer over all of it.
struct Memory {
  Unique<vk::Buffer> buffer;
  Unique<vk::DeviceMemory> memory;
  std::byte* mapped = nullptr;
  uint64_t address = 0;  // on the GPU; 0 where it is not told
  uint64_t bytes = 0;
};

class Gpu : public std::enable_shared_from_this<Gpu> {
 public:
  // The GPU, opened once for the process; again after it was lost, or with other settings.
  static absl::StatusOr<std::shared_ptr<Gpu>> Open(Instance& instance, vk::PhysicalDevice physical,
                                                   const Settings& settings);
  // Bytes allocated by us on `physical`.
  static uint64_t AllocatedBytes(vk::PhysicalDevice physical);
  ~Gpu();

  const Traits& traits() const { return traits_; }
  const Settings& settings() const { return settings_; }
  const Dispatcher& vk() const { return vk_; }
  vk::Device device() const { return *device_; }
  Pipelines& pipelines() { return *pipelines_; }
  bool lost() const { return lost_; }

  enum class Where { kDevice, kDeviceWritten, kStaging };
  absl::StatusOr<Memory> Allocate(uint64_t bytes, Where where);
  void Free(Memory& memory);  // before its destruction, to count it

  // Submits and returns the number Wait takes. Work is done in order of submission, provided it
  // begins with a barrier against everything before.
  absl::StatusOr<uint64_t> Submit(vk::CommandBuffer commands);
  absl::Status Wait(uint64_t submitted);
  uint64_t last_submitted() const;
  // Records commands, runs them and waits.
  absl::Status RunNow(const std::function<void(vk::CommandBuffer)>& record);

  // Copies through staging memory, two halves in turn. CopyIn, where there is a queue for it,
  // beside what is computed; nothing that was submitted before may use the range it writes.
  absl::Status CopyIn(vk::Buffer buffer, uint64_t offset, std::span<const std::byte> data);
  absl::Status CopyOut(vk::Buffer buffer, uint64_t offset, std::span<std::byte> data);

  // The codebooks of the IQ types, as shaders/quant/iq.glsl reads them.
  absl::StatusOr<vk::Buffer> Codebooks();

 private:
  Gpu(Instance& instance, vk::PhysicalDevice physical, const Settings& settings)
      : instance_(instance), physical_(physical), settings_(settings) {}
  absl::Status Create();
  absl::Status Note(vk::Result result, absl::string_view what);
  // kResourceExhausted when a heap has no room for so much, by the driver's budget or our count.
  absl::Status CheckRoom(uint64_t bytes, uint32_t heap) const;

  // A queue's progress: a counter that the GPU raises with each submission.
  struct Timeline {
    vk::Queue queue;
    Unique<vk::Semaphore> semaphore;
    uint64_t submitted = 0;  // guarded by queue_mutex_
    // The largest that the host has waited for. Another queue's next submission waits for it too,
    // which costs nothing and makes what was written visible there.
    std::atomic<uint64_t> seen{0};
  };
  // What copies need; one at a time.
  struct Copier {
    std::mutex mutex;
    Timeline* timeline = nullptr;
    Unique<vk::CommandPool> pool;
    std::vector<vk::CommandBuffer> commands;  // two
    Memory staging[2];
  };
  absl::Status Make(Timeline& timeline, uint32_t family);
  absl::Status Make(Copier& copier, Timeline& timeline, uint32_t family);
  absl::Status Staging(Copier& copier);
  absl::StatusOr<uint64_t> Submit(Timeline& timeline, vk::CommandBuffer commands);
  absl::Status Wait(Timeline& timeline, uint64_t submitted);

  Instance& instance_;
  const vk::PhysicalDevice physical_;
  const Settings settings_;
  Traits traits_;
  // What is made with these two comes after, to be destroyed before.
  Dispatcher vk_;
  Unique<vk::Device> device_;
  Timeline main_, transfers_;
  std::unique_ptr<Pipelines> pipelines_;
  std::atomic<bool> lost_{false};
  mutable std::mutex queue_mutex_;
  Copier copier_, uploader_;  // uploader_ only with a transfer queue
  std::mutex codebooks_mutex_;
  Memory codebooks_;
};

}  // namespace bantam::vulkan
