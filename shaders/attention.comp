#version 450
// Fused attention with an online softmax (Milakov and Gimelshein 2018; FlashAttention, Dao et al.
// 2022). A workgroup owns PAIRS pairs (query, query head) of one KV head and one of `splits` parts
// of the cache. It walks along its part in blocks of LOCAL cells: an invocation scores one cell for
// all pairs, then sums some dimensions of v for all pairs. With more than one part in all
// the results go to scratch and attention_merge.comp joins them.
#include "common.glsl"
layout(constant_id = 1) const uint K_TYPE = 0;
layout(constant_id = 2) const uint V_TYPE = 0;
layout(constant_id = 3) const uint PAIRS = 4;   // at most 32
layout(constant_id = 4) const uint V_DIMS = 1;  // of v for an invocation: v_dim / LOCAL, up
layout(constant_id = 5) const uint QUERY_WIDTH = 16;  // room for a query, in vec4
const uint kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ8_0 = 8;

layout(push_constant) uniform Push {
  uint v_dim, heads, kv_heads, queries;
  uint q_head_stride, q_query_stride;   // elements
  uint k_head_stride, k_cell_stride;    // bytes
  uint v_head_stride, v_cell_stride;
  uint q_offset, k_offset, v_offset;
  uint q_cells_offset, kv_cells_offset, length_offset, sinks_offset, out_offset;
  uint first_cell, cells;               // of this dispatch
  uint splits, first_split, all_splits;  // of this dispatch, where they go, of all
  int window;
  float scale, softcap;
  uint head_dim;
  uint flags;  // kCausal, kSinks
} p;
layout(binding = 0) readonly buffer Q { float q[]; };
layout(binding = 1) readonly buffer K { uint k_words[]; };
layout(binding = 2) readonly buffer V { uint v_words[]; };
#ifdef SMALL_STORAGE
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
layout(binding = 1) readonly buffer KHalves { uint16_t k_halves[]; };
layout(binding = 1) readonly buffer KBytes { uint8_t k_bytes[]; };
layout(binding = 2) readonly buffer VHalves { uint16_t v_halves[]; };
layout(binding = 2) readonly buffer VBytes { uint8_t v_bytes[]; };
#endif
layout(binding = 3) readonly buffer QCells { ivec2 q_cells[]; };
layout(binding = 4) readonly buffer KvCells { ivec2 kv_cells[]; };
layout(binding = 5) readonly buffer Length { int kv_length[]; };
layout(binding = 6) readonly buffer Sinks { float sinks[]; };
layout(binding = 7) writeonly buffer Out { float result[]; };

#define CELL_TYPE K_TYPE
#define CELL_WORD(i) k_words[i]
#define CELL_HALF(i) k_halves[i]
#define CELL_BYTE(i) k_bytes[i]
#define CELL_NAME(name) K##name
#include "kv_cell.glsl"
#undef CELL_TYPE
#undef CELL_WORD
#undef CELL_HALF
#undef CELL_BYTE
#undef CELL_NAME
#define CELL_TYPE V_TYPE
#define CELL_WORD(i) v_words[i]
#define CELL_HALF(i) v_halves[i]
#define CELL_BYTE(i) v_bytes[i]
#define CELL_NAME(name) V##name
#include "kv_cell.glsl"

const uint kCausal = 1, kSinks = 2;
shared vec4 queries[PAIRS * QUERY_WIDTH];  // scaled
shared float scores[PAIRS * LOCAL];
shared float partial_peaks[PAIRS * 8];
shared uint seen_by;  // bit i: pair i sees a cell of the block

float Capped(float score) {
  if (p.softcap == 0.0) return score;
  const float y = score / p.softcap;
  return p.softcap * sign(y) * (1.0 - 2.0 / (1.0 + exp(2.0 * min(abs(y), 40.0))));
}

