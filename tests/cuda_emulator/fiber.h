// Threads of a block as fibers: each has a stack of its own and runs until it waits for others.
#pragma once

#include <cstddef>

namespace bantam::cuda::emulator {

// A suspended fiber is where its registers lie on its stack.
struct Fiber {
  void* stack_pointer = nullptr;
};

// A fiber that begins in `entry`, which must never return, on the stack of `size` bytes at `stack`.
void MakeFiber(Fiber& fiber, void* stack, size_t size, void (*entry)());
// Suspends `from`, the fiber that runs, and resumes `to`.
void SwitchFiber(Fiber& from, const Fiber& to);

}  // namespace bantam::cuda::emulator
