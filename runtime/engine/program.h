// One step compiled for every device it runs on.
#pragma once

#include <cstdint>
#include <memory>
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
  };
  // `bind` gives what a weight, input or state is bound to on a device.
  using Bind = absl::FunctionRef<absl::StatusOr<device::Binding>(const graph::Value&, int device)>;

  // `places` by device; those without a node need no memory.
  // `trace`, where not null, is told what runs, and must outlive this.
  static absl::StatusOr<std::unique_ptr<Program>> Compile(const schedule::Partition& partition,
                                                          std::vector<Place> places, Bind bind,
                                                          Trace* trace = nullptr);

  // Returns when everything is done.
  absl::Status Run();

  // The same in pieces, for one who runs two programs at once (pipeline.h): BeginStep, then for
  // each segment in order MoveTo and RunSegment, which return when that is done.
  int segment_count() const { return static_cast<int>(segments_.size()); }
  int device_count() const { return static_cast<int>(places_.size()); }
  int DeviceOf(int segment) const { return segments_[segment].device; }
  void BeginStep();
  absl::Status MoveTo(int segment);
  absl::Status RunSegment(int segment);

  uint64_t scratch_bytes() const;
  // As of device::Executable; of all segments.
  absl::Status StartProfile();
  std::vector<device::KernelTime> Profile() const;
  // A line for each kind of kernel; of several devices, under a line with each segment's.
  std::string Describe() const;

 private:
  struct Copy {
    device::Binding from, to;
    int from_device = 0;
    uint64_t bytes = 0;
  };
  struct Segment {
    int device = 0;
    std::vector<Copy> copies;  // before it runs
    std::unique_ptr<device::Executable> executable;
  };

  absl::Status Start(int segment);
  absl::Status Synchronize(int device);
  absl::Status Move(const Copy& copy);

  std::vector<Place> places_;
  std::vector<int> running_;  // by device: the segment that may not be done yet, or -1
  std::vector<Trace::Clock::time_point> started_;  // by device: when that was
  std::vector<Segment> segments_;
  std::vector<std::byte> staging_;  // for what moves between devices the host cannot address
  Trace* trace_ = nullptr;
  int64_t step_ = 0;  // of the trace
};

}  // namespace bantam::engine
