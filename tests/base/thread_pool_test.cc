#include "runtime/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace bantam {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(ThreadPool, EveryIndexOnceInChunksOfAtMostGrain) {
  for (int size : {1, 2, 5}) {
    ThreadPool pool(size);
    EXPECT_EQ(pool.size(), size);
    for (int64_t count : {1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(count);
        std::atomic<bool> valid{true};
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int worker) {
          if (begin >= end || end - begin > grain || worker < 0 || worker >= size) valid = false;
          for (int64_t i = begin; i < end; ++i) ++seen[i];
        });
        EXPECT_TRUE(valid) << size << " " << count << " " << grain;
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(seen[i], 1) << i;
      }
    }
  }
}

TEST(ThreadPool, NothingToDo) {
  ThreadPool pool(3);
  int calls = 0;
  pool.ParallelFor(0, 1, [&](int64_t, int64_t, int) { ++calls; });
  pool.ParallelFor(-5, 1, [&](int64_t, int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 0);
}

TEST(ThreadPool, SizesBelowOneMeanTheCallerAlone) {
  for (int size : {0, -3}) {
    ThreadPool pool(size);
    EXPECT_EQ(pool.size(), 1);
    std::thread::id ran;
    pool.ParallelFor(10, 0, [&](int64_t, int64_t, int) { ran = std::this_thread::get_id(); });
    EXPECT_EQ(ran, std::this_thread::get_id());
  }
}

TEST(ThreadPool, ExtremeCountsDoNotOverflow) {
  for (int size : {1, 4}) {
    ThreadPool pool(size);
    for (int64_t grain : {kMax, kMax - 1, kMax / 2, kMax / 2 + 1, kMax / 5}) {
      std::mutex mutex;
      std::set<std::pair<int64_t, int64_t>> chunks;
      pool.ParallelFor(kMax, grain, [&](int64_t begin, int64_t end, int) {
        std::lock_guard lock(mutex);
        chunks.emplace(begin, end);
      });
      int64_t at = 0;
      for (const auto& [begin, end] : chunks) {
        EXPECT_EQ(begin, at);
        at = end;
      }
      EXPECT_EQ(at, kMax) << grain;
    }
  }
}

// A worker has one thread at a time, so that per-worker scratch needs no lock.
TEST(ThreadPool, WorkersAreDistinct) {
  ThreadPool pool(4);
  std::vector<std::atomic<bool>> busy(4);
  std::atomic<int> clashes{0};
  for (int round = 0; round < 200; ++round) {
    pool.ParallelFor(64, 1, [&](int64_t, int64_t, int worker) {
      if (busy[worker].exchange(true)) ++clashes;
      busy[worker] = false;
    });
  }
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadPool, WritesOfTheLoopAreVisibleAfterIt) {
  ThreadPool pool(4);
  std::vector<int64_t> values(1000);
  for (int64_t round = 1; round <= 300; ++round) {
    pool.ParallelFor(1000, 7, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[i] += i;
    });
  }
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(values[i], 300 * i);
}

TEST(ThreadPool, DefaultSizeIsPositive) { EXPECT_GE(ThreadPool::DefaultSize(), 1); }

}  // namespace
}  // namespace bantam
