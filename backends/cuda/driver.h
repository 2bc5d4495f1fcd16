// What the backend asks of CUDA. driver_cuda.cc answers with the CUDA runtime; the emulator of the
// tests (tests/cuda_emulator) answers in its place, so that everything above this header runs on a
// machine without a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/cuda/launch.h"

namespace bantam::cuda::driver {

using Event = void*;
using GraphExec = void*;

struct DeviceInfo {
  std::string name;    // "NVIDIA GeForce RTX 3060"
  std::string driver;  // "CUDA 13.0, compute capability 8.6"
  std::string hardware_id;
  int capability = 0;  // 86
  int multiprocessors = 1;
  bool is_integrated = false;
  bool is_emulated = false;
  uint64_t memory = 0;        // bytes
  uint64_t shared_bytes = 0;  // a block may ask for
};

// Errors: kResourceExhausted when memory is short, and the device goes on; kNotFound without a
// driver or a device; kUnavailable when the device is lost, until Reset; kInternal for anything
// else.

absl::StatusOr<int> DeviceCount();
absl::StatusOr<DeviceInfo> Info(int device);
// "cuda", or what the emulator calls its own devices.
absl::string_view BackendName();

// The files cuBLAS may be, the one to prefer first.
std::vector<std::string> CublasNames();

// Every call below concerns the device made current on this thread. The first one creates its
// context, which takes memory.
absl::Status SetDevice(int device);
// Ends the device's context: its memory, streams, events and graphs are no more.
void Reset(int device);

absl::Status MemoryInfo(uint64_t& free, uint64_t& total);
absl::StatusOr<void*> Malloc(uint64_t bytes);
void Free(void* memory);
absl::StatusOr<void*> MallocHost(uint64_t bytes);  // pinned
void FreeHost(void* memory);
// Pins host memory there is, which copies then need not stage; it may be mapped for reading only.
// Its pages must not be registered already.
absl::Status RegisterHost(const void* memory, uint64_t bytes);
void UnregisterHost(const void* memory);

absl::StatusOr<Stream> NewStream();
void FreeStream(Stream stream);
absl::Status Synchronize(Stream stream);
absl::StatusOr<Event> NewEvent();
void FreeEvent(Event event);
absl::Status Record(Event event, Stream stream);
absl::Status Wait(Event event);                        // the host waits
absl::Status StreamWaits(Stream stream, Event event);  // later work of the stream waits
absl::StatusOr<double> SecondsBetween(Event start, Event end);

absl::Status CopyToDevice(void* to, const void* from, uint64_t bytes, Stream stream);
absl::Status CopyToHost(void* to, const void* from, uint64_t bytes, Stream stream);
// Between two GPUs, or within one; directly where they can reach each other. `stream` is of the one
// that is current.
absl::Status CopyBetween(void* to, int to_device, const void* from, int from_device, uint64_t bytes,
                         Stream stream);
// Lets the current device reach another's memory, if it can.
void ReachPeer(int device);
absl::Status Fill(void* to, int byte, uint64_t bytes, Stream stream);

// Kernels launched on `stream` between the two are not run but become a graph.
absl::Status BeginCapture(Stream stream);
absl::StatusOr<GraphExec> EndCapture(Stream stream);
absl::Status LaunchGraph(GraphExec graph, Stream stream);
void FreeGraph(GraphExec graph);

// What went wrong with the launches since the last call.
absl::Status LaunchStatus();

}  // namespace bantam::cuda::driver
