// Products of a quantized matrix with many columns rounded to int8, on tensor cores.
//
// A block computes 64 rows by 64 columns with four warps of 32 by 32. It goes along k in steps of
// 64 elements where x is two planes, of 128 where it is one: the threads unpack the weights of the
// next step to int8 in one half of shared memory (and x arrives there by asynchronous copies) while
// tensor cores multiply what is in the other. The integers of each run of 32 elements (16 where a
// run has two scales) are scaled and added in f32, those of the finer plane with them. Where
// weights have an offset, offset times the sum of x is added for every run.
#pragma once

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/unpack.h"

namespace bantam::cuda {

inline constexpr int kTileThreads = 128, kTileRows = 64;

template <typename Block, int kXPlanes>
struct alignas(16) TileStage {
  static constexpr int kStepRuns = kXPlanes == 1 ? 4 : 2;
  static constexpr int kScales = kStepRuns * kHalves<Block>;
  static constexpr int kOffsets = quant::HasOffset<Block> ? kScales : 1;
  // Words from row to row: 4 more than it has, so that the rows a fragment reads lie in different
  // banks.
  static constexpr int kPitch = kStepRuns * kRunWords + 4;
  int32_t w[kTileRows][kPitch];
  int32_t x[kXPlanes][kTileColumns][kPitch];
  float w_scale[kTileRows][kScales];
  float w_offset[quant::HasOffset<Block> ? kTileRows : 1][kOffsets];
  float x_scale[kTileColumns][kStepRuns];
  float x_sum[quant::HasOffset<Block> ? kTileColumns : 1][kOffsets];
};

template <typename Block, int kXPlanes>
BANTAM_KERNEL(kTileThreads, 3)
TileKernel(MatMulParams p) {
  constexpr int kH = kHalves<Block>;
  constexpr bool kOffset = quant::HasOffset<Block>;
  using Stage = TileStage<Block, kXPlanes>;
  constexpr int kStepRuns = Stage::kStepRuns;
  auto* stages = reinterpret_cast<Stage*>(SharedMemory());
  // The x of a column of the tile, and its column of the output; -1: none.
  auto* x_of = reinterpret_cast<int32_t*>(stages + 2);
  auto* out_of = x_of + kTileColumns;

  const int first_row = BlockX() * kTileRows;
  int64_t expert = 0;
  int first = BlockY() * kTileColumns, count = p.columns - first;
  if (p.tiles != nullptr) {
    const int32_t* tile = p.tiles + 3 * BlockY();
    if (tile[2] == 0) return;
    expert = tile[0] * p.expert_stride;
    first = tile[1];
    count = tile[2];
  }
  if (ThreadX() < kTileColumns) {
    int column = -1, x_column = -1;
    if (ThreadX() < count) {
      column = x_column = first + ThreadX();
      if (p.tiles != nullptr) {
        column = p.order[column];
        const int in_token = column % p.top_k < p.x_rows ? column % p.top_k : p.x_rows - 1;
        x_column = column / p.top_k * p.x_rows + in_token;
      }
    }
    out_of[ThreadX()] = column;
    x_of[ThreadX()] = x_column;
  }
  SyncThreads();

  const int runs = p.k / kRun, steps = (runs + kStepRuns - 1) / kStepRuns;
  // Fills a stage with step `step`; runs past the end are zeros.
  auto load = [&](int step, Stage& stage) {
    for (int i = ThreadX(); i < kTileColumns * kStepRuns; i += kTileThreads) {
      const int column = i / kStepRuns, in_step = i % kStepRuns, run = step * kStepRuns + in_step;
      const int x_column = x_of[column];
      const int64_t at = int64_t{x_column} * runs + run;
      const bool there = x_column >= 0 && run < runs;
      BANTAM_UNROLL
      for (int half = 0; half < 2 * kXPlanes; ++half) {
        int32_t* to = &stage.x[half / 2][column][in_step * kRunWords + half % 2 * 4];
        if (there) {
          CopyAsync16(to, HalfRun(p.quantized, x_column, run, half / 2, half % 2));
        } else {
          *reinterpret_cast<Words4*>(to) = {{0, 0, 0, 0}};
        }
      }
      stage.x_scale[column][in_step] = there ? p.quantized.scales[at] : 0.0f;
      if constexpr (kXPlanes == 1) stage.x_scale[column][in_step] *= kFine;
      if constexpr (kOffset) {
        const float s0 = there ? p.quantized.sums[2 * at] : 0.0f;
        const float s1 = there ? p.quantized.sums[2 * at + 1] : 0.0f;
        if constexpr (kH == 1) {
          stage.x_sum[column][in_step] = s0 + s1;
        } else {
          stage.x_sum[column][2 * in_step] = s0;
          stage.x_sum[column][2 * in_step + 1] = s1;
        }
      }
    }
    CopyCommit();
    for (int i = ThreadX(); i < kTileRows * kStepRuns; i += kTileThreads) {
      const int row = i / kStepRuns, in_step = i % kStepRuns, run = step * kStepRuns + in_step;
      int32_t* to = &stage.w[row][in_step * kRunWords];
      if (first_row + row < p.m && run < runs) {
        constexpr int kBlockRuns = Block::kElements / kRun;
        const auto* blocks = reinterpret_cast<const Block*>(WeightRow(p, first_row + row) + expert);
        const Block& block = blocks[run / kBlockRuns];
        const int in_block = run % kBlockRuns;
        int q[kRunWords];
        Unpack(block, in_block, q);
        BANTAM_UNROLL
        for (int j = 0; j < kRunWords; j += 4) {
          *reinterpret_cast<Words4*>(to + j) = {{q[j], q[j + 1], q[j + 2], q[j + 3]}};
        }
        BANTAM_UNROLL
        for (int h = 0; h < kH; ++h) {
          const int group = GroupOf<Block>(in_block, h);
          stage.w_scale[row][in_step * kH + h] = block.Scale(group);
          if constexpr (kOffset) stage.w_offset[row][in_step * kH + h] = block.Offset(group);
        }
      } else {
        BANTAM_UNROLL
        for (int j = 0; j < kRunWords; ++j) to[j] = 0;
        BANTAM_UNROLL
        for (int h = 0; h < kH; ++h) {
          stage.w_scale[row][in_step * kH + h] = 0;
          if constexpr (kOffset) stage.w_offset[row][in_step * kH + h] = 0;
        }
      }
    }
  };

  const int warp = ThreadX() / kWarp, lane = ThreadX() % kWarp;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
  float sums[2][4][4] = {};  // [16 rows][8 columns][as a fragment has them]
  // Loads a step while the one before is multiplied.
  BANTAM_NO_UNROLL
  for (int loaded = 0; loaded <= steps; ++loaded) {
    if (loaded < steps) load(loaded, stages[loaded % 2]);
    const Stage& stage = stages[(loaded + 1) % 2];
    const int ready_runs = loaded > 0 ? kStepRuns : 0;
    BANTAM_NO_UNROLL
    for (int run = 0; run < ready_runs; ++run) {
      int b[kXPlanes][4][2];
      BANTAM_UNROLL
      for (int n = 0; n < 4 * kXPlanes; ++n) {
        const int32_t* column = stage.x[n / 4][warp_column + 8 * (n % 4) + g] + run * kRunWords;
        b[n / 4][n % 4][0] = column[t];
        b[n / 4][n % 4][1] = column[4 + t];
      }
      BANTAM_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int row = warp_row + 16 * i + g;
        const int32_t* upper = stage.w[row] + run * kRunWords;
        const int32_t* lower = stage.w[row + 8] + run * kRunWords;
        const int a[4] = {upper[t], lower[t], upper[4 + t], lower[4 + t]};
        BANTAM_UNROLL
        for (int n = 0; n < 4; ++n) {
          const int column = warp_column + 8 * n + 2 * t;
          const float x_scale[2] = {stage.x_scale[column][run], stage.x_scale[column + 1][run]};
          BANTAM_UNROLL
          for (int h = 0; h < kH; ++h) {
            float dots[4] = {};
            BANTAM_UNROLL
            for (int plane = 0; plane < kXPlanes; ++plane) {
              int sum[4] = {kDotStart, kDotStart, kDotStart, kDotStart};
              if constexpr (kH == 1) {
                MmaInt8K32(sum, a, b[plane][n]);
              } else {
                MmaInt8K16(sum, a[2 * h], a[2 * h + 1], b[plane][n][h]);
              }
              BANTAM_UNROLL
              for (int j = 0; j < 4; ++j) {
                const float dot = DotToFloat(sum[j]);
                dots[j] = plane == 0 ? dot : kFine * dots[j] + dot;
              }
            }
            const int at = run * kH + h;
            BANTAM_UNROLL
            for (int j = 0; j < 4; ++j) {
              const int of_row = row + 8 * (j / 2);
              sums[i][n][j] += stage.w_scale[of_row][at] * x_scale[j % 2] * dots[j];
              if constexpr (kOffset) {
                sums[i][n][j] += stage.w_offset[of_row][at] * stage.x_sum[column + j % 2][at];
              }
            }
          }
        }
      }
    }
    CopyWait<0>();
    SyncThreads();
  }

  BANTAM_UNROLL
  for (int i = 0; i < 2; ++i) {
    BANTAM_UNROLL
    for (int n = 0; n < 4; ++n) {
      BANTAM_UNROLL
      for (int j = 0; j < 4; ++j) {
        const int row = first_row + warp_row + 16 * i + g + 8 * (j / 2);
        const int column = out_of[warp_column + 8 * n + 2 * t + j % 2];
        if (row >= p.m || column < 0) continue;
        p.out[column * p.out_stride + row] = Activate(p.activation, sums[i][n][j] + BiasOf(p, row));
      }
    }
  }
}

template <typename Block, int kXPlanes>
void LaunchTile(const MatMulParams& p, Stream stream) {
  constexpr int kShared =
      2 * static_cast<int>(sizeof(TileStage<Block, kXPlanes>)) + 8 * kTileColumns;
  const unsigned tiles = p.tiles != nullptr ? static_cast<unsigned>(MaxTiles(p.columns, p.experts))
                                            : Blocks(p.columns, kTileColumns);
  Launch(TileKernel<Block, kXPlanes>, {Blocks(p.m, kTileRows), tiles}, kTileThreads, kShared,
         stream, p);
}

}  // namespace bantam::cuda