void main() {
  const uint thread = gl_LocalInvocationIndex;
  const bool causal = (p.flags & kCausal) != 0;
  const uint group = p.heads / p.kv_heads;
  const uint all_pairs = group * p.queries;
  const uint pair_groups = (all_pairs + PAIRS - 1) / PAIRS;
  uint index = GroupIndex();
  const uint split = index % p.splits;
  index /= p.splits;
  const uint first_pair = index % pair_groups * PAIRS;
  const uint kv_head = index / pair_groups;
  if (kv_head >= p.kv_heads) return;
  const uint pairs = min(PAIRS, all_pairs - first_pair);

  for (uint i = thread; i < PAIRS * QUERY_WIDTH; i += LOCAL) {
    const uint pair = first_pair + i / QUERY_WIDTH, at = 4 * (i % QUERY_WIDTH);
    vec4 four = vec4(0.0);
    if (i / QUERY_WIDTH < pairs) {
      const uint from = p.q_offset + (kv_head * group + pair % group) * p.q_head_stride +
                        pair / group * p.q_query_stride + at;
      for (uint j = 0; j < 4; ++j) {
        if (at + j < p.head_dim) four[j] = q[from + j] * p.scale;
      }
    }
    queries[i] = four;
  }
  ivec2 asks[PAIRS];
  for (uint i = 0; i < PAIRS; ++i) {
    asks[i] = i < pairs ? q_cells[(p.q_cells_offset >> 1) + (first_pair + i) / group] : ivec2(0, -1);
  }
  float peaks[PAIRS], totals[PAIRS], sums[PAIRS * V_DIMS];
  for (uint i = 0; i < PAIRS; ++i) {
    peaks[i] = -kInfinity;
    totals[i] = 0.0;
  }
  for (uint i = 0; i < PAIRS * V_DIMS; ++i) sums[i] = 0.0;

  // The cells in use, as seen from this dispatch, in whole blocks a split.
  const int in_use = clamp(kv_length[p.length_offset] - int(p.first_cell), 0, int(p.cells));
  const uint blocks = (uint(in_use) + LOCAL - 1) / LOCAL;
  const uint per_split = (blocks + p.splits - 1) / p.splits;
  const uint end = min(blocks, (split + 1) * per_split);
  for (uint block = split * per_split; block < end; ++block) {
    const uint cell = block * LOCAL + thread;
    uint seen = 0;
    if (cell < uint(in_use)) {
      const ivec2 has = kv_cells[(p.kv_cells_offset >> 1) + cell];
      for (uint i = 0; i < PAIRS; ++i) {
        // position - window without overflow: both are then of one sign or far apart.
        bool sees = asks[i].y != -1 && has.y == asks[i].y && (!causal || has.x <= asks[i].x);
        if (p.window > 0) {
          const int start = asks[i].x < -2147483647 + p.window ? -2147483647 - 1
                                                               : asks[i].x - p.window;
          sees = sees && has.x > start;
        }
        if (sees) seen |= 1u << i;
      }
    }
    barrier();  // the last block's scores were read
    if (thread == 0) seen_by = 0;
    barrier();
    if (seen != 0) atomicOr(seen_by, seen);
    barrier();
    if (seen_by == 0) continue;

    float mine[PAIRS];
    for (uint i = 0; i < PAIRS; ++i) mine[i] = 0.0;
    if (seen != 0) {
      const uint row = p.k_offset + cell * p.k_cell_stride + kv_head * p.k_head_stride;
      for (uint d = 0; d < p.head_dim / 4; ++d) {
        const vec4 four = KFour(row, d);
        for (uint i = 0; i < PAIRS; ++i) mine[i] += dot(four, queries[i * QUERY_WIDTH + d]);
      }
      for (uint d = p.head_dim / 4 * 4; d < p.head_dim; ++d) {
        const float one = KElement(row, d);
        for (uint i = 0; i < PAIRS; ++i) {
          mine[i] += one * queries[i * QUERY_WIDTH + (d >> 2)][d & 3u];
        }
      }
    }
    for (uint i = 0; i < PAIRS; ++i) {
      scores[i * LOCAL + thread] = (seen >> i & 1u) != 0 ? Capped(mine[i]) : -kInfinity;
    }
    barrier();
    // The peaks of the block: eight invocations to a pair, then eight numbers to everyone.
    const uint count = min(LOCAL, uint(in_use) - block * LOCAL);
    for (uint j = thread; j < PAIRS * 8; j += LOCAL) {
      float peak = -kInfinity;
      for (uint c = j % 8; c < LOCAL; c += 8) peak = max(peak, scores[j / 8 * LOCAL + c]);
      partial_peaks[j] = peak;
    }
    barrier();
    for (uint i = 0; i < PAIRS; ++i) {
      if ((seen_by >> i & 1u) == 0) continue;
      float peak = peaks[i];
      for (uint j = 0; j < 8; ++j) peak = max(peak, partial_peaks[i * 8 + j]);
      const float shrink = exp(peaks[i] - peak);
      peaks[i] = peak;
      totals[i] *= shrink;
      for (uint d = 0; d < V_DIMS; ++d) sums[i * V_DIMS + d] *= shrink;
    }
    for (uint i = 0; i < PAIRS; ++i) {
      if ((seen_by >> i & 1u) == 0) continue;
      scores[i * LOCAL + thread] = exp(scores[i * LOCAL + thread] - peaks[i]);
    }
    barrier();
    for (uint c = 0; c < count; ++c) {
      const uint row =
          p.v_offset + (block * LOCAL + c) * p.v_cell_stride + kv_head * p.v_head_stride;
      float v[V_DIMS];
      for (uint d = 0; d < V_DIMS; ++d) {
        const uint at = d * LOCAL + thread;
        v[d] = at < p.v_dim ? VElement(row, at) : 0.0;
      }
      for (uint i = 0; i < PAIRS; ++i) {
        if ((seen_by >> i & 1u) == 0) continue;
        const float weight = scores[i * LOCAL + c];
        if (weight == 0.0) continue;  // the cell may hold anything
        totals[i] += weight;
        for (uint d = 0; d < V_DIMS; ++d) sums[i * V_DIMS + d] += weight * v[d];
      }
    }
  }

  for (uint i = 0; i < PAIRS; ++i) {
    if (i >= pairs) break;
    const uint pair = first_pair + i;
    const uint head = kv_head * group + pair % group;
    const uint out_row = pair / group * p.heads + head;
    if (p.all_splits > 1) {
      const uint to = p.out_offset + (out_row * p.all_splits + p.first_split + split) * (p.v_dim + 2);
      if (thread == 0) {
        result[to] = peaks[i];
        result[to + 1] = totals[i];
      }
      for (uint d = 0; d < V_DIMS; ++d) {
        const uint at = d * LOCAL + thread;
        if (at < p.v_dim) result[to + 2 + at] = sums[i * V_DIMS + d];
      }
      continue;
    }
    float total = totals[i];
    float shrink = 1.0;
    if ((p.flags & kSinks) != 0 && total > 0.0) {
      const float sink = sinks[p.sinks_offset + head];
      const float peak = max(peaks[i], sink);
      shrink = exp(peaks[i] - peak);
      total = total * shrink + exp(sink - peak);
    }
    const float inverse = total > 0.0 ? shrink / total : 0.0;
    for (uint d = 0; d < V_DIMS; ++d) {
      const uint at = d * LOCAL + thread;
      if (at < p.v_dim) result[p.out_offset + out_row * p.v_dim + at] = sums[i * V_DIMS + d] * inverse;
    }
  }
}
