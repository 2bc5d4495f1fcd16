// Matrix products: dense, and with a matrix chosen by expert id for each row.
//
// One task is a tile of kTileRows weight rows times all rows of x. The tile is decoded to f32 in
// blocks of kBlock elements, each once whatever the number of rows, into the worker's scratch,
// where it stays in the first-level cache while the rows of x stream past. The sum over blocks is
// made in order of k, so a result depends on its two rows alone.

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "backends/cpu/reference/activation.h"
#include "backends/cpu/reference/dot.h"
#include "backends/cpu/reference/kernels.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::reference {
namespace {

constexpr int64_t kTileRows = 12;
constexpr int64_t kBlock = 512;  // a multiple of every type's block size
constexpr int64_t kTileBytes = kTileRows * kBlock * sizeof(float);

// Rows of one weight matrix.
struct WeightRows {
  const std::byte* data;  // the first
  int64_t stride;         // bytes
  int64_t count;          // at most kTileRows
  quant::Type type;
};

// out(c)[r] = dot(row r of w, x(c)) for every r and every c < columns.
template <typename XRow, typename OutRow>
void MultiplyTile(const WeightRows& w, int64_t k, int64_t columns, const XRow& x, const OutRow& out,
                  float* scratch) {
  const quant::DecodeFn decode = quant::Decoder(w.type);
  int64_t begin = 0;
  do {  // once even for k = 0, whose sums are 0
    const int64_t length = std::min(kBlock, k - begin);
    const float* block = scratch;
    int64_t block_stride = kBlock;
    if (w.type == quant::Type::kF32) {
      block = reinterpret_cast<const float*>(w.data) + begin;
      block_stride = w.stride / static_cast<int64_t>(sizeof(float));
    } else {
      const int64_t offset = quant::RowBytes(w.type, begin);
      for (int64_t r = 0; r < w.count; ++r) {
        decode(w.data + r * w.stride + offset, scratch + r * kBlock, length);
      }
    }
    for (int64_t c = 0; c < columns; c += kDotColumns) {
      const int width = static_cast<int>(std::min<int64_t>(kDotColumns, columns - c));
      std::array<const float*, kDotColumns> from{};
      std::array<float*, kDotColumns> to{};
      for (int j = 0; j < width; ++j) {
        from[j] = x(c + j) + begin;
        to[j] = out(c + j);
      }
      DotPanel(block, block_stride, w.count, from.data(), to.data(), width, length, begin != 0);
    }
    begin += length;
  } while (begin < k);
}

int64_t TileCount(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

void RunMatMul(const Step& step, const RunContext& context) {
  const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
  const Tensor& x = step.inputs[attrs.parts];
  const int64_t k = x.shape[0];
  const int64_t columns = x.rows();
  const ActivationFunction activate =
      attrs.activation == graph::Activation::kNone ? nullptr : ActivationOf(attrs.activation);
  int64_t tiles = 0;
  for (int32_t p = 0; p < attrs.parts; ++p) tiles += TileCount(step.inputs[p].shape[1]);

  auto run_tile = [&](int64_t tile, float* scratch) {
    int32_t part = 0;
    int64_t part_begin = 0;  // in rows of the output
    while (tile >= TileCount(step.inputs[part].shape[1])) {
      tile -= TileCount(step.inputs[part].shape[1]);
      part_begin += step.inputs[part++].shape[1];
    }
    const Tensor& w = step.inputs[part];
    const int64_t first = tile * kTileRows;
    const WeightRows rows = {w.Row(first, 0, 0), w.strides[1],
                             std::min(kTileRows, w.shape[1] - first), w.type};
    auto out = [&](int64_t c) { return step.output.RowAs<float>(c) + part_begin + first; };
    MultiplyTile(
        rows, k, columns, [&](int64_t c) { return x.RowAs<const float>(c); }, out, scratch);
    if (attrs.has_bias) {
      const Tensor& bias = step.inputs[attrs.parts + 1 + part];
      float b[kTileRows];
      quant::DecodeRow(bias.type, bias.data + quant::RowBytes(bias.type, first), b, rows.count);
      for (int64_t c = 0; c < columns; ++c) {
        float* y = out(c);
        for (int64_t r = 0; r < rows.count; ++r) y[r] += b[r];
      }
    }
    if (activate != nullptr) {
      for (int64_t c = 0; c < columns; ++c) activate(out(c), rows.count);
    }
  };
  if (columns == 0) return;
  context.pool.ParallelFor(tiles, Grain(kTileRows * k * columns),
                           [&](int64_t begin, int64_t end, int worker) {
                             for (int64_t tile = begin; tile < end; ++tile) {
                               run_tile(tile, context.Scratch(worker));
                             }
                           });
}

void RunMatMulExpert(const Step& step, const RunContext& context) {
  const Tensor& w = step.inputs[0];
  const Tensor& x = step.inputs[1];
  const Tensor& ids = step.inputs[2];
  const int64_t k = w.shape[0], m = w.shape[1], experts = w.shape[2];
  const int64_t top_k = ids.shape[0], n = ids.shape[1];
  auto id = [&](int64_t pair) { return ids.RowAs<const int32_t>(pair / top_k)[pair % top_k]; };
  auto out_row = [&](int64_t pair) { return step.output.RowAs<float>(pair); };
  const int64_t pairs = top_k * n;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    if (id(pair) < 0 || id(pair) >= experts) std::fill_n(out_row(pair), m, 0.0f);
  }
  // One task is a tile of one expert times the rows that chose this expert.
  const int64_t tiles = TileCount(m);
  auto run_task = [&](int64_t task, float* scratch) {
    const int64_t expert = task / tiles;
    const int64_t first = task % tiles * kTileRows;
    auto* chosen = reinterpret_cast<int32_t*>(scratch + kTileRows * kBlock);
    int64_t count = 0;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      if (id(pair) == expert) chosen[count++] = static_cast<int32_t>(pair);
    }
    if (count == 0) return;
    const WeightRows rows = {w.Row(first, expert, 0), w.strides[1], std::min(kTileRows, m - first),
                             w.type};
    MultiplyTile(
        rows, k, count,
        [&](int64_t c) {
          const int64_t slot = std::min(chosen[c] % top_k, x.shape[1] - 1);
          return reinterpret_cast<const float*>(x.Row(slot, chosen[c] / top_k, 0));
        },
        [&](int64_t c) { return out_row(chosen[c]) + first; }, scratch);
  };
  if (pairs == 0) return;
  const int64_t cost_of_all = kTileRows * k * pairs * tiles;
  context.pool.ParallelFor(experts * tiles,
                           Grain(cost_of_all / std::max<int64_t>(1, experts * tiles)),
                           [&](int64_t begin, int64_t end, int worker) {
                             for (int64_t task = begin; task < end; ++task) {
                               run_task(task, context.Scratch(worker));
                             }
                           });
}

}  // namespace

void PrepareMatMul(Step& step) {
  const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
  step.run = &RunMatMul;
  step.kernel = absl::StrCat("matmul ", quant::Name(step.inputs[0].type));
  for (int32_t p = 1; p < attrs.parts; ++p) {
    absl::StrAppend(&step.kernel, "+", quant::Name(step.inputs[p].type));
  }
  if (attrs.has_bias) absl::StrAppend(&step.kernel, " bias");
  if (attrs.activation != graph::Activation::kNone) {
    absl::StrAppend(&step.kernel, " ", graph::ActivationName(attrs.activation));
  }
  step.worker_scratch = kTileBytes;
}

void PrepareMatMulExpert(Step& step) {
  const Tensor& ids = step.inputs[2];
  step.run = &RunMatMulExpert;
  step.kernel = absl::StrCat("matmul_expert ", quant::Name(step.inputs[0].type));
  step.worker_scratch =
      kTileBytes + ids.shape[0] * ids.shape[1] * static_cast<int64_t>(sizeof(int32_t));
}

}  // namespace bantam::cpu::reference
