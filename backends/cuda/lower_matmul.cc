// Matrix products: which kernels compute them, and what these need prepared.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/lowering.h"

namespace bantam::cuda {

using quant::Type;

namespace {

uint64_t Aligned(int64_t bytes) { return (static_cast<uint64_t>(bytes) + 255) / 256 * 256; }

bool IsQuantized(Type type) { return quant::Traits(type).is_quantized; }

}  // namespace

void Lowering::Prepare(const Tensor& x, Rounding rounding) {
  const int64_t k = x.shape[0], columns = graph::RowCount(x.shape);
  const Type half = rounding == Rounding::kHalf ? Type::kF16 : Type::kBF16;
  if (SameMemory(x, prepared_) && rounding == prepared_rounding_) return;
  MarkPrepared(x, rounding);
  const View view = x.view();
  const bool is_int8 = rounding == Rounding::kInt8;
  Add(is_int8 ? "quantize" : "halve", Scratches::kWrites, [=](const OwnMemory& own, Stream stream) {
    if (is_int8) {
      Quantize(view, QuantizedAt(own.scratch, k, columns), stream);
    } else {
      Halve(half, view, HalvedAt(half, own.scratch, k, columns), stream);
    }
  });
}

void Lowering::MatMul(const graph::Node& node, Inputs inputs, const Tensor& output) {
  const auto& attrs = std::get<graph::MatMulAttrs>(node.attrs);
  const Tensor& x = inputs[attrs.parts];
  const int64_t k = x.shape[0], columns = graph::RowCount(x.shape);
  int64_t first = 0;  // row of the output
  const int product = ++products_;
  // Parts in a row that are alike are stacked in one launch.
  for (int32_t part = 0, end = 0; part < attrs.parts; part = end) {
    const Tensor& w = inputs[part];
    int64_t m = w.shape[1];
    MatMulParams p;
    const auto bias = [&](int32_t of) -> const float* {
      return attrs.has_bias ? Floats(inputs[attrs.parts + 1 + of]) : nullptr;
    };
    int stacked = 0;
    for (end = part + 1; end < attrs.parts && stacked < MatMulParams::kMore && m > 0; ++end) {
      const Tensor& next = inputs[end];
      if (next.type != w.type || next.strides[1] != w.strides[1] || next.shape[1] == 0) break;
      p.more[stacked++] = {reinterpret_cast<const unsigned char*>(next.data), bias(end),
                           static_cast<int32_t>(m)};
      m += next.shape[1];
    }
    if (m == 0) continue;
    p.w = reinterpret_cast<const unsigned char*>(w.data);
    p.w_stride = w.strides[1];
    p.type = w.type;
    p.k = static_cast<int32_t>(k);
    p.m = static_cast<int32_t>(m);
    p.columns = static_cast<int32_t>(columns);
    p.planes = settings_.planes;
    p.x = x.view();
    p.out = Floats(output) + first;
    p.out_stride = output.shape[0];
    p.bias = bias(part);
    p.activation = attrs.activation;
    first += m;
    const bool quantized = IsQuantized(w.type) && k > 0, tiled = columns > kVectorColumns;
    const bool half = tiled && CanTileHalf(p, info_.capability);
    if (quantized) Prepare(x, Rounding::kInt8);
    if (half) Prepare(x, p.type == Type::kF16 ? Rounding::kHalf : Rounding::kBFloat16);
    Add(
        absl::StrCat(tiled ? "matmul " : "matvec ", quant::Name(w.type)),
        quantized || half ? Scratches::kReads : Scratches::kNo,
        [=](const OwnMemory& own, Stream stream) {
          MatMulParams params = p;
          if (quantized) params.quantized = QuantizedAt(own.scratch, k, columns);
          if (half) {
            params.halved = HalvedAt(p.type, own.scratch, k, columns);
            TileHalf(params, stream);
          } else if (quantized) {
            tiled ? TileInt8(params, stream) : VectorInt8(params, stream);
          } else {
            tiled ? TileFloat(params, stream) : VectorFloat(params, stream);
          }
        },
        static_cast<uint64_t>(quant::RowBytes(w.type, k) * m), product);
  }
}

void Lowering::MatMulExpert(Inputs inputs, const Tensor& output) {
  const Tensor& w = inputs[0];
  const Tensor& x = inputs[1];
  const int64_t k = x.shape[0], m = w.shape[1], experts = w.shape[2];
  const int64_t top_k = inputs[2].shape[0], columns = top_k * inputs[2].shape[1];
  float* const out = reinterpret_cast<float*>(output.data);
  if (experts == 0 || k == 0) {
    return Add("zero", Scratches::kNo,
               [=](const OwnMemory&, Stream stream) { Zero(out, m * columns, stream); });
  }
  MatMulParams p;
  p.w = reinterpret_cast<const unsigned char*>(w.data);
  p.w_stride = w.strides[1];
  p.expert_stride = w.strides[2];
  p.type = w.type;
  p.k = static_cast<int32_t>(k);
  p.m = static_cast<int32_t>(m);
  p.columns = static_cast<int32_t>(columns);
  p.planes = settings_.planes;
  p.x = x.view();
  p.out = out;
  p.out_stride = m;
  p.ids = reinterpret_cast<const int32_t*>(inputs[2].data);
  p.experts = static_cast<int32_t>(experts);
  p.top_k = static_cast<int32_t>(top_k);
  p.x_rows = static_cast<int32_t>(x.shape[1]);
  const bool quantized = IsQuantized(w.type);
  // In tiles where an expert has several columns on average, so that its rows are read once.
  constexpr int64_t kColumnsOfExpert = 4;
  const bool tiled = quantized && experts <= kMaxPlannedExperts && columns > kVectorColumns &&
                     columns >= kColumnsOfExpert * experts;
  const int64_t x_columns = graph::RowCount(x.shape);
  uint64_t plan_at = 0;
  if (quantized) {
    Prepare(x, Rounding::kInt8);
    plan_at = Aligned(QuantizedBytes(k, x_columns));
    if (tiled) Scratch(plan_at + static_cast<uint64_t>(PlanBytes(p.columns, p.experts)));
  }
  const auto chosen = static_cast<uint64_t>(std::min(columns, experts));
  Add(
      absl::StrCat(tiled ? "matmul experts " : "matvec experts ", quant::Name(w.type)),
      tiled       ? Scratches::kWrites
      : quantized ? Scratches::kReads
                  : Scratches::kNo,
      [=](const OwnMemory& own, Stream stream) {
        MatMulParams params = p;
        if (!quantized) return VectorFloat(params, stream);
        params.quantized = QuantizedAt(own.scratch, k, x_columns);
        if (!tiled) return VectorInt8(params, stream);
        Zero(out, m * columns, stream);
        PlanExperts(params, own.scratch + plan_at, stream);
        TileInt8(params, stream);
      },
      static_cast<uint64_t>(quant::RowBytes(w.type, k) * m) * chosen);
}

}  // namespace bantam::cuda
