#include <algorithm>
#include <cstring>

#include "runtime/quant/encoding.h"
#include "runtime/quant/float16.h"

namespace bantam::quant {
namespace {

// Two halves of 16 quants of 0..15 to the nibbles of 16 bytes.
void PackNibbles(const int* q, uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((q[j] & 15) | (q[16 + j] & 15) << 4);
}

// Bit 4 of 32 quants.
void PackFifthBits(const int* q, uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int i = 0; i < 32; ++i) qh[i / 8] |= static_cast<uint8_t>(((q[i] >> 4) & 1) << (i % 8));
}

// 256 quants of two bits, as Q2_K, Q3_K and TQ2_0 keep them.
void PackPairs(const int* q, uint8_t* qs) {
  for (int i = 0; i < 64; ++i) {
    const int* first = q + 128 * (i / 32) + i % 32;
    qs[i] = static_cast<uint8_t>((first[0] & 3) | (first[32] & 3) << 2 | (first[64] & 3) << 4 |
                                 (first[96] & 3) << 6);
  }
}

// 256 quants of four bits, as Q4_K and Q5_K keep them.
void PackNibblePairs(const int* q, uint8_t* qs) {
  for (int i = 0; i < 128; ++i) {
    const int* first = q + 64 * (i / 32) + i % 32;
    qs[i] = static_cast<uint8_t>((first[0] & 15) | (first[32] & 15) << 4);
  }
}

void PackSixBitScales(const Encoding& e, uint8_t* scales) {
  for (int k = 0; k < 4; ++k) {
    const int scale = e.scales[4 + k], min = e.mins[4 + k];
    scales[k] = static_cast<uint8_t>(e.scales[k] | (scale >> 4) << 6);
    scales[4 + k] = static_cast<uint8_t>(e.mins[k] | (min >> 4) << 6);
    scales[8 + k] = static_cast<uint8_t>((scale & 15) | (min & 15) << 4);
  }
}

// Sixteen or eight scales of four bits.
void PackScaleNibbles(const Encoding& e, int count, uint8_t* scales) {
  for (int k = 0; k < count / 2; ++k) {
    scales[k] = static_cast<uint8_t>(e.scales[2 * k] | e.scales[2 * k + 1] << 4);
  }
}

// The lower and upper half of four seven-bit sign groups with the scale of run `r` above.
void PackSignsScale(const Encoding& e, int r, uint16_t* halves) {
  uint32_t word = static_cast<uint32_t>(e.scales[r]) << 28;
  for (int g = 0; g < 4; ++g) word |= static_cast<uint32_t>(e.signs[4 * r + g] & 127) << 7 * g;
  halves[0] = static_cast<uint16_t>(word);
  halves[1] = static_cast<uint16_t>(word >> 16);
}

}  // namespace

void Pack(const Encoding& e, BlockQ4_0& block) {
  int q[32];
  for (int i = 0; i < 32; ++i) q[i] = e.quants[i] + 8;
  block.d = FloatToHalf(e.d);
  PackNibbles(q, block.qs);
}

void Pack(const Encoding& e, BlockQ4_1& block) {
  block.d = FloatToHalf(e.d);
  block.m = FloatToHalf(e.dmin);
  PackNibbles(e.quants, block.qs);
}

void Pack(const Encoding& e, BlockQ5_0& block) {
  int q[32];
  for (int i = 0; i < 32; ++i) q[i] = e.quants[i] + 16;
  block.d = FloatToHalf(e.d);
  PackNibbles(q, block.qs);
  PackFifthBits(q, block.qh);
}

void Pack(const Encoding& e, BlockQ5_1& block) {
  block.d = FloatToHalf(e.d);
  block.m = FloatToHalf(e.dmin);
  PackNibbles(e.quants, block.qs);
  PackFifthBits(e.quants, block.qh);
}

void Pack(const Encoding& e, BlockQ8_0& block) {
  block.d = FloatToHalf(e.d);
  for (int i = 0; i < 32; ++i) block.qs[i] = static_cast<int8_t>(e.quants[i]);
}

