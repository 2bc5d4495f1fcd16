// Rotary embedding, and rows written to the KV cache.

#include "backends/cuda/kernels/common.h"
#include "runtime/quant/blocks_simple.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128;

// A thread turns one pair of one token in every head, or copies one element past the pairs. The
// angle is in turns, in double: far positions lose nothing.
BANTAM_KERNEL(kThreads, 1) RopeKernel(RopeParams p, int per_token, int count) {
  const int index = BlockX() * kThreads + ThreadX();
  if (index >= count) return;
  const int token = index / per_token, i = index % per_token;
  const int heads = p.x.shape[1], head_dim = p.x.shape[0];
  const unsigned char* from = p.x.data + token * p.x.strides[2];
  float* to = p.out + int64_t{token} * heads * head_dim;
  if (i >= p.pairs) {
    for (int head = 0; head < heads; ++head) {
      to[p.pairs + i] = reinterpret_cast<const float*>(from)[p.pairs + i];
      from += p.x.strides[1];
      to += head_dim;
    }
    return;
  }
  double turns = p.turns[i] * p.positions[token];
  if (p.factors != nullptr) turns /= static_cast<double>(p.factors[i]);
  turns -= rint(turns);
  float sine, cosine;
  SineCosineOfHalfTurns(2.0f * static_cast<float>(turns), sine, cosine);
  sine *= p.magnitude;
  cosine *= p.magnitude;
  const int first = p.neox ? i : 2 * i;
  const int second = p.neox ? i + p.pairs : 2 * i + 1;
  for (int head = 0; head < heads; ++head) {
    const auto* x = reinterpret_cast<const float*>(from);
    const float a = x[first], b = x[second];
    to[first] = a * cosine - b * sine;
    to[second] = a * sine + b * cosine;
    from += p.x.strides[1];
    to += head_dim;
  }
}

BANTAM_DEVICE void Store(const float* x, quant::BlockQ8_0& block) {
  float peak = 0;
  bool finite = true;
  for (int i = 0; i < 32; ++i) {
    finite &= fabsf(x[i]) < INFINITY;
    peak = fmaxf(peak, fabsf(x[i]));
  }
  const float d = peak / 127.0f;
  const float inverse = d > 0 ? 1.0f / d : 0.0f;
  block.d = finite ? quant::FloatToHalf(d) : 0x7E00;
  for (int i = 0; i < 32; ++i) {
    const float scaled = x[i] * inverse;
    // Away from zero at ties.
    block.qs[i] = finite ? static_cast<int8_t>(scaled + (scaled < 0 ? -0.5f : 0.5f)) : int8_t{0};
  }
}

// The element of largest magnitude becomes -8.
BANTAM_DEVICE void Store(const float* x, quant::BlockQ4_0& block) {
  float peak = 0;
  bool finite = true;
  for (int i = 0; i < 32; ++i) {
    finite &= fabsf(x[i]) < INFINITY;
    if (fabsf(x[i]) > fabsf(peak)) peak = x[i];
  }
  const float d = peak / -8.0f;
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  block.d = finite ? quant::FloatToHalf(d) : 0x7E00;
  for (int i = 0; i < 16; ++i) {
    int pair = 0;
    for (int h = 0; h < 2 && finite; ++h) {
      const int q = static_cast<int>(x[i + 16 * h] * inverse + 8.5f);
      pair |= (q < 0 ? 0 : q > 15 ? 15 : q) << 4 * h;
    }
    block.qs[i] = static_cast<uint8_t>(pair);
  }
}
struct F32Cell {
  static constexpr int kElements = 1;
  float value;
};
struct F16Cell {
  static constexpr int kElements = 1;
  uint16_t value;
};
BANTAM_DEVICE void Store(const float* x, F32Cell& cell) { cell.value = *x; }
BANTAM_DEVICE void Store(const float* x, F16Cell& cell) { cell.value = quant::FloatToHalf(*x); }

// A block to a row (token) of x. Of two rows for one slot the later is written.
template <typename Cell>
BANTAM_KERNEL(kThreads, 1)
KvWriteKernel(KvWriteParams p) {
  const int row = BlockX(), rows = p.x.shape[2];
  const int slot = p.slots[row];
  bool again = slot < 0 || slot >= p.cache.shape[2];
  for (int later = row + 1 + ThreadX(); later < rows; later += kThreads) {
    again |= p.slots[later] == slot;
  }
  if (SyncThreadsOr(again)) return;
  const int units = p.x.shape[0] / Cell::kElements;
  for (int i = ThreadX(); i < units * p.x.shape[1]; i += kThreads) {
    const int head = i / units, unit = i % units;
    const auto* x = reinterpret_cast<const float*>(p.x.data + At(p.x, head, row, 0));
    auto* cell = reinterpret_cast<Cell*>(p.cache.data + At(p.cache, head, slot, 0));
    Store(x + unit * Cell::kElements, cell[unit]);
  }
}

}  // namespace

void Rope(const RopeParams& p, Stream stream) {
  const int per_token = p.x.shape[0] - p.pairs;
  const int count = per_token * p.x.shape[2];
  Launch(RopeKernel, {Blocks(count, kThreads)}, kThreads, 0, stream, p, per_token, count);
}

void KvWrite(const KvWriteParams& p, Stream stream) {
  const Grid grid = {Blocks(p.x.shape[2], 1)};
  switch (p.type) {
    case quant::Type::kF16:
      return Launch(KvWriteKernel<F16Cell>, grid, kThreads, 0, stream, p);
    case quant::Type::kQ8_0:
      return Launch(KvWriteKernel<quant::BlockQ8_0>, grid, kThreads, 0, stream, p);
    case quant::Type::kQ4_0:
      return Launch(KvWriteKernel<quant::BlockQ4_0>, grid, kThreads, 0, stream, p);
    default:
      return Launch(KvWriteKernel<F32Cell>, grid, kThreads, 0, stream, p);
  }
}

}  // namespace bantam::cuda
