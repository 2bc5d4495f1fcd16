// The contract a backend fulfils. Implementations live under backends/; nothing in runtime/ knows
// them by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/memory_plan.h"

namespace bantam::device {

enum class Kind : uint8_t { kCpu, kIntegratedGpu, kDiscreteGpu };
absl::string_view KindName(Kind kind);

struct MemoryInfo {
  uint64_t total = 0;  // bytes
  uint64_t free = 0;   // bytes, as the driver reports them now
};

struct Limits {
  uint64_t max_allocation = UINT64_MAX;  // bytes in one Buffer
  uint64_t alignment = 64;               // of tensor offsets in a buffer; a power of two
  int64_t ubatch = 512;                  // tokens of a prompt it is best given in one step
};

// Memory on one device. Owned by the caller; must outlive every Executable bound to it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual uint64_t size() const = 0;
  // The bytes when the host can address them directly, else empty. Writable unless the buffer
  // wraps read-only memory (WrapHost).
  virtual std::span<std::byte> host() { return {}; }
  // Blocking copies; kOutOfRange past the end.
  virtual absl::Status Upload(uint64_t offset, std::span<const std::byte> data) = 0;
  virtual absl::Status Download(uint64_t offset, std::span<std::byte> data) = 0;
  // Copies from another buffer, of another device perhaps, without the host's memory between;
  // blocks as Upload does. kUnimplemented where these two devices cannot: Download and Upload then.
  virtual absl::Status CopyFrom(uint64_t, Buffer& /*from*/, uint64_t /*from_offset*/,
                                uint64_t /*bytes*/) {
    return absl::UnimplementedError("no copies between these devices but through the host");
  }
};

// Where a value with memory of its own lives. Views are found through their base.
struct Binding {
  Buffer* buffer = nullptr;
  uint64_t offset = 0;
};

// Host memory made known to a device, until it is destroyed.
class HostRegistration {
 public:
  virtual ~HostRegistration() = default;
};

class Event {
 public:
  virtual ~Event() = default;
  virtual absl::Status Wait() = 0;  // blocks the host
};

// An in-order queue of work on one device. Not thread-safe.
class Stream {
 public:
  virtual ~Stream() = default;
  // Blocks until everything submitted is done; reports failures of that work.
  virtual absl::Status Synchronize() = 0;
  // An event that completes when everything submitted so far has.
  virtual absl::StatusOr<std::unique_ptr<Event>> Record() = 0;
  // Work submitted later starts after `event` (of any device).
  virtual absl::Status WaitFor(Event& event) = 0;
};

// What one kernel took, over all nodes it ran.
struct KernelTime {
  std::string kernel;  // as Describe names it, and the size of its weights
  int64_t runs = 0;    // nodes run
  double seconds = 0;
  uint64_t weight_bytes = 0;  // of the weights of these runs
};

// A compiled graph bound to memory. Run allocates nothing and chooses nothing.
class Executable {
 public:
  virtual ~Executable() = default;
  // Enqueues one step. One Run at a time per Executable.
  virtual absl::Status Run(Stream& stream) = 0;
  // Bytes the executable holds besides the buffers it was bound to.
  virtual uint64_t scratch_bytes() const = 0;
  // For --verbose: a line per group of nodes, naming the kernel that runs it.
  virtual std::string Describe() const = 0;
  // From the next Run on, measures what each kernel takes, beginning at 0. kUnimplemented where a
  // device cannot tell.
  virtual absl::Status StartProfile() {
    return absl::UnimplementedError("this device does not measure its kernels");
  }
  virtual std::vector<KernelTime> Profile() const { return {}; }
};

// Memory of a device that compiled nodes need beside the buffers they are bound to.
struct Scratch {
  uint64_t shared = 0;  // bytes used only while they run: others that do not run then may share it
  uint64_t own = 0;     // bytes that stay each executable's own
};

struct CompileArgs {
  const graph::Graph& graph;  // whole and inferred; only read during the call
  const graph::MemoryPlan& plan;
  // By ValueId, for every weight, input and state value that a node uses.
  std::span<const Binding> bindings;
  Binding temp;  // at least plan.size bytes
  // The nodes to run, [first_node, end_node); the others run elsewhere. kNone: to the last one.
  graph::NodeId first_node = 0;
  graph::NodeId end_node = graph::kNone;
  // Room for Scratch::shared, aligned as limits() say. No buffer, or too little: the executable
  // allocates its own.
  Binding scratch = {};
  uint64_t scratch_bytes = 0;

