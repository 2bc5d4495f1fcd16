#include "backends/cpu/speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/host_buffer.h"
#include "runtime/base/status.h"

namespace bantam::cpu {
namespace {

// Runs `body`, which tells how much it did, for a quarter of a second; the most done per second by
// one call, because what else the machine is doing only ever slows it down.
template <typename Body>
double BestRate(const Body& body) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::milliseconds(250);
  double best = 0;
  do {
    const auto start = Clock::now();
    const double done = body();
    best = std::max(best, done / std::chrono::duration<double>(Clock::now() - start).count());
  } while (Clock::now() < end);
  return best;
}

// The sum keeps the reads from being optimised away. Eight lines at a time, so that many are under
// way at once.
uint64_t Read(const std::byte* data, int64_t bytes) {
  uint64_t sums[8] = {};
  for (int64_t at = 0; at < bytes; at += 512) {
    for (int line = 0; line < 8; ++line) {
      uint64_t word;
      std::memcpy(&word, data + at + 64 * line, sizeof(word));
      sums[line] += word;
    }
  }
  uint64_t sum = 0;
  for (uint64_t s : sums) sum += s;
  return sum;
}

}  // namespace

absl::StatusOr<device::Speed> MeasureSpeed(const KernelSet& kernels, ThreadPool& pool) {
  if (kernels.int8_dots == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("there is no measurement of what ", kernels.isa, " could do at best"));
  }
  device::Speed speed;
  std::atomic<int64_t> done{0};
  speed.int8_ops = BestRate([&] {
    done = 0;
    pool.ParallelFor(pool.size(), 1,
                     [&](int64_t, int64_t, int) { done += kernels.int8_dots(200000); });
    return static_cast<double>(done);
  });
  // More than caches hold. A thread reads a part of its own from end to end.
  constexpr int64_t kBytes = int64_t{256} << 20, kChunk = int64_t{1} << 20;
  BANTAM_ASSIGN_OR_RETURN(const auto buffer, HostBuffer::Allocate(kBytes));
  std::byte* const data = buffer->host().data();
  pool.ParallelFor(kBytes / kChunk, 1, [&](int64_t begin, int64_t end, int) {
    // Memory never written would be one page of zeros.
    std::memset(data + begin * kChunk, 1, (end - begin) * kChunk);
  });
  std::atomic<uint64_t> total{0};
  speed.read_bytes = BestRate([&] {
    pool.ParallelFor(kBytes / kChunk, 1, [&](int64_t begin, int64_t end, int) {
      total += Read(data + begin * kChunk, (end - begin) * kChunk);
    });
    return static_cast<double>(kBytes);
  });
  return speed;
}

}  // namespace bantam::cpu
