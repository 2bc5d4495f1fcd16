// Attention over a KV cache with online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), for
// single tokens, and for prompts where attention_tile.cu does not take them.
//
// A block is one KV head and up to kPairs pairs (query, query head of that KV head), and a part of
// the cache where that is split. It walks the cache in tiles of 32 cells. K of a tile goes to
// shared memory as f32, 128 elements of every cell at a time; a warp scores its share of the pairs,
// lane c cell c, so that the largest score and the sum of a pair are found within a warp. Then
// thread t adds element t of V of every cell, straight from memory, to the output of every pair.
// Tiles that no pair sees are not read.

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/types.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kCells = kWarp;
constexpr int kPart = kThreads;    // elements of a head at a time
constexpr int kPitch = kPart + 1;  // of a cell: lanes read one element of different cells

// Calls f(std::type_identity<Source>) for the type of a cache.
template <typename F>
BANTAM_DEVICE void ForCacheType(quant::Type type, F&& f) {
  switch (type) {
    case quant::Type::kF16:
      return f(std::type_identity<Plain<quant::Type::kF16, uint16_t>>{});
    case quant::Type::kQ8_0:
      return f(std::type_identity<quant::BlockQ8_0>{});
    case quant::Type::kQ4_0:
      return f(std::type_identity<quant::BlockQ4_0>{});
    default:
      return f(std::type_identity<Plain<quant::Type::kF32, float>>{});
  }
}

// Element `element` of the head of a cell; 0 where there is no such cell or element.
template <typename Source>
BANTAM_DEVICE float LoadElement(const View& cache, int kv_head, int cell, bool there, int element) {
  if (!there || element >= cache.shape[0]) return 0;
  return ElementAt<Source>(cache.data + At(cache, kv_head, cell, 0), element);
}

template <int kPairs>
struct Shared {
  float tile[kCells * kPitch];
  float p[kCells][kPairs];   // exp(score - highest), 0 for cells not seen
  float keep[kPairs];        // what a pair's sums so far are multiplied by
  int32_t position[kPairs];  // of the query; its sequence is -1 for a pair that is not there
  int32_t sequence[kPairs];
  float highest[kPairs], sum[kPairs];  // in the end
  // Queries follow: [head_dim][kPairs]
};