  std::span<const graph::Node> nodes() const {
    const std::span<const graph::Node> all = graph.nodes();
    const size_t end = end_node == graph::kNone ? all.size() : static_cast<size_t>(end_node);
    return all.first(end).subspan(static_cast<size_t>(first_node));
  }
};

// What a device can do at best, in the long run; per second.
struct Speed {
  double read_bytes = 0;  // streaming through memory that no cache holds
  double int8_ops = 0;    // additions and multiplications of int8 dot products in registers
};

// Of a device that is lost (its driver was reset) everything made before answers kUnavailable from
// then on, but for destructors. What a buffer uploads or downloads may run beside programs on other
// buffers, on another thread.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;         // "cpu", "vulkan:0": what --device takes
  virtual std::string description() const = 0;  // for people: "AMD EPYC ..., 2 threads"
  virtual Kind kind() const = 0;
  // The same for two devices of different backends that are one piece of hardware (its UUID, as
  // CUDA and Vulkan both tell it); "": not known.
  virtual std::string hardware_id() const { return ""; }
  virtual MemoryInfo memory() const = 0;
  virtual Limits limits() const = 0;
  // Whether this device runs `node` of `graph` (inferred) with these types and shapes.
  virtual bool Supports(const graph::Graph& graph, const graph::Node& node) const = 0;

  // Zero-filled. kResourceExhausted when out of memory: the caller can go on.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) = 0;
  // The same for weights, which programs only read: a device may give more than max_allocation, in
  // several pieces.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> AllocateWeights(uint64_t bytes) {
    return Allocate(bytes);
  }
  // A read-only buffer over host memory without a copy (mapped weights); the memory must outlive
  // it. kUnimplemented where the device cannot address host memory.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> WrapHost(std::span<const std::byte> data) = 0;
  // Makes uploads and LoadWeight from within `data` faster: for what is uploaded again and again,
  // as weights that are streamed from the mapped file. The memory stays resident, and must outlive
  // the registration. kUnimplemented or another error where the device or the system cannot;
  // uploads work all the same.
  virtual absl::StatusOr<std::unique_ptr<HostRegistration>> RegisterHost(
      std::span<const std::byte> /*data*/) {
    return absl::UnimplementedError("this device has no use for registered memory");
  }
  // Bytes a weight takes once loaded.
  virtual uint64_t PackedBytes(quant::Type type, const graph::Shape& shape) const = 0;
  // Copies a weight to `where`, which has PackedBytes of room.
  virtual absl::Status LoadWeight(quant::Type type, const graph::Shape& shape,
                                  std::span<const std::byte> data, const Binding& where) = 0;
  // Whether programs that use `weight` as `graph` does are faster when it is loaded by Repack than
  // when it was wrapped, or by LoadWeight. Programs that use it otherwise will not compile then.
  virtual bool Repacks(const graph::Graph& /*graph*/, graph::ValueId /*weight*/) const {
    return false;
  }
  // LoadWeight to an arrangement of the device's own.
  virtual absl::Status Repack(quant::Type, const graph::Shape&, std::span<const std::byte> /*data*/,
                              const Binding& /*where*/) {
    return absl::UnimplementedError("this device does not repack weights");
  }

  virtual absl::StatusOr<std::unique_ptr<Executable>> Compile(const CompileArgs& args) = 0;
  // What Compile will take of this device's memory for these nodes, before there are any buffers:
  // `bindings`, `temp` and `scratch` are not looked at.
  virtual absl::StatusOr<Scratch> PredictScratch(const CompileArgs& /*args*/) { return Scratch{}; }
  virtual absl::StatusOr<std::unique_ptr<Stream>> NewStream() = 0;
  // Takes about a second. kUnimplemented where a device has no such measurement.
  virtual absl::StatusOr<Speed> MeasureSpeed() {
    return absl::UnimplementedError("this device does not measure its speed");
  }
};

struct BackendOptions {
  int threads = 0;      // CPU threads; 0: a thread for each core it may use
  std::string cpu_isa;  // kernels of the device "cpu": "portable", "avx2", ...; "": the fastest
};

}  // namespace bantam::device
