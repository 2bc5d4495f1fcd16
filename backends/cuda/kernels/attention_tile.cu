// Attention for prompts on tensor cores (Dao 2023): caches of F16, or unpacked to it, sums in f32.
//
// A block is 64 pairs (query, query head of one KV head), 16 to a warp, and a part of the cache
// where that is split. Q stays in registers, rounded to f16 with a power of two of its own for each
// pair. K and V of 32 cells arrive in shared memory while the tile before is worked on. A warp
// multiplies its Q with K, takes the exponentials, which lie in registers as the next product wants
// them, and multiplies those with V. Heads past 128 elements: 32 pairs and 16 cells, and two warps
// share the elements of V. Tiles that no pair can see are not read.

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/types.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

// For heads of up to kD elements.
template <int kD>
struct Shape {
  static constexpr int kCells = kD <= 128 ? 32 : 16;
  static constexpr int kSharing = kD <= 128 ? 1 : 2;  // warps to the same pairs
  static constexpr int kPairs = 16 * kWarps / kSharing;
};

template <int kD>
struct alignas(16) Stage {
  static constexpr int kCells = Shape<kD>::kCells;
  // Eight more than there are, so that the cells a fragment reads lie in different banks.
  uint16_t k[kCells][kD + 8], v[kCells][kD + 8];
  int32_t position[kCells], sequence[kCells];
  int32_t no_number[kCells];  // whether V of a cell has what is none
};
template <int kD>
struct Shared {
  Stage<kD> stages[2];
  int32_t position[Shape<kD>::kPairs], sequence[Shape<kD>::kPairs];
};

// Eight elements of a cell, rounded to f16.
template <typename Source>
BANTAM_DEVICE void UnpackEight(uint16_t* to, const unsigned char* row, int first) {
  uint32_t words[4];
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    words[i] = PackHalves(ElementAt<Source>(row, first + 2 * i),
                          ElementAt<Source>(row, first + 2 * i + 1));
  }
  *reinterpret_cast<Words4*>(to) = {{static_cast<int>(words[0]), static_cast<int>(words[1]),
                                     static_cast<int>(words[2]), static_cast<int>(words[3])}};
}

// Begins to bring `cells` cells from `cell` on to shared memory; zeros past `count` and the head.
template <int kD>
BANTAM_DEVICE void LoadCells(uint16_t (&to)[Shape<kD>::kCells][kD + 8], const View& cache,
                             quant::Type type, int kv_head, int cell, int count) {
  constexpr int kPieces = kD / 8;
  for (int i = ThreadX(); i < Shape<kD>::kCells * kPieces; i += kThreads) {
    const int c = i / kPieces, first = i % kPieces * 8;
    uint16_t* at = to[c] + first;
    if (c >= count || first >= cache.shape[0]) {
      *reinterpret_cast<Words4*>(at) = {{0, 0, 0, 0}};
      continue;
    }
    const unsigned char* row = cache.data + At(cache, kv_head, cell + c, 0);
    if (type == quant::Type::kF16) {
      CopyAsync16(at, row + 2 * first);
    } else if (type == quant::Type::kQ8_0) {
      UnpackEight<quant::BlockQ8_0>(at, row, first);
    } else {
      UnpackEight<quant::BlockQ4_0>(at, row, first);
    }
  }
}

// Replaces what is no number in V by zeros, and says of which cells.
template <int kD>
BANTAM_DEVICE void KeepNumbers(Stage<kD>& stage) {
  for (int i = ThreadX(); i < Shape<kD>::kCells * kD; i += kThreads) {
    uint16_t& half = stage.v[i / kD][i % kD];
    if ((half & 0x7C00) != 0x7C00) continue;
    half = 0;
    stage.no_number[i / kD] = 1;
  }
}

BANTAM_DEVICE float QuadMax(float value) {
  value = fmaxf(value, ShuffleXor(value, 1));
  return fmaxf(value, ShuffleXor(value, 2));
}
BANTAM_DEVICE float QuadSum(float value) {
  value += ShuffleXor(value, 1);
  return value + ShuffleXor(value, 2);
}

