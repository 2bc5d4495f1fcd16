// A conformance case compiled by hand, for tests of what a CPU device promises beyond its results.
#pragma once

#include <memory>
#include <vector>

#include "tests/conformance/harness.h"

namespace bantam::cpu {

// A compiled case and the memory it works on.
struct Compiled {
  std::unique_ptr<device::Buffer> memory, temp;
  std::vector<device::Binding> bindings;
  graph::MemoryPlan plan;
  std::unique_ptr<device::Executable> executable;
  std::unique_ptr<device::Stream> stream;
};

// `repack`: the weights that the device repacks are.
inline absl::StatusOr<Compiled> Compile(device::Device& device, conformance::Case& c,
                                        bool repack = false) {
  Compiled compiled;
  BANTAM_RETURN_IF_ERROR(graph::Infer(c.graph));
  compiled.plan = graph::PlanMemory(c.graph);
  compiled.bindings.resize(c.graph.values().size());
  uint64_t size = 0;
  for (const auto& [id, bytes] : c.data) {
    compiled.bindings[id].offset = size;
    size += (bytes.size() + 63) / 64 * 64;
  }
  BANTAM_ASSIGN_OR_RETURN(compiled.memory, device.Allocate(size));
  BANTAM_ASSIGN_OR_RETURN(compiled.temp, device.Allocate(compiled.plan.size));
  for (const auto& [id, bytes] : c.data) {
    compiled.bindings[id].buffer = compiled.memory.get();
    const graph::Value& value = c.graph.value(id);
    BANTAM_RETURN_IF_ERROR(
        repack && value.storage == graph::Storage::kWeight && device.Repacks(c.graph, id)
            ? device.Repack(value.type, value.shape, bytes, compiled.bindings[id])
            : compiled.memory->Upload(compiled.bindings[id].offset, bytes));
  }
  BANTAM_ASSIGN_OR_RETURN(compiled.stream, device.NewStream());
  BANTAM_ASSIGN_OR_RETURN(
      compiled.executable,
      device.Compile({c.graph, compiled.plan, compiled.bindings, {compiled.temp.get(), 0}}));
  return compiled;
}

// The first output of one run.
inline std::vector<float> RunAndRead(device::Device& device, conformance::Case& c,
                                     bool repack = false) {
  auto compiled = Compile(device, c, repack);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  if (!compiled.ok()) return {};
  EXPECT_TRUE(compiled->executable->Run(*compiled->stream).ok());
  const graph::ValueId out = c.graph.outputs()[0];
  std::vector<float> values(graph::ElementCount(c.graph.value(out).shape));
  EXPECT_TRUE(compiled->temp
                  ->Download(compiled->plan.offsets[out], std::as_writable_bytes(std::span(values)))
                  .ok());
  return values;
}

}  // namespace bantam::cpu
