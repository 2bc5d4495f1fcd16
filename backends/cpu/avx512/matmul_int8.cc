// Integer products with VNNI: four products of an unsigned and a signed byte are added to a lane of
// 32 bits at once. Rows of weights are lanes: 16 in a register.

#include "backends/cpu/avx512/matmul_int8.h"

#include <array>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx512/unpack.h"
#include "backends/cpu/avx512/unpack_codebook.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

#include "backends/cpu/simd/unroll.inc"

namespace {

using simd::ActivationRow;
using simd::kRun;
using simd::RunOfActivations;
using Int8Kernels = simd::Int8Kernels<Isa>;

constexpr int kNarrow = kRows / 2;  // of one call of Scales

inline __m512 Join(const float* low, const float* high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_load_ps(low)), _mm256_load_ps(high), 1);
}

// Joins the sums of four registers within each quarter: lane i is register i.
inline __m512i JoinFour(const __m512i* s) {
  const __m512i ab =
      _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
  const __m512i cd =
      _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}
// Quarters 0 and 2, or 1 and 3, of both.
inline __m512i EvenQuarters(__m512i a, __m512i b) { return _mm512_shuffle_i64x2(a, b, 0x88); }
inline __m512i OddQuarters(__m512i a, __m512i b) { return _mm512_shuffle_i64x2(a, b, 0xDD); }

template <typename Block, int kColumns>
void Vector(const uint8_t* const* rows, int64_t k, const ActivationRow* columns, float* const* out,
            const uint8_t* next) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32, kScales = Block::kElements / T::kGroup * kNarrow;
  __m512 sum[kColumns], rest[kColumns];
  for (int c = 0; c < kColumns; ++c) sum[c] = rest[c] = _mm512_setzero_ps();
  alignas(64) float scales[2][kScales], mins[2][kScales];
  const int64_t blocks = k / Block::kElements;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = b * static_cast<int64_t>(sizeof(Block));
    for (int half = 0; half < 2; ++half) {
      T::Narrow::Scales(rows + half * kNarrow, at, scales[half], mins[half]);
    }
    const BlockOfRows<Block> block(rows, at);
#pragma GCC unroll 8
    for (int run = 0; run < kRuns; ++run) {
      // As in avx2/matmul_int8.cc: the next rows are one stretch of memory. A little at a time: the
      // processor can wait for a few dozen lines at once.
      constexpr int64_t kShare = kRows * sizeof(Block) / kRuns;
      for (int64_t line = 0; line < kShare; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(next + at * kRows + run * kShare + line),
                     _MM_HINT_T0);
      }
      __m512i weights[kPairs];
#pragma GCC unroll 8
      for (int p = 0; p < kPairs; ++p) weights[p] = block.Run(p, run);
      for (int c = 0; c < kColumns; ++c) {
        // The run, then its rest, to sums of its own.
        for (int64_t i = b * kRuns + run; i >= 0;) {
          const __m512i x = _mm512_broadcast_i64x4(avx2::Load32(columns[c].quants + i * kRun));
          const RunOfActivations& info = columns[c].runs[i];
          i = info.rest;
          __m512i s[kPairs];
          for (int p = 0; p < kPairs; ++p) {
            s[p] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights[p], x);
          }
          const __m512i low = JoinFour(s), high = JoinFour(s + 4);
          __m512i first = EvenQuarters(low, high), last = OddQuarters(low, high);
          if constexpr (T::kGroup == 32) {
            first = _mm512_add_epi32(first, last);
            if constexpr (T::kBias != 0) {
              first = _mm512_sub_epi32(first, _mm512_set1_epi32(T::kBias * info.sum));
            }
            const int g = run * kNarrow;
            sum[c] = AddGroup<T::kHasMin>(sum[c], first, Join(scales[0] + g, scales[1] + g),
                                          T::kHasMin ? Join(mins[0] + g, mins[1] + g) : sum[c],
                                          info.d, info.total);
          } else {
            if constexpr (T::kBias != 0) {
              first = _mm512_sub_epi32(first, _mm512_set1_epi32(T::kBias * info.half[0]));
              last = _mm512_sub_epi32(last, _mm512_set1_epi32(T::kBias * info.half[1]));
            }
            const int g = 2 * run * kNarrow, h = g + kNarrow;
            const __m512 of_first = HalfRun<T::kHasMin>(
                first, Join(scales[0] + g, scales[1] + g),
                T::kHasMin ? Join(mins[0] + g, mins[1] + g) : sum[c], info.half[0]);
            sum[c] = AddHalves<T::kHasMin>(
                sum[c], of_first, last, Join(scales[0] + h, scales[1] + h),
                T::kHasMin ? Join(mins[0] + h, mins[1] + h) : sum[c], info.half[1], info.d);
          }
          if (i != simd::kNoRest) [[unlikely]]
            std::swap(sum[c], rest[c]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) _mm512_storeu_ps(out[c], _mm512_add_ps(sum[c], rest[c]));
}

