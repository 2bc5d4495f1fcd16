#include "tests/cuda_emulator/emulator.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/cuda_emulator/fiber.h"

namespace bantam::cuda::emulator {

Place place;

namespace {

constexpr int kWarp = 32, kMaxThreads = 1024, kMaxShared = 64 << 10;
constexpr size_t kStack = 64 << 10;

enum class State : uint8_t { kReady, kAtWarp, kAtBarrier, kDone };

struct PendingCopy {
  void* to;
  const void* from;
  int bytes;
};

struct Thread {
  Fiber fiber;
  State state = State::kDone;
  std::deque<std::vector<PendingCopy>> groups;  // committed, the oldest first
  std::vector<PendingCopy> open;
};

struct Warp {
  int arrived = 0, done = 0;
  const char* operation = nullptr;
  alignas(16) unsigned char given[kWarp * kGiven];
  alignas(16) unsigned char gotten[kWarp * kGotten];
};

struct Block {
  std::vector<Thread> threads{kMaxThreads};
  std::vector<Warp> warps{kMaxThreads / kWarp};
  std::unique_ptr<unsigned char[]> stacks{new unsigned char[kMaxThreads * kStack]};
  alignas(64) unsigned char shared[kMaxShared];
  int size = 0, shared_bytes = 0;
  int at_barrier = 0, done = 0;
  bool any = false, any_of_last = false;
  // How threads take turns.
  bool backward = false;    // from the last to the first
  bool warp_first = false;  // the others of a warp before other warps: these drift apart
  const std::function<void()>* kernel = nullptr;
  Fiber main;
};

Block& TheBlock() {
  static Block* block = new Block;
  return *block;
}

void Resume(int from, int to) {
  Block& block = TheBlock();
  place.thread = to;
  SwitchFiber(from < 0 ? block.main : block.threads[from].fiber,
              to < 0 ? block.main : block.threads[to].fiber);
  if (from >= 0) place.thread = from;
}

// Leaves the thread that runs for one that can; when it is resumed, what it waited for is there.
void Leave() {
  Block& block = TheBlock();
  const int self = place.thread;
  if (block.done == block.size) return Resume(self, -1);
  const int step = block.backward ? -1 : 1;
  // The next of `count` threads from `first` that is ready, after this one.
  auto find = [&](int first, int count) {
    int at = self - first;
    for (int i = 0; i < count; ++i) {
      at = (at + step + count) % count;
      if (block.threads[first + at].state == State::kReady) return first + at;
    }
    return -1;
  };
  int next = block.warp_first ? find(self / kWarp * kWarp, kWarp) : -1;
  if (next < 0) next = find(0, block.size);
  if (next >= 0) return Resume(self, next);
  Die("every thread waits: a barrier or a warp operation is not reached by all");
}

void ReleaseBarrier() {
  Block& block = TheBlock();
  for (int i = 0; i < block.size; ++i) {
    if (block.threads[i].state == State::kAtBarrier) block.threads[i].state = State::kReady;
  }
  block.at_barrier = 0;
  block.any_of_last = block.any;
  block.any = false;
}

void ThreadMain() {
  for (;;) {
    Block& block = TheBlock();
    (*block.kernel)();
    const int self = place.thread;
    Thread& thread = block.threads[self];
    if (!thread.open.empty() || !thread.groups.empty()) {
      // A copy nobody waits for is no error, but its memory may be gone.
      thread.open.clear();
      thread.groups.clear();
    }
    thread.state = State::kDone;
    Warp& warp = block.warps[self / kWarp];
    ++warp.done;
    if (warp.arrived != 0) Die("has ended while its warp is in a warp operation");
    ++block.done;
    if (block.at_barrier != 0) Die("has ended while others wait at a barrier");
    Leave();
  }
}

void RunBlock() {
  Block& block = TheBlock();
  for (int i = 0; i < block.size; ++i) {
    MakeFiber(block.threads[i].fiber, block.stacks.get() + i * kStack, kStack, &ThreadMain);
    block.threads[i].state = State::kReady;
  }
  for (int w = 0; w * kWarp < block.size; ++w) block.warps[w].arrived = block.warps[w].done = 0;
  block.done = block.at_barrier = 0;
  std::memset(block.shared, 0xFF, static_cast<size_t>(block.shared_bytes));
  Resume(-1, block.backward ? block.size - 1 : 0);
}

}  // namespace

void Die(const char* what) {
  std::fprintf(stderr, "CUDA emulator: thread %d of block %d, %d: %s\n", place.thread,
               place.block_x, place.block_y, what);
  std::abort();
}

unsigned char* SharedMemory() { return TheBlock().shared; }

bool Barrier(bool any) {
  Block& block = TheBlock();
  if (block.done != 0) Die("waits at a barrier that other threads have passed for good");
  block.any |= any;
  if (++block.at_barrier == block.size) {
    block.threads[place.thread].state = State::kAtBarrier;
    ReleaseBarrier();
  } else {
    block.threads[place.thread].state = State::kAtBarrier;
    Leave();
  }
  return block.any_of_last;
}

void WarpOperation(const char* name, const void* given, int given_bytes, void* gotten,
                   int gotten_bytes, void (*compute)(const unsigned char*, unsigned char*, int),
                   int argument) {
  Block& block = TheBlock();
  const int self = place.thread, lane = self % kWarp;
  Warp& warp = block.warps[self / kWarp];
  if (warp.done != 0) Die("is in a warp operation that other lanes have ended before");
  if (warp.arrived == 0) {
    warp.operation = name;
  } else if (warp.operation != name) {
    Die("is in another warp operation than the rest of its warp");
  }
  std::memcpy(warp.given + lane * kGiven, given, static_cast<size_t>(given_bytes));
  if (++warp.arrived == kWarp) {
    compute(warp.given, warp.gotten, argument);
    warp.arrived = 0;
    const int first = self - lane;
    for (int i = first; i < first + kWarp; ++i) {
      if (block.threads[i].state == State::kAtWarp) block.threads[i].state = State::kReady;
    }
  } else {
    block.threads[self].state = State::kAtWarp;
    Leave();
  }
  std::memcpy(gotten, warp.gotten + lane * kGotten, static_cast<size_t>(gotten_bytes));
}

void CopyAsync(void* to, const void* from, int bytes) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0) {
    Die("copies from or to an address that is not a multiple of 16");
  }
  TheBlock().threads[place.thread].open.push_back({to, from, bytes});
}

