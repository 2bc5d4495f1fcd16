// One file of kernels for each list of types, so that they are compiled side by side.
#pragma once

#include "backends/cuda/kernels/matmul_tile.h"
#include "backends/cuda/kernels/matvec.h"

namespace bantam::cuda {

using FirstBlocks = quant::BlockList<quant::BlockQ4_0, quant::BlockQ4_1, quant::BlockQ5_0,
                                     quant::BlockQ5_1, quant::BlockQ8_0, quant::BlockQ8_1>;
using KBlocks = quant::BlockList<quant::BlockQ2_K, quant::BlockQ3_K, quant::BlockQ4_K,
                                 quant::BlockQ5_K, quant::BlockQ6_K, quant::BlockQ8_K>;
using CodebookBlocks =
    quant::BlockList<quant::BlockIQ2_XXS, quant::BlockIQ2_XS, quant::BlockIQ2_S,
                     quant::BlockIQ3_XXS, quant::BlockIQ3_S, quant::BlockIQ1_S, quant::BlockIQ1_M>;
using OtherBlocks = quant::BlockList<quant::BlockIQ4_NL, quant::BlockIQ4_XS, quant::BlockTQ1_0,
                                     quant::BlockTQ2_0, quant::BlockMXFP4, quant::BlockNVFP4>;

// Launches the kernels of p.type if it is one of `Blocks`.
template <typename Blocks>
void Int8Product(const MatMulParams& p, bool tiled, Stream stream);

#define BANTAM_INT8_PRODUCTS(Blocks)                                           \
  template <>                                                                  \
  void Int8Product<Blocks>(const MatMulParams& p, bool tiled, Stream stream) { \
    Blocks::ForEach([&]<typename Block>(std::type_identity<Block>) {           \
      if (Block::kType != p.type) return;                                      \
      !tiled          ? LaunchVector<Block>(p, stream)                         \
      : p.planes == 1 ? LaunchTile<Block, 1>(p, stream)                        \
                      : LaunchTile<Block, kPlanes>(p, stream);                 \
    });                                                                        \
  }

}  // namespace bantam::cuda