void Pack(const Encoding& e, BlockQ2_K& block) {
  block.d = FloatToHalf(e.d);
  block.dmin = FloatToHalf(e.dmin);
  for (int s = 0; s < 16; ++s) {
    block.scales[s] = static_cast<uint8_t>(e.scales[s] | e.mins[s] << 4);
  }
  PackPairs(e.quants, block.qs);
}

void Pack(const Encoding& e, BlockQ3_K& block) {
  block.d = FloatToHalf(e.d);
  std::memset(block.scales, 0, sizeof(block.scales));
  for (int s = 0; s < 16; ++s) {
    const int scale = e.scales[s] + 32;
    block.scales[s & 7] |= static_cast<uint8_t>((scale & 15) << 4 * (s >> 3));
    block.scales[8 + (s & 3)] |= static_cast<uint8_t>((scale >> 4) << 2 * (s >> 2));
  }
  int q[256];
  std::memset(block.hmask, 0, sizeof(block.hmask));
  for (int i = 0; i < 256; ++i) {
    q[i] = e.quants[i] + 4;
    block.hmask[i % 32] |= static_cast<uint8_t>((q[i] >> 2) << (i / 32));
  }
  PackPairs(q, block.qs);
}

void Pack(const Encoding& e, BlockQ4_K& block) {
  block.d = FloatToHalf(e.d);
  block.dmin = FloatToHalf(e.dmin);
  PackSixBitScales(e, block.scales);
  PackNibblePairs(e.quants, block.qs);
}

void Pack(const Encoding& e, BlockQ5_K& block) {
  block.d = FloatToHalf(e.d);
  block.dmin = FloatToHalf(e.dmin);
  PackSixBitScales(e, block.scales);
  PackNibblePairs(e.quants, block.qs);
  std::memset(block.qh, 0, sizeof(block.qh));
  for (int i = 0; i < 256; ++i) {
    block.qh[i % 32] |= static_cast<uint8_t>((e.quants[i] >> 4) << (i / 32));
  }
}

void Pack(const Encoding& e, BlockQ6_K& block) {
  block.d = FloatToHalf(e.d);
  std::copy(e.scales, e.scales + 16, block.scales);
  std::memset(block.qh, 0, sizeof(block.qh));
  std::memset(block.ql, 0, sizeof(block.ql));
  for (int i = 0; i < 256; ++i) {
    const int value = e.quants[i] + 32, half = i / 128, at = i % 128;
    block.ql[64 * half + at % 64] |= static_cast<uint8_t>((value & 15) << 4 * (at / 64));
    block.qh[32 * half + at % 32] |= static_cast<uint8_t>((value >> 4) << 2 * (at / 32));
  }
}

void Pack(const Encoding& e, BlockIQ1_S& block) {
  block.d = FloatToHalf(e.d);
  for (int r = 0; r < 8; ++r) {
    int high = e.scales[r] << 12 | (e.down[4 * r] ? 0x8000 : 0);
    for (int g = 0; g < 4; ++g) high |= (e.points[4 * r + g] >> 8) << 3 * g;
    block.qh[r] = static_cast<uint16_t>(high);
  }
  for (int g = 0; g < 32; ++g) block.qs[g] = static_cast<uint8_t>(e.points[g]);
}

void Pack(const Encoding& e, BlockIQ1_M& block) {
  const int d = FloatToHalf(e.d);
  for (int k = 0; k < 4; ++k) {
    int word = ((d >> 4 * k) & 15) << 12;
    for (int j = 0; j < 4; ++j) word |= e.scales[4 * k + j] << 3 * j;
    block.scales[k] = static_cast<uint16_t>(word);
  }
  for (int g = 0; g < 32; ++g) block.qs[g] = static_cast<uint8_t>(e.points[g]);
  for (int k = 0; k < 16; ++k) {
    const int lo = e.points[2 * k] >> 8 | (e.down[2 * k] ? 8 : 0);
    const int hi = e.points[2 * k + 1] >> 8 | (e.down[2 * k + 1] ? 8 : 0);
    block.qh[k] = static_cast<uint8_t>(lo | hi << 4);
  }
}

void Pack(const Encoding& e, BlockIQ2_XXS& block) {
  block.d = FloatToHalf(e.d);
  for (int r = 0; r < 8; ++r) {
    for (int g = 0; g < 4; ++g) {
      block.runs[r].index[g] = static_cast<uint8_t>(e.points[4 * r + g]);
    }
    PackSignsScale(e, r, block.runs[r].signs_scale);
  }
}

