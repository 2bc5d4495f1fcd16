#include "runtime/base/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace bantam {

ThreadPool::ThreadPool(int size) {
  try {
    for (int worker = 1; worker < size; ++worker) {
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
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    grain_ = grain;
    next_.store(0, std::memory_order_relaxed);
    running_ = static_cast<int>(threads_.size());
    ++generation_;
  }
  start_.notify_all();
  RunChunks(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
    }
    RunChunks(worker);
    std::lock_guard lock(mutex_);
    if (--running_ == 0) done_.notify_one();
  }
}

void ThreadPool::RunChunks(int worker) {
  // Counted in chunks: a count of elements could overflow when every thread steps past the end.
  const int64_t chunks = (count_ - 1) / grain_ + 1;
  while (true) {
    const int64_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= chunks) return;
    const int64_t begin = chunk * grain_;
    (*body_)(begin, begin + std::min(grain_, count_ - begin), worker);
  }
}

int ThreadPool::DefaultSize() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(CPU_COUNT(&set), 1);
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace bantam
