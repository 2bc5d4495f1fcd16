// Rotary embedding, and rows written to the KV cache.
//
// A block is a token and a few heads of Q, of K or of V: those of Q are turned, those of K turned
// and then written, those of V written. Where models want it, heads of Q and K are normalised
// before they are turned.

#include <algorithm>

#include "backends/cuda/kernels/common.h"
#include "runtime/quant/blocks_simple.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128;

constexpr int kHeads = 8;  // of a block

// A warp to a head, into shared memory.
BANTAM_DEVICE void NormHeads(const RopeParams& p, int token, int first_head, int end_head) {
  auto* shared = reinterpret_cast<float*>(SharedMemory());
  const int heads = p.x.shape[1], head_dim = p.x.shape[0], lane = ThreadX() % kWarp;
  for (int head = first_head + ThreadX() / kWarp; head < end_head; head += kThreads / kWarp) {
    const auto* x = reinterpret_cast<const float*>(p.x.data + At(p.x, head, token, 0));
    float squares = 0;
    for (int i = lane; i < head_dim; i += kWarp) squares += x[i] * x[i];
    squares = WarpSum(squares);
    const float scale = 1.0f / sqrtf(squares / static_cast<float>(head_dim) + p.epsilon);
    for (int i = lane; i < head_dim; i += kWarp) {
      const float value = x[i] * scale * (p.norm_weight != nullptr ? p.norm_weight[i] : 1.0f);
      shared[(head - first_head) * head_dim + i] = value;
      if (p.normed != nullptr) p.normed[(int64_t{token} * heads + head) * head_dim + i] = value;
    }
  }
  SyncThreads();
}

// A thread turns one pair of one head, or copies one element past the pairs. The angle is in turns,
// in double: far positions lose nothing.
BANTAM_DEVICE void TurnHeads(const RopeParams& p, int token, int first_head, int end_head) {
  const int heads = p.x.shape[1], head_dim = p.x.shape[0], each = head_dim - p.pairs;
  for (int item = ThreadX(); item < each * (end_head - first_head); item += kThreads) {
    const int head = first_head + item / each, i = item % each;
    const float* from = reinterpret_cast<const float*>(p.x.data + At(p.x, head, token, 0));
    if (p.norms) from = reinterpret_cast<float*>(SharedMemory()) + (head - first_head) * head_dim;
    float* to = p.out + (int64_t{token} * heads + head) * head_dim;
    if (i >= p.pairs) {
      to[p.pairs + i] = from[p.pairs + i];
      continue;
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
    const float a = from[first], b = from[second];
    to[first] = a * cosine - b * sine;
    to[second] = a * sine + b * cosine;
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

// Of two rows for one slot the later is written.
template <typename Cell>
BANTAM_DEVICE void WriteHeads(const KvWriteParams& p, int token, int first_head, int end_head) {
  const int rows = p.x.shape[2], slot = p.slots[token];
  bool dropped = slot < 0 || slot >= p.cache.shape[2];
  for (int later = token + 1 + ThreadX(); later < rows; later += kThreads) {
    dropped |= p.slots[later] == slot;
  }
  if (SyncThreadsOr(dropped)) return;  // and what was turned is there for all
  const int units = p.x.shape[0] / Cell::kElements;
  for (int i = ThreadX(); i < units * (end_head - first_head); i += kThreads) {
    const int head = first_head + i / units, unit = i % units;
    const auto* x = reinterpret_cast<const float*>(p.x.data + At(p.x, head, token, 0));
    auto* cell = reinterpret_cast<Cell*>(p.cache.data + At(p.cache, head, slot, 0));
    Store(x + unit * Cell::kElements, cell[unit]);
  }
}

template <typename Cell>
BANTAM_KERNEL(kThreads, 1)
CacheKernel(CacheParams p, int q_blocks, int k_blocks) {
  const int token = BlockX();
  int block = BlockY();
  const bool is_q = block < q_blocks, is_k = !is_q && block < q_blocks + k_blocks;
  block -= is_q ? 0 : is_k ? q_blocks : q_blocks + k_blocks;
  const RopeParams& rope = is_q ? p.q : p.k;
  const KvWriteParams& write = is_k ? p.write_k : p.write_v;
  const int heads = is_q || is_k ? rope.x.shape[1] : write.x.shape[1];
  const int first = block * kHeads, end = first + kHeads < heads ? first + kHeads : heads;
  if ((is_q || is_k) && rope.norms) NormHeads(rope, token, first, end);
  if (is_q || is_k) TurnHeads(rope, token, first, end);
  if (!is_q) WriteHeads<Cell>(write, token, first, end);
}

int NormBytes(const RopeParams& p) { return p.norms ? kHeads * p.x.shape[0] * 4 : 0; }
unsigned HeadBlocks(const View& x) { return x.data == nullptr ? 0 : Blocks(x.shape[1], kHeads); }

}  // namespace

void Cache(const CacheParams& p, Stream stream) {
  const unsigned q = HeadBlocks(p.q.x), k = HeadBlocks(p.k.x), v = HeadBlocks(p.write_v.x);
  const View& any = q != 0 ? p.q.x : k != 0 ? p.k.x : p.write_v.x;
  auto launch = [&](auto kernel) {
    Launch(kernel, {Blocks(any.shape[2], 1), q + k + v}, kThreads,
           std::max(NormBytes(p.q), NormBytes(p.k)), stream, p, static_cast<int>(q),
           static_cast<int>(k));
  };
  switch (p.cache_type) {
    case quant::Type::kF16:
      return launch(CacheKernel<F16Cell>);
    case quant::Type::kQ8_0:
      return launch(CacheKernel<quant::BlockQ8_0>);
    case quant::Type::kQ4_0:
      return launch(CacheKernel<quant::BlockQ4_0>);
    default:
      return launch(CacheKernel<F32Cell>);
  }
}

}  // namespace bantam::cuda