// kParts is how many times kPart the head of V is.
template <int kPairs, int kParts>
BANTAM_KERNEL(kThreads, kPairs* kParts <= 8 ? 4 : 2)
AttentionKernel(AttentionParams a) {
  auto& shared = *reinterpret_cast<Shared<kPairs>*>(SharedMemory());
  auto* queries = reinterpret_cast<float*>(&shared + 1);
  const int heads = a.q.shape[1], kv_heads = a.k.shape[1], n = a.q.shape[2];
  const int group = heads / kv_heads, head_dim = a.q.shape[0];
  const int kv_head = BlockX() % kv_heads;
  const int first_pair = BlockX() / kv_heads * kPairs;
  const int warp = ThreadX() / kWarp, lane = ThreadX() % kWarp;
  constexpr int kWarpPairs = kPairs / kWarps;

  if (ThreadX() < kPairs) {
    const int pair = first_pair + ThreadX();
    const bool there = pair < group * n;
    shared.position[ThreadX()] = there ? a.q_cells[2 * (pair / group)] : 0;
    shared.sequence[ThreadX()] = there ? a.q_cells[2 * (pair / group) + 1] : -1;
  }
  for (int i = ThreadX(); i < kPairs * head_dim; i += kThreads) {
    const int pair = first_pair + i / head_dim, element = i % head_dim;
    float q = 0;
    if (pair < group * n) {
      const unsigned char* row =
          a.q.data + At(a.q, kv_head * group + pair % group, pair / group, 0);
      q = reinterpret_cast<const float*>(row)[element];
    }
    queries[element * kPairs + i / head_dim] = q;
  }
  SyncThreads();

  float highest[kWarpPairs], sums[kWarpPairs];  // of this warp's pairs; sums lane by lane
  BANTAM_UNROLL
  for (int i = 0; i < kWarpPairs; ++i) {
    highest[i] = -INFINITY;
    sums[i] = 0;
  }
  float out[kParts][kPairs] = {};

  // This block's part of the cells in use, in whole tiles.
  const int length = *a.kv_length < a.k.shape[2] ? *a.kv_length : a.k.shape[2];
  const int tiles = length > 0 ? (length + kCells - 1) / kCells : 0;
  const int first_tile = static_cast<int>(int64_t{tiles} * BlockY() / a.splits);
  const int end_tile = static_cast<int>(int64_t{tiles} * (BlockY() + 1) / a.splits);
  for (int tile = first_tile; tile < end_tile; ++tile) {
    const int cell = tile * kCells, count = length - cell < kCells ? length - cell : kCells;
    // Which pairs of its warp see this lane's cell.
    int cell_position = 0, cell_sequence = -1;
    if (lane < count) {
      cell_position = a.kv_cells[2 * (cell + lane)];
      cell_sequence = a.kv_cells[2 * (cell + lane) + 1];
    }
    unsigned seen = 0;
    BANTAM_UNROLL
    for (int i = 0; i < kWarpPairs; ++i) {
      const int pair = warp * kWarpPairs + i;
      const int64_t position = shared.position[pair];
      const bool sees = shared.sequence[pair] != -1 && cell_sequence == shared.sequence[pair] &&
                        (!a.causal || cell_position <= position) &&
                        (a.window == 0 || cell_position > position - a.window);
      seen |= static_cast<unsigned>(sees) << i;
    }
    if (!SyncThreadsOr(seen != 0)) continue;

    float scores[kWarpPairs] = {};
    for (int first = 0; first < head_dim; first += kPart) {
      ForCacheType(a.k_type, [&]<typename Source>(std::type_identity<Source>) {
        BANTAM_UNROLL_8
        for (int c = 0; c < kCells; ++c) {
          shared.tile[c * kPitch + ThreadX()] =
              LoadElement<Source>(a.k, kv_head, cell + c, c < count, first + ThreadX());
        }
      });
      SyncThreads();
      const int width = head_dim - first < kPart ? head_dim - first : kPart;
      const float* k = shared.tile + lane * kPitch;
      const float* q = queries + first * kPairs + warp * kWarpPairs;
      BANTAM_UNROLL_4
      for (int d = 0; d < width; ++d) {
        const float value = k[d];
        BANTAM_UNROLL
        for (int i = 0; i < kWarpPairs; ++i) scores[i] += value * q[d * kPairs + i];
      }
      SyncThreads();
    }
    BANTAM_UNROLL
    for (int i = 0; i < kWarpPairs; ++i) {
      const bool sees = (seen >> i & 1) != 0;
      float score = scores[i] * a.scale;
      if (a.softcap != 0) score = a.softcap * tanhf(score / a.softcap);
      // A NaN among the scores seen must reach the output, and fmaxf drops it.
      const float now = fmaxf(highest[i], WarpMax(sees ? score : -INFINITY));
      const float keep = highest[i] == -INFINITY ? 0.0f : expf(highest[i] - now);
      const float p = sees ? expf(score - now) : 0.0f;
      sums[i] = sums[i] * keep + p;
      highest[i] = now;
      shared.p[lane][warp * kWarpPairs + i] = p;
      if (lane == 0) shared.keep[warp * kWarpPairs + i] = keep;
    }
    SyncThreads();
    ForCacheType(a.v_type, [&]<typename Source>(std::type_identity<Source>) {
      BANTAM_UNROLL
      for (int part = 0; part < kParts; ++part) {
        BANTAM_UNROLL
        for (int i = 0; i < kPairs; ++i) out[part][i] *= shared.keep[i];
        BANTAM_UNROLL_8
        for (int c = 0; c < kCells; ++c) {
          const float v =
              LoadElement<Source>(a.v, kv_head, cell + c, c < count, part * kPart + ThreadX());
          const bool finite = fabsf(v) < INFINITY;
          const float number = finite ? v : 0.0f;
          BANTAM_UNROLL
          for (int i = 0; i < kPairs; ++i) out[part][i] += shared.p[c][i] * number;
          if (!finite) {
            // To those alone who see it: 0 times NaN is one.
            BANTAM_UNROLL
            for (int i = 0; i < kPairs; ++i) {
              if (shared.p[c][i] != 0) out[part][i] += shared.p[c][i] * v;
            }
          }
        }
      }
    });
    // The next tile begins with a barrier, before anything shared is written.
  }

  BANTAM_UNROLL
  for (int i = 0; i < kWarpPairs; ++i) {
    const float sum = WarpSum(sums[i]);
    if (lane == 0) {
      shared.highest[warp * kWarpPairs + i] = highest[i];
      shared.sum[warp * kWarpPairs + i] = sum;
    }
  }
  SyncThreads();
  const int v_dim = a.v.shape[0];
  BANTAM_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    const int pair = first_pair + i;
    if (pair >= group * n) break;
    const int head = kv_head * group + pair % group;
    const int64_t row = int64_t{pair / group} * heads + head;  // of the output
    const float top = shared.highest[i], sum = shared.sum[i];
    float scale = 1;
    float* to = a.out + row * v_dim;
    if (a.splits > 1) {
      to = a.parts + (row * a.splits + BlockY()) * (v_dim + 2);
      if (ThreadX() == 0) {
        to[0] = top;
        to[1] = sum;
      }
      to += 2;
    } else {
      scale = FinalScale(top, sum, a.sinks != nullptr ? a.sinks + head : nullptr);
    }
    BANTAM_UNROLL
    for (int part = 0; part < kParts; ++part) {
      const int element = part * kPart + ThreadX();
      if (element < v_dim) to[element] = out[part][i] * scale;
    }
  }
}

