// The part of cuBLAS's C interface that is used, declared here because the tests run it (on a
// stand-in) where there is no CUDA toolkit. Where there is one, driver_cuda.cc checks these numbers
// against its header.
#pragma once

#include <cstddef>

namespace bantam::cuda::cublas {

using Handle = struct Context*;
enum Status : int {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocFailed = 3,
  kInvalidValue = 7,
  kExecutionFailed = 13,
  kNotSupported = 15
};
enum Operation : int { kNone = 0, kTranspose = 1 };
enum DataType : int { kF32 = 0, kF16 = 2, kBF16 = 14 };
// Sums, and products of f32, in f32: TF32 is another type. Parts of a sum must not be added in f16.
enum ComputeType : int { kCompute32F = 68 };
enum Math : int { kDisallowReducedPrecisionReduction = 16 };
enum Algorithm : int { kDefaultAlgorithm = -1 };
inline constexpr size_t kWorkspaceAlignment = 256;

using CreateFunction = int(Handle*);
using DestroyFunction = int(Handle);
using GetVersionFunction = int(Handle, int*);
using SetMathModeFunction = int(Handle, int);
// Also forgets the workspace.
using SetStreamFunction = int(Handle, void*);
using SetWorkspaceFunction = int(Handle, void*, size_t);
using GetStatusStringFunction = const char*(int);
// C = alpha op(A) op(B) + beta C, column by column: op(A) is m x k, op(B) k x n.
using GemmFunction = int(Handle, int op_a, int op_b, int m, int n, int k, const void* alpha,
                         const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
                         const void* beta, void* c, int c_type, int ldc, int compute_type,
                         int algorithm);

}  // namespace bantam::cuda::cublas
