#include "backends/cpu/amx/operands.h"

#include <immintrin.h>

#include <array>

#include "backends/cpu/amx/isa.h"
#include "backends/cpu/avx512/unpack.h"
#include "runtime/quant/decode.h"

BANTAM_AMX_BEGIN

namespace bantam::cpu::amx {
namespace {

constexpr int kRows = static_cast<int>(kTileRows);

// 32 numbers to bf16, to nearest even.
inline __m512i ToBf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
// And back, 16 of them.
inline __m512 FromBf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
// What rounding left of 32 numbers.
inline __m512i RestOf(__m512 low, __m512 high, __m512i rounded) {
  return ToBf16(_mm512_sub_ps(low, FromBf16(_mm512_castsi512_si256(rounded))),
                _mm512_sub_ps(high, FromBf16(_mm512_extracti64x4_epi64(rounded, 1))));
}

// 16 of `count` elements, zeros past the last.
inline __mmask16 MaskOf(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << std::max<int64_t>(count, 0)) - 1);
}
// Types as they lie in memory: 16 elements, those of a mask.
struct F32 {
  static constexpr int64_t kBytes = 4;
  static __m512 Load(const uint8_t* p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
};
struct F16 {
  static constexpr int64_t kBytes = 2;
  static __m512 Load(const uint8_t* p, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
  }
};

inline void StoreTransposed(__m512i v[kRows], std::byte* to) {
  avx512::TransposeRows(v);
  for (int i = 0; i < kRows; ++i) _mm512_store_si512(to + i * 64, v[i]);
}

// A piece of rows, of which elements `first` up are the step.
template <typename T>
void PackPlain(const uint8_t* const* rows, int64_t first, int64_t elements, std::byte* to) {
  const __mmask16 low_mask = MaskOf(elements), high_mask = MaskOf(elements - 16);
  __m512i rounded[kRows], rest[kRows];
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* p = rows[r] + first * T::kBytes;
    const __m512 low = T::Load(p, low_mask), high = T::Load(p + 16 * T::kBytes, high_mask);
    rounded[r] = ToBf16(low, high);
    rest[r] = RestOf(low, high, rounded[r]);
  }
  StoreTransposed(rounded, to);
  StoreTransposed(rest, to + 2 * kTileBytes);
}

template <typename T>
void PackFloats(const WeightChunk& chunk, int64_t piece, PackScratch&, WeightTiles& to) {
  const int64_t at = piece / 2 * kStep;
  PackPlain<T>(chunk.rows + piece % 2 * kRows, chunk.first + at, chunk.elements - at,
               to.Piece(piece, 2));
}

void PackDecoded(const WeightChunk& chunk, int64_t piece, PackScratch& scratch, WeightTiles& to) {
  if (piece == 0) {
    const auto from = static_cast<int64_t>(quant::RowBytes(chunk.type, chunk.first));
    for (int64_t r = 0; r < kPanelRows; ++r) {
      quant::DecodeRow(chunk.type, chunk.rows[r] + from, scratch.decoded + r * kChunk,
                       chunk.elements);
    }
  }
  const uint8_t* rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    rows[r] = reinterpret_cast<const uint8_t*>(scratch.decoded + (piece % 2 * kRows + r) * kChunk);
  }
  const int64_t at = piece / 2 * kStep;
  PackPlain<F32>(rows, at, chunk.elements - at, to.Piece(piece, 2));
}

void PackBrains(const WeightChunk& chunk, int64_t piece, PackScratch&, WeightTiles& to) {
  const int64_t at = piece / 2 * kStep, left = chunk.elements - at;
  const __mmask32 mask = MaskOf(left) | __mmask32{MaskOf(left - 16)} << 16;
  __m512i v[kRows];
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* row = chunk.rows[piece % 2 * kRows + r];
    v[r] = _mm512_maskz_loadu_epi16(mask, row + (chunk.first + at) * 2);
  }
  StoreTransposed(v, to.Piece(piece, 1));
}

// What weights are computed from; types that agree share the code.
template <int kElementsOf, int kBiasOf, int kGroupOf, bool kHasMinOf>
struct Format {
  static constexpr int kElements = kElementsOf;  // of a block
  static constexpr int kBias = kBiasOf, kGroup = kGroupOf;
  static constexpr bool kHasMin = kHasMinOf;
};

// A byte of each lane, as the f32 256 + byte: its bits come to lie right below that number's.
constexpr int kMagnitude = 256;
template <int kByte>
inline __m512 Widened(__m512i bytes) {
  constexpr int kUp = 15 - 8 * kByte;
  __m512i moved;
  if constexpr (kUp > 0) {
    moved = _mm512_slli_epi32(bytes, kUp);
  } else {
    moved = _mm512_srli_epi32(bytes, -kUp);
  }
  // Those bits of it, and else the number's.
  constexpr int kBitsOrNumber = 0xEA;  // (moved & bits) | number
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
      moved, _mm512_set1_epi32(0xFF << 15), _mm512_set1_epi32(0x43800000), kBitsOrNumber));
}