void Pack(const Encoding& e, BlockIQ2_XS& block) {
  block.d = FloatToHalf(e.d);
  for (int g = 0; g < 32; ++g) {
    block.qs[g] = static_cast<uint16_t>(e.points[g] | (e.signs[g] & 127) << 9);
  }
  PackScaleNibbles(e, 16, block.scales);
}

void Pack(const Encoding& e, BlockIQ2_S& block) {
  block.d = FloatToHalf(e.d);
  std::memset(block.qh, 0, sizeof(block.qh));
  for (int g = 0; g < 32; ++g) {
    block.qs[g] = static_cast<uint8_t>(e.points[g]);
    block.signs[g] = e.signs[g];
    block.qh[g / 4] |= static_cast<uint8_t>((e.points[g] >> 8) << 2 * (g % 4));
  }
  PackScaleNibbles(e, 16, block.scales);
}

void Pack(const Encoding& e, BlockIQ3_XXS& block) {
  block.d = FloatToHalf(e.d);
  for (int k = 0; k < 64; ++k) block.qs[k] = static_cast<uint8_t>(e.points[k]);
  for (int r = 0; r < 8; ++r) PackSignsScale(e, r, block.signs_scale[r]);
}

void Pack(const Encoding& e, BlockIQ3_S& block) {
  block.d = FloatToHalf(e.d);
  std::memset(block.qh, 0, sizeof(block.qh));
  for (int k = 0; k < 64; ++k) {
    block.qs[k] = static_cast<uint8_t>(e.points[k]);
    block.qh[k / 8] |= static_cast<uint8_t>((e.points[k] >> 8) << (k % 8));
  }
  std::copy(e.signs, e.signs + 32, block.signs);
  PackScaleNibbles(e, 8, block.scales);
}

void Pack(const Encoding& e, BlockIQ4_NL& block) {
  block.d = FloatToHalf(e.d);
  PackNibbles(e.quants, block.qs);
}

void Pack(const Encoding& e, BlockIQ4_XS& block) {
  block.d = FloatToHalf(e.d);
  block.scales_h = 0;
  std::memset(block.scales_l, 0, sizeof(block.scales_l));
  for (int r = 0; r < 8; ++r) {
    const int scale = e.scales[r] + 32;
    block.scales_l[r / 2] |= static_cast<uint8_t>((scale & 15) << 4 * (r % 2));
    block.scales_h |= static_cast<uint16_t>((scale >> 4) << 2 * r);
    PackNibbles(e.quants + 32 * r, block.qs + 16 * r);
  }
}

void Pack(const Encoding& e, BlockTQ1_0& block) {
  // `count` digits of the elements i, i + step, i + 2 step, ...
  const auto pack = [&](int i, int step, int count) {
    int number = 0;
    for (int k = 0; k < 5; ++k) {
      number *= 3;
      if (k < count) number += e.quants[i + k * step] + 1;
    }
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  };
  for (int j = 0; j < 32; ++j) block.qs[j] = pack(j, 32, 5);
  for (int j = 0; j < 16; ++j) block.qs[32 + j] = pack(160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) block.qh[j] = pack(240 + j, 4, 4);
  block.d = FloatToHalf(e.d);
}

void Pack(const Encoding& e, BlockTQ2_0& block) {
  int q[256];
  for (int i = 0; i < 256; ++i) q[i] = e.quants[i] + 1;
  PackPairs(q, block.qs);
  block.d = FloatToHalf(e.d);
}

void Pack(const Encoding& e, BlockMXFP4& block) {
  block.e = static_cast<uint8_t>(e.scales[0]);
  PackNibbles(e.quants, block.qs);
}

void Pack(const Encoding& e, BlockNVFP4& block) {
  for (int s = 0; s < 4; ++s) {
    block.d[s] = static_cast<uint8_t>(e.scales[s]);
    for (int j = 0; j < 8; ++j) {
      block.qs[8 * s + j] =
          static_cast<uint8_t>(e.quants[16 * s + j] | e.quants[16 * s + 8 + j] << 4);
    }
  }
}

}  // namespace bantam::quant
