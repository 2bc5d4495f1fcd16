#include <array>
#include <type_traits>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/unpack_codebook.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

using simd::ActivationRow;
using simd::kRun;
using simd::RunOfActivations;
using Panel = simd::Panel<Isa>;
using Int8Kernels = simd::Int8Kernels<Isa>;
constexpr int kPanelRows = Isa::kPanelRows;

template <typename T>
constexpr bool kSigned = T::kMost == 0;

// Products of weights and activations summed in pairs: 16 sums of 16 bits.
template <typename T>
inline __m256i PairSums(__m256i weights, __m256i x) {
  if constexpr (kSigned<T>) {
    // |w| * (x with the sign of w). The sum is at most 2 * 128 * 127.
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  } else {
    return _mm256_maddubs_epi16(weights, x);
  }
}

inline __m256i Widen(__m256i pair_sums) {
  return _mm256_madd_epi16(pair_sums, _mm256_set1_epi16(1));
}

// Joins the sums of four rows within each half of the registers: lane i of a half is row i.
inline __m256i JoinFour(const __m256i* s) {
  const __m256i ab =
      _mm256_add_epi32(_mm256_unpacklo_epi32(s[0], s[1]), _mm256_unpackhi_epi32(s[0], s[1]));
  const __m256i cd =
      _mm256_add_epi32(_mm256_unpacklo_epi32(s[2], s[3]), _mm256_unpackhi_epi32(s[2], s[3]));
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

// Sums of pairs that can be added in 16 bits.
template <typename T>
constexpr int kPairsThatFit = kSigned<T> ? 1 : 32767 / (2 * 127 * (kSigned<T> ? 1 : T::kMost));

// JoinFour of sums of pairs, widened as late as they allow.
template <typename T>
inline __m256i JoinFourPairs(const __m256i* s) {
  if constexpr (kPairsThatFit<T> < 2) {
    const __m256i wide[4] = {Widen(s[0]), Widen(s[1]), Widen(s[2]), Widen(s[3])};
    return JoinFour(wide);
  }
  __m256i ab =
      _mm256_add_epi16(_mm256_unpacklo_epi32(s[0], s[1]), _mm256_unpackhi_epi32(s[0], s[1]));
  __m256i cd =
      _mm256_add_epi16(_mm256_unpacklo_epi32(s[2], s[3]), _mm256_unpackhi_epi32(s[2], s[3]));
  if constexpr (kPairsThatFit<T> >= 4) {
    return Widen(_mm256_add_epi16(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd)));
  }
  ab = Widen(ab);
  cd = Widen(cd);
  return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

// One step of the outer sum, for eight rows.
template <typename T>
inline __m256 AddGroup(__m256 sum, __m256i products, int32_t x_sum, const float* scale,
                       const float* min, float d, float total) {
  if constexpr (T::kBias != 0) {
    products = _mm256_sub_epi32(products, _mm256_set1_epi32(T::kBias * x_sum));
  }
  sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products),
                        _mm256_mul_ps(_mm256_loadu_ps(scale), _mm256_set1_ps(d)), sum);
  if constexpr (T::kHasMin) {
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(min), _mm256_set1_ps(total), sum);
  }
  return sum;
}

template <typename Block, int kColumns>
void Vector(const uint8_t* const* rows, int64_t k, const ActivationRow* columns, float* const* out,
            const uint8_t* next) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32;
  __m256 sum[kColumns];
  for (int c = 0; c < kColumns; ++c) sum[c] = _mm256_setzero_ps();
  alignas(32) float scales[Block::kElements / T::kGroup * kLanes];
  alignas(32) float mins[Block::kElements / T::kGroup * kLanes];
  const int64_t blocks = k / Block::kElements;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = b * static_cast<int64_t>(sizeof(Block));
    T::Scales(rows, at, scales, mins);
