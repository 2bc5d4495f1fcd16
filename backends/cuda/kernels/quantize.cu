// What products of quantized weights need prepared: columns rounded to two planes of int8, columns
// grouped by expert.

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/matmul_int8.h"
#include "backends/cuda/kernels/round.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 128;
// An element to a lane; blocks along y, in strides of it, are columns.
BANTAM_KERNEL(kThreads, 1) QuantizeKernel(View x, QuantizedX out, int columns, int grid_y) {
  const int k = x.shape[0], i = BlockX() * kThreads + ThreadX();
  if (i >= k) return;  // a whole warp does: k is in whole runs
  for (int column = BlockY(); column < columns; column += grid_y) {
    RoundRun(out, column, k / kRun, i / kRun, RowF(x, column)[i]);
  }
}

BANTAM_KERNEL(kThreads, 1) GatedKernel(GatedParams p, int columns, int grid_y) {
  const int k = p.gate.shape[0], i = BlockX() * kThreads + ThreadX();
  if (i >= k) return;
  for (int column = BlockY(); column < columns; column += grid_y) {
    const float value =
        Gate(p.activation, p.limit, p.up_offset, RowF(p.gate, column)[i], RowF(p.up, column)[i]);
    p.out[int64_t{column} * k + i] = value;
    RoundRun(p.rounded, column, k / kRun, i / kRun, value);
  }
}

constexpr int kPlanThreads = 256;

// One block: counts the columns of each expert, and from the counts makes tiles and places.
BANTAM_KERNEL(kPlanThreads, 1)
PlanKernel(const int32_t* ids, int columns, int experts, int32_t* order, int32_t* tiles,
           int max_tiles) {
  auto* counts = reinterpret_cast<int*>(SharedMemory());
  int* places = counts + experts;
  for (int e = ThreadX(); e < experts; e += kPlanThreads) counts[e] = 0;
  for (int i = ThreadX(); i < max_tiles; i += kPlanThreads) tiles[3 * i + 2] = 0;
  SyncThreads();
  for (int c = ThreadX(); c < columns; c += kPlanThreads) {
    if (ids[c] >= 0 && ids[c] < experts) AtomicAdd(&counts[ids[c]], 1);
  }
  SyncThreads();
  if (ThreadX() == 0) {
    int place = 0, tile = 0;
    for (int e = 0; e < experts; ++e) {
      places[e] = place;
      for (int done = 0; done < counts[e]; done += kTileColumns, ++tile) {
        const int left = counts[e] - done;
        tiles[3 * tile] = e;
        tiles[3 * tile + 1] = place + done;
        tiles[3 * tile + 2] = left < kTileColumns ? left : kTileColumns;
      }
      place += counts[e];
    }
  }
  SyncThreads();
  // In any order within an expert: a column's result does not depend on it.
  for (int c = ThreadX(); c < columns; c += kPlanThreads) {
    if (ids[c] >= 0 && ids[c] < experts) order[AtomicAdd(&places[ids[c]], 1)] = c;
  }
}

}  // namespace

QuantizedX QuantizedAt(void* memory, int64_t k, int64_t columns) {
  auto* bytes = static_cast<unsigned char*>(memory);
  QuantizedX x;
  x.quants = reinterpret_cast<int8_t*>(bytes);
  x.scales = reinterpret_cast<float*>(bytes + columns * Chunks(k) * kChunkBytes);
  x.sums = x.scales + columns * (k / kRun);
  x.chunks = static_cast<int32_t>(Chunks(k));
  return x;
}

void Quantize(const View& x, const QuantizedX& out, Stream stream) {
  const int columns = Rows(x), grid_y = columns < 65535 ? columns : 65535;
  Launch(QuantizeKernel, {Blocks(x.shape[0], kThreads), static_cast<unsigned>(grid_y)}, kThreads, 0,
         stream, x, out, columns, grid_y);
}

void Gated(const GatedParams& p, Stream stream) {
  const int columns = Rows(p.gate), grid_y = columns < 65535 ? columns : 65535;
  Launch(GatedKernel, {Blocks(p.gate.shape[0], kThreads), static_cast<unsigned>(grid_y)}, kThreads,
         0, stream, p, columns, grid_y);
}

void PlanExperts(MatMulParams& p, void* plan, Stream stream) {
  const int max_tiles = MaxTiles(p.columns, p.experts);
  auto* order = static_cast<int32_t*>(plan);
  auto* tiles = order + p.columns;
  p.order = order;
  p.tiles = tiles;
  Launch(PlanKernel, {1}, kPlanThreads, 8 * p.experts, stream, p.ids, p.columns, p.experts, order,
         tiles, max_tiles);
}

void VectorInt8(const MatMulParams& p, Stream stream) {
  Int8Product<FirstBlocks>(p, false, stream);
  Int8Product<KBlocks>(p, false, stream);
  Int8Product<CodebookBlocks>(p, false, stream);
  Int8Product<OtherBlocks>(p, false, stream);
}

void TileInt8(const MatMulParams& p, Stream stream) {
  Int8Product<FirstBlocks>(p, true, stream);
  Int8Product<KBlocks>(p, true, stream);
  Int8Product<CodebookBlocks>(p, true, stream);
  Int8Product<OtherBlocks>(p, true, stream);
}

}  // namespace bantam::cuda
