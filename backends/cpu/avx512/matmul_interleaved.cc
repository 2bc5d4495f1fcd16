// Integer products with interleaved weights (plan/interleave.h): no sums across a register are
// left, and memory is read from end to end.

#include <algorithm>
#include <array>
#include <cstring>

#include "backends/cpu/avx512/interleaved.h"
#include "backends/cpu/avx512/matmul_int8.h"
#include "backends/cpu/simd/fetch_share.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {
namespace {

using interleaved::Quants;
using simd::ActivationRow;
using simd::kRun;
using simd::RunOfActivations;
using InterleavedKernels = simd::InterleavedKernels<Isa>;

// As avx512/unpack.h says of rows as they lie in a file.
template <typename Block>
struct Unpack : interleaved::Unpack<Block> {
  using interleaved::Unpack<Block>::kBias;
  static constexpr int kUnsignedBias = kBias + (interleaved::Unpack<Block>::kMost == 0 ? 128 : 0);
};

// Products of four elements each, from word `begin` of a run on, less the bias. Two sums at a time:
// the instruction takes longer than it blocks its unit.
template <int kSteps>
[[gnu::always_inline]] inline __m512i Dots(const Quants& weights, const int8_t* x, int begin,
                                           int32_t less) {
  __m512i even = _mm512_set1_epi32(-less), odd = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int j = 0; j < kSteps; j += 2) {
    int32_t four[2];
    std::memcpy(four, x + 4 * (begin + j), sizeof(four));
    even = _mm512_dpbusd_epi32(even, weights.v[begin + j], _mm512_set1_epi32(four[0]));
    odd = _mm512_dpbusd_epi32(odd, weights.v[begin + j + 1], _mm512_set1_epi32(four[1]));
  }
  return _mm512_add_epi32(even, odd);
}

// Weights are fetched ahead, since fields of a block are read by turns, which the processor does
// not foresee. Products that wait for memory get a quarter more of it by bursts of a KiB or more,
// if lines are asked for one at a time; those that compute for longer do better with a few lines at
// each run.
template <typename Block, int kColumns>
constexpr bool kInBursts = kColumns <= 2 && 8 * sizeof(Block) >= 4 * Block::kElements;

template <typename Block>
[[gnu::always_inline]] inline void FetchBurst(const uint8_t* group, int64_t block) {
  constexpr int64_t kBytes = kInterleaved * sizeof(Block);
  constexpr int64_t kBlocks = Block::kElements < 256 ? 4 : 1;
  constexpr int64_t kAhead = kBlocks == 1 ? 2 * kBytes : 4096;
  if (block % kBlocks != 0) return;
  const uint8_t* const from = group + block * kBytes + kAhead;
#pragma GCC unroll 1
  for (int64_t line = 0; line < kBlocks * kBytes; line += 64) __builtin_prefetch(from + line);
}

template <typename Block, int kColumns>
void Vector(const uint8_t* group, int64_t k, const ActivationRow* columns, float* const* out) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32, kScales = Block::kElements / T::kGroup * 16;
  constexpr int64_t kBytes = kInterleaved * sizeof(Block);
  __m512 sum[kColumns], rest[kColumns];
  for (int c = 0; c < kColumns; ++c) sum[c] = rest[c] = _mm512_setzero_ps();
  alignas(64) float scales[kScales], mins[kScales];
  const int64_t blocks = k / Block::kElements;
  for (int64_t b = 0; b < blocks; ++b) {
    if constexpr (kInBursts<Block, kColumns>) FetchBurst<Block>(group, b);
    T::Scales(group, b * static_cast<int64_t>(sizeof(Block)), scales, mins);
    const uint8_t* const block = group + b * kBytes;
#pragma GCC unroll 8
    for (int run = 0; run < kRuns; ++run) {
      if constexpr (!kInBursts<Block, kColumns>) simd::FetchShare<Block>(block, run);
      const Quants weights = interleaved::RunOf<Block>(block, run);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        // The run, then its rest, to sums of its own.
        for (int64_t i = b * kRuns + run; i >= 0;) {
          const int8_t* x = columns[c].quants + i * kRun;
          const RunOfActivations& info = columns[c].runs[i];
          i = info.rest;
          if constexpr (T::kGroup == 32) {
            const int at = run * 16;
            sum[c] = AddGroup<T::kHasMin>(
                sum[c], Dots<8>(weights, x, 0, T::kUnsignedBias * info.sum),
                _mm512_load_ps(scales + at), T::kHasMin ? _mm512_load_ps(mins + at) : sum[c],
                info.d, info.total);
          } else {
            const int at = 2 * run * 16;
            const __m512 first =
                HalfRun<T::kHasMin>(Dots<4>(weights, x, 0, T::kUnsignedBias * info.half[0]),
                                    _mm512_load_ps(scales + at),
                                    T::kHasMin ? _mm512_load_ps(mins + at) : sum[c], info.half[0]);
            sum[c] = AddHalves<T::kHasMin>(
                sum[c], first, Dots<4>(weights, x, 4, T::kUnsignedBias * info.half[1]),
                _mm512_load_ps(scales + at + 16),
                T::kHasMin ? _mm512_load_ps(mins + at + 16) : sum[c], info.half[1], info.d);
          }
          if (i != simd::kNoRest) [[unlikely]]
            std::swap(sum[c], rest[c]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) _mm512_storeu_ps(out[c], _mm512_add_ps(sum[c], rest[c]));
}

template <typename Block>
void Pack(const uint8_t* const* rows, int64_t first, int64_t count, Panel& panel) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32, kScales = Block::kElements / T::kGroup;
  const int64_t begin = first / Block::kElements, blocks = count / Block::kElements;
  for (int group = 0; group < kGroups; ++group) {
    const uint8_t* const from = rows[group * kInterleaved];
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = (begin + b) * static_cast<int64_t>(sizeof(Block));
      alignas(64) float scales[kScales * 16], mins[kScales * 16];
      T::Scales(from, at, scales, mins);
      for (int g = 0; g < kScales; ++g) {
        const int64_t to = (b * kScales + g) * Isa::kPanelRows + group * kInterleaved;
        _mm512_store_ps(panel.scales + to, _mm512_load_ps(scales + g * 16));
        if constexpr (T::kHasMin) _mm512_store_ps(panel.mins + to, _mm512_load_ps(mins + g * 16));
      }
#pragma GCC unroll 8
      for (int run = 0; run < kRuns; ++run) {
        const Quants quants = interleaved::RunOf<Block>(from + at * kInterleaved, run);
        int8_t* to = panel.quants + ((b * kRuns + run) * 8 * kGroups + group) * 64;
        for (int j = 0; j < 8; ++j) _mm512_store_si512(to + j * kGroups * 64, quants.v[j]);
      }
    }
  }
}

template <typename Block>
constexpr InterleavedKernels kInterleavedKernelsOf = {
    {&Vector<Block, 1>, &Vector<Block, 2>, &Vector<Block, 3>, &Vector<Block, 4>}, &Pack<Block>};

}  // namespace

#include "backends/cpu/simd/interleaved_table.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