// An integer q is  scale * (256 + q) + (min - (256 + bias) * scale), rounded twice: to f32, which
// is lost in what rounding to bf16 costs, and to that.
//
// A block of the panel's rows at a time is unpacked as for products of integers.
template <typename F>
void PackIntegers(const WeightChunk& chunk, int64_t piece, PackScratch& scratch,
                  WeightTiles& tiles) {
  constexpr int64_t kPieces = 2 * F::kElements / kStep;  // of a block
  if (piece % kPieces == 0) {
    const auto pack = chunk.interleaved ? avx512::Isa::InterleavedKernelsOf(chunk.type)->pack
                                        : avx512::Isa::Int8KernelsOf(chunk.type)->pack;
    pack(chunk.rows, chunk.first + piece / 2 * kStep, F::kElements, scratch.panel);
  }
  constexpr int kParts = 32 / F::kGroup;  // of a run
  constexpr int kQuads = F::kGroup / 4;   // of elements, in a part
  static_assert(kStep == simd::kRun);
  // Two numbers of a row next to each other: of both halves of a register.
  alignas(64) static constexpr auto kNeighbours = [] {
    std::array<uint16_t, 32> order{};
    for (uint16_t i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
    return order;
  }();
  const __m512i neighbours = _mm512_load_si512(kNeighbours.data());
  const __m512 less = _mm512_set1_ps(-(kMagnitude + F::kBias));
  const simd::Panel<avx512::Isa>& panel = scratch.panel;
  const int64_t run = piece % kPieces / 2, half = piece % 2;
  std::byte* to = tiles.Piece(piece, 1);
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part) {
    const int64_t group = (run * kParts + part) * kPanelRows + half * kRows;
    const __m512 scale = _mm512_load_ps(panel.scales + group);
    const __m512 offset = F::kHasMin
                              ? _mm512_fmadd_ps(scale, less, _mm512_load_ps(panel.mins + group))
                              : _mm512_mul_ps(scale, less);
#pragma GCC unroll 8
    for (int i = 0; i < kQuads; ++i) {
      const int64_t quad = run * 8 + part * kQuads + i;
      const __m512i bytes = _mm512_load_si512(panel.quants + (quad * 2 + half) * 64);
      const __m512 a = _mm512_fmadd_ps(Widened<0>(bytes), scale, offset);
      const __m512 b = _mm512_fmadd_ps(Widened<1>(bytes), scale, offset);
      const __m512 c = _mm512_fmadd_ps(Widened<2>(bytes), scale, offset);
      const __m512 d = _mm512_fmadd_ps(Widened<3>(bytes), scale, offset);
      _mm512_store_si512(to, _mm512_permutexvar_epi16(neighbours, ToBf16(a, b)));
      _mm512_store_si512(to + 64, _mm512_permutexvar_epi16(neighbours, ToBf16(c, d)));
      to += 128;
    }
  }
}

template <typename Block>
constexpr Weights WeightsOfBlock() {
  using T = avx512::Unpack<Block>;
  return {1, 1, &PackIntegers<Format<Block::kElements, T::kBias, T::kGroup, T::kHasMin>>};
}

using Table = std::array<Weights, quant::kTypeIdLimit>;

template <typename... Blocks>
constexpr Table MakeTable(quant::BlockList<Blocks...>) {
  Table table{};
  for (Weights& weights : table) weights = {2, 2, &PackDecoded};
  table[static_cast<size_t>(quant::Type::kF32)] = {2, 2, &PackFloats<F32>};
  table[static_cast<size_t>(quant::Type::kF16)] = {2, 2, &PackFloats<F16>};
  table[static_cast<size_t>(quant::Type::kBF16)] = {1, 2, &PackBrains};
  ((table[static_cast<size_t>(Blocks::kType)] = WeightsOfBlock<Blocks>()), ...);
  return table;
}

constexpr Table kTable = MakeTable(quant::AllBlocks{});

}  // namespace

void PackColumns(const float* const* columns, int64_t first, int64_t elements, int64_t terms,
                 std::byte* to) {
  for (int64_t i = 0; i < elements; i += kStep, to += terms * kTileBytes) {
    const __mmask16 low_mask = MaskOf(elements - i), high_mask = MaskOf(elements - i - 16);
    for (int64_t c = 0; c < kTileRows; ++c) {
      __m512 low = _mm512_setzero_ps(), high = low;
      if (columns[c] != nullptr) {
        low = _mm512_maskz_loadu_ps(low_mask, columns[c] + first + i);
        high = _mm512_maskz_loadu_ps(high_mask, columns[c] + first + i + 16);
      }
      const __m512i rounded = ToBf16(low, high);
      _mm512_store_si512(to + c * 64, rounded);
      if (terms == 2) _mm512_store_si512(to + kTileBytes + c * 64, RestOf(low, high, rounded));
    }
  }
}

const Weights& WeightsOf(quant::Type type) { return kTable[static_cast<size_t>(type)]; }

}  // namespace bantam::cpu::amx

BANTAM_AMX_END
