// Which function runs which op: one set for each instruction set.
#pragma once

#include <array>

#include "absl/strings/string_view.h"
#include "backends/cpu/plan/step.h"

namespace bantam::cpu {

// Picks the kernel of a step and states its scratch; the other fields of the step are set, and
// types, shapes, pointers and alignment have been checked (executable.cc).
using Prepare = void (*)(Step& step);

struct KernelSet {
  absl::string_view name;                        // as --cpu-isa takes it
  absl::string_view isa;                         // for people: "AVX2+FMA"
  std::array<Prepare, graph::kOpCount> prepare;  // by Op; null: moves no data, has no step
  bool (*runs_here)();                           // whether this processor has the instructions
  // A loop of the set's int8 dot products in registers, as fast as the processor can; returns how
  // many additions and multiplications that was. Null: the set has none.
  int64_t (*int8_dots)(int64_t iterations) = nullptr;
  // Whether products and gather_rows take weights of this type interleaved (plan/interleave.h), and
  // the products are faster so. Null: never.
  bool (*interleaves)(quant::Type type) = nullptr;
  // Tokens of a prompt that are best processed in one step: the fewer, the sooner between steps
  // Ctrl-C is noticed; more only pay where unpacking weights takes longer than using them.
  int64_t ubatch = 256;
};

}  // namespace bantam::cpu
