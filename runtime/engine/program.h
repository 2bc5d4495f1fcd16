// One step compiled for every device it runs on.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/device/device.h"
#include "runtime/engine/trace.h"
#include "runtime/schedule/partition.h"

namespace bantam::engine {

// Executables of the segments of a partition, and the copies between them. On one device it is one
// executable. Run allocates nothing.
class Program {
 public:
  struct Place {
    device::Device* device = nullptr;
    device::Stream* stream = nullptr;
    device::Buffer* temp = nullptr;  // at least as large as the partition's plan for the device
    // Where in it the scratch of compiled segments is, which share it.
    uint64_t scratch_offset = 0, scratch_bytes = 0;
  };
  // `bind` gives what a weight, input or state is bound to on a device.
  using Bind = absl::FunctionRef<absl::StatusOr<device::Binding>(const graph::Value&, int device)>;

  // For segments with a unit: the two buffers its weights come to in turn, on the one device that
  // has such segments, and where the weights come from.
  struct Units {
    std::array<device::Buffer*, 2> buffers = {};
    // One after the other they are the weight, as the file has it.
    using Pieces = std::vector<std::span<const std::byte>>;
    std::function<absl::StatusOr<Pieces>(const graph::Value&)> source;
  };

  // `places` by device; those without a node need no memory.
  // `trace`, where not null, is told what runs, and must outlive this. `failing` is set to a device
  // that does not compile its part.
  static absl::StatusOr<std::unique_ptr<Program>> Compile(const schedule::Partition& partition,
                                                          std::vector<Place> places, Bind bind,
                                                          const Units& units, Trace* trace,
                                                          int& failing);

  // Returns when everything is done.
  absl::Status Run();

  // The same in pieces, for one who runs two programs at once (pipeline.h), none of which has
  // units: BeginStep, then for each segment in order MoveTo and RunSegment, which return when that
  // is done.
  int segment_count() const { return static_cast<int>(segments_.size()); }
  int device_count() const { return static_cast<int>(places_.size()); }
  int DeviceOf(int segment) const { return segments_[segment].device; }
  void BeginStep();
  absl::Status MoveTo(int segment);
  absl::Status RunSegment(int segment);

  uint64_t scratch_bytes() const;
  // What the segments of a device keep there for themselves, as the device predicted it.
  uint64_t own_bytes(int device) const;
  // As of device::Executable; of all segments.
  absl::Status StartProfile();
  std::vector<device::KernelTime> Profile() const;
  // A line for each kind of kernel; of several devices, under a line with each segment's.
  std::string Describe() const;

 private:
  struct Copy {
    device::Binding from, to;
    int from_device = 0, to_device = 0;
    uint64_t bytes = 0;
  };
  // A weight, or rows of one, that is brought before a segment runs.
  struct Load {
    quant::Type type;
    graph::Shape shape;
    std::span<const std::byte> data;
    device::Binding to;
  };
  struct Segment {
    int device = 0;
    std::vector<Load> loads;
    std::vector<Copy> copies;  // before it runs
    uint64_t own_bytes = 0;
    std::unique_ptr<device::Executable> executable;
  };

  absl::Status CompileUnit(const schedule::Partition& partition, const schedule::Segment& part,
                           const Units& units, std::vector<device::Binding>& bindings,
                           Segment& segment);
  absl::Status LoadUnit(int64_t unit);
  absl::Status RunWithUnits();
  absl::Status Start(int segment);
  absl::Status Synchronize(int device);
  absl::Status Move(const Copy& copy);

  std::vector<Place> places_;
  std::vector<int> running_;  // by device: the segment that may not be done yet, or -1
  std::vector<Trace::Clock::time_point> started_;  // by device: when that was
  std::vector<Segment> segments_;
  std::vector<int> units_;          // those of them that have loads, in order
  std::vector<std::byte> staging_;  // for what moves between devices the host cannot address
  Trace* trace_ = nullptr;
  int64_t step_ = 0;  // of the trace
};

}  // namespace bantam::engine
