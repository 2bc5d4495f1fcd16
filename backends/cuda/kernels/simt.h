// What kernels are written in: the few abilities of a GPU they use, by name. Under nvcc these are
// CUDA's; where BANTAM_CUDA_EMULATED is defined the same kernels are compiled as C++, and a host
// emulator (tests/cuda_emulator) plays blocks, warps and barriers.
//
// Rules that keep a kernel the same on both: shared memory only through SharedMemory(), no static
// __shared__ arrays; every lane of a warp takes part in every warp operation and every thread of a
// block in every barrier (the emulator stops the program where one does not).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "backends/cuda/launch.h"

#if defined(BANTAM_CUDA_EMULATED)

#include "tests/cuda_emulator/simt_emulated.h"

#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define BANTAM_KERNEL(threads, blocks) __global__ __launch_bounds__(threads, blocks) void
#define BANTAM_DEVICE __device__ __forceinline__
#define BANTAM_UNROLL _Pragma("unroll")
#define BANTAM_UNROLL_4 _Pragma("unroll 4")
#define BANTAM_UNROLL_8 _Pragma("unroll 8")
#define BANTAM_NO_UNROLL _Pragma("unroll 1")

namespace bantam::cuda {

inline constexpr int kWarp = 32;

BANTAM_DEVICE int ThreadX() { return static_cast<int>(threadIdx.x); }
BANTAM_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
BANTAM_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }
BANTAM_DEVICE int GridX() { return static_cast<int>(gridDim.x); }

// The dynamic shared memory of the block, aligned to 16 bytes. Its contents are not defined.
BANTAM_DEVICE unsigned char* SharedMemory() {
  extern __shared__ __align__(16) unsigned char bantam_shared[];
  return bantam_shared;
}

BANTAM_DEVICE void SyncThreads() { __syncthreads(); }
BANTAM_DEVICE bool SyncThreadsOr(bool any) { return __syncthreads_or(any) != 0; }
BANTAM_DEVICE void SyncWarp() { __syncwarp(); }

template <typename T>
BANTAM_DEVICE T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}

// sum + the dot product of two vectors of four int8.
BANTAM_DEVICE int Dp4a(int a, int b, int sum) { return __dp4a(a, b, sum); }

// Four of the eight bytes of a (0 to 3) and b (4 to 7): nibble i of `selection` says which is byte
// i.
BANTAM_DEVICE uint32_t PickBytes(uint32_t a, uint32_t b, uint32_t selection) {
  return __byte_perm(a, b, selection);
}

// Tensor cores. Fragments are those of the PTX manual for mma.m16n8k32 and m16n8k16: with
// g = lane / 4 and t = lane % 4, C has rows g (c[0], c[1]) and g + 8 (c[2], c[3]), columns 2t,
// 2t+1.
//
// c += A (16 x 16) B (16 x 8), int8: a[0] row g, a[1] row g + 8, both elements 4t..4t+3; b column
// g, elements 4t..4t+3.
BANTAM_DEVICE void MmaInt8K16(int (&c)[4], int a0, int a1, int b) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
#else
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
      : "+r"(c[0]), "+r"(c[1])
      : "r"(a0), "r"(b));
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
      : "+r"(c[2]), "+r"(c[3])
      : "r"(a1), "r"(b));
#endif
}

// c += A (16 x 32) B (32 x 8), int8: a[0], a[1] and b[0] as above, a[2], a[3] and b[1] the elements
// 16 further on.
BANTAM_DEVICE void MmaInt8K32(int (&c)[4], const int (&a)[4], const int (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  MmaInt8K16(c, a[0], a[1], b[0]);
  MmaInt8K16(c, a[2], a[3], b[1]);
#endif
}

// c += A (16 x 16) B (16 x 8), f16 with sums in f32: a[0] row g, a[1] row g + 8, elements 2t, 2t+1;
// a[2], a[3] the elements 8 further on; b[0], b[1] column g likewise.
BANTAM_DEVICE void MmaHalf(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

// The same of bf16. Turing, which has none, is not to come here.
BANTAM_DEVICE void MmaBFloat16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

// Two floats rounded to f16, the first in the lower half.
BANTAM_DEVICE uint32_t PackHalves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  uint32_t word;
  memcpy(&word, &pair, sizeof(word));
  return word;
}

// Two fragments B of MmaHalf from shared memory that has the 16 elements of a column in 16 rows:
// lane i gives the address, a multiple of 16 bytes, of row i % 16, of columns 0 to 7 (i < 16) or 8
// to 15. The first fragment is b[0], b[1].
BANTAM_DEVICE void LoadTransposed(uint32_t (&b)[4], const void* row) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(from)
               : "memory");
}

// Copies 16 bytes to shared memory, both addresses aligned to 16, without passing registers where
// the GPU can. What a thread copied is there after CopyWait<n>, but for its last n groups; other
// threads see it after a barrier.
BANTAM_DEVICE void CopyAsync16(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
  *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
BANTAM_DEVICE void CopyCommit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kPending>
BANTAM_DEVICE void CopyWait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

BANTAM_DEVICE int AtomicAdd(int* at, int value) { return atomicAdd(at, value); }

// To the nearest, ties to even.
BANTAM_DEVICE int RoundToInt(float x) { return __float2int_rn(x); }
BANTAM_DEVICE float BitsToFloat(int bits) { return __int_as_float(bits); }
// Sine and cosine of x half turns.
BANTAM_DEVICE void SineCosineOfHalfTurns(float x, float& sine, float& cosine) {
  sincospif(x, &sine, &cosine);
}

// Without a stream the kernel is only loaded, which must not happen while a stream is captured.
template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), Grid grid, int threads, int shared_bytes, Stream stream,
            const Args&... args) {
  if (stream == nullptr) {
    // What a kernel may ask for only ever grows: other executables have asked for theirs.
    cudaFuncAttributes attributes;
    if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess &&
        shared_bytes > attributes.maxDynamicSharedSizeBytes) {
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    }
    return;  // what failed is what cudaGetLastError says
  }
  // clang-format off
  kernel<<<dim3(grid.x, grid.y), threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(
      args...);
  // clang-format on
}

}  // namespace bantam::cuda

#endif

namespace bantam::cuda {

struct alignas(16) Words4 {
  int32_t w[4];
};

// The sum or the largest over a warp, in every lane.
BANTAM_DEVICE float WarpSum(float value) {
  BANTAM_UNROLL
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}
BANTAM_DEVICE float WarpMax(float value) {
  BANTAM_UNROLL
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = fmaxf(value, ShuffleXor(value, mask));
  return value;
}

// The sum over a block of whole warps, in every thread; `shared` has a float for each warp.
BANTAM_DEVICE float BlockSum(float value, float* shared, int threads) {
  value = WarpSum(value);
  if (ThreadX() % kWarp == 0) shared[ThreadX() / kWarp] = value;
  SyncThreads();
  float sum = 0;
  for (int w = 0; w < threads / kWarp; ++w) sum += shared[w];
  SyncThreads();
  return sum;
}
BANTAM_DEVICE float BlockMax(float value, float* shared, int threads) {
  value = WarpMax(value);
  if (ThreadX() % kWarp == 0) shared[ThreadX() / kWarp] = value;
  SyncThreads();
  float highest = shared[0];
  for (int w = 1; w < threads / kWarp; ++w) highest = fmaxf(highest, shared[w]);
  SyncThreads();
  return highest;
}

}  // namespace bantam::cuda
