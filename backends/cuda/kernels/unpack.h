// The quants of 32 consecutive elements of a block as eight words of four int8, for dot products of
// integers. What Block::Quant (runtime/quant/blocks.h) gives one by one, a word at a time.
#pragma once

#include "backends/cuda/kernels/simt.h"
#include "runtime/quant/blocks.h"

namespace bantam::cuda {

inline constexpr int kRun = 32;      // elements
inline constexpr int kRunWords = 8;  // of int8 x 4
inline constexpr int kHalfRun = kRun / 2;

// Whether the two halves of a run have scales of their own.
template <typename Block>
inline constexpr int kHalves = 1;
template <>
inline constexpr int kHalves<quant::BlockQ2_K> = 2;
template <>
inline constexpr int kHalves<quant::BlockQ3_K> = 2;
template <>
inline constexpr int kHalves<quant::BlockQ6_K> = 2;
template <>
inline constexpr int kHalves<quant::BlockIQ2_XS> = 2;
template <>
inline constexpr int kHalves<quant::BlockIQ2_S> = 2;
template <>
inline constexpr int kHalves<quant::BlockIQ1_M> = 2;
template <>
inline constexpr int kHalves<quant::BlockNVFP4> = 2;

// The group of the first element of half `half` of run `run`.
template <typename Block>
BANTAM_DEVICE int GroupOf(int run, int half) {
  return (kRun * run + kRun / 2 * half) / Block::kGroup;
}

// Four bytes of a block whose address is a multiple of kAlign.
template <int kAlign>
BANTAM_DEVICE uint32_t Word(const void* at) {
  if constexpr (kAlign >= 4) {
    return *static_cast<const uint32_t*>(at);
  } else if constexpr (kAlign == 2) {
    const auto* halves = static_cast<const uint16_t*>(at);
    return halves[0] | static_cast<uint32_t>(halves[1]) << 16;
  } else {
    const auto* bytes = static_cast<const uint8_t*>(at);
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
  }
}

BANTAM_DEVICE constexpr uint32_t Bytes(uint32_t byte) { return 0x01010101u * byte; }

// Subtracts `less` from each byte; a byte is below 128.
template <uint32_t less>
BANTAM_DEVICE int Minus(uint32_t word) {
  return static_cast<int>(((word | Bytes(0x80)) - Bytes(less)) ^ Bytes(0x80));
}

// A level for each nibble of `word`, as IQ4 and E2M1 (doubled; see blocks_simple.h) number them:
// those of the low halves of its bytes, and of the high.
struct Levels {
  uint32_t w[4];  // int8, 0 to 15
};
inline constexpr Levels kIq4Levels = {{0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u}};
inline constexpr Levels kE2M1Levels = {{0x03020100u, 0x0C080604u, 0xFDFEFF00u, 0xF4F8FAFCu}};
template <const Levels& kLevels>
BANTAM_DEVICE void LevelsOf(uint32_t word, int& low, int& high) {
  constexpr uint32_t k0 = kLevels.w[0], k1 = kLevels.w[1], k2 = kLevels.w[2], k3 = kLevels.w[3];
  uint32_t pairs[2];
  BANTAM_UNROLL
  for (int i = 0; i < 2; ++i) {
    const uint32_t codes = word >> 16 * i;  // four nibbles
    const uint32_t lower = PickBytes(k0, k1, codes & 0x7777u);
    const uint32_t upper = PickBytes(k2, k3, codes & 0x7777u);
    pairs[i] = PickBytes(lower, upper, 0x3210u | (codes & 0x8888u) >> 1);
  }
  low = static_cast<int>(PickBytes(pairs[0], pairs[1], 0x6420u));
  high = static_cast<int>(PickBytes(pairs[0], pairs[1], 0x7531u));
}

// The lowest four bits, one to a byte.
BANTAM_DEVICE uint32_t SpreadFour(uint32_t bits) { return (bits & 15) * 0x00204081u & Bytes(1); }

// The types of codebooks: a point or two at a time.
template <typename Block>
BANTAM_DEVICE void Unpack(const Block& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRun / 8; ++i) {
    const uint64_t quants = block.Quants8(kRun / 8 * run + i);
    q[2 * i] = static_cast<int>(static_cast<uint32_t>(quants));
    q[2 * i + 1] = static_cast<int>(static_cast<uint32_t>(quants >> 32));
  }
}

