// backends/cuda/driver.h on the emulator: device memory is host memory with a page that cannot be
// touched right after its end, streams do at once what they are told.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cuda/driver.h"
#include "runtime/base/status.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/faults.h"
#include "tests/cuda_emulator/library_stream.h"

namespace bantam::cuda {
namespace {

constexpr uint64_t kMemory = uint64_t{4} << 30;

struct Recorded {
  Grid grid;
  int threads, shared_bytes;  // no threads: work of a library
  std::function<void()> kernel;
  std::vector<size_t> after;  // the launches it comes after

  void Run() const { threads == 0 ? kernel() : emulator::Run(grid, threads, shared_bytes, kernel); }
};

struct EmulatedGraph {
  bool capturing = true;
  std::vector<Recorded> launches;
};
// A stream that is captured, and an event recorded there: what comes next on it comes after `last`.
struct EmulatedStream {
  const emulator::LibraryStream* library = &emulator::kLibraryStream;
  std::shared_ptr<EmulatedGraph> graph;
  std::vector<size_t> last;
  bool IsCaptured() const { return graph != nullptr && graph->capturing; }
};
using EmulatedEvent = EmulatedStream;

struct Mapping {
  void* base;
  uint64_t mapped, bytes;
};
std::mutex allocations_mutex;
std::map<void*, Mapping> allocations;
uint64_t allocated = 0;
std::map<const std::byte*, uint64_t> registered;

// Whether memory lies in one allocation, of the device or pinned, or in what is registered.
bool IsPinned(const void* at_address, uint64_t bytes) {
  const auto* memory = static_cast<const std::byte*>(at_address);
  std::lock_guard lock(allocations_mutex);
  for (const auto& [at, mapping] : allocations) {
    const auto* begin = static_cast<const std::byte*>(at);
    if (begin <= memory && memory + bytes <= begin + mapping.bytes) return true;
  }
  for (const auto& [begin, size] : registered) {
    if (begin <= memory && memory + bytes <= begin + size) return true;
  }
  return false;
}

void SubmitOfLibrary(void* stream, std::function<void()> work) {
  emulator::Submit({}, 0, 0, stream, std::move(work));
}

bool Strikes(std::atomic<int>& countdown) {
  int left = countdown.load();
  while (left > 0 && !countdown.compare_exchange_weak(left, left - 1)) {
  }
  return left == 1;
}

absl::Status LostStatus() {
  return emulator::TheFaults().lost ? absl::UnavailableError("the CUDA device is lost: injected")
                                    : absl::OkStatus();
}

absl::StatusOr<void*> Map(uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::lock_guard lock(allocations_mutex);
  if (bytes > kMemory - allocated || Strikes(emulator::TheFaults().allocation_in)) {
    return absl::ResourceExhaustedError(absl::StrCat("no device memory for ", bytes, " bytes"));
  }
  const uint64_t mapped = (bytes + page - 1) / page * page + page;
  void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return absl::ResourceExhaustedError("no host memory");
  mprotect(static_cast<std::byte*>(base) + mapped - page, page, PROT_NONE);
  // Ends at that page, but for the 16 bytes that kernels align to.
  void* memory = static_cast<std::byte*>(base) + (mapped - page - (bytes + 15) / 16 * 16);
  std::memset(memory, 0xFF, bytes);
  allocations[memory] = {base, mapped, bytes};
  allocated += bytes;
  return memory;
}

void Unmap(void* memory) {
  std::lock_guard lock(allocations_mutex);
  const auto found = allocations.find(memory);
  if (found == allocations.end()) return;
  munmap(found->second.base, found->second.mapped);
  allocated -= found->second.bytes;
  allocations.erase(found);
}

}  // namespace

namespace emulator {

const LibraryStream kLibraryStream = {SubmitOfLibrary, IsPinned};

Faults& TheFaults() {
  static Faults faults;
  return faults;
}

uint64_t AllocatedBytes() {
  std::lock_guard lock(allocations_mutex);
  return allocated;
}

void Submit(Grid grid, int threads, int shared_bytes, Stream stream, std::function<void()> kernel) {
  auto* own = static_cast<EmulatedStream*>(stream);
  if (own == nullptr) return;  // kernels need not be loaded
  Recorded launch{grid, threads, shared_bytes, std::move(kernel), own->last};
  if (!own->IsCaptured()) return launch.Run();
  own->graph->launches.push_back(std::move(launch));
  own->last = {own->graph->launches.size() - 1};
}

}  // namespace emulator

namespace driver {

absl::string_view BackendName() { return "cuda-emulated"; }
std::vector<std::string> CublasNames() { return emulator::TheFaults().cublas_names; }
absl::StatusOr<int> DeviceCount() {
  const char* count = std::getenv("BANTAM_CUDA_EMULATED_DEVICES");
  return count != nullptr ? std::atoi(count) : 1;
}
absl::StatusOr<DeviceInfo> Info(int) {
  DeviceInfo info;
  info.name = "CUDA emulator of the tests";
  info.driver = "on the processor";
  info.capability = 80;
  info.multiprocessors = 2;
  info.is_emulated = true;
  info.memory = kMemory;
  info.shared_bytes = 64 << 10;
  return info;
}
absl::Status SetDevice(int) { return LostStatus(); }
void Reset(int) {
  std::lock_guard lock(allocations_mutex);
  for (const auto& [memory, mapping] : allocations) munmap(mapping.base, mapping.mapped);
  allocations.clear();
  allocated = 0;
  emulator::TheFaults().lost = false;
}
absl::Status MemoryInfo(uint64_t& free, uint64_t& total) {
  total = kMemory;
  free = kMemory - emulator::AllocatedBytes();
  return LostStatus();
}
absl::StatusOr<void*> Malloc(uint64_t bytes) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  return Map(bytes);
}
void Free(void* memory) { Unmap(memory); }
absl::StatusOr<void*> MallocHost(uint64_t bytes) { return Malloc(bytes); }
void FreeHost(void* memory) { Unmap(memory); }

absl::Status RegisterHost(const void* memory, uint64_t bytes) {
  if ((reinterpret_cast<uintptr_t>(memory) | bytes) % 4096 != 0) {
    return absl::InternalError("registers what is not whole pages");
  }
  std::lock_guard lock(allocations_mutex);
  registered[static_cast<const std::byte*>(memory)] = bytes;
  return absl::OkStatus();
}
void UnregisterHost(const void* memory) {
  std::lock_guard lock(allocations_mutex);
  registered.erase(static_cast<const std::byte*>(memory));
}

absl::StatusOr<Stream> NewStream() {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  return new EmulatedStream;
}
void FreeStream(Stream stream) { delete static_cast<EmulatedStream*>(stream); }
absl::Status Synchronize(Stream) { return LostStatus(); }
absl::StatusOr<Event> NewEvent() { return new EmulatedEvent; }
void FreeEvent(Event event) { delete static_cast<EmulatedEvent*>(event); }
absl::Status Record(Event event, Stream stream) {
  *static_cast<EmulatedEvent*>(event) = *static_cast<EmulatedStream*>(stream);
  return LostStatus();
}
absl::Status Wait(Event) { return LostStatus(); }
absl::Status StreamWaits(Stream stream, Event event) {
  auto* own = static_cast<EmulatedStream*>(stream);
  const auto* other = static_cast<EmulatedEvent*>(event);
  if (other->IsCaptured()) {
    if (!own->IsCaptured()) *own = {own->library, other->graph, {}};
    own->last.insert(own->last.end(), other->last.begin(), other->last.end());
  }
  return LostStatus();
}
absl::StatusOr<double> SecondsBetween(Event, Event) { return 1e-6; }

absl::Status CopyToDevice(void* to, const void* from, uint64_t bytes, Stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  if (!IsPinned(from, bytes)) {
    return absl::InternalError("an asynchronous copy from memory that is not pinned");
  }
  const auto* at = static_cast<const std::byte*>(from);
  for (const auto& [begin, size] : registered) {
    if (begin <= at && at < begin + size) emulator::TheFaults().registered_bytes += bytes;
  }
  std::memcpy(to, from, bytes);
  return absl::OkStatus();
}
absl::Status CopyToHost(void* to, const void* from, uint64_t bytes, Stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  std::memcpy(to, from, bytes);
  return absl::OkStatus();
}
absl::Status CopyBetween(void* to, int, const void* from, int, uint64_t bytes, Stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  std::memcpy(to, from, bytes);
  emulator::TheFaults().peer_bytes += bytes;
  return absl::OkStatus();
}
void ReachPeer(int) {}
absl::Status Fill(void* to, int byte, uint64_t bytes, Stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  std::memset(to, byte, bytes);
  return absl::OkStatus();
}

absl::Status BeginCapture(Stream stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  auto* own = static_cast<EmulatedStream*>(stream);
  *own = {own->library, std::make_shared<EmulatedGraph>(), {}};
  return absl::OkStatus();
}
absl::StatusOr<GraphExec> EndCapture(Stream stream) {
  auto* own = static_cast<EmulatedStream*>(stream);
  own->graph->capturing = false;
  // Everything must come before what the stream did last, or CUDA takes no such graph.
  std::vector<Recorded>& launches = own->graph->launches;
  std::vector<bool> joined(launches.size());
  for (size_t i : own->last) joined[i] = true;
  for (size_t i = launches.size(); i-- > 0;) {
    if (!joined[i]) return absl::InternalError("a captured stream was not joined");
    for (size_t before : launches[i].after) joined[before] = true;
  }
  std::map<std::vector<size_t>, size_t> of_same;
  size_t most = 0;
  for (const Recorded& launch : launches) most = std::max(most, ++of_same[launch.after]);
  emulator::TheFaults().side_by_side = most;
  return new EmulatedGraph{false, std::move(launches)};
}
absl::Status LaunchGraph(GraphExec graph, Stream) {
  BANTAM_RETURN_IF_ERROR(LostStatus());
  if (Strikes(emulator::TheFaults().launch_in)) {
    emulator::TheFaults().lost = true;
    return LostStatus();
  }
  // In an order the graph allows: of what can run, the first and the last in turn.
  const std::vector<Recorded>& launches = static_cast<EmulatedGraph*>(graph)->launches;
  std::vector<bool> done(launches.size());
  const auto can_run = [&](size_t i) {
    return !done[i] && std::all_of(launches[i].after.begin(), launches[i].after.end(),
                                   [&](size_t before) { return done[before]; });
  };
  static unsigned runs = 0;
  const bool last_first = ++runs % 2 == 0;
  for (size_t count = 0, from = 0; count < launches.size(); ++count) {
    while (done[from]) ++from;
    // Launches side by side are near each other.
    size_t next = from;
    for (size_t i = from; i < std::min(launches.size(), from + 16); ++i) {
      if (can_run(i) && (last_first || !can_run(next))) next = i;
    }
    const Recorded& launch = launches[next];
    launch.Run();
    done[next] = true;
  }
  return absl::OkStatus();
}
void FreeGraph(GraphExec graph) { delete static_cast<EmulatedGraph*>(graph); }
absl::Status LaunchStatus() { return LostStatus(); }

}  // namespace driver
}  // namespace bantam::cuda
