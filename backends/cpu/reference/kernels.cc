#include "backends/cpu/reference/kernels.h"

namespace bantam::cpu::reference {

constinit const KernelSet kKernels = {
    "portable",
    "portable",
    {&PrepareGatherRows, &PrepareMatMul, &PrepareMatMulExpert, &PrepareDequantize, &PrepareNorm,
     &PrepareRope, &PrepareAttention, &PrepareKvWrite, &PrepareUnary, &PrepareGated, &PrepareBinary,
     &PrepareScale, &PrepareSoftmax, &PrepareTopK, nullptr, nullptr, &PrepareTransfer,
     &PrepareGatherElements},
    [] { return true; }};

}  // namespace bantam::cpu::reference
