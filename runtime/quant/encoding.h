// What an encoder decides about a block, apart from where the bits go.
#pragma once

#include <cstdint>

#include "runtime/quant/blocks.h"

namespace bantam::quant {

// Quants and scales as the integers that the block's layout holds. A type uses what it has:
// `scales` and `mins` one per run of elements that share them, `points` one per codebook point,
// `signs` eight to a byte. `quants` are what Quant() of the block returns, except that of types
// with minimums, which start at 0, and of levels (IQ4, FP4), which are codes.
struct Encoding {
  float d = 0, dmin = 0;  // dmin: of Q4_1 and Q5_1 the offset itself
  int scales[16] = {};
  int mins[16] = {};
  int quants[256];
  uint16_t points[64];
  uint8_t signs[32];
  uint8_t down[32];  // IQ1: whether the points of a group are shifted down
};

// Each sets every byte of the block.
void Pack(const Encoding& e, BlockQ4_0& block);
void Pack(const Encoding& e, BlockQ4_1& block);
void Pack(const Encoding& e, BlockQ5_0& block);
void Pack(const Encoding& e, BlockQ5_1& block);
void Pack(const Encoding& e, BlockQ8_0& block);
void Pack(const Encoding& e, BlockQ2_K& block);
void Pack(const Encoding& e, BlockQ3_K& block);
void Pack(const Encoding& e, BlockQ4_K& block);
void Pack(const Encoding& e, BlockQ5_K& block);
void Pack(const Encoding& e, BlockQ6_K& block);
void Pack(const Encoding& e, BlockIQ1_S& block);
void Pack(const Encoding& e, BlockIQ1_M& block);
void Pack(const Encoding& e, BlockIQ2_XXS& block);
void Pack(const Encoding& e, BlockIQ2_XS& block);
void Pack(const Encoding& e, BlockIQ2_S& block);
void Pack(const Encoding& e, BlockIQ3_XXS& block);
void Pack(const Encoding& e, BlockIQ3_S& block);
void Pack(const Encoding& e, BlockIQ4_NL& block);
void Pack(const Encoding& e, BlockIQ4_XS& block);
void Pack(const Encoding& e, BlockTQ1_0& block);
void Pack(const Encoding& e, BlockTQ2_0& block);
void Pack(const Encoding& e, BlockMXFP4& block);  // scales[0] is the exponent
void Pack(const Encoding& e, BlockNVFP4& block);  // scales[0..3] are UE4M3

}  // namespace bantam::quant
