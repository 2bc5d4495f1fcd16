// Matrix products of prompts, on tiles; those of up to simd::kFewColumns columns, which wait for
// memory, are the set avx512vnni's (simd/matmul.h).
//
// First the columns are rounded to bf16 and laid out as tiles, once for all weights, in the scratch
// all workers share (operands.h). Then one task is up to 8 panels of 32 weight rows times up to 512
// columns. It goes through k in chunks of 256 elements: a panel's are unpacked to tiles (16 KiB,
// which stay in the first-level cache) and meet all columns, whose chunk (256 KiB) and sums (64 KiB
// a panel) stay in the second-level cache for all panels of the task.
//
// Sums are in f32, in order of k, whatever the tasks: a result depends on its two rows alone, and
// on whether the step was made for few columns or many.
#pragma once

#include "backends/cpu/plan/step.h"

namespace bantam::cpu::amx {

void PrepareMatMul(Step& step);
// Many: more than simd::kFewColumns rows for an expert, if all had as many.
void PrepareMatMulExpert(Step& step);

}  // namespace bantam::cpu::amx
