// What tests of the Vulkan backend share. It is linked in, so that failures can be injected; the
// plug-in is left alone.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backends/vulkan/device.h"
#include "backends/vulkan/settings.h"
#include "runtime/base/status.h"
#include "runtime/device/device.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "tests/support/gpu_faults.h"

namespace bantam::vulkan {

using graph::Op;
using graph::ValueId;
using quant::Type;

// Before any device is listed: no plug-ins, and the backend that is linked in.
inline const bool kRegistered = [] {
  setenv("BANTAM_PLUGIN_PATH", "", 1);
  device::RegisterBackend(NewBackend());
  return true;
}();

inline const testing::FaultyGpu kFaulty = {"vulkan", TheFaults().allocation_in,
                                           TheFaults().submit_in};

class Vulkan : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(kRegistered);
    auto device = device::OpenDevice("vulkan:0", {});
    // Everywhere the tests run there is a driver: third_party/install.sh brings one.
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }
  void TearDown() override {
    TheFaults().allocation_in = 0;
    TheFaults().submit_in = 0;
  }
  std::unique_ptr<device::Device> device_;
};

// A graph on a device, its values in buffers of their own.
class Compiled {
 public:
  absl::Status Make(device::Device& device, graph::Graph& graph) {
    BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
    const graph::MemoryPlan plan =
        graph::PlanMemory(graph, static_cast<int64_t>(device.limits().alignment));
    BANTAM_ASSIGN_OR_RETURN(temp_, device.Allocate(std::max<int64_t>(plan.size, 1)));
    std::vector<device::Binding> bindings(graph.values().size());
    buffers_.resize(bindings.size());
    for (size_t id = 0; id < bindings.size(); ++id) {
      const graph::Value& value = graph.values()[id];
      if (value.base != graph::kNone) continue;
      if (value.storage == graph::Storage::kTemp) {
        bindings[id] = {temp_.get(), static_cast<uint64_t>(plan.offsets[id])};
        continue;
      }
      const bool is_weight = value.storage == graph::Storage::kWeight;
      BANTAM_ASSIGN_OR_RETURN(buffers_[id], is_weight ? device.AllocateWeights(value.SpanBytes())
                                                      : device.Allocate(value.SpanBytes()));
      bindings[id] = {buffers_[id].get(), 0};
    }
    bindings_ = bindings;
    BANTAM_ASSIGN_OR_RETURN(stream_, device.NewStream());
    BANTAM_ASSIGN_OR_RETURN(executable_, device.Compile({graph, plan, bindings, {temp_.get(), 0}}));
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Set(ValueId id, const std::vector<T>& values) {
    return bindings_[id].buffer->Upload(bindings_[id].offset, std::as_bytes(std::span(values)));
  }
  std::string kernels() const { return executable_->Describe(); }
  absl::Status Run() {
    BANTAM_RETURN_IF_ERROR(executable_->Run(*stream_));
    return stream_->Synchronize();
  }
  std::vector<float> Get(ValueId id, size_t count) {
    std::vector<float> values(count);
    const absl::Status status = bindings_[id].buffer->Download(
        bindings_[id].offset, std::as_writable_bytes(std::span(values)));
    EXPECT_TRUE(status.ok()) << status;
    return values;
  }

 private:
  std::unique_ptr<device::Buffer> temp_;
  std::vector<std::unique_ptr<device::Buffer>> buffers_;
  std::vector<device::Binding> bindings_;
  std::unique_ptr<device::Stream> stream_;
  std::unique_ptr<device::Executable> executable_;
};

// What `make` makes while devices that are listed are in these clothes
// (backends/vulkan/settings.h).
template <typename Make>
auto WithSettings(const char* settings, Make make) {
  setenv("BANTAM_VULKAN_TEST", settings, 1);
  auto made = make();
  unsetenv("BANTAM_VULKAN_TEST");
  return made;
}
inline auto OpenWith(const char* settings) {
  return WithSettings(settings, [] { return device::OpenDevice("vulkan:0", {}); });
}

}  // namespace bantam::vulkan
