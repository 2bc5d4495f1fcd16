// Panels by products of 2 x 8 and 8 x 2 bytes. Few columns are left to dot products of bytes.

#include <array>

#include "backends/cpu/neon/isa.h"
#include "backends/cpu/neon/products.h"
#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/unpack.h"

BANTAM_I8MM_BEGIN

namespace bantam::cpu::neon {
namespace {

using Int8Kernels = simd::Int8Kernels<IsaI8mm>;
using Set = IsaI8mm;

inline int8x16_t LowWords(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}
inline int8x16_t HighWords(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

// Eight elements of each row in turn: a register is two rows.
struct Order {
  static void Store(const Quants* v, int8_t* to) {
    for (int r = 0; r < kLanes; r += 2) {
      const Quants &a = v[r], &b = v[r + 1];
      int8_t* const of_pair = to + r * 8;
      vst1q_s8(of_pair, LowWords(Signed(a.low), Signed(b.low)));
      vst1q_s8(of_pair + 64, HighWords(Signed(a.low), Signed(b.low)));
      vst1q_s8(of_pair + 128, LowWords(Signed(a.high), Signed(b.high)));
      vst1q_s8(of_pair + 192, HighWords(Signed(a.high), Signed(b.high)));
    }
  }

  static void StoreInterleaved(const interleaved::Quants& quants, int8_t* to) {
    const auto words = [](uint8x16_t bytes) { return vreinterpretq_u32_u8(bytes); };
    const auto store = [](int8_t* at, uint32x4_t two_rows) {
      vst1q_s8(at, vreinterpretq_s8_u32(two_rows));
    };
    for (int i = 0; i < 4; ++i) {  // eight elements of each row
      const neon::Quants &a = quants.v[2 * i], &b = quants.v[2 * i + 1];
      store(to + i * 64, vzip1q_u32(words(a.low), words(b.low)));
      store(to + i * 64 + 16, vzip2q_u32(words(a.low), words(b.low)));
      store(to + i * 64 + 32, vzip1q_u32(words(a.high), words(b.high)));
      store(to + i * 64 + 48, vzip2q_u32(words(a.high), words(b.high)));
    }
  }

  // A pair of columns: lanes are (row, column) = (0, 0), (0, 1), (1, 0), (1, 1) of a pair of rows.
  template <typename T, int kColumns>
  static void Multiply(const int8_t* quants, const int8_t* const* x,
                       Products (&out)[32 / T::kGroup][kColumns]) {
    constexpr int kGroups = 32 / T::kGroup, kEights = T::kGroup / 8;
    constexpr int kColumnPairs = (kColumns + 1) / 2;
    for (int g = 0; g < kGroups; ++g) {
      int32x4_t sum[kColumnPairs][4];
      for (auto& pair : sum) {
        for (int32x4_t& s : pair) s = vdupq_n_s32(0);
      }
      for (int i = 0; i < kEights; i += 2) {  // sixteen elements of the columns
        const int at = g * kEights + i;
        int8x16_t low[kColumnPairs], high[kColumnPairs];
        for (int c = 0; c < kColumnPairs; ++c) {
          const int8x16_t a = vld1q_s8(x[2 * c] + at * 8);
          // An odd last column is its own neighbour.
          const int8x16_t b = vld1q_s8(x[2 * c + 1 < kColumns ? 2 * c + 1 : 2 * c] + at * 8);
          low[c] = LowWords(a, b);
          high[c] = HighWords(a, b);
        }
        for (int pair = 0; pair < 4; ++pair) {
          const int8x16_t w_low = vld1q_s8(quants + at * 64 + pair * 16);
          const int8x16_t w_high = vld1q_s8(quants + at * 64 + 64 + pair * 16);
          for (int c = 0; c < kColumnPairs; ++c) {
            sum[c][pair] = vmmlaq_s32(sum[c][pair], w_low, low[c]);
            sum[c][pair] = vmmlaq_s32(sum[c][pair], w_high, high[c]);
          }
        }
      }
      for (int c = 0; c < kColumnPairs; ++c) {
        out[g][2 * c] = {vuzp1q_s32(sum[c][0], sum[c][1]), vuzp1q_s32(sum[c][2], sum[c][3])};
        if (2 * c + 1 < kColumns) {
          out[g][2 * c + 1] = {vuzp2q_s32(sum[c][0], sum[c][1]), vuzp2q_s32(sum[c][2], sum[c][3])};
        }
      }
    }
  }
};

}  // namespace

#include "backends/cpu/neon/panels.inc"

namespace {

template <typename Block>
Int8Kernels KernelsOf() {
  using F = FormatOf<Block>;
  Int8Kernels kernels = {
      {},
      &Pack<Block>,
      {&MultiplyPanel<F, 1>, &MultiplyPanel<F, 2>, &MultiplyPanel<F, 3>, &MultiplyPanel<F, 4>},
      &MultiplyRests<F>};
  kernels.vector = Isa::Int8KernelsOf(Block::kType)->vector;
  return kernels;
}

using InterleavedKernels = simd::InterleavedKernels<IsaI8mm>;
template <typename Block>
InterleavedKernels InterleavedOf() {
  return {Isa::InterleavedKernelsOf(Block::kType)->vector, &PackInterleaved<Block>};
}

template <typename Kernels>
using Table = std::array<const Kernels*, quant::kTypeIdLimit>;

// Of each block what make<Block>() makes, which lives on.
template <typename Kernels, typename Make, typename... Blocks>
Table<Kernels> MakeTable(quant::BlockList<Blocks...>, const Make& make) {
  Table<Kernels> table{};
  ((table[static_cast<size_t>(Blocks::kType)] = new Kernels(make.template operator()<Blocks>())),
   ...);
  return table;
}

}  // namespace

const Int8Kernels* IsaI8mm::Int8KernelsOf(quant::Type type) {
  static const auto kTable = MakeTable<Int8Kernels>(
      quant::AllBlocks{}, []<typename Block>() { return KernelsOf<Block>(); });
  return kTable[static_cast<size_t>(type)];
}

const InterleavedKernels* IsaI8mm::InterleavedKernelsOf(quant::Type type) {
  static const auto kTable = MakeTable<InterleavedKernels>(
      InterleavedBlocks{}, []<typename Block>() { return InterleavedOf<Block>(); });
  return kTable[static_cast<size_t>(type)];
}

}  // namespace bantam::cpu::neon

BANTAM_I8MM_END
