// Integer products by dot products of bytes: four products to a lane at once.

#include <algorithm>
#include <array>

#include "backends/cpu/neon/isa.h"
#include "backends/cpu/neon/products.h"
#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/unpack.h"

BANTAM_DOTPROD_BEGIN

namespace bantam::cpu::neon {
namespace {

using Int8Kernels = simd::Int8Kernels<Isa>;

// Joins the sums of eight rows.
inline Products JoinEight(const int32x4_t* s) {
  return {vpaddq_s32(vpaddq_s32(s[0], s[1]), vpaddq_s32(s[2], s[3])),
          vpaddq_s32(vpaddq_s32(s[4], s[5]), vpaddq_s32(s[6], s[7]))};
}

template <typename Block, int kColumns>
void Vector(const uint8_t* const* rows, int64_t k, const ActivationRow* columns, float* const* out,
            const uint8_t* next) {
  using T = Unpack<Block>;
  constexpr int kRuns = Block::kElements / 32;
  Floats sum[kColumns], rest[kColumns];
  for (int c = 0; c < kColumns; ++c) sum[c] = rest[c] = V::Zero();
  float scales[Block::kElements / T::kGroup * kLanes];
  float mins[Block::kElements / T::kGroup * kLanes];
  const int32x4_t zero = vdupq_n_s32(0);
  const int64_t blocks = k / Block::kElements;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = b * static_cast<int64_t>(sizeof(Block));
    T::Scales(rows, at, scales, mins);
#pragma GCC unroll 8
    for (int run = 0; run < kRuns; ++run) {
      // As in avx2/matmul_int8.cc: the next rows are one stretch of memory.
      constexpr int64_t kShare = kLanes * sizeof(Block) / kRuns;
      for (int64_t line = 0; line < kShare; line += 64) {
        __builtin_prefetch(next + at * kLanes + run * kShare + line);
      }
      Quants weights[kLanes];
      for (int r = 0; r < kLanes; ++r) weights[r] = T::Run(rows[r] + at, run);
      for (int c = 0; c < kColumns; ++c) {
        // The run, then its rest, to sums of its own.
        for (int64_t i = b * kRuns + run; i >= 0;) {
          const int8_t* x = columns[c].quants + i * kRun;
          const int8x16_t low = vld1q_s8(x), high = vld1q_s8(x + 16);
          const RunOfActivations& info = columns[c].runs[i];
          i = info.rest;
          int32x4_t s[kLanes];
          for (int r = 0; r < kLanes; ++r) s[r] = vdotq_s32(zero, Signed(weights[r].low), low);
          if constexpr (T::kGroup == 32) {
            for (int r = 0; r < kLanes; ++r) s[r] = vdotq_s32(s[r], Signed(weights[r].high), high);
            sum[c] = AddGroup<T>(sum[c], JoinEight(s), info.sum, scales + run * kLanes,
                                 mins + run * kLanes, info.d, info.total);
          } else {
            const float* const scale = scales + 2 * run * kLanes;
            const float* const min = mins + 2 * run * kLanes;
            const Floats first = HalfRun<T>(JoinEight(s), info.half[0], scale, min);
            for (int r = 0; r < kLanes; ++r) s[r] = vdotq_s32(zero, Signed(weights[r].high), high);
            sum[c] = AddHalves<T>(sum[c], first, JoinEight(s), info.half[1], scale + kLanes,
                                  min + kLanes, info.d);
          }
          if (i != simd::kNoRest) [[unlikely]]
            std::swap(sum[c], rest[c]);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) V::Store(out[c], V::Add(sum[c], rest[c]));
}

inline Floats ZeroFloats() { return V::Zero(); }
inline Floats AddFloats(Floats a, Floats b) { return V::Add(a, b); }
template <typename T, int kSteps>
[[gnu::always_inline]] inline Products Dots(const interleaved::Quants& weights, const int8_t* x,
                                            int begin) {
  Products sum = {vdupq_n_s32(0), vdupq_n_s32(0)};
#pragma GCC unroll 8
  for (int j = begin; j < begin + kSteps; ++j) {
    const int8x16_t four = vreinterpretq_s8_s32(
        vdupq_n_s32(LoadAs<int32_t>(reinterpret_cast<const uint8_t*>(x + 4 * j))));
    sum.low = vdotq_s32(sum.low, Signed(weights.v[j].low), four);
    sum.high = vdotq_s32(sum.high, Signed(weights.v[j].high), four);
  }
  return sum;
}

using Set = Isa;

// Four elements of each row in turn.
struct Order {
  static void Store(const Quants* v, int8_t* to) {
    for (int part = 0; part < 2; ++part) {  // of the run
      for (int four = 0; four < kLanes; four += 4) {
        uint32x4_t words[4];
        for (int r = 0; r < 4; ++r) {
          const Quants& row = v[four + r];
          words[r] = vreinterpretq_u32_u8(part == 0 ? row.low : row.high);
        }
        Transpose(words);
        for (int j = 0; j < 4; ++j) {
          vst1q_s8(to + (part * 4 + j) * 32 + four * 4, Signed(vreinterpretq_u8_u32(words[j])));
        }
      }
    }
  }

  static void StoreInterleaved(const interleaved::Quants& quants, int8_t* to) {
    for (int j = 0; j < 8; ++j) {
      vst1q_s8(to + j * 32, Signed(quants.v[j].low));
      vst1q_s8(to + j * 32 + 16, Signed(quants.v[j].high));
    }
  }

  template <int kLane, int kColumns>
  static void AddFour(const int8_t* quants, const int8x16_t* x, Products* out) {
    const int8x16_t low = vld1q_s8(quants + kLane * 32), high = vld1q_s8(quants + kLane * 32 + 16);
    for (int c = 0; c < kColumns; ++c) {
      out[c].low = vdotq_laneq_s32(out[c].low, low, x[c], kLane);
      out[c].high = vdotq_laneq_s32(out[c].high, high, x[c], kLane);
    }
  }
  template <typename T, int kColumns>
  static void Multiply(const int8_t* quants, const int8_t* const* x,
                       Products (&out)[32 / T::kGroup][kColumns]) {
    const int32x4_t zero = vdupq_n_s32(0);
    for (auto& group : out) {
      for (Products& products : group) products = {zero, zero};
    }
    for (int part = 0; part < 2; ++part) {
      Products* const group = out[part * 16 / T::kGroup];
      int8x16_t of_part[kColumns];
      for (int c = 0; c < kColumns; ++c) of_part[c] = vld1q_s8(x[c] + part * 16);
      AddFour<0, kColumns>(quants + part * 128, of_part, group);
      AddFour<1, kColumns>(quants + part * 128, of_part, group);
      AddFour<2, kColumns>(quants + part * 128, of_part, group);
      AddFour<3, kColumns>(quants + part * 128, of_part, group);
    }
  }
};

}  // namespace

#include "backends/cpu/neon/panels.inc"
#include "backends/cpu/simd/interleaved_vector.inc"

namespace {

template <typename Block>
constexpr InterleavedKernels kInterleavedKernelsOf = {
    {&InterleavedVector<Block, 1>, &InterleavedVector<Block, 2>, &InterleavedVector<Block, 3>,
     &InterleavedVector<Block, 4>},
    &PackInterleaved<Block>};

template <typename Block>
constexpr Int8Kernels KernelsOf() {
  using F = FormatOf<Block>;
  return {{&Vector<Block, 1>, &Vector<Block, 2>, &Vector<Block, 3>, &Vector<Block, 4>},
          &Pack<Block>,
          {&MultiplyPanel<F, 1>, &MultiplyPanel<F, 2>, &MultiplyPanel<F, 3>, &MultiplyPanel<F, 4>},
          &MultiplyRests<F>};
}

}  // namespace

#include "backends/cpu/simd/int8_table.inc"
#include "backends/cpu/simd/interleaved_table.inc"

}  // namespace bantam::cpu::neon

BANTAM_DOTPROD_END
