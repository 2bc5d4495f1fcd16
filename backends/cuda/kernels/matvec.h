// Products of a quantized matrix with up to eight columns in two planes of int8.
//
// A warp computes kWarpRows rows. It walks them in chunks of 1024 elements: the bytes of the next
// chunk travel to shared memory in 16-byte words, wherever in a word a row begins, while each lane
// takes 32 elements of this one from there, unpacks them to int8, and multiplies them with every
// column by dp4a. So blocks of any size are read as fast as memory goes.
//
// Both planes are multiplied: what a GPU waits for is the bytes of the weights.
#pragma once

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/unpack.h"

namespace bantam::cuda {

inline constexpr int kVectorThreads = 128, kVectorWarps = kVectorThreads / kWarp;
inline constexpr int kWarpRows = 2;
inline constexpr int kChunk = kRun * kWarp;  // elements

// Bytes of a chunk in shared memory: a row may begin anywhere in a word of 16.
template <typename Block>
inline constexpr int kSlot = (kChunk / Block::kElements * static_cast<int>(sizeof(Block)) + 31) /
                             16 * 16;

// Begins copying `bytes` at `from` to `slot`, where they lie at from % 16.
BANTAM_DEVICE void StageBytes(unsigned char* slot, const unsigned char* from, int bytes, int lane) {
  const auto lead = static_cast<int>(reinterpret_cast<uintptr_t>(from) & 15);
  from -= lead;
  for (int at = 16 * lane; at < lead + bytes; at += 16 * kWarp) CopyAsync16(slot + at, from + at);
}

template <typename Block, int kColumns>
BANTAM_KERNEL(kVectorThreads, 4)
VectorKernel(MatMulParams p) {
  constexpr int kH = kHalves<Block>;
  constexpr int kBlockRuns = Block::kElements / kRun;
  const int warp = ThreadX() / kWarp, lane = ThreadX() % kWarp;
  const int first_row = (BlockX() * kVectorWarps + warp) * kWarpRows;
  int column = BlockY() * kColumns, x_column = column;
  int64_t expert = 0;
  if (p.ids != nullptr) {  // kColumns is 1: a column has an expert of its own
    const int id = p.ids[column];
    if (id < 0 || id >= p.experts) {
      if (lane < kWarpRows && first_row + lane < p.m) {
        p.out[column * p.out_stride + first_row + lane] = 0;
      }
      return;  // the whole block does
    }
    expert = id * p.expert_stride;
    const int in_token = column % p.top_k < p.x_rows ? column % p.top_k : p.x_rows - 1;
    x_column = column / p.top_k * p.x_rows + in_token;
  }
  unsigned char* slots = SharedMemory() + warp * 2 * kWarpRows * kSlot<Block>;
  const unsigned char* rows[kWarpRows];
  BANTAM_UNROLL
  for (int r = 0; r < kWarpRows; ++r) {
    const int row = first_row + r < p.m ? first_row + r : p.m - 1;
    rows[r] = WeightRow(p, row) + expert;
  }
  const int runs = p.k / kRun, chunks = (runs + kWarp - 1) / kWarp;
  auto stage = [&](int chunk) {
    const int in_chunk = runs - chunk * kWarp < kWarp ? runs - chunk * kWarp : kWarp;
    const int bytes = in_chunk / kBlockRuns * static_cast<int>(sizeof(Block));
    const int64_t from = int64_t{chunk} * (kWarp / kBlockRuns) * static_cast<int>(sizeof(Block));
    BANTAM_UNROLL
    for (int r = 0; r < kWarpRows; ++r) {
      StageBytes(slots + (chunk % 2 * kWarpRows + r) * kSlot<Block>, rows[r] + from, bytes, lane);
    }
  };
  float sums[kWarpRows][kColumns] = {};
  BANTAM_NO_UNROLL
  for (int staged = 0; staged <= chunks; ++staged) {
    if (staged < chunks) stage(staged);
    CopyCommit();
    CopyWait<1>();  // for the chunk before
    SyncWarp();
    const int chunk = staged - 1, run = chunk * kWarp + lane;
    if (chunk >= 0 && run < runs) {
      int q[kWarpRows][kRunWords];
      float scale[kWarpRows][kH], offset[kWarpRows][kH];
      const int64_t from = int64_t{chunk} * (kWarp / kBlockRuns) * static_cast<int>(sizeof(Block));
      BANTAM_UNROLL
      for (int r = 0; r < kWarpRows; ++r) {
        const auto lead = static_cast<int>(reinterpret_cast<uintptr_t>(rows[r] + from) & 15);
        const auto* blocks = reinterpret_cast<const Block*>(
            slots + (chunk % 2 * kWarpRows + r) * kSlot<Block> + lead);
        const Block& block = blocks[lane / kBlockRuns];
        const int in_block = lane % kBlockRuns;
        Unpack(block, in_block, q[r]);
        BANTAM_UNROLL
        for (int h = 0; h < kH; ++h) {
          scale[r][h] = block.Scale(GroupOf<Block>(in_block, h));
          offset[r][h] = 0;
          if constexpr (quant::HasOffset<Block>) {
            offset[r][h] = block.Offset(GroupOf<Block>(in_block, h));
          }
        }
      }
      BANTAM_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        if (kColumns > 1 && column + c >= p.columns) break;
        const int64_t at = int64_t{x_column + c} * runs + run;
        const float x_scale = p.quantized.scales[at];
        float dots[kWarpRows][kH] = {};
        BANTAM_UNROLL
        for (int plane = 0; plane < kPlanes; ++plane) {
          const int8_t* quants = HalfRun(p.quantized, x_column + c, run, plane, 0);
          const Words4 x0 = *reinterpret_cast<const Words4*>(quants);
          const Words4 x1 = *reinterpret_cast<const Words4*>(quants + kChunkBytes / 4);
          BANTAM_UNROLL
          for (int r = 0; r < kWarpRows; ++r) {
            int sum[2] = {kDotStart, kDotStart};
            BANTAM_UNROLL
            for (int i = 0; i < 4; ++i) {
              sum[0] = Dp4a(q[r][i], x0.w[i], sum[0]);
              sum[kH - 1] = Dp4a(q[r][4 + i], x1.w[i], sum[kH - 1]);
            }
            BANTAM_UNROLL
            for (int h = 0; h < kH; ++h) {
              dots[r][h] += (plane == 0 ? kFine : 1) * DotToFloat(sum[h]);
            }
          }
        }
        BANTAM_UNROLL
        for (int r = 0; r < kWarpRows; ++r) {
          BANTAM_UNROLL
          for (int h = 0; h < kH; ++h) sums[r][c] += scale[r][h] * x_scale * dots[r][h];
          if constexpr (quant::HasOffset<Block>) {
            const float s0 = p.quantized.sums[2 * at], s1 = p.quantized.sums[2 * at + 1];
            sums[r][c] +=
                kH == 1 ? offset[r][0] * (s0 + s1) : offset[r][0] * s0 + offset[r][kH - 1] * s1;
          }
        }
      }
    }
    SyncWarp();
  }
  BANTAM_UNROLL
  for (int r = 0; r < kWarpRows; ++r) {
    BANTAM_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      if (kColumns > 1 && column + c >= p.columns) break;
      const float sum = WarpSum(sums[r][c]);
      const int row = first_row + r;
      if (lane == 0 && row < p.m) {
        p.out[(column + c) * p.out_stride + row] = Activate(p.activation, sum + BiasOf(p, row));
      }
    }
  }
}

template <typename Block>
void LaunchVector(const MatMulParams& p, Stream stream) {
  constexpr int kShared = kVectorWarps * 2 * kWarpRows * kSlot<Block>;
  auto launch = [&](auto kernel, int columns) {
    Launch(kernel, {Blocks(p.m, kVectorWarps * kWarpRows), Blocks(p.columns, columns)},
           kVectorThreads, kShared, stream, p);
  };
  if (p.columns == 1 || p.ids != nullptr) {
    launch(VectorKernel<Block, 1>, 1);
  } else if (p.columns == 2) {
    launch(VectorKernel<Block, 2>, 2);
  } else if (p.columns <= 4) {
    launch(VectorKernel<Block, 4>, 4);
  } else {
    launch(VectorKernel<Block, 8>, 8);
  }
}

}  // namespace bantam::cuda