// Four bytes of each row to a register: v[j] becomes bytes 4j .. 4j + 3 of all rows.
inline void Transpose(__m512i v[kPairs]) {
  __m512i u[kPairs];
  for (int i = 0; i < kPairs; i += 4) TransposeQuarters(v + i, u + i);
  for (int j = 0; j < 4; ++j) {
    v[j] = EvenQuarters(u[j], u[j + 4]);
    v[j + 4] = OddQuarters(u[j], u[j + 4]);
  }
}

template <typename Block>
void Pack(const uint8_t* const* rows, int64_t first, int64_t count, Panel& panel) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32, kScales = Block::kElements / T::kGroup;
  const int64_t begin = first / Block::kElements, blocks = count / Block::kElements;
  for (int part = 0; part < 2 * kGroups; ++part) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = (begin + b) * static_cast<int64_t>(sizeof(Block));
      alignas(64) float scales[kScales * kNarrow], mins[kScales * kNarrow];
      T::Narrow::Scales(rows + part * kNarrow, at, scales, mins);
      for (int g = 0; g < kScales; ++g) {
        const int64_t to = (b * kScales + g) * Isa::kPanelRows + part * kNarrow;
        _mm256_store_ps(panel.scales + to, _mm256_load_ps(scales + g * kNarrow));
        if constexpr (T::kHasMin) {
          _mm256_store_ps(panel.mins + to, _mm256_load_ps(mins + g * kNarrow));
        }
      }
    }
  }
  for (int group = 0; group < kGroups; ++group) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = (begin + b) * static_cast<int64_t>(sizeof(Block));
      const BlockOfRows<Block> block(rows + group * kRows, at);
#pragma GCC unroll 8
      for (int run = 0; run < kRuns; ++run) {
        __m512i v[kPairs];
#pragma GCC unroll 8
        for (int p = 0; p < kPairs; ++p) v[p] = block.Run(p, run);
        Transpose(v);
        int8_t* to = panel.quants + ((b * kRuns + run) * 8 * kGroups + group) * 64;
        for (int j = 0; j < 8; ++j) _mm512_store_si512(to + j * kGroups * 64, v[j]);
      }
    }
  }
}

// What a product with a panel depends on; types that agree share the code.
template <int kBiasOf, int kGroupOf, bool kHasMinOf>
struct Format {
  static constexpr int kBias = kBiasOf, kGroup = kGroupOf;
  static constexpr bool kHasMin = kHasMinOf;
};

// The sums of a panel's 32 rows for some columns, in registers.
template <int kColumns>
struct Sums {
  static constexpr int kCount = kGroups * kColumns;
  __m512 of[kCount];  // [column][group]

  [[gnu::always_inline]] explicit Sums(const float* from) {
    Unroll<kCount>([&](auto i) __attribute__((always_inline)) {
      of[i] = _mm512_load_ps(from + i * kRows);
    });
  }
  [[gnu::always_inline]] void Store(float* to) const {
    Unroll<kCount>([&](auto i)
                       __attribute__((always_inline)) { _mm512_store_ps(to + i * kRows, of[i]); });
  }
};