#pragma GCC unroll 8
    for (int run = 0; run < kRuns; ++run) {
      // Eight rows are eight streams, each too short for the processor to foresee. Their memory is
      // one stretch, so that it is fetched from end to end instead, a little at a time: the
      // processor can wait for a few dozen lines at once.
      constexpr int64_t kShare = kLanes * sizeof(Block) / kRuns;
      for (int64_t line = 0; line < kShare; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(next + at * kLanes + run * kShare + line),
                     _MM_HINT_T0);
      }
      __m256i weights[kLanes];
      for (int r = 0; r < kLanes; ++r) weights[r] = T::Run(rows[r] + at, run);
      for (int c = 0; c < kColumns; ++c) {
        // The run, then its rest.
        for (int64_t i = b * kRuns + run; i != simd::kNoRest;) {
          const __m256i x = Load32(columns[c].quants + i * kRun);
          const RunOfActivations& info = columns[c].runs[i];
          i = info.rest;
          __m256i s[kLanes];
          for (int r = 0; r < kLanes; ++r) s[r] = PairSums<T>(weights[r], x);
          const __m256i low = JoinFourPairs<T>(s), high = JoinFourPairs<T>(s + 4);
          const __m256i first = _mm256_permute2x128_si256(low, high, 0x20);
          const __m256i last = _mm256_permute2x128_si256(low, high, 0x31);
          if constexpr (T::kGroup == 32) {
            sum[c] = AddGroup<T>(sum[c], _mm256_add_epi32(first, last), info.sum,
                                 scales + run * kLanes, mins + run * kLanes, info.d, info.total);
          } else {
            const float* scale = scales + 2 * run * kLanes;
            const float* min = mins + 2 * run * kLanes;
            sum[c] = AddGroup<T>(sum[c], first, info.half[0], scale, min, info.d,
                                 info.d * static_cast<float>(info.half[0]));
            sum[c] = AddGroup<T>(sum[c], last, info.half[1], scale + kLanes, min + kLanes, info.d,
                                 info.d * static_cast<float>(info.half[1]));
          }
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) _mm256_storeu_ps(out[c], sum[c]);
}

template <typename Block>
void Pack(const uint8_t* const* rows, int64_t first, int64_t count, Panel& panel) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32, kGroups = Block::kElements / T::kGroup;
  const int64_t begin = first / Block::kElements, blocks = count / Block::kElements;
  for (int half = 0; half < 2; ++half) {
    const uint8_t* const* of_half = rows + half * kLanes;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = (begin + b) * static_cast<int64_t>(sizeof(Block));
      alignas(32) float scales[kGroups * kLanes], mins[kGroups * kLanes];
      T::Scales(of_half, at, scales, mins);
      for (int g = 0; g < kGroups; ++g) {
        const int64_t to = (b * kGroups + g) * kPanelRows + half * kLanes;
        _mm256_store_ps(panel.scales + to, _mm256_load_ps(scales + g * kLanes));
        if constexpr (T::kHasMin) {
          _mm256_store_ps(panel.mins + to, _mm256_load_ps(mins + g * kLanes));
        }
      }
      for (int run = 0; run < kRuns; ++run) {
        __m256 v[kLanes];
        for (int r = 0; r < kLanes; ++r) v[r] = _mm256_castsi256_ps(T::Run(of_half[r] + at, run));
        Transpose(v);
        int8_t* to = panel.quants + ((b * kRuns + run) * 16 + half) * 32;
        for (int j = 0; j < 8; ++j) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(to + j * 64), _mm256_castps_si256(v[j]));
        }
      }
    }
  }
}

// What a product with a panel depends on; types that agree share the code.
template <int kMostOf, int kBiasOf, int kGroupOf, bool kHasMinOf>
struct Format {
  static constexpr int kMost = kMostOf, kBias = kBiasOf, kGroup = kGroupOf;
  static constexpr bool kHasMin = kHasMinOf;
};

