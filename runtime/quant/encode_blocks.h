// Round-to-nearest encoders of single blocks: what EncodeRow runs. The scale comes from the
// extremes of the block, with no search for the one of least error.
#pragma once

#include "runtime/quant/blocks.h"

namespace bantam::quant {

// Encodes Block::kElements finite values. A scale that its type cannot hold becomes an infinity.
void EncodeBlock(const float* x, BlockQ4_0& block);
void EncodeBlock(const float* x, BlockQ4_1& block);
void EncodeBlock(const float* x, BlockQ5_0& block);
void EncodeBlock(const float* x, BlockQ5_1& block);
void EncodeBlock(const float* x, BlockQ8_0& block);
void EncodeBlock(const float* x, BlockQ8_1& block);
void EncodeBlock(const float* x, BlockQ8_K& block);
void EncodeBlock(const float* x, BlockQ2_K& block);
void EncodeBlock(const float* x, BlockQ3_K& block);
void EncodeBlock(const float* x, BlockQ4_K& block);
void EncodeBlock(const float* x, BlockQ5_K& block);
void EncodeBlock(const float* x, BlockQ6_K& block);
void EncodeBlock(const float* x, BlockIQ4_NL& block);
void EncodeBlock(const float* x, BlockIQ4_XS& block);
void EncodeBlock(const float* x, BlockTQ1_0& block);
void EncodeBlock(const float* x, BlockTQ2_0& block);
void EncodeBlock(const float* x, BlockMXFP4& block);
void EncodeBlock(const float* x, BlockNVFP4& block);

// The UE4M3 byte whose value is nearest to `x` >= 0.
uint8_t NearestUE4M3(float x);

template <typename Block>
concept HasEncoder = requires(const float* x, Block& block) {
  EncodeBlock(x, block);
};

}  // namespace bantam::quant
