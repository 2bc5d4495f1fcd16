// The kernels of the reference, one for each op, in plain C++.
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::reference {

void PrepareGatherRows(Step& step);
void PrepareMatMul(Step& step);
void PrepareMatMulExpert(Step& step);
void PrepareDequantize(Step& step);
void PrepareNorm(Step& step);
void PrepareRope(Step& step);
void PrepareAttention(Step& step);
void PrepareKvWrite(Step& step);
void PrepareUnary(Step& step);
void PrepareGated(Step& step);
void PrepareBinary(Step& step);
void PrepareScale(Step& step);
void PrepareSoftmax(Step& step);
void PrepareTopK(Step& step);
void PrepareTransfer(Step& step);
void PrepareGatherElements(Step& step);

// What rotated vectors are multiplied by: YaRN's compensation for the flatter attention over a
// longer context (section 3.4).
double RopeMagnitude(const graph::RopeAttrs& attrs);

extern const KernelSet kKernels;

}  // namespace bantam::cpu::reference
