// A device whose memory is counted to the byte: the CPU behind a wall. The host can address none of
// its buffers, it wraps no host memory, and it refuses an allocation one byte over its cap.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/device/registry.h"

namespace bantam::testing {

// Several threads may use a device.
template <typename T>
struct Shared : std::atomic<T> {
  Shared(T value) : std::atomic<T>(value) {}
  Shared(const Shared& other) : std::atomic<T>(other.load()) {}
  Shared& operator=(const Shared& other) {
    this->store(other.load());
    return *this;
  }
};

struct CappedMemory {
  uint64_t cap = UINT64_MAX / 2;
  uint64_t used = 0;
  uint64_t peak = 0;
  int allocations = 0;
  int fail_at = -1;  // the allocation of this number is refused, counted from 0
  // The same of all that may need memory of a device or its driver: allocations, streams, programs,
  // weights and whatever is uploaded.
  Shared<int> requests = 0;
  int refuse_at = -1;
  int lost_after = -1;  // from the run of this number on the device is lost
  int runs = 0;
  int lost_at_call = -1;  // from this call on, of any kind, the device is lost
  Shared<int> calls = 0;
  Shared<bool> is_lost = false;
  std::chrono::microseconds transfer{0};  // that each upload and download takes at least
  bool runs_apart = false;                // programs run on a thread of their stream's
};
// Of the one device there is at a time.
inline CappedMemory capped_memory;

class CappedDevice : public device::Device {
 public:
  explicit CappedDevice(std::unique_ptr<device::Device> inner) : inner_(std::move(inner)) {}
  std::string name() const override { return "capped"; }
  std::string description() const override { return "for tests"; }
  device::Kind kind() const override { return device::Kind::kDiscreteGpu; }
  device::MemoryInfo memory() const override {
    return {capped_memory.cap, capped_memory.cap - capped_memory.used};
  }
  device::Limits limits() const override { return {.alignment = 256}; }
  bool Supports(const graph::Graph& graph, const graph::Node& node) const override {
    return inner_->Supports(graph, node);
  }
  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(uint64_t bytes) override {
    CappedMemory& m = capped_memory;
    if (IsLost()) return Lost();
    if (m.allocations++ == m.fail_at || bytes > m.cap - m.used || IsRefused()) {
      return absl::ResourceExhaustedError(absl::StrCat("capped: no ", bytes, " bytes are free"));
    }
    auto inner = inner_->Allocate(bytes);
    if (!inner.ok()) return inner.status();
    m.used += bytes;
    m.peak = std::max(m.peak, m.used);
    return std::make_unique<Buffer>(*std::move(inner));
  }
  absl::StatusOr<std::unique_ptr<device::Buffer>> WrapHost(std::span<const std::byte>) override {
    return absl::UnimplementedError("behind a wall");
  }
  uint64_t PackedBytes(quant::Type type, const graph::Shape& shape) const override {
    return inner_->PackedBytes(type, shape);
  }
  absl::Status LoadWeight(quant::Type type, const graph::Shape& shape,
                          std::span<const std::byte> data, const device::Binding& where) override {
    if (IsLost()) return Lost();
    return IsRefused() ? Refusal() : inner_->LoadWeight(type, shape, data, Inner(where));
  }
  absl::StatusOr<std::unique_ptr<device::Executable>> Compile(
      const device::CompileArgs& args) override {
    if (IsLost()) return Lost();
    if (IsRefused()) return Refusal();
    std::vector<device::Binding> bindings;
    for (const device::Binding& binding : args.bindings) bindings.push_back(Inner(binding));
    auto inner = inner_->Compile(
        {args.graph, args.plan, bindings, Inner(args.temp), args.first_node, args.end_node,
         args.scratch.buffer == nullptr ? args.scratch : Inner(args.scratch), args.scratch_bytes});
    if (!inner.ok()) return inner.status();
    return std::make_unique<Executable>(*std::move(inner));
  }
  absl::StatusOr<device::Scratch> PredictScratch(const device::CompileArgs& args) override {
    return inner_->PredictScratch(args);
  }
  absl::StatusOr<std::unique_ptr<device::Stream>> NewStream() override {
    if (IsRefused()) return Refusal();
    auto inner = inner_->NewStream();
    if (!inner.ok()) return inner.status();
    return std::make_unique<Stream>(*std::move(inner));
  }