template <int kD>
BANTAM_KERNEL(kThreads, kD <= 64 ? 3 : 2)
AttentionTileKernel(AttentionParams a) {
  constexpr int kCells = Shape<kD>::kCells, kPairs = Shape<kD>::kPairs;
  constexpr int kSharing = Shape<kD>::kSharing, kOutTiles = kD / kSharing / 8;
  auto& shared = *reinterpret_cast<Shared<kD>*>(SharedMemory());
  const int heads = a.q.shape[1], kv_heads = a.k.shape[1], group = heads / kv_heads;
  const int pairs = group * a.q.shape[2], head_dim = a.q.shape[0];
  const int kv_head = BlockX() % kv_heads, first_pair = BlockX() / kv_heads * kPairs;
  const int warp = ThreadX() / kWarp, lane = ThreadX() % kWarp;
  const int g = lane / 4, t = lane % 4;
  const int first_v = warp % kSharing * (kD / kSharing);
  // This lane's two pairs, g and g + 8 of the warp's.
  const int my_pair = warp / kSharing * 16 + g;

  for (int i = ThreadX(); i < kPairs; i += kThreads) {
    const int pair = first_pair + i;
    const bool there = pair < pairs;
    shared.position[i] = there ? a.q_cells[2 * (pair / group)] : 0;
    shared.sequence[i] = there ? a.q_cells[2 * (pair / group) + 1] : -1;
  }
  SyncThreads();
  // What any pair of the block sees lies between these.
  int64_t earliest = INT64_MAX, latest = INT64_MIN;
  int one_sequence = -1;
  bool has_several = false;
  for (int i = 0; i < kPairs; ++i) {
    const int sequence = shared.sequence[i];
    if (sequence == -1) continue;
    const int64_t position = shared.position[i];
    earliest = position < earliest ? position : earliest;
    latest = position > latest ? position : latest;
    has_several |= one_sequence != -1 && one_sequence != sequence;
    one_sequence = sequence;
  }

  uint32_t q[kD / 16][4];
  float q_scale[2];
  BANTAM_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int pair = first_pair + my_pair + 8 * i;
    const bool there = pair < pairs;
    const auto* row = reinterpret_cast<const float*>(
        a.q.data + (there ? At(a.q, kv_head * group + pair % group, pair / group, 0) : 0));
    auto element = [&](int at) { return there && at < head_dim ? row[at] : 0.0f; };
    float peak = 0;
    for (int at = 0; at < kD; at += 8) {
      peak = fmaxf(peak, fmaxf(fabsf(element(at + 2 * t)), fabsf(element(at + 2 * t + 1))));
    }
    const float scale = HalfScale(QuadMax(peak)), inverse = 1.0f / scale;
    q_scale[i] = scale * a.scale;
    BANTAM_UNROLL
    for (int k = 0; k < kD / 16; ++k) {
      const int at = 16 * k + 2 * t;
      q[k][i] = PackHalves(element(at) * inverse, element(at + 1) * inverse);
      q[k][2 + i] = PackHalves(element(at + 8) * inverse, element(at + 9) * inverse);
    }
  }

  const int length = *a.kv_length < a.k.shape[2] ? *a.kv_length : a.k.shape[2];
  const int tiles = length > 0 ? (length + kCells - 1) / kCells : 0;
  const int first_tile = static_cast<int>(int64_t{tiles} * BlockY() / a.splits);
  const int end_tile = static_cast<int>(int64_t{tiles} * (BlockY() + 1) / a.splits);
  // The first tile from `tile` on with a cell that some pair may see.
  auto find = [&](int tile) {
    for (; tile < end_tile; ++tile) {
      const int cell = tile * kCells + ThreadX();
      bool seen = false;
      if (ThreadX() < kCells && cell < length) {
        const int64_t position = a.kv_cells[2 * cell];
        const int sequence = a.kv_cells[2 * cell + 1];
        seen = sequence != -1 && one_sequence != -1 && (has_several || sequence == one_sequence) &&
               (!a.causal || position <= latest) &&
               (a.window == 0 || position > earliest - a.window);
      }
      if (SyncThreadsOr(seen)) break;
    }
    return tile;
  };
  auto load = [&](int tile, Stage<kD>& stage) {
    const int cell = tile * kCells, count = length - cell < kCells ? length - cell : kCells;
    LoadCells<kD>(stage.k, a.k, a.k_type, kv_head, cell, count);
    LoadCells<kD>(stage.v, a.v, a.v_type, kv_head, cell, count);
    if (ThreadX() < kCells) {
      const bool there = ThreadX() < count;
      stage.position[ThreadX()] = there ? a.kv_cells[2 * (cell + ThreadX())] : 0;
      stage.sequence[ThreadX()] = there ? a.kv_cells[2 * (cell + ThreadX()) + 1] : -1;
      stage.no_number[ThreadX()] = 0;
    }
  };

  float highest[2], sums[2], out[kOutTiles][4];
  // 0 times what is no number is none either, and reaches pairs that do not see it. So where there
  // is any in the end, all is done once more with care.
  BANTAM_NO_UNROLL
  for (int careful = 0; careful < 2; ++careful) {
    BANTAM_UNROLL
    for (int i = 0; i < 2; ++i) {
      highest[i] = -INFINITY;
      sums[i] = 0;
    }
    BANTAM_UNROLL
    for (int n = 0; n < kOutTiles; ++n) {
      BANTAM_UNROLL
      for (int j = 0; j < 4; ++j) out[n][j] = 0;
    }
    int tile = find(first_tile);
    if (tile < end_tile) load(tile, shared.stages[0]);
    CopyCommit();
    BANTAM_NO_UNROLL
    for (int turn = 0; tile < end_tile; turn ^= 1) {
      Stage<kD>& stage = shared.stages[turn];
      // Past a barrier of this every thread is done with the other stage.
      const int next = find(tile + 1);
      if (next < end_tile) load(next, shared.stages[turn ^ 1]);
      CopyCommit();
      CopyWait<1>();
      SyncThreads();
      if (careful != 0) {
        KeepNumbers<kD>(stage);
        SyncThreads();
      }

      float scores[kCells / 8][4] = {};
      BANTAM_UNROLL
      for (int k = 0; k < kD / 16; ++k) {
        BANTAM_UNROLL
        for (int n = 0; n < kCells / 8; ++n) {
          const auto* words = reinterpret_cast<const uint32_t*>(stage.k[8 * n + g]) + 8 * k;
          const uint32_t b[2] = {words[t], words[4 + t]};
          MmaHalf(scores[n], q[k], b);
        }
      }
      BANTAM_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int64_t position = shared.position[my_pair + 8 * i];
        const int sequence = shared.sequence[my_pair + 8 * i];
        float top = highest[i];
        BANTAM_UNROLL
        for (int n = 0; n < kCells / 8; ++n) {
          BANTAM_UNROLL
          for (int j = 0; j < 2; ++j) {
            const int cell = 8 * n + 2 * t + j;
            const int64_t at = stage.position[cell];
            const bool sees = sequence != -1 && stage.sequence[cell] == sequence &&
                              (!a.causal || at <= position) &&
                              (a.window == 0 || at > position - a.window);
            float score = scores[n][2 * i + j] * q_scale[i];
            if (a.softcap != 0) score = a.softcap * tanhf(score / a.softcap);
            // A NaN stays one, and is dropped by fmaxf alone.
            score = sees ? score : -INFINITY;
            if (sees && stage.no_number[cell] != 0) sums[i] = NAN;
            top = fmaxf(top, score);
            scores[n][2 * i + j] = score;
          }
        }
        top = QuadMax(top);
        const float keep = highest[i] == -INFINITY ? 0.0f : expf(highest[i] - top);
        const float base = top == -INFINITY ? 0.0f : top;
        sums[i] *= keep;
        BANTAM_UNROLL
        for (int n = 0; n < kCells / 8; ++n) {
          BANTAM_UNROLL
          for (int j = 0; j < 2; ++j) {
            const float p = expf(scores[n][2 * i + j] - base);
            sums[i] += p;
            scores[n][2 * i + j] = p;
          }
        }
        highest[i] = top;
        BANTAM_UNROLL
        for (int n = 0; n < kOutTiles; ++n) {
          out[n][2 * i] *= keep;
          out[n][2 * i + 1] *= keep;
        }
      }
      BANTAM_UNROLL
      for (int c = 0; c < kCells / 16; ++c) {
        const float(&left)[4] = scores[2 * c];
        const float(&right)[4] = scores[2 * c + 1];
        const uint32_t p[4] = {PackHalves(left[0], left[1]), PackHalves(left[2], left[3]),
                               PackHalves(right[0], right[1]), PackHalves(right[2], right[3])};
        BANTAM_UNROLL
        for (int n = 0; n < kOutTiles; n += 2) {
          uint32_t v[4];
          LoadTransposed(v, &stage.v[16 * c + lane % 16][first_v + 8 * n + lane / 16 * 8]);
          const uint32_t first[2] = {v[0], v[1]}, second[2] = {v[2], v[3]};
          MmaHalf(out[n], p, first);
          MmaHalf(out[n + 1], p, second);
        }
      }
      tile = next;
    }
    bool is_number = true;
    BANTAM_UNROLL
    for (int n = 0; n < kOutTiles; ++n) {
      BANTAM_UNROLL
      for (int j = 0; j < 4; ++j) is_number = is_number && fabsf(out[n][j]) < INFINITY;
    }
    if (!SyncThreadsOr(!is_number)) break;
  }

  const int v_dim = a.v.shape[0];
  BANTAM_UNROLL
  for (int i = 0; i < 2; ++i) {
    const float sum = QuadSum(sums[i]);
    const int pair = first_pair + my_pair + 8 * i;
    if (pair >= pairs) continue;
    const int head = kv_head * group + pair % group;
    const int64_t row = int64_t{pair / group} * heads + head;  // of the output
    float scale = 1;
    float* to = a.out + row * v_dim;
    if (a.splits > 1) {
      to = a.parts + (row * a.splits + BlockY()) * (v_dim + 2);
      if (t == 0 && first_v == 0) {
        to[0] = highest[i];
        to[1] = sum;
      }
      to += 2;
    } else {
      scale = FinalScale(highest[i], sum, a.sinks != nullptr ? a.sinks + head : nullptr);
    }
    BANTAM_UNROLL
    for (int n = 0; n < kOutTiles; ++n) {
      BANTAM_UNROLL
      for (int j = 0; j < 2; ++j) {
        const int element = first_v + 8 * n + 2 * t + j;
        if (element < v_dim) to[element] = out[n][2 * i + j] * scale;
      }
    }
  }
}

