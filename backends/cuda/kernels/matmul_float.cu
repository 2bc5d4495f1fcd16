// Products of matrices of plain types, in f32.

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/types.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

// The x of a column, and its expert's weights, unless there is no such expert.
struct Column {
  int64_t expert;  // where its weights begin
  const float* x;
  bool is_there = true;
};
BANTAM_DEVICE Column ColumnAt(const MatMulParams& p, int column) {
  if (p.ids == nullptr) return {0, RowF(p.x, column)};
  const int id = p.ids[column], token = column / p.top_k;
  if (id < 0 || id >= p.experts) return {0, nullptr, false};
  const int row = column % p.top_k < p.x_rows ? column % p.top_k : p.x_rows - 1;
  return {id * p.expert_stride, reinterpret_cast<const float*>(p.x.data + At(p.x, row, token, 0))};
}

// Eight 16-bit elements, or four of 32 bits, in one load.
template <typename Source>
inline constexpr int kWide = sizeof(Source) <= 4 && sizeof(Source) >= 2 ? 16 / sizeof(Source) : 1;

// A warp to a row, for up to kColumns columns; lanes take kWide elements in turn.
template <typename Source, int kColumns>
BANTAM_KERNEL(kThreads, 4)
VectorKernel(MatMulParams p, bool wide) {
  constexpr int kW = kWide<Source>;
  const int row = BlockX() * kWarps + ThreadX() / kWarp, lane = ThreadX() % kWarp;
  const int first = BlockY() * kColumns;
  if (row >= p.m) return;  // the whole warp does
  Column columns[kColumns];
  BANTAM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    columns[c] = ColumnAt(p, first + c < p.columns ? first + c : p.columns - 1);
  }
  if (!columns[0].is_there) {
    if (lane == 0) p.out[first * p.out_stride + row] = 0;
    return;
  }
  const auto* w = reinterpret_cast<const Source*>(WeightRow(p, row) + columns[0].expert);
  float sums[kColumns] = {};
  int i = 0;
  if constexpr (kW > 1) {
    const int whole = wide ? p.k / (kW * kWarp) * (kW * kWarp) : 0;
    for (i = kW * lane; i < whole; i += kW * kWarp) {
      struct alignas(16) Elements {
        Source e[kW];
      };
      const Elements elements = *reinterpret_cast<const Elements*>(w + i);
      float values[kW];
      BANTAM_UNROLL
      for (int j = 0; j < kW; ++j) values[j] = elements.e[j].Get();
      BANTAM_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        BANTAM_UNROLL
        for (int j = 0; j < kW; ++j) sums[c] += values[j] * columns[c].x[i + j];
      }
    }
    i = whole;
  }
  for (i += lane; i < p.k; i += kWarp) {
    const float value = w[i].Get();
    BANTAM_UNROLL
    for (int c = 0; c < kColumns; ++c) sums[c] += value * columns[c].x[i];
  }
  BANTAM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    const float sum = WarpSum(sums[c]);
    if (lane != 0 || first + c >= p.columns) continue;
    p.out[(first + c) * p.out_stride + row] = Activate(p.activation, sum + BiasOf(p, row));
  }
}

constexpr int kSide = 64, kStep = 16, kTileThreads = 256;
constexpr int kPitch = kSide + 4;

// A block computes 64 rows by 64 columns, a thread 4 by 4 of them, in steps of 16 along k.
template <typename Source>
BANTAM_KERNEL(kTileThreads, 2)
TileKernel(MatMulParams p) {
  auto* w_tile = reinterpret_cast<float*>(SharedMemory());  // [kStep][kPitch]
  float* x_tile = w_tile + kStep * kPitch;
  const int first_row = BlockX() * kSide, first_column = BlockY() * kSide;
  const int in_step = ThreadX() % kStep, from = ThreadX() / kStep;
  const int my_row = ThreadX() % 16 * 4, my_column = ThreadX() / 16 * 4;
  float sums[4][4] = {};
  for (int k = 0; k < p.k; k += kStep) {
    BANTAM_UNROLL
    for (int i = from; i < kSide; i += kTileThreads / kStep) {
      const int row = first_row + i, column = first_column + i, at = k + in_step;
      float w = 0, x = 0;
      if (at < p.k && row < p.m) {
        w = reinterpret_cast<const Source*>(WeightRow(p, row))[at].Get();
      }
      if (at < p.k && column < p.columns) x = RowF(p.x, column)[at];
      w_tile[in_step * kPitch + i] = w;
      x_tile[in_step * kPitch + i] = x;
    }
    SyncThreads();
    BANTAM_UNROLL
    for (int i = 0; i < kStep; ++i) {
      float w[4], x[4];
      BANTAM_UNROLL
      for (int j = 0; j < 4; ++j) {
        w[j] = w_tile[i * kPitch + my_row + j];
        x[j] = x_tile[i * kPitch + my_column + j];
      }
      BANTAM_UNROLL
      for (int c = 0; c < 4; ++c) {
        BANTAM_UNROLL
        for (int r = 0; r < 4; ++r) sums[c][r] += w[r] * x[c];
      }
    }
    SyncThreads();
  }
  BANTAM_UNROLL
  for (int c = 0; c < 4; ++c) {
    BANTAM_UNROLL
    for (int r = 0; r < 4; ++r) {
      const int row = first_row + my_row + r, column = first_column + my_column + c;
      if (row >= p.m || column >= p.columns) continue;
      p.out[column * p.out_stride + row] = Activate(p.activation, sums[c][r] + BiasOf(p, row));
    }
  }
}

}  // namespace

void VectorFloat(const MatMulParams& p, Stream stream) {
  ForType<PlainTypes>(p.type, [&]<typename Source>(std::type_identity<Source>) {
    const bool wide = AreWords16(p) && p.expert_stride % 16 == 0;
    const unsigned rows = Blocks(p.m, kWarps);
    if (p.columns == 1 || p.ids != nullptr) {
      Launch(VectorKernel<Source, 1>, {rows, Blocks(p.columns, 1)}, kThreads, 0, stream, p, wide);
    } else {
      Launch(VectorKernel<Source, 4>, {rows, Blocks(p.columns, 4)}, kThreads, 0, stream, p, wide);
    }
  });
}

void TileFloat(const MatMulParams& p, Stream stream) {
  constexpr int kShared = 2 * kStep * kPitch * 4;
  ForType<PlainTypes>(p.type, [&]<typename Source>(std::type_identity<Source>) {
    Launch(TileKernel<Source>, {Blocks(p.m, kSide), Blocks(p.columns, kSide)}, kTileThreads,
           kShared, stream, p);
  });
}

}  // namespace bantam::cuda