 private:
  static bool IsLost() {
    CappedMemory& m = capped_memory;
    if (m.calls++ == m.lost_at_call) m.is_lost.store(true);
    return m.is_lost;
  }
  static bool IsRefused() { return capped_memory.requests++ == capped_memory.refuse_at; }
  static absl::Status Refusal() {
    return absl::ResourceExhaustedError("capped: no memory for that");
  }
  static absl::Status Lost() { return absl::UnavailableError("capped: the device is lost"); }

  struct Stream : device::Stream {
    explicit Stream(std::unique_ptr<device::Stream> inner) : inner(std::move(inner)) {}
    absl::Status Synchronize() override {
      return running.valid() ? running.get() : inner->Synchronize();
    }
    absl::StatusOr<std::unique_ptr<device::Event>> Record() override { return inner->Record(); }
    absl::Status WaitFor(device::Event& event) override { return inner->WaitFor(event); }
    std::unique_ptr<device::Stream> inner;
    std::future<absl::Status> running;  // at most one program
  };

  struct Executable : device::Executable {
    explicit Executable(std::unique_ptr<device::Executable> inner) : inner(std::move(inner)) {}
    absl::Status Run(device::Stream& stream) override {
      if (capped_memory.runs++ == capped_memory.lost_after) capped_memory.is_lost.store(true);
      if (IsLost()) return Lost();
      auto& on = static_cast<Stream&>(stream);
      const absl::Status before = on.Synchronize();
      if (!before.ok() || !capped_memory.runs_apart) {
        return before.ok() ? inner->Run(*on.inner) : before;
      }
      on.running = std::async(std::launch::async, [this, &on] { return inner->Run(*on.inner); });
      return absl::OkStatus();
    }
    uint64_t scratch_bytes() const override { return inner->scratch_bytes(); }
    std::string Describe() const override { return inner->Describe(); }
    absl::Status StartProfile() override { return inner->StartProfile(); }
    std::vector<device::KernelTime> Profile() const override { return inner->Profile(); }
    std::unique_ptr<device::Executable> inner;
  };

  struct Buffer : device::Buffer {
    explicit Buffer(std::unique_ptr<device::Buffer> inner) : inner(std::move(inner)) {}
    ~Buffer() override { capped_memory.used -= inner->size(); }
    uint64_t size() const override { return inner->size(); }
    absl::Status Upload(uint64_t offset, std::span<const std::byte> data) override {
      std::this_thread::sleep_for(capped_memory.transfer);
      if (IsLost()) return Lost();
      if (IsRefused()) return Refusal();
      return inner->Upload(offset, data);
    }
    absl::Status Download(uint64_t offset, std::span<std::byte> data) override {
      std::this_thread::sleep_for(capped_memory.transfer);
      if (IsLost()) return Lost();
      return inner->Download(offset, data);
    }
    std::unique_ptr<device::Buffer> inner;
  };
  static device::Binding Inner(const device::Binding& binding) {
    if (binding.buffer == nullptr) return binding;
    return {static_cast<Buffer*>(binding.buffer)->inner.get(), binding.offset};
  }

  std::unique_ptr<device::Device> inner_;
};

class CappedBackend : public device::Backend {
 public:
  std::string name() const override { return "capped"; }
  absl::StatusOr<std::vector<std::unique_ptr<device::Device>>> Enumerate(
      const device::BackendOptions& options) override {
    auto inner = device::OpenDevice("reference", options);
    if (!inner.ok()) return inner.status();
    std::vector<std::unique_ptr<device::Device>> devices;
    devices.push_back(std::make_unique<CappedDevice>(*std::move(inner)));
    return devices;
  }
};

}  // namespace bantam::testing