template <int kD>
void Launch(const AttentionParams& a, Stream stream) {
  const int pairs = a.q.shape[1] / a.k.shape[1] * a.q.shape[2];
  Launch(AttentionTileKernel<kD>,
         {Blocks(pairs, Shape<kD>::kPairs) * static_cast<unsigned>(a.k.shape[1]),
          static_cast<unsigned>(a.splits)},
         kThreads, static_cast<int>(sizeof(Shared<kD>)), stream, a);
}

int Widest(const AttentionParams& a) {
  return a.q.shape[0] > a.v.shape[0] ? a.q.shape[0] : a.v.shape[0];
}

// In pieces of eight elements: whole words of 16 bytes where the cache is F16.
bool HasPieces(const View& cache, quant::Type type) {
  if (type == quant::Type::kQ8_0 || type == quant::Type::kQ4_0) return true;
  return type == quant::Type::kF16 && cache.shape[0] % 8 == 0 &&
         reinterpret_cast<uintptr_t>(cache.data) % 16 == 0 && cache.strides[1] % 16 == 0 &&
         cache.strides[2] % 16 == 0;
}

}  // namespace

int AttentionTilePairs(const AttentionParams& a) {
  return Widest(a) <= 128 ? Shape<128>::kPairs : Shape<256>::kPairs;
}

bool CanTileAttention(const AttentionParams& a) {
  constexpr int kFewest = 32;  // below, most of a tile would be empty
  return a.q.shape[1] / a.k.shape[1] * a.q.shape[2] >= kFewest && Widest(a) <= 256 &&
         HasPieces(a.k, a.k_type) && HasPieces(a.v, a.v_type);
}

void AttentionTile(const AttentionParams& a, Stream stream) {
  const int widest = Widest(a);
  widest <= 64    ? Launch<64>(a, stream)
  : widest <= 128 ? Launch<128>(a, stream)
                  : Launch<256>(a, stream);
}

}  // namespace bantam::cuda