// Adds the products of one run of a panel and a run of each column.
template <typename T, int kColumns>
[[gnu::always_inline]] inline void AddRun(const Panel& panel, int64_t run, const int8_t* const* x,
                                          const RunOfActivations* const* info,
                                          Sums<kColumns>& sums) {
  constexpr int kParts = 32 / T::kGroup;  // of a run
  constexpr int kSteps = T::kGroup / 4;   // of four elements, in a part
  constexpr int kSums = kGroups * kColumns;
  [[maybe_unused]] __m512 first[kSums];  // what the first of two parts has given
  Unroll<kParts>([&](auto part) __attribute__((always_inline)) {
    __m512i products[kSums];
    Unroll<kColumns>([&](auto c) __attribute__((always_inline)) {
      const int32_t x_sum = kParts == 1 ? info[c]->sum : info[c]->half[part];
      Unroll<kGroups>([&](auto v) __attribute__((always_inline)) {
        products[c * kGroups + v] = _mm512_set1_epi32(-T::kBias * x_sum);
      });
    });
    const int8_t* const quants = panel.quants + (run * 8 + part * kSteps) * kGroups * 64;
    Unroll<kSteps>([&](auto step) __attribute__((always_inline)) {
      __m512i w[kGroups];
      Unroll<kGroups>([&](auto v) __attribute__((always_inline)) {
        w[v] = _mm512_load_si512(quants + (step * kGroups + v) * 64);
      });
      Unroll<kColumns>([&](auto c) __attribute__((always_inline)) {
        const __m512i four = _mm512_set1_epi32(avx2::LoadAs<int32_t>(
            reinterpret_cast<const uint8_t*>(x[c] + (part * kSteps + step) * 4)));
        Unroll<kGroups>([&](auto v) __attribute__((always_inline)) {
          __m512i& p = products[c * kGroups + v];
          p = _mm512_dpbusd_epi32(p, w[v], four);
        });
      });
    });
    const float* const scale = panel.scales + (run * kParts + part) * Isa::kPanelRows;
    const float* const min = panel.mins + (run * kParts + part) * Isa::kPanelRows;
    Unroll<kSums>([&](auto i) __attribute__((always_inline)) {
      constexpr int kColumn = i / kGroups, kFrom = i % kGroups * kRows;
      const RunOfActivations& r = *info[kColumn];
      __m512& sum = sums.of[i];
      const __m512 s = _mm512_load_ps(scale + kFrom);
      const __m512 m = T::kHasMin ? _mm512_load_ps(min + kFrom) : s;
      if constexpr (kParts == 1) {
        sum = AddGroup<T::kHasMin>(sum, products[i], s, m, r.d, r.total);
      } else if constexpr (part == 0) {
        first[i] = HalfRun<T::kHasMin>(products[i], s, m, r.half[0]);
      } else {
        sum = AddHalves<T::kHasMin>(sum, first[i], products[i], s, m, r.half[1], r.d);
      }
    });
  });
}

template <typename T, int kColumns>
void MultiplyPanel(const Panel& panel, int64_t first, int64_t count, const ActivationRow* columns,
                   float* sums) {
  Sums<kColumns> sum(sums);
  for (int64_t run = 0; run < count / kRun; ++run) {
    const int8_t* x[kColumns];
    const RunOfActivations* info[kColumns];
    for (int c = 0; c < kColumns; ++c) {
      x[c] = columns[c].quants + first + run * kRun;
      info[c] = columns[c].runs + first / kRun + run;
    }
    AddRun<T, kColumns>(panel, run, x, info, sum);
  }
  sum.Store(sums);
}

constexpr int kPanelRows = Isa::kPanelRows;
using ColumnSums = Sums<1>;
template <typename T>
[[gnu::always_inline]] inline void AddRunOfColumn(const Panel& panel, int64_t run, const int8_t* x,
                                                  const RunOfActivations& info, ColumnSums& sum) {
  const RunOfActivations* const infos = &info;
  AddRun<T, 1>(panel, run, &x, &infos, sum);
}

}  // namespace

#include "backends/cpu/simd/panel_rests.inc"

namespace {

template <typename Block>
constexpr Int8Kernels KernelsOf() {
  using T = Unpack<Block>;
  using F = Format<T::kBias, T::kGroup, T::kHasMin>;
  return {{&Vector<Block, 1>, &Vector<Block, 2>, &Vector<Block, 3>, &Vector<Block, 4>},
          &Pack<Block>,
          {&MultiplyPanel<F, 1>, &MultiplyPanel<F, 2>, &MultiplyPanel<F, 3>, &MultiplyPanel<F, 4>},
          &MultiplyRests<F>};
}

}  // namespace

#include "backends/cpu/simd/int8_table.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
