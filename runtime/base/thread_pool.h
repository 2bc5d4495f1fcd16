// A fixed set of threads that run one parallel loop at a time.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace bantam {

// The calling thread takes part, so a pool of size 1 starts no thread. Allocates nothing per loop.
//
// A thread that has nothing to do looks for work for kSpin, because loops follow each other within
// microseconds while a model runs, and then sleeps. A loop does not wait for threads that are slow
// to wake (a busy machine): those that come after its last chunk was taken find it closed.
// ParallelFor may be called from one thread at a time and not from inside a loop body.
class ThreadPool {
 public:
  // `size` counts the caller; below 1 means 1. Throws std::system_error when a thread cannot be
  // started.
  explicit ThreadPool(int size);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(begin, end, worker) on disjoint chunks of at most `grain` that cover [0, count);
  // worker is in [0, size()). A worker goes through a stretch of its own in order, so that what it
  // has fetched ahead is what it needs next, and then takes from those of others. Returns when all
  // are done.
  using Body = absl::FunctionRef<void(int64_t begin, int64_t end, int worker)>;
  void ParallelFor(int64_t count, int64_t grain, Body body);

  // The number of processors this process may run on.
  static int DefaultSize();

 private:
  // The loop as one word: its number, whether it is closed, and how many workers are in it.
  static constexpr uint64_t kClosed = uint64_t{1} << 15;
  static constexpr uint64_t kInside = kClosed - 1;
  static constexpr uint64_t kNumber = uint64_t{1} << 16;
  static constexpr std::chrono::microseconds kSpin{40};

  void Stop();
  void WorkerLoop(int worker);
  void RunChunks(int worker);
  // Spins until done() for at most kSpin; whether it was.
  template <typename Done>
  bool Spin(const Done& done) const;

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  std::atomic<uint64_t> state_{kClosed};
  std::atomic<int> sleeping_{0};  // workers
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<bool> stop_{false};
  bool spins_ = true;
  // Of the open loop. Written while it is closed and empty, read by those inside.
  const Body* body_ = nullptr;
  int64_t count_ = 0;
  int64_t grain_ = 1;
  // Chunks next to each other that a worker starts with; several share one where there are many.
  struct alignas(64) Stretch {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  static constexpr int kMostStretches = 16;
  std::array<Stretch, kMostStretches> stretches_;
  int stretch_count_ = 1;
};

}  // namespace bantam
