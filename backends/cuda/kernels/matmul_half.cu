// Products of an f16 or bf16 matrix with many columns, on tensor cores.
//
// Columns are rounded to f16, each scaled by a power of two of its own so that none overflows; or
// to bf16 twice, the second time what the first left. A block computes 64 rows by 64 columns with
// four warps of 32 by 32, in steps of 32 along k; the next step of both arrives in shared memory by
// asynchronous copies while this one is multiplied.

#include <type_traits>

#include "backends/cuda/kernels/common.h"
#include "runtime/quant/float16.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128, kSide = 64, kStep = 32;
constexpr int kPieces = kStep * 2 / 16;  // of 16 bytes, of a row of a step
constexpr int kPitch = kStep / 2 + 4;    // words from row to row: fragments' rows in other banks

struct F16 {
  static constexpr int kXPlanes = 1;
};
struct BF16 {
  static constexpr int kXPlanes = 2;
};

// A block to a column.
template <typename Type>
BANTAM_KERNEL(kThreads, 1)
HalveKernel(View x, HalvedX out) {
  const int padded = out.padded;
  auto* shared = reinterpret_cast<float*>(SharedMemory());
  const int k = x.shape[0];
  const float* from = RowF(x, BlockX());
  uint16_t* to = out.halves + int64_t{BlockX()} * Type::kXPlanes * padded;
  if constexpr (std::is_same_v<Type, BF16>) {
    for (int i = ThreadX(); i < padded; i += kThreads) {
      const float value = i < k ? from[i] : 0.0f;
      const uint16_t high = quant::FloatToBFloat16(value);
      to[i] = high;
      to[padded + i] = quant::FloatToBFloat16(value - quant::BFloat16ToFloat(high));
    }
    if (ThreadX() == 0) out.scales[BlockX()] = 1;
  } else {
    float peak = 0;
    for (int i = ThreadX(); i < k; i += kThreads) peak = fmaxf(peak, fabsf(from[i]));
    peak = BlockMax(peak, shared, kThreads);
    const float scale = HalfScale(peak), inverse = 1.0f / scale;
    for (int i = ThreadX(); i < padded; i += kThreads) {
      to[i] = i < k ? quant::FloatToHalf(from[i] * inverse) : uint16_t{0};
    }
    if (ThreadX() == 0) out.scales[BlockX()] = scale;
  }
}

template <typename Type>
struct Stage {
  uint32_t w[kSide][kPitch], x[Type::kXPlanes][kSide][kPitch];
};

