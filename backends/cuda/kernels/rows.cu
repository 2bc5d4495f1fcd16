// Norm, softmax and top-k: a block to a row.

#include "backends/cuda/kernels/round.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSharedBytes = kThreads / kWarp * 8;

// Two passes where there is a mean: the second sums squares of what is left without it. A thread
// reads of the sum what it has written itself.
BANTAM_KERNEL(kThreads, 1) NormKernel(NormParams p) {
  auto* shared = reinterpret_cast<float*>(SharedMemory());
  const int k = p.x.shape[0], row = BlockX();
  const float* x = RowF(p.x, row);
  if (p.sum != nullptr) {
    const float* y = RowF(p.y, row);
    float* sum = p.sum + int64_t{row} * k;
    for (int i = ThreadX(); i < k; i += kThreads) sum[i] = x[i] + y[i];
    x = sum;
  }
  float mean = 0;
  if (p.layer) {
    float sum = 0;
    for (int i = ThreadX(); i < k; i += kThreads) sum += x[i];
    mean = BlockSum(sum, shared, kThreads) / static_cast<float>(k);
  }
  float squares = 0;
  for (int i = ThreadX(); i < k; i += kThreads) squares += (x[i] - mean) * (x[i] - mean);
  const float variance = BlockSum(squares, shared, kThreads) / static_cast<float>(k);
  const float scale = 1.0f / sqrtf(variance + p.epsilon);
  for (int i = ThreadX(); i < k; i += kThreads) {
    float value = (x[i] - mean) * scale;
    if (p.weight != nullptr) value *= p.weight[i];
    if (p.bias != nullptr) value += p.bias[i];
    p.out[int64_t{row} * k + i] = value;
    // Whole warps: k is in whole runs.
    if (p.rounded.quants != nullptr) RoundRun(p.rounded, row, k / kRun, i / kRun, value);
  }
}

BANTAM_KERNEL(kThreads, 1) SoftmaxKernel(RowParams p, float scale) {
  auto* shared = reinterpret_cast<float*>(SharedMemory());
  const int k = p.x.shape[0];
  const float* x = RowF(p.x, BlockX());
  float* out = static_cast<float*>(p.out) + int64_t{BlockX()} * k;
  float highest = -INFINITY;
  for (int i = ThreadX(); i < k; i += kThreads) highest = fmaxf(highest, x[i] * scale);
  highest = BlockMax(highest, shared, kThreads);
  float sum = 0;
  for (int i = ThreadX(); i < k; i += kThreads) {
    const float value = expf(x[i] * scale - highest);
    out[i] = value;
    sum += value;
  }
  const float inverse = 1.0f / BlockSum(sum, shared, kThreads);
  for (int i = ThreadX(); i < k; i += kThreads) out[i] *= inverse;
}

// Elements in the order wanted, as numbers: the larger value first, then the lower index, NaN last.
BANTAM_DEVICE uint64_t OrderOf(float value, int index) {
  uint32_t bits;
  value += 0.0f;  // -0 and 0 are equal
  memcpy(&bits, &value, sizeof(bits));
  bits = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  if (value != value) bits = 0;
  return uint64_t{bits} << 32 | static_cast<uint32_t>(~index);
}

// The largest below the one before, k times over: no element need be marked.
BANTAM_KERNEL(kThreads, 1) TopKKernel(RowParams p, int wanted) {
  auto* shared = reinterpret_cast<uint64_t*>(SharedMemory());
  const int k = p.x.shape[0];
  const float* x = RowF(p.x, BlockX());
  int32_t* out = static_cast<int32_t*>(p.out) + int64_t{BlockX()} * wanted;
  uint64_t before = ~uint64_t{0};
  for (int n = 0; n < wanted; ++n) {
    uint64_t best = 0;
    for (int i = ThreadX(); i < k; i += kThreads) {
      const uint64_t order = OrderOf(x[i], i);
      if (order < before && order > best) best = order;
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2) {
      const auto other =
          static_cast<uint64_t>(ShuffleXor(static_cast<unsigned long long>(best), mask));
      if (other > best) best = other;
    }
    if (ThreadX() % kWarp == 0) shared[ThreadX() / kWarp] = best;
    SyncThreads();
    for (int w = 0; w < kThreads / kWarp; ++w) best = shared[w] > best ? shared[w] : best;
    SyncThreads();
    if (ThreadX() == 0) out[n] = static_cast<int32_t>(~static_cast<uint32_t>(best));
    before = best;
  }
}

}  // namespace

void Norm(const NormParams& p, Stream stream) {
  Launch(NormKernel, {Blocks(Rows(p.x), 1)}, kThreads, kSharedBytes, stream, p);
}

void Softmax(const RowParams& rows, float scale, Stream stream) {
  Launch(SoftmaxKernel, {Blocks(Rows(rows.x), 1)}, kThreads, kSharedBytes, stream, rows, scale);
}

void TopK(const RowParams& rows, int k, Stream stream) {
  Launch(TopKKernel, {Blocks(Rows(rows.x), 1)}, kThreads, kSharedBytes, stream, rows, k);
}

}  // namespace bantam::cuda