// Joins the parts of a query's head; a block to each.
BANTAM_KERNEL(kThreads, 1) MergeKernel(AttentionParams a) {
  const int v_dim = a.v.shape[0], heads = a.q.shape[1], row = BlockX();
  const float* parts = a.parts + int64_t{row} * a.splits * (v_dim + 2);
  float top = a.sinks != nullptr ? a.sinks[row % heads] : -INFINITY;
  for (int s = 0; s < a.splits; ++s) top = fmaxf(top, parts[s * (v_dim + 2)]);
  float sum = a.sinks != nullptr ? expf(a.sinks[row % heads] - top) : 0.0f;
  for (int s = 0; s < a.splits; ++s) {
    const float* part = parts + s * (v_dim + 2);
    if (part[0] != -INFINITY) sum += part[1] * expf(part[0] - top);
  }
  for (int i = ThreadX(); i < v_dim; i += kThreads) {
    float value = 0;
    for (int s = 0; s < a.splits; ++s) {
      const float* part = parts + s * (v_dim + 2);
      if (part[0] != -INFINITY) value += part[2 + i] * expf(part[0] - top);
    }
    a.out[int64_t{row} * v_dim + i] = sum == 0 ? 0.0f : value / sum;
  }
}

constexpr int kFewPairs = 4, kManyPairs = 16, kWidePairs = 8;

template <int kPairs, int kParts>
void LaunchAttention(const AttentionParams& a, Stream stream) {
  const int pairs = a.q.shape[1] / a.k.shape[1] * a.q.shape[2];
  const int shared_bytes = static_cast<int>(sizeof(Shared<kPairs>)) + 4 * kPairs * a.q.shape[0];
  Launch(AttentionKernel<kPairs, kParts>,
         {Blocks(pairs, kPairs) * static_cast<unsigned>(a.k.shape[1]),
          static_cast<unsigned>(a.splits)},
         kThreads, shared_bytes, stream, a);
}

}  // namespace

int AttentionPairs(const AttentionParams& a) {
  if (CanTileAttention(a)) return AttentionTilePairs(a);
  const int pairs = a.q.shape[1] / a.k.shape[1] * a.q.shape[2];
  if (pairs <= kFewPairs) return kFewPairs;
  return a.v.shape[0] > 2 * kPart || a.q.shape[0] > 2 * kPart ? kWidePairs : kManyPairs;
}

namespace {

void LaunchAttention(const AttentionParams& a, Stream stream) {
  const int parts = (a.v.shape[0] + kPart - 1) / kPart;
  switch (AttentionPairs(a)) {
    case kFewPairs:
      parts <= 1   ? LaunchAttention<kFewPairs, 1>(a, stream)
      : parts <= 2 ? LaunchAttention<kFewPairs, 2>(a, stream)
                   : LaunchAttention<kFewPairs, 4>(a, stream);
      break;
    case kWidePairs:
      LaunchAttention<kWidePairs, 4>(a, stream);
      break;
    default:
      parts <= 1 ? LaunchAttention<kManyPairs, 1>(a, stream)
                 : LaunchAttention<kManyPairs, 2>(a, stream);
  }
}

}  // namespace

void Attention(const AttentionParams& a, Stream stream) {
  CanTileAttention(a) ? AttentionTile(a, stream) : LaunchAttention(a, stream);
  if (a.splits > 1) {
    Launch(MergeKernel, {Blocks(a.q.shape[1] * a.q.shape[2], 1)}, kThreads, 0, stream, a);
  }
}

}  // namespace bantam::cuda
