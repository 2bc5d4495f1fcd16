// The devices: "cpu", with the fastest kernels this processor has, and "reference", plain C++ that
// the others are judged by.

#include <memory>
#include <mutex>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "backends/cpu/host_buffer.h"
#include "backends/cpu/host_info.h"
#include "backends/cpu/kernel_sets.h"
#include "backends/cpu/plan/executable.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/speed.h"
#include "runtime/base/status.h"
#include "runtime/device/plain_weights.h"
#include "runtime/device/registry.h"

namespace bantam::cpu {
namespace {

constexpr int kMaxThreads = 1024;

// Run is synchronous, so whatever was submitted is done.
class DoneEvent : public device::Event {
 public:
  absl::Status Wait() override { return absl::OkStatus(); }
};

class HostStream : public device::Stream {
 public:
  absl::Status Synchronize() override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<device::Event>> Record() override {
    return std::make_unique<DoneEvent>();
  }
  absl::Status WaitFor(device::Event& event) override { return event.Wait(); }
};

class CpuDevice : public device::Device {
 public:
  CpuDevice(std::string name, absl::string_view isa, const KernelSet& kernels, int threads)
      : name_(std::move(name)), isa_(isa), kernels_(kernels), threads_(threads) {}

  std::string name() const override { return name_; }
  std::string description() const override {
    return absl::StrCat(CpuModelName(), ", ", isa_, ", ", threads_,
                        threads_ == 1 ? " thread" : " threads");
  }
  device::Kind kind() const override { return device::Kind::kCpu; }
  device::MemoryInfo memory() const override { return HostMemory(); }
  device::Limits limits() const override { return {.ubatch = kernels_.ubatch}; }
  bool Supports(const graph::Graph& graph, const graph::Node& node) const override {
    return CheckSupported(graph, node).ok();
  }

  absl::StatusOr<std::unique_ptr<device::Buffer>> Allocate(uint64_t bytes) override {
    return HostBuffer::Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<device::Buffer>> WrapHost(
      std::span<const std::byte> data) override {
    return HostBuffer::Wrap(data);
  }
  uint64_t PackedBytes(quant::Type type, const graph::Shape& shape) const override {
    return device::PlainWeightBytes(type, shape);
  }
  absl::Status LoadWeight(quant::Type type, const graph::Shape& shape,
                          std::span<const std::byte> data, const device::Binding& where) override {
    return device::LoadPlainWeight(type, shape, data, where);
  }
  bool Repacks(const graph::Graph& graph, graph::ValueId weight) const override {
    const graph::Value& value = graph.value(weight);
    if (kernels_.interleaves == nullptr || !kernels_.interleaves(value.type) ||
        InterleavedRows(value.shape[1]) == 0) {
      return false;
    }
    for (const graph::Node& node : graph.nodes()) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (graph.RootOf(node.inputs[i]) != weight) continue;
        if (node.inputs[i] != weight || !TakesInterleaved(node, i)) return false;
      }
    }
    return true;
  }
  absl::Status Repack(quant::Type type, const graph::Shape& shape, std::span<const std::byte> data,
                      const device::Binding& where) override {
    if (kernels_.interleaves == nullptr || !kernels_.interleaves(type)) {
      return absl::UnimplementedError(
          absl::StrCat(kernels_.name, " does not repack ", quant::Name(type)));
    }
    BANTAM_ASSIGN_OR_RETURN(const auto workers, GetWorkers());
    std::lock_guard lock(workers->mutex);
    return LoadInterleaved(type, shape, data, where, workers->pool);
  }

  absl::StatusOr<std::unique_ptr<device::Executable>> Compile(
      const device::CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(auto workers, GetWorkers());
    return Executable::Compile(args, kernels_, std::move(workers));
  }
  absl::StatusOr<device::Scratch> PredictScratch(const device::CompileArgs& args) override {
    BANTAM_ASSIGN_OR_RETURN(auto workers, GetWorkers());
    return Executable::Predict(args, kernels_, std::move(workers));
  }
  absl::StatusOr<std::unique_ptr<device::Stream>> NewStream() override {
    return std::make_unique<HostStream>();
  }
  absl::StatusOr<device::Speed> MeasureSpeed() override {
    BANTAM_ASSIGN_OR_RETURN(const auto workers, GetWorkers());
    std::lock_guard lock(workers->mutex);
    return cpu::MeasureSpeed(kernels_, workers->pool);
  }

 private:
  // Threads start with the first graph: listing devices needs none.
  absl::StatusOr<std::shared_ptr<Workers>> GetWorkers() {
    std::lock_guard lock(mutex_);
    if (workers_ == nullptr) {
      try {
        workers_ = std::make_shared<Workers>(threads_);
      } catch (const std::system_error& error) {
        return absl::ResourceExhaustedError(
            absl::StrCat("cannot start ", threads_, " threads: ", error.what()));
      }
    }
    return workers_;
  }

  const std::string name_;
  const std::string isa_;
  const KernelSet& kernels_;
  const int threads_;
  std::mutex mutex_;
  std::shared_ptr<Workers> workers_;
};

absl::StatusOr<int> ThreadsOf(const device::BackendOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads,
                                                   "; expected 1 to ", kMaxThreads,
                                                   ", or 0 for the cores the process may use"));
  }
  // A second thread on a core finds its arithmetic taken: it only adds waiting.
  return options.threads == 0 ? UsableCores() : options.threads;
}

using Devices = std::vector<std::unique_ptr<device::Device>>;

class CpuBackend : public device::Backend {
 public:
  std::string name() const override { return "cpu"; }
  absl::StatusOr<Devices> Enumerate(const device::BackendOptions& options) override {
    BANTAM_ASSIGN_OR_RETURN(const int threads, ThreadsOf(options));
    BANTAM_ASSIGN_OR_RETURN(const KernelSet* kernels, ChooseKernels(options.cpu_isa));
    Devices devices;
    devices.push_back(std::make_unique<CpuDevice>("cpu", kernels->isa, *kernels, threads));
    return devices;
  }
};

// Behind the others: backends are asked in the order of their names.
class ReferenceBackend : public device::Backend {
 public:
  std::string name() const override { return "reference"; }
  absl::StatusOr<Devices> Enumerate(const device::BackendOptions& options) override {
    BANTAM_ASSIGN_OR_RETURN(const int threads, ThreadsOf(options));
    Devices devices;
    devices.push_back(
        std::make_unique<CpuDevice>("reference", "reference", PortableKernels(), threads));
    return devices;
  }
};

const device::BackendRegistration kCpu(std::make_unique<CpuBackend>());
const device::BackendRegistration kReference(std::make_unique<ReferenceBackend>());

}  // namespace
}  // namespace bantam::cpu