template <typename Type>
BANTAM_KERNEL(kThreads, 3)
HalfTileKernel(MatMulParams p) {
  const int padded = p.halved.padded;
  auto* stages = reinterpret_cast<Stage<Type>*>(SharedMemory());
  const int first_row = BlockX() * kSide, first_column = BlockY() * kSide;
  const int steps = padded / kStep;
  auto zero = [](uint32_t* to) { *reinterpret_cast<Words4*>(to) = {{0, 0, 0, 0}}; };
  auto load = [&](int step, Stage<Type>& stage) {
    BANTAM_UNROLL
    for (int i = ThreadX(); i < kSide * kPieces; i += kThreads) {
      const int at = i / kPieces, piece = i % kPieces, k = step * kStep + 8 * piece;
      uint32_t* w = stage.w[at] + 4 * piece;
      if (first_row + at < p.m && k < p.k) {
        CopyAsync16(w, WeightRow(p, first_row + at) + 2 * k);
      } else {
        zero(w);
      }
      BANTAM_UNROLL
      for (int plane = 0; plane < Type::kXPlanes; ++plane) {
        uint32_t* x = stage.x[plane][at] + 4 * piece;
        if (first_column + at < p.columns) {
          const int64_t row = int64_t{first_column + at} * Type::kXPlanes + plane;
          CopyAsync16(x, p.halved.halves + row * padded + k);
        } else {
          zero(x);
        }
      }
    }
    CopyCommit();
  };
  const int warp = ThreadX() / kWarp, lane = ThreadX() % kWarp;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
  float sums[2][4][4] = {};
  BANTAM_NO_UNROLL
  for (int loaded = 0; loaded <= steps; ++loaded) {
    if (loaded < steps) load(loaded, stages[loaded % 2]);
    if (loaded > 0) {
      const Stage<Type>& stage = stages[(loaded + 1) % 2];
      BANTAM_UNROLL
      for (int k = 0; k < kStep / 2; k += 8) {  // words; 16 elements
        uint32_t a[2][4];
        BANTAM_UNROLL
        for (int i = 0; i < 2; ++i) {
          const uint32_t* upper = stage.w[warp_row + 16 * i + g] + k;
          const uint32_t* lower = stage.w[warp_row + 16 * i + g + 8] + k;
          a[i][0] = upper[t];
          a[i][1] = lower[t];
          a[i][2] = upper[4 + t];
          a[i][3] = lower[4 + t];
        }
        BANTAM_UNROLL
        for (int plane = 0; plane < Type::kXPlanes; ++plane) {
          BANTAM_UNROLL
          for (int n = 0; n < 4; ++n) {
            const uint32_t* column = stage.x[plane][warp_column + 8 * n + g] + k;
            const uint32_t b[2] = {column[t], column[4 + t]};
            BANTAM_UNROLL
            for (int i = 0; i < 2; ++i) {
              if constexpr (std::is_same_v<Type, BF16>) {
                MmaBFloat16(sums[i][n], a[i], b);
              } else {
                MmaHalf(sums[i][n], a[i], b);
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
        const int column = first_column + warp_column + 8 * n + 2 * t + j % 2;
        if (row >= p.m || column >= p.columns) continue;
        p.out[column * p.out_stride + row] =
            Activate(p.activation, sums[i][n][j] * p.halved.scales[column] + BiasOf(p, row));
      }
    }
  }
}

constexpr int kFinishThreads = 256;
// An element to a thread; blocks along y, in strides of it, are columns.
BANTAM_KERNEL(kFinishThreads, 1) FinishKernel(MatMulParams p, int grid_y) {
  const int row = BlockX() * kFinishThreads + ThreadX();
  if (row >= p.m) return;
  const float bias = BiasOf(p, row);
  for (int column = BlockY(); column < p.columns; column += grid_y) {
    float& out = p.out[column * p.out_stride + row];
    const float scale = p.halved.scales != nullptr ? p.halved.scales[column] : 1.0f;
    out = Activate(p.activation, out * scale + bias);
  }
}

int Padded(int64_t k) { return static_cast<int>((k + kStep - 1) / kStep * kStep); }
int64_t Planes(quant::Type type) { return type == quant::Type::kBF16 ? BF16::kXPlanes : 1; }

}  // namespace

int64_t HalvedBytes(quant::Type type, int64_t k, int64_t columns) {
  return columns * (Planes(type) * 2 * Padded(k) + 4);
}

HalvedX HalvedAt(quant::Type type, void* memory, int64_t k, int64_t columns) {
  auto* halves = static_cast<uint16_t*>(memory);
  const auto planes = static_cast<int32_t>(Planes(type));
  const int padded = Padded(k);
  return {halves, reinterpret_cast<float*>(halves + columns * planes * padded), planes, padded};
}

bool CanTileHalf(const MatMulParams& p, int capability) {
  const bool has_type =
      p.type == quant::Type::kF16 || (p.type == quant::Type::kBF16 && capability >= 80);
  return has_type && p.k > 0 && p.k % 8 == 0 && AreWords16(p);
}

void Halve(quant::Type type, const View& x, const HalvedX& out, Stream stream) {
  Launch(type == quant::Type::kBF16 ? HalveKernel<BF16> : HalveKernel<F16>, {Blocks(Rows(x), 1)},
         kThreads, kThreads / kWarp * 4, stream, x, out);
}

void TileHalf(const MatMulParams& p, Stream stream) {
  const Grid grid = {Blocks(p.m, kSide), Blocks(p.columns, kSide)};
  if (p.type == quant::Type::kBF16) {
    Launch(HalfTileKernel<BF16>, grid, kThreads, 2 * static_cast<int>(sizeof(Stage<BF16>)), stream,
           p);
  } else {
    Launch(HalfTileKernel<F16>, grid, kThreads, 2 * static_cast<int>(sizeof(Stage<F16>)), stream,
           p);
  }
}

void FinishProduct(const MatMulParams& p, Stream stream) {
  const int grid_y = p.columns < 65535 ? p.columns : 65535;
  Launch(FinishKernel, {Blocks(p.m, kFinishThreads), static_cast<unsigned>(grid_y)}, kFinishThreads,
         0, stream, p, grid_y);
}

}  // namespace bantam::cuda
