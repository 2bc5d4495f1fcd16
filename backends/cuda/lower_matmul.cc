// Matrix products: which kernels compute them, and what these need prepared.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/lowering.h"
#include "runtime/base/status.h"

namespace bantam::cuda {

using quant::Type;

namespace {

bool IsQuantized(Type type) { return quant::Traits(type).is_quantized; }

bool BlasTakes(Type type, int capability) {
  return type == Type::kF32 || type == Type::kF16 || (type == Type::kBF16 && capability >= 80);
}

// Bytes from column to column of a product, where that is the same for all of them, else 0.
int64_t ColumnStride(const Tensor& x) {
  int64_t stride = 0, columns = 1;
  for (int d = 1; d < graph::kMaxDims; ++d) {
    if (x.shape[d] == 1) continue;
    if (columns == 1) stride = x.strides[d];
    if (x.strides[d] != stride * columns) return 0;
    columns *= x.shape[d];
  }
  return stride;
}

// Whether rows `stride` bytes apart are columns of a matrix of cuBLAS's.
bool IsLeadingDimension(int64_t stride, int64_t element_bytes, int64_t k) {
  return stride % element_bytes == 0 && stride / element_bytes >= k &&
         stride / element_bytes <= INT32_MAX;
}

bool BlasTakes(const MatMulParams& p, const Tensor& x, int capability) {
  const int64_t bytes = quant::Traits(p.type).block_bytes;
  if (p.k == 0 || !BlasTakes(p.type, capability)) return false;
  return IsLeadingDimension(p.w_stride, bytes, p.k) &&
         (p.type != Type::kF32 || IsLeadingDimension(ColumnStride(x), bytes, p.k));
}

// The parts of a product one after the other: cuBLAS knows nothing of stacked matrices.
absl::Status MultiplyParts(Blas& blas, const MatMulParams& p, int64_t x_stride,
                           std::byte* workspace, Stream stream) {
  BlasProduct product;
  product.type = p.type;
  product.k = p.k;
  product.columns = p.columns;
  product.w_stride = p.w_stride / quant::Traits(p.type).block_bytes;
  product.out_stride = p.out_stride;
  for (int i = 0; i <= MatMulParams::kMore; ++i) {
    const auto part = i == 0 ? MatMulParams::Part{p.w, p.bias, 0} : p.more[i - 1];
    if (part.first >= p.m) break;
    product.w = part.w;
    product.m = (i < MatMulParams::kMore ? std::min(p.more[i].first, p.m) : p.m) - part.first;
    product.out = p.out + part.first;
    product.adds = false;
    for (int plane = 0; plane < p.halved.planes; ++plane) {
      if (p.type == Type::kF32) {
        product.x = p.x.data;
        product.x_stride = x_stride;
      } else {
        product.x = p.halved.halves + int64_t{plane} * p.halved.padded;
        product.x_stride = int64_t{p.halved.planes} * p.halved.padded;
      }
      BANTAM_RETURN_IF_ERROR(blas.Multiply(product, workspace, stream));
      product.adds = true;
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool WantsBlas(std::span<const Step> steps, const driver::DeviceInfo& info) {
  return std::any_of(steps.begin(), steps.end(), [&](const Step& step) {
    if (step.node->op != graph::Op::kMatMul) return false;
    const int32_t parts = std::get<graph::MatMulAttrs>(step.node->attrs).parts;
    return graph::RowCount(step.output.shape) > kVectorColumns &&
           std::any_of(step.inputs.begin(), step.inputs.begin() + parts,
                       [&](const Tensor& w) { return BlasTakes(w.type, info.capability); });
  });
}

// Columns are rounded as for own kernels: to f16 with a scale each, since one product-wide could
// lose small columns beside a large one; to two planes of bf16, as one would be off by 3e-6 of the
// squared norm, where 1e-6 is allowed. What cuBLAS cannot do (scales, biases, activations) is done
// on its output.
void Lowering::MatMulByBlas(const MatMulParams& p, const Tensor& x, const std::string& kernel,
                            uint64_t weight_bytes, int product) {
  const bool halves = p.type != Type::kF32, scales = p.type == Type::kF16;
  if (halves) Prepare(x, scales ? Rounding::kHalf : Rounding::kBFloat16);
  const uint64_t workspace_at =
      prepared_.data == nullptr ? 0 : Aligned(RoundedBytes(prepared_, prepared_rounding_));
  Scratch(workspace_at + blas_->workspace_bytes());
  const int64_t k = p.k, columns = p.columns;
  const int64_t x_stride = ColumnStride(x) / static_cast<int64_t>(sizeof(float));
  const bool finishes = scales || p.bias != nullptr || p.activation != graph::Activation::kNone;
  Add(
      absl::StrCat(kernel, ", cuBLAS"), Scratches::kWrites,
      [=, blas = blas_](const OwnMemory& own, Stream stream) -> absl::Status {
        MatMulParams params = p;
        if (halves) params.halved = HalvedAt(p.type, own.scratch, k, columns);
        if (stream != nullptr) {
          BANTAM_RETURN_IF_ERROR(
              MultiplyParts(*blas, params, x_stride, own.scratch + workspace_at, stream));
        }
        if (!scales) params.halved.scales = nullptr;
        if (finishes) FinishProduct(params, stream);
        return absl::OkStatus();
      },
      weight_bytes, product);
  launches_.back().by_library = true;
}

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
    const std::string kernel = absl::StrCat(tiled ? "matmul " : "matvec ", quant::Name(w.type));
    const auto weight_bytes = static_cast<uint64_t>(quant::RowBytes(w.type, k) * m);
    if (tiled && blas_ != nullptr && BlasTakes(p, x, info_.capability)) {
      MatMulByBlas(p, x, kernel, weight_bytes, product);
      continue;
    }
    const bool half = tiled && CanTileHalf(p, info_.capability);
    if (quantized) Prepare(x, Rounding::kInt8);
    if (half) Prepare(x, p.type == Type::kF16 ? Rounding::kHalf : Rounding::kBFloat16);
    Add(
        kernel, quantized || half ? Scratches::kReads : Scratches::kNo,
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
        weight_bytes, product);
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