BANTAM_DEVICE void Unpack(const quant::BlockQ4_0& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = Word<2>(block.qs + 4 * i);
    q[i] = Minus<8>(word & Bytes(15));
    q[4 + i] = Minus<8>(word >> 4 & Bytes(15));
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ4_1& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = Word<4>(block.qs + 4 * i);
    q[i] = static_cast<int>(word & Bytes(15));
    q[4 + i] = static_cast<int>(word >> 4 & Bytes(15));
  }
}
// `qh` has the fifth bit of element i in bit i.
BANTAM_DEVICE void UnpackFive(const uint32_t (&qs)[4], uint32_t qh, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    q[i] = static_cast<int>((qs[i] & Bytes(15)) | SpreadFour(qh >> 4 * i) << 4);
    q[4 + i] = static_cast<int>((qs[i] >> 4 & Bytes(15)) | SpreadFour(qh >> (16 + 4 * i)) << 4);
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ5_0& block, int, int (&q)[kRunWords]) {
  const uint32_t qs[4] = {Word<2>(block.qs), Word<2>(block.qs + 4), Word<2>(block.qs + 8),
                          Word<2>(block.qs + 12)};
  UnpackFive(qs, Word<2>(block.qh), q);
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) q[i] = Minus<16>(static_cast<uint32_t>(q[i]));
}
BANTAM_DEVICE void Unpack(const quant::BlockQ5_1& block, int, int (&q)[kRunWords]) {
  const uint32_t qs[4] = {Word<4>(block.qs), Word<4>(block.qs + 4), Word<4>(block.qs + 8),
                          Word<4>(block.qs + 12)};
  UnpackFive(qs, Word<4>(block.qh), q);
}
BANTAM_DEVICE void Unpack(const quant::BlockQ8_0& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) q[i] = static_cast<int>(Word<2>(block.qs + 4 * i));
}
BANTAM_DEVICE void Unpack(const quant::BlockQ8_1& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) q[i] = static_cast<int>(Word<4>(block.qs + 4 * i));
}
BANTAM_DEVICE void Unpack(const quant::BlockQ8_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i)
    q[i] = static_cast<int>(Word<4>(block.qs + kRun * run + 4 * i));
}
// The ternary digit of each byte that `power`, a power of three, carries out, two bytes at a time.
BANTAM_DEVICE int DigitsOf(uint32_t word, uint32_t power) {
  constexpr uint32_t kEven = 0x00FF00FFu;
  const uint32_t even = ((word & kEven) * power & kEven) * 3 >> 8 & kEven;
  const uint32_t odd = ((word >> 8 & kEven) * power & kEven) * 3 >> 8 & kEven;
  return Minus<1>(even | odd << 8);
}
BANTAM_DEVICE void Unpack(const quant::BlockTQ1_0& block, int run, int (&q)[kRunWords]) {
  constexpr uint64_t kPowers = 0x511B090301u;  // 1, 3, 9, 27, 81
  auto power = [](int digit) { return static_cast<uint32_t>(kPowers >> 8 * digit) & 0xFFu; };
  if (run < 5) {
    BANTAM_UNROLL
    for (int i = 0; i < kRunWords; ++i) q[i] = DigitsOf(Word<2>(block.qs + 4 * i), power(run));
    return;
  }
  const int digit = 2 * (run - 5);  // of the last 16 bytes; after the fifth come the digits of qh
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = Word<2>(block.qs + 32 + 4 * i);
    q[i] = DigitsOf(word, power(digit));
    q[4 + i] = digit < 4 ? DigitsOf(word, power(digit + 1)) : DigitsOf(Word<2>(block.qh), power(i));
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockTQ2_0& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t word = Word<2>(block.qs + kRun * (run >> 2) + 4 * i);
    q[i] = Minus<1>(word >> 2 * (run & 3) & Bytes(3));
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ2_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t word = Word<4>(block.qs + kRun * (run >> 2) + 4 * i);
    q[i] = static_cast<int>(word >> 2 * (run & 3) & Bytes(3));
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ3_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t low = Word<2>(block.qs + kRun * (run >> 2) + 4 * i) >> 2 * (run & 3);
    const uint32_t high = Word<2>(block.hmask + 4 * i) >> run;
    q[i] = Minus<4>((low & Bytes(3)) | (high & Bytes(1)) << 2);
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ4_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t word = Word<4>(block.qs + kRun * (run >> 1) + 4 * i);
    q[i] = static_cast<int>(word >> 4 * (run & 1) & Bytes(15));
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ5_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t low = Word<4>(block.qs + kRun * (run >> 1) + 4 * i) >> 4 * (run & 1);
    const uint32_t high = Word<4>(block.qh + 4 * i) >> run;
    q[i] = static_cast<int>((low & Bytes(15)) | (high & Bytes(1)) << 4);
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockQ6_K& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < kRunWords; ++i) {
    const uint32_t low = Word<2>(block.ql + 64 * (run >> 2) + kRun * (run & 1) + 4 * i);
    const uint32_t high = Word<2>(block.qh + kRun * (run >> 2) + 4 * i);
    q[i] = Minus<32>((low >> 4 * (run >> 1 & 1) & Bytes(15)) | (high >> 2 * (run & 3) & Bytes(3))
                                                                   << 4);
  }
}
BANTAM_DEVICE void Unpack(const quant::BlockIQ4_NL& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) LevelsOf<kIq4Levels>(Word<2>(block.qs + 4 * i), q[i], q[4 + i]);
}
BANTAM_DEVICE void Unpack(const quant::BlockIQ4_XS& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i)
    LevelsOf<kIq4Levels>(Word<4>(block.qs + 16 * run + 4 * i), q[i], q[4 + i]);
}
BANTAM_DEVICE void Unpack(const quant::BlockMXFP4& block, int, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) LevelsOf<kE2M1Levels>(Word<1>(block.qs + 4 * i), q[i], q[4 + i]);
}
BANTAM_DEVICE void Unpack(const quant::BlockNVFP4& block, int run, int (&q)[kRunWords]) {
  BANTAM_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int at = 4 * (i / 2) + i % 2;
    LevelsOf<kE2M1Levels>(Word<4>(block.qs + 16 * run + 4 * i), q[at], q[at + 2]);
  }
}

}  // namespace bantam::cuda