void CopyCommit() {
  Thread& thread = TheBlock().threads[place.thread];
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void CopyWait(int pending) {
  Thread& thread = TheBlock().threads[place.thread];
  while (static_cast<int>(thread.groups.size()) > pending) {
    for (const PendingCopy& copy : thread.groups.front()) {
      std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
    thread.groups.pop_front();
  }
}

void Run(Grid grid, int threads, int shared_bytes, const std::function<void()>& kernel) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  Block& block = TheBlock();
  if (threads <= 0 || threads > kMaxThreads || threads % kWarp != 0 || grid.x == 0 || grid.y == 0 ||
      grid.y > 65535 || shared_bytes > kMaxShared) {
    Die("a launch no GPU would take");
  }
  block.size = threads;
  block.shared_bytes = shared_bytes;
  block.kernel = &kernel;
  place.grid_x = static_cast<int>(grid.x);
  static unsigned launch = 0, turn = 0;
  const bool last_first = ++launch % 2 == 0;
  const uint64_t blocks = uint64_t{grid.x} * grid.y;
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t at = last_first ? blocks - 1 - i : i;
    place.block_x = static_cast<int>(at % grid.x);
    place.block_y = static_cast<int>(at / grid.x);
    ++turn;
    block.backward = (turn & 1) != 0;
    block.warp_first = (turn & 2) != 0;
    RunBlock();
  }
}

}  // namespace bantam::cuda::emulator
