#include "runtime/base/thread_pool.h"

#include <sched.h>

#include <algorithm>

#include "runtime/base/counters.h"

namespace bantam {
namespace {

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int size) {
  // With more threads than processors, one that spins may hold up one that works.
  spins_ = size <= DefaultSize();
  try {
    for (int worker = 1; worker < std::min<int>(size, kInside); ++worker) {
      threads_.emplace_back([this, worker] { WorkerLoop(worker); });
    }
  } catch (...) {
    Stop();  // a running thread must not be destroyed
    throw;
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

template <typename Done>
bool ThreadPool::Spin(const Done& done) const {
  if (done()) return true;
  if (!spins_) return false;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void ThreadPool::ParallelFor(int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (threads_.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = begin + std::min(grain, count - begin);
      body(begin, end, 0);
      begin = end;
    }
    return;
  }
  body_ = &body;
  count_ = count;
  grain_ = grain;
  // Counted in chunks: a count of elements could overflow when every thread steps past the end.
  const int64_t chunks = (count - 1) / grain + 1;
  stretch_count_ = static_cast<int>(std::min<int64_t>({size(), kMostStretches, chunks}));
  int64_t first = 0;
  for (int i = 0; i < stretch_count_; ++i) {
    stretches_[i].next.store(first, std::memory_order_relaxed);
    first += chunks / stretch_count_ + (i < chunks % stretch_count_ ? 1 : 0);
    stretches_[i].end = first;
  }
  // Sequentially consistent, here and where a thread goes to sleep: either this sees that a worker
  // sleeps, or the worker sees the new loop.
  state_ = (state_.load() & ~(kClosed | kInside)) + kNumber;
  if (sleeping_ != 0) {
    { std::lock_guard lock(mutex_); }
    start_.notify_all();
  }
  RunChunks(0);
  state_ |= kClosed;
  auto empty = [this] { return (state_ & kInside) == 0; };
  if (Spin(empty)) return;
  ++counters.sleeps;
  caller_sleeps_ = true;
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, empty);
  }
  caller_sleeps_ = false;
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;  // number of the last loop joined
  auto is_open = [&](uint64_t state) { return (state & kClosed) == 0 && state / kNumber != seen; };
  auto ready = [&] { return stop_ || is_open(state_); };
  while (true) {
    if (!Spin(ready)) {
      ++counters.sleeps;
      ++sleeping_;
      {
        std::unique_lock lock(mutex_);
        start_.wait(lock, ready);
      }
      --sleeping_;
    }
    if (stop_) return;
    uint64_t state = state_;
    while (is_open(state) && !state_.compare_exchange_weak(state, state + 1)) {
    }
    if (!is_open(state)) continue;
    seen = state / kNumber;
    RunChunks(worker);
    if ((--state_ & kInside) == 0 && caller_sleeps_) {
      { std::lock_guard lock(mutex_); }
      done_.notify_one();
    }
  }
}

void ThreadPool::RunChunks(int worker) {
  for (int i = 0; i < stretch_count_; ++i) {
    Stretch& stretch = stretches_[(worker + i) % stretch_count_];
    while (true) {
      const int64_t chunk = stretch.next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= stretch.end) break;
      const int64_t begin = chunk * grain_;
      (*body_)(begin, begin + std::min(grain_, count_ - begin), worker);
    }
  }
}

int ThreadPool::DefaultSize() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(CPU_COUNT(&set), 1);
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace bantam
