#include "tests/cuda_emulator/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)

// Saves what a call must preserve (System V ABI: rbx, rbp, r12 to r15; the rounding modes are never
// changed here) on the stack left and takes it from the stack entered.
asm(R"(
.text
.globl bantam_cuda_emulator_switch
.hidden bantam_cuda_emulator_switch
.type bantam_cuda_emulator_switch, @function
bantam_cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size bantam_cuda_emulator_switch, .-bantam_cuda_emulator_switch
)");
extern "C" void bantam_cuda_emulator_switch(void** from, void* const* to);

namespace bantam::cuda::emulator {

void MakeFiber(Fiber& fiber, void* stack, size_t size, void (*entry)()) {
  auto top = (reinterpret_cast<uintptr_t>(stack) + size) & ~uintptr_t{15};
  auto* words = reinterpret_cast<uintptr_t*>(top) - 8;
  std::memset(words, 0, 8 * sizeof(uintptr_t));
  words[6] = reinterpret_cast<uintptr_t>(entry);  // returned to; the stack is then 8 past 16
  fiber.stack_pointer = words;
}

void SwitchFiber(Fiber& from, const Fiber& to) {
  bantam_cuda_emulator_switch(&from.stack_pointer, &to.stack_pointer);
}

}  // namespace bantam::cuda::emulator

#else

#include <ucontext.h>

#include <map>

namespace bantam::cuda::emulator {
namespace {

// By stack, so that they are made once; the main fiber has none.
ucontext_t& ContextOf(void* stack) {
  static std::map<void*, ucontext_t> contexts;
  return contexts[stack];
}

}  // namespace

void MakeFiber(Fiber& fiber, void* stack, size_t size, void (*entry)()) {
  ucontext_t& context = ContextOf(stack);
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = size;
  makecontext(&context, entry, 0);
  fiber.stack_pointer = &context;
}

void SwitchFiber(Fiber& from, const Fiber& to) {
  if (from.stack_pointer == nullptr) from.stack_pointer = &ContextOf(&from);
  swapcontext(static_cast<ucontext_t*>(from.stack_pointer),
              static_cast<ucontext_t*>(to.stack_pointer));
}

}  // namespace bantam::cuda::emulator

#endif
