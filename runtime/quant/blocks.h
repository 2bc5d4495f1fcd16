// The blocks of the quantized types, to the byte, and their decoding, written once for the host and
// for GPU kernels.
//
// A row of n elements is n / kElements blocks, one after the other. In every type an element is
//
//   x = scale * quant [+ offset]
//
// with `quant` a small integer (an int8), and `scale` and `offset` shared by a *group* of
// consecutive elements. A block type says how to find the three:
//
//   kType            its quant::Type
//   kElements        elements per block
//   kGroup           elements per group; a scale may span several groups
//   Scale(g)         scale of group g
//   Offset(g)        only where the type has one: Q4_1 Q5_1 Q2_K Q4_K Q5_K
//   Quant(g, j)      quant of element j of group g, or
//   Quants8(g)       where kGroup is 8: the group's quants as eight int8, the first in the lowest
//                    byte (of a 64-bit word; two registers of dot-product operands on a GPU)
//
// so that a kernel may take values (the functions below), or quants and scales for an integer dot
// product.
//
// Every step but the last is exact: an f16 has 11 significant bits, and the integers it is
// multiplied by have too few to fill the 24 of an f32 before the last product or sum. A value is
// therefore the exact one rounded once (where the scale is finite), and its bits are the same on
// every machine, with or without fused multiply-add. Only the order of the factors matters, and
// only for the sign of zero: scale first, then the quant.
//
// Drawings: fields are named with their byte offsets; within a byte or word, fields go from the
// most significant bit to the least. a:4 is a field of four bits, a.5-4 the bits 5 and 4 of a.
// Bytes are little-endian. Blocks have the alignment of their struct (1 or 2; 4 for Q8_K), but a
// file does not promise even that: copy a block before you read it, as DecodeRow does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "runtime/quant/blocks_iq.h"
#include "runtime/quant/blocks_k.h"
#include "runtime/quant/blocks_simple.h"
#include "runtime/quant/host_device.h"

namespace bantam::quant {

template <typename Block>
concept HasOffset = requires(const Block& block) {
  block.Offset(0);
};
template <typename Block>
concept HasQuants8 = requires(const Block& block) {
  block.Quants8(0);
};

// The quant of element `j` of `group`.
template <typename Block>
BANTAM_HOST_DEVICE inline int Quant(const Block& block, int group, int j) {
  if constexpr (HasQuants8<Block>) {
    return static_cast<int8_t>(block.Quants8(group) >> 8 * j);
  } else {
    return block.Quant(group, j);
  }
}

// Element `i` of a block.
template <typename Block>
BANTAM_HOST_DEVICE inline float DecodeElement(const Block& block, int i) {
  const int group = i / Block::kGroup;
  const float product =
      block.Scale(group) * static_cast<float>(Quant(block, group, i % Block::kGroup));
  if constexpr (HasOffset<Block>) {
    return product + block.Offset(group);
  } else {
    return product;  // adding zero would turn -0 into +0
  }
}

// The kGroup elements of a group, to `out`.
template <typename Block>
BANTAM_HOST_DEVICE inline void DecodeGroup(const Block& block, int group, float* __restrict__ out) {
  const float scale = block.Scale(group);
  float offset = 0;
  if constexpr (HasOffset<Block>) offset = block.Offset(group);
  [[maybe_unused]] int8_t quants[8];
  if constexpr (HasQuants8<Block>) {
    static_assert(Block::kGroup == 8);
    const uint64_t word = block.Quants8(group);
    memcpy(quants, &word, sizeof(quants));
  }
  for (int j = 0; j < Block::kGroup; ++j) {
    float quant;
    if constexpr (HasQuants8<Block>) {
      quant = static_cast<float>(quants[j]);
    } else {
      quant = static_cast<float>(block.Quant(group, j));
    }
    out[j] = scale * quant;
    if constexpr (HasOffset<Block>) out[j] += offset;
  }
}

// The kElements elements of a block, to `out`.
template <typename Block>
BANTAM_HOST_DEVICE inline void DecodeBlock(const Block& block, float* __restrict__ out) {
  for (int group = 0; group < Block::kElements / Block::kGroup; ++group) {
    DecodeGroup(block, group, out + group * Block::kGroup);
  }
}

// All of them, to build a table of one templated function or kernel per type:
//
//   AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) { ... Block::kType ... });
template <typename... Blocks>
struct BlockList {
  template <typename F>
  static void ForEach(F&& f) {
    (f(std::type_identity<Blocks>{}), ...);
  }
};
using AllBlocks =
    BlockList<BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, BlockQ8_1, BlockQ2_K,
              BlockQ3_K, BlockQ4_K, BlockQ5_K, BlockQ6_K, BlockQ8_K, BlockIQ2_XXS, BlockIQ2_XS,
              BlockIQ2_S, BlockIQ3_XXS, BlockIQ3_S, BlockIQ1_S, BlockIQ1_M, BlockIQ4_NL,
              BlockIQ4_XS, BlockTQ1_0, BlockTQ2_0, BlockMXFP4, BlockNVFP4>;

}  // namespace bantam::quant
