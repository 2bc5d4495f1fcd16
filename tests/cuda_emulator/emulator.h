// Plays the launches of kernels: block after block, the threads of a block as fibers.
//
// What it is strict about, so that it finds on a CPU what would be a hang, a race or garbage on a
// GPU:
//   - a warp operation or a barrier that not every thread takes part in stops the program;
//   - shared memory begins as 0xFF bytes (NaN, -1);
//   - asynchronous copies arrive at the latest moment allowed, when they are waited for;
//   - blocks run from the first to the last in one launch and from the last to the first in the
//     next, and from block to block threads take turns otherwise: from the first to the last or
//     back, warp by warp or all side by side. An order nobody asked for is not to be relied on.
#pragma once

#include <cstdint>
#include <functional>

#include "backends/cuda/launch.h"

namespace bantam::cuda::emulator {

struct Place {
  int thread = 0, block_x = 0, block_y = 0, grid_x = 1;
};
// Of the thread that runs.
extern Place place;

// Says where and what, and stops the program.
[[noreturn]] void Die(const char* what);

unsigned char* SharedMemory();
// Waits for every thread of the block; whether any said so.
bool Barrier(bool any);

// A warp operation. Each lane gives up to 64 bytes and gets up to 32; the lane that comes last
// calls `compute` with all of both, 64 and 32 bytes apart. `name` tells operations apart.
inline constexpr int kGiven = 64, kGotten = 32;
void WarpOperation(const char* name, const void* given, int given_bytes, void* gotten,
                   int gotten_bytes, void (*compute)(const unsigned char*, unsigned char*, int),
                   int argument);

void CopyAsync(void* to, const void* from, int bytes);
void CopyCommit();
void CopyWait(int pending);

// Runs `kernel` in every thread of every block, now.
void Run(Grid grid, int threads, int shared_bytes, const std::function<void()>& kernel);

// Runs it now, or keeps it where the stream is being captured. In driver_emulated.cc.
void Submit(Grid grid, int threads, int shared_bytes, Stream stream, std::function<void()> kernel);

}  // namespace bantam::cuda::emulator