// Adds the products of one run of a panel and a run of each column.
template <typename T, int kColumns>
[[gnu::always_inline]] inline void AddRun(const Panel& panel, int64_t run, const int8_t* const* x,
                                          const RunOfActivations* const* info,
                                          __m256 (&sum)[2][kColumns]) {
  constexpr int kGroupsPerRun = 32 / T::kGroup;
  constexpr int kSteps = T::kGroup / 4;  // of four elements, in a group
  constexpr int kFits = kPairsThatFit<T>;
  // Sums of pairs that are added in 16 bits.
  constexpr int kChunk = kFits >= kSteps ? kSteps : kFits >= 4 ? 4 : kFits >= 2 ? 2 : 1;
  for (int g = 0; g < kGroupsPerRun; ++g) {
    __m256i products[2][kColumns];
    for (int v = 0; v < 2; ++v) {
      for (int c = 0; c < kColumns; ++c) products[v][c] = _mm256_setzero_si256();
    }
#pragma GCC unroll 8
    for (int step = 0; step < kSteps; step += kChunk) {
      __m256i pairs[2][kColumns];
#pragma GCC unroll 8
      for (int i = 0; i < kChunk; ++i) {
        const int j = g * kSteps + step + i;
        __m256i w[2];
        for (int v = 0; v < 2; ++v) {
          w[v] = _mm256_load_si256(
              reinterpret_cast<const __m256i*>(panel.quants + ((run * 8 + j) * 2 + v) * 32));
        }
        for (int c = 0; c < kColumns; ++c) {
          const __m256i four =
              _mm256_set1_epi32(LoadAs<int32_t>(reinterpret_cast<const uint8_t*>(x[c] + j * 4)));
          for (int v = 0; v < 2; ++v) {
            const __m256i more = PairSums<T>(w[v], four);
            pairs[v][c] = i == 0 ? more : _mm256_add_epi16(pairs[v][c], more);
          }
        }
      }
      for (int v = 0; v < 2; ++v) {
        for (int c = 0; c < kColumns; ++c) {
          products[v][c] = _mm256_add_epi32(products[v][c], Widen(pairs[v][c]));
        }
      }
    }
    const float* scale = panel.scales + (run * kGroupsPerRun + g) * kPanelRows;
    const float* min = panel.mins + (run * kGroupsPerRun + g) * kPanelRows;
    for (int c = 0; c < kColumns; ++c) {
      const RunOfActivations& r = *info[c];
      const int32_t x_sum = kGroupsPerRun == 1 ? r.sum : r.half[g];
      const float total = kGroupsPerRun == 1 ? r.total : r.d * static_cast<float>(x_sum);
      for (int v = 0; v < 2; ++v) {
        sum[v][c] = AddGroup<T>(sum[v][c], products[v][c], x_sum, scale + v * kLanes,
                                min + v * kLanes, r.d, total);
      }
    }
  }
}

template <typename T, int kColumns>
void MultiplyPanel(const Panel& panel, int64_t first, int64_t count, const ActivationRow* columns,
                   float* const* out) {
  __m256 sum[2][kColumns];
  for (int c = 0; c < kColumns; ++c) {
    sum[0][c] = _mm256_loadu_ps(out[c]);
    sum[1][c] = _mm256_loadu_ps(out[c] + kLanes);
  }
  for (int64_t run = 0; run < count / kRun; ++run) {
    const int8_t* x[kColumns];
    const RunOfActivations* info[kColumns];
    for (int c = 0; c < kColumns; ++c) {
      x[c] = columns[c].quants + first + run * kRun;
      info[c] = columns[c].runs + first / kRun + run;
    }
    AddRun<T, kColumns>(panel, run, x, info, sum);
    if (simd::TakeRests<kColumns>(columns, x, info)) [[unlikely]] {
      AddRun<T, kColumns>(panel, run, x, info, sum);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    _mm256_storeu_ps(out[c], sum[0][c]);
    _mm256_storeu_ps(out[c] + kLanes, sum[1][c]);
  }
}

template <typename Block>
constexpr Int8Kernels KernelsOf() {
  using T = Unpack<Block>;
  using F = Format<T::kMost, T::kBias, T::kGroup, T::kHasMin>;
  return {{&Vector<Block, 1>, &Vector<Block, 2>, &Vector<Block, 3>, &Vector<Block, 4>},
          &Pack<Block>,
          {&MultiplyPanel<F, 1>, &MultiplyPanel<F, 2>}};
}

using Table = std::array<const Int8Kernels*, quant::kTypeIdLimit>;

template <typename Block>
constexpr Int8Kernels kKernelsOf = KernelsOf<Block>();

template <typename... Blocks>
constexpr Table MakeTable(quant::BlockList<Blocks...>) {
  Table table{};
  ((table[static_cast<size_t>(Blocks::kType)] = &kKernelsOf<Blocks>), ...);
  return table;
}

constexpr Table kTable = MakeTable(quant::AllBlocks{});

}  // namespace

const Int8Kernels* Isa::Int8KernelsOf(quant::Type type) {
  return kTable[static_cast<size_t>(type)];
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
