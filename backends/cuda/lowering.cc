#include "backends/cuda/lowering.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/rope_table.h"
#include "runtime/base/status.h"
#include "runtime/device/compile.h"

namespace bantam::cuda {

using graph::Op;
using quant::Type;

View Tensor::view() const {
  View view;
  view.data = reinterpret_cast<unsigned char*>(data);
  for (int d = 0; d < graph::kMaxDims; ++d) {
    view.shape[d] = static_cast<int32_t>(shape[d]);
    view.strides[d] = strides[d];
  }
  return view;
}

uint64_t Tensor::SpanBytes() const {
  if (empty()) return 0;
  int64_t last = quant::RowBytes(type, shape[0]);
  for (int d = 1; d < graph::kMaxDims; ++d) last += (shape[d] - 1) * strides[d];
  return static_cast<uint64_t>(last);
}

absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node) {
  auto refuse = [&](absl::string_view why) { return device::Unsupported(graph, node, why); };
  auto value = [&](size_t input) -> const graph::Value& { return graph.value(node.inputs[input]); };
  // Kernels count elements of activations, and rows of anything, in 32 bits.
  constexpr int64_t kMost = INT32_MAX / 2;
  for (graph::ValueId id : node.inputs) {
    const graph::Value& input = graph.value(id);
    if (std::any_of(input.shape.begin(), input.shape.end(), [](int64_t n) { return n > kMost; })) {
      return refuse("a dimension is too long");
    }
  }
  const bool is_view = node.op == Op::kReshape || node.op == Op::kView || node.op == Op::kKvWrite;
  if (!is_view && graph::ElementCount(graph.value(node.output).shape) > kMost) {
    return refuse("the output is too large");
  }
  switch (node.op) {
    case Op::kKvWrite:
      return device::CheckCacheType(graph, node, 0, "CUDA");
    case Op::kAttention:
      for (size_t i : {1, 2}) {
        BANTAM_RETURN_IF_ERROR(device::CheckCacheType(graph, node, i, "CUDA"));
      }
      if (!value(3).IsContiguous() || !value(4).IsContiguous()) return refuse("cells with gaps");
      if (value(2).shape[0] > kMaxHead || value(0).shape[0] > 2 * kMaxHead) {
        return refuse("a head is too wide");
      }
      return absl::OkStatus();
    case Op::kMatMulExpert:
      // A launch has so many blocks along its second dimension.
      if (graph::ElementCount(value(2).shape) > 65535) return refuse("too many rows at a time");
      if (!value(2).IsContiguous()) return refuse("ids with gaps");
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

uint64_t Lowering::Scratch(uint64_t bytes) {
  scratch_bytes_ = std::max(scratch_bytes_, bytes);
  return 0;
}

int64_t Lowering::RoundedBytes(const Tensor& x, Rounding rounding) {
  const int64_t k = x.shape[0], columns = graph::RowCount(x.shape);
  if (rounding == Rounding::kInt8) return QuantizedBytes(k, columns);
  return HalvedBytes(rounding == Rounding::kHalf ? Type::kF16 : Type::kBF16, k, columns);
}

void Lowering::MarkPrepared(const Tensor& x, Rounding rounding) {
  Scratch(static_cast<uint64_t>(RoundedBytes(x, rounding)));
  prepared_ = x;
  prepared_rounding_ = rounding;
}

void Lowering::Forget(const Tensor& written) {
  if (prepared_.data != nullptr && Overlap(prepared_, written)) prepared_ = {};
}

bool MayRunBeside(const KernelLaunch& earlier, const KernelLaunch& later) {
  using Scratch = KernelLaunch::Scratch;
  if (earlier.scratch != Scratch::kNo && later.scratch != Scratch::kNo &&
      (earlier.scratch == Scratch::kWrites || later.scratch == Scratch::kWrites)) {
    return false;
  }
  if (earlier.product != 0 && earlier.product == later.product) return true;
  return AreApart(earlier.writes, later.writes) && AreApart(earlier.writes, later.reads) &&
         AreApart(earlier.reads, later.writes);
}

void Lowering::Lower(std::span<const Step> steps) {
  while (!steps.empty()) {
    const size_t first = launches_.size();
    size_t used = Cache(steps);  // before Norm: it takes the norms of heads
    if (used == 0) used = Norm(steps);
    if (used == 0) used = Gated(steps);
    if (used == 0) {
      Forget(steps.front().output);
      LowerOne(steps);
      used = 1;
    }
    for (KernelLaunch& launch : std::span(launches_).subspan(first)) {
      for (const Step& step : steps.first(used)) {
        launch.reads.insert(launch.reads.end(), step.inputs.begin(), step.inputs.end());
        launch.writes.push_back(step.output);
      }
    }
    steps = steps.subspan(used);
  }
}

void Lowering::LowerOne(std::span<const Step> rest) {
  const Step& step = rest.front();
  const graph::Node& node = *step.node;
  const Inputs inputs = step.inputs;
  const Tensor& output = step.output;
  const RowParams rows{inputs[0].view(), output.data};
  switch (node.op) {
    case Op::kUnary:
    case Op::kGated:
    case Op::kBinary:
    case Op::kScale:
    case Op::kTransfer:
    case Op::kGatherElements:
      Elementwise(node, inputs, output);
      break;
    case Op::kSoftmax: {
      const float scale = std::get<graph::SoftmaxAttrs>(node.attrs).scale;
      Add("softmax", Scratches::kNo,
          [=](const OwnMemory&, Stream stream) { cuda::Softmax(rows, scale, stream); });
      break;
    }
    case Op::kTopK: {
      const auto k = static_cast<int>(output.shape[0]);
      Add("top_k", Scratches::kNo,
          [=](const OwnMemory&, Stream stream) { cuda::TopK(rows, k, stream); });
      break;
    }
    case Op::kGatherRows:
    case Op::kDequantize:
      Decode(node, inputs, output);
      break;
    case Op::kMatMul:
      MatMul(node, inputs, output);
      break;
    case Op::kMatMulExpert:
      MatMulExpert(inputs, output);
      break;
    case Op::kAttention:
      Attention(rest);
      break;
    case Op::kNorm:  // in fusion.cc
    case Op::kRope:
    case Op::kKvWrite:
    case Op::kReshape:
    case Op::kView:
      break;
  }
}

void Lowering::Elementwise(const graph::Node& node, Inputs inputs, const Tensor& output) {
  std::string kernel(graph::OpName(node.op));
  if (node.op == Op::kTransfer) {
    // In words, as large as rows are whole numbers of.
    const int64_t bytes = quant::RowBytes(output.type, output.shape[0]);
    const auto fits = [&](int64_t unit) {
      return bytes % unit == 0 && inputs[0].strides[1] % unit == 0 &&
             inputs[0].strides[2] % unit == 0 && inputs[0].strides[3] % unit == 0 &&
             reinterpret_cast<uintptr_t>(inputs[0].data) % unit == 0;
    };
    const int unit = fits(4) ? 4 : fits(2) ? 2 : 1;
    View from = inputs[0].view();
    from.shape[0] = static_cast<int32_t>(bytes / unit);
    from.strides[0] = unit;
    void* const to = output.data;
    return Add(kernel, Scratches::kNo,
               [=](const OwnMemory&, Stream stream) { Pack(from, to, unit, stream); });
  }
  ElementwiseParams p{};
  p.a = inputs[0].view();
  p.out = output.view();
  if (inputs.size() > 1) {
    p.b = inputs[1].view();
    for (int d = 0; d < graph::kMaxDims; ++d) {
      if (p.b.shape[d] == 1) p.b.strides[d] = 0;
    }
  }
  switch (node.op) {
    case Op::kUnary:
    case Op::kGated: {
      const auto& attrs = std::get<graph::ActivationAttrs>(node.attrs);
      p.op = node.op == Op::kUnary ? ElementOp::kUnary : ElementOp::kGated;
      p.activation = attrs.activation;
      p.scale = attrs.limit;
      p.bias = attrs.up_offset;
      absl::StrAppend(&kernel, " ", graph::ActivationName(attrs.activation));
      break;
    }
    case Op::kBinary: {
      constexpr ElementOp kOps[] = {ElementOp::kAdd, ElementOp::kSub, ElementOp::kMul,
                                    ElementOp::kDiv};
      p.op = kOps[static_cast<int>(std::get<graph::BinaryAttrs>(node.attrs).op)];
      break;
    }
    case Op::kScale:
      p.op = ElementOp::kScale;
      p.scale = std::get<graph::ScaleAttrs>(node.attrs).scale;
      p.bias = std::get<graph::ScaleAttrs>(node.attrs).bias;
      break;
    default:
      p.op = ElementOp::kGather;
      p.a.strides[2] = p.a.strides[3] = 0;
  }
  Add(kernel, Scratches::kNo,
      [p](const OwnMemory&, Stream stream) { cuda::Elementwise(p, stream); });
}

RopeParams Lowering::RopeOf(const Step& step, size_t& turns) {
  const auto& attrs = std::get<graph::RopeAttrs>(step.node->attrs);
  const RopeTable table = MakeRopeTable(attrs);
  // Layers share their table.
  const auto found =
      std::search(constants_.begin(), constants_.end(), table.turns.begin(), table.turns.end());
  turns = static_cast<size_t>(found - constants_.begin());
  if (found == constants_.end()) {
    constants_.insert(constants_.end(), table.turns.begin(), table.turns.end());
  }
  RopeParams p{};
  p.x = step.inputs[0].view();
  p.out = Floats(step.output);
  p.positions = Ints(step.inputs[1]);
  p.factors = step.inputs.size() > 2 ? Floats(step.inputs[2]) : nullptr;
  p.pairs = attrs.n_dims / 2;
  p.magnitude = table.magnitude;
  p.neox = attrs.layout == graph::RopeLayout::kNeox;
  return p;
}

void Lowering::Decode(const graph::Node& node, Inputs inputs, const Tensor& output) {
  DecodeParams p{};
  p.x = inputs[0].view();
  p.out = Floats(output);
  p.type = inputs[0].type;
  if (node.op == Op::kGatherRows) {
    p.ids = Ints(inputs[1]);
    p.id_count = static_cast<int32_t>(inputs[1].shape[0]);
  }
  Add(absl::StrCat(graph::OpName(node.op), " ", quant::Name(p.type)), Scratches::kNo,
      [p](const OwnMemory&, Stream stream) { cuda::Decode(p, stream); });
}

void Lowering::Attention(std::span<const Step> rest) {
  const Inputs inputs = rest.front().inputs;
  const Tensor& output = rest.front().output;
  const auto& attrs = std::get<graph::AttentionAttrs>(rest.front().node->attrs);
  AttentionParams p{};
  p.q = inputs[0].view();
  p.k = inputs[1].view();
  p.v = inputs[2].view();
  p.k_type = inputs[1].type;
  p.v_type = inputs[2].type;
  p.q_cells = Ints(inputs[3]);
  p.kv_cells = Ints(inputs[4]);
  p.kv_length = Ints(inputs[5]);
  p.sinks = inputs.size() > 6 ? Floats(inputs[6]) : nullptr;
  p.out = Floats(output);
  p.scale = attrs.scale;
  p.softcap = attrs.softcap;
  p.window = attrs.window;
  p.causal = attrs.causal;
  // Where there are few blocks, the cache is cut so that every multiprocessor has some; a part is
  // of 256 cells at least when the cache is full.
  const int64_t heads = p.q.shape[1], kv_heads = p.k.shape[1], n = p.q.shape[2];
  const int64_t pairs = AttentionPairs(p);
  const int64_t blocks = (heads / kv_heads * n + pairs - 1) / pairs * kv_heads;
  const int64_t wanted = 2 * info_.multiprocessors / std::max<int64_t>(1, blocks);
  constexpr int64_t kLeastCells = 256, kMostSplits = 64;
  const int64_t most = std::min(kMostSplits, p.k.shape[2] / kLeastCells);
  p.splits = static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, most)));
  // Rounded for the product that takes all heads of a query.
  Tensor joined = output;
  joined.shape = {p.v.shape[0] * heads, n, 1, 1};
  joined.strides = graph::ContiguousStrides(Type::kF32, joined.shape);
  const int64_t k = joined.shape[0];
  const bool rounds = CanRoundAttention(p) && IsRoundedNext(rest.subspan(1), joined);
  uint64_t parts_at = 0;
  if (p.splits > 1) {
    prepared_ = {};
    if (rounds) parts_at = Aligned(QuantizedBytes(k, n));
    Scratch(parts_at + 4 * static_cast<uint64_t>(PartElements(p.v.shape[0], heads, n, p.splits)));
  }
  if (rounds) MarkPrepared(joined, Rounding::kInt8);
  Add(absl::StrCat("attention ", CanTileAttention(p) ? "tiles " : "", quant::Name(p.k_type),
                   p.splits > 1 ? " split" : "", rounds ? ", quantize" : ""),
      p.splits > 1 || rounds ? Scratches::kWrites : Scratches::kNo,
      [=](const OwnMemory& own, Stream stream) {
        AttentionParams params = p;
        params.parts = reinterpret_cast<float*>(own.scratch + parts_at);
        if (rounds) params.rounded = QuantizedAt(own.scratch, k, n);
        cuda::Attention(params, stream);
      });
}

}  // namespace bantam::cuda
