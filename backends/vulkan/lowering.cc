#include "backends/vulkan/lowering.h"

#include <algorithm>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/buffer.h"
#include "backends/vulkan/builder.h"
#include "backends/vulkan/rope_table.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/device/compile.h"

namespace bantam::vulkan {

using graph::Op;
using quant::Type;

namespace {

// Invocations in a workgroup of the simple shaders; a row's workgroup is as wide.
constexpr uint32_t kLocal = 128;

// The largest element of a row as long is found by several workgroups.
constexpr int64_t kLongRow = 4096;

// A vector as a tensor along another dimension, so that it is cut with the others.
Tensor Along(Tensor vector, int dimension, int64_t elements_each = 1) {
  Tensor tensor = vector;
  tensor.shape = {elements_each, 1, 1, 1};
  tensor.shape[dimension] = vector.shape[elements_each == 1 ? 0 : 1];
  tensor.strides = {4, 4 * elements_each, 4 * elements_each, 4 * elements_each};
  return tensor;
}

}  // namespace

uint64_t Tensor::SpanBytes() const {
  if (empty()) return 0;
  const quant::TypeTraits& traits = quant::Traits(type);
  uint64_t last = quant::RowBytes(type, shape[0] - traits.block_size) + traits.block_bytes;
  for (int d = 1; d < graph::kMaxDims; ++d) last += (shape[d] - 1) * strides[d];
  return last;
}

Tensor Tensor::Slice(int dimension, int64_t begin, int64_t count) const {
  Tensor slice = *this;
  if (shape[dimension] == 1) return slice;
  slice.shape[dimension] = count;
  slice.offset += begin * strides[dimension];
  return slice;
}

uint32_t Lowering::Builder::Bind(const Tensor& tensor, bool written) {
  if (tensor.empty()) {
    BindCodebooks();
    return 0;
  }
  Bound bound;
  bound.buffer = tensor.buffer;
  bound.own = tensor.own;
  uint64_t offset = tensor.offset, address = tensor.address;
  if (tensor.in_pieces != nullptr) {
    const Buffer::Piece piece = tensor.in_pieces->PieceAt(offset);
    bound.buffer = piece.buffer;
    address = piece.address;
    offset -= piece.begin;
  }
  bound.begin = offset / lowering_.traits_.offset_alignment * lowering_.traits_.offset_alignment;
  bound.end = (offset + tensor.SpanBytes() + 3) / 4 * 4;
  bound.written = written;
  if (tensor.by_address) {
    dispatch_.key.by_address = true;
    dispatch_.reached = bound;
    address_ = address + offset;
    BindCodebooks();
    return 0;
  }
  dispatch_.bindings[dispatch_.key.bindings++] = bound;
  return static_cast<uint32_t>(offset - bound.begin);
}

void Lowering::Builder::BindCodebooks() {
  Bound& bound = dispatch_.bindings[dispatch_.key.bindings++];
  bound.buffer = lowering_.codebooks_;
  bound.end = lowering_.codebook_bytes_;
}

Lowering::Lowering(const Traits& traits, const Settings& settings, VkBuffer codebooks,
                   uint64_t codebook_bytes)
    : traits_(traits),
      settings_(settings),
      codebooks_(codebooks),
      codebook_bytes_(codebook_bytes) {}

absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node,
                            const Traits& traits) {
  auto refuse = [&](absl::string_view why) { return device::Unsupported(graph, node, why); };
  auto value = [&](size_t input) -> const graph::Value& { return graph.value(node.inputs[input]); };
  switch (node.op) {
    case Op::kKvWrite:
      return device::CheckCacheType(graph, node, 0, "Vulkan");
    case Op::kAttention: {
      for (size_t i : {1, 2}) {
        BANTAM_RETURN_IF_ERROR(device::CheckCacheType(graph, node, i, "Vulkan"));
      }
      constexpr int64_t kOthers = 2048;  // bytes of shared memory for scores
      if (value(0).shape[0] * 4 + kOthers > traits.shared_memory || value(2).shape[0] > 4096) {
        return refuse("a head is too wide");
      }
      return absl::OkStatus();
    }
    case Op::kTransfer:
      if (quant::RowBytes(value(0).type, value(0).shape[0]) % 4 != 0) {
        return refuse("rows that are no whole words");
      }
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

void Lowering::Add(Dispatch dispatch) {
  for (int i = 0; i < dispatch.key.bindings; ++i) {
    const Bound& bound = dispatch.bindings[i];
    if (!bound.written) continue;
    for (Derived* derived : {&rounded_, &lists_}) {
      if (Overlap(bound, derived->from) || Overlap(bound, derived->to)) derived->kind = 0;
    }
  }
  dispatches_.push_back(std::move(dispatch));
}

Tensor Lowering::Scratch(const graph::Shape& shape, uint64_t offset) {
  Tensor tensor;
  tensor.own = Own::kScratch;
  tensor.offset = offset;
  tensor.type = Type::kI32;
  tensor.shape = shape;
  tensor.strides = graph::ContiguousStrides(tensor.type, shape);
  scratch_bytes_ = std::max(scratch_bytes_, offset + tensor.SpanBytes());
  return tensor;
}

void Lowering::Keep(Derived& derived, const Tensor& source, const Tensor& tensor,
                    uint32_t kind) const {
  auto range = [](const Tensor& t) {
    return Bound{t.buffer, t.own, t.offset, t.offset + t.SpanBytes(), false};
  };
  derived = {source, range(source), range(tensor), tensor, kind};
}

uint64_t Lowering::RoomAt(const Tensor& tensor) const {
  constexpr uint64_t kAnywhere = uint64_t{1} << 62;
  uint64_t room = tensor.by_address ? kAnywhere : traits_.binding_limit - traits_.offset_alignment;
  if (tensor.in_pieces != nullptr && !tensor.empty()) {
    room = std::min(room, tensor.in_pieces->PieceAt(tensor.offset).end - tensor.offset);
  }
  return room;
}

Tensor Lowering::Reachable(const Tensor& weight) const {
  Tensor reachable = weight;
  reachable.by_address = traits_.device_address && weight.own == Own::kNone &&
                         weight.SpanBytes() > traits_.binding_limit - traits_.offset_alignment;
  return reachable;
}

bool Lowering::Fits(const Tensor& tensor) const { return tensor.SpanBytes() <= RoomAt(tensor); }

absl::Status Lowering::ForFitting(const Tensors& tensors, int least, const LowerTensors& lower) {
  if (std::all_of(tensors.begin(), tensors.end(), [&](const Tensor& t) { return Fits(t); })) {
    return lower(tensors);
  }
  const graph::Shape& shape = tensors.back().shape;
  int d = graph::kMaxDims - 1;
  while (d >= least && shape[d] == 1) --d;
  if (d < least) {
    return absl::ResourceExhaustedError(absl::StrCat("a row does not fit the ",
                                                     FormatByteSize(traits_.binding_limit),
                                                     " this GPU binds at a time"));
  }
  const int64_t half = shape[d] / 2;
  for (auto [begin, count] : {std::pair{int64_t{0}, half}, {half, shape[d] - half}}) {
    Tensors part;
    for (const Tensor& tensor : tensors) part.push_back(tensor.Slice(d, begin, count));
    BANTAM_RETURN_IF_ERROR(ForFitting(part, least, lower));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Lowering::FittingCount(const Tensor& tensor, int dimension,
                                               int64_t first) const {
  const int64_t left = tensor.shape[dimension] - first;
  if (Fits(tensor.Slice(dimension, first, left))) return left;
  const Tensor one = tensor.Slice(dimension, first, 1);
  const int64_t room = static_cast<int64_t>(RoomAt(one)) - static_cast<int64_t>(one.SpanBytes());
  if (room < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("a row does not fit the ",
                                                     FormatByteSize(traits_.binding_limit),
                                                     " this GPU binds at a time"));
  }
  return 1 + room / tensor.strides[dimension];
}

absl::Status Lowering::Lower(const graph::Node& node, std::span<const Tensor> inputs,
                             const Tensor& output) {
  switch (node.op) {
    case Op::kUnary:
    case Op::kGated:
    case Op::kBinary:
    case Op::kScale:
    case Op::kTransfer:
    case Op::kGatherElements:
      return Elementwise(node, inputs, output);
    case Op::kTopK:
      if (output.shape[0] == 1 && inputs[0].shape[0] >= kLongRow) return ArgMax(inputs, output);
      return Rows(node, inputs, output);
    case Op::kNorm:
    case Op::kSoftmax:
      return Rows(node, inputs, output);
    case Op::kRope:
      return Rope(node, inputs, output);
    case Op::kGatherRows:
    case Op::kDequantize:
      return Decode(node, inputs, output);
    case Op::kKvWrite:
      return KvWrite(inputs);
    case Op::kMatMul:
      return MatMul(node, inputs, output);
    case Op::kMatMulExpert:
      return MatMulExpert(inputs, output);
    case Op::kAttention:
      return Attention(node, inputs, output);
    case Op::kReshape:
    case Op::kView:
      return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("no shader for ", graph::OpName(node.op)));
}

absl::Status Lowering::Elementwise(const graph::Node& node, std::span<const Tensor> inputs,
                                   const Tensor& output) {
  enum : uint32_t {
    kUnary,
    kGated,
    kAdd,
    kSub,
    kMul,
    kDiv,
    kScale,
    kCopy,
    kGather
  };  // elementwise.comp
  uint32_t op = kCopy, activation = 0;
  float scale = 1, bias = 0;
  std::string kernel(graph::OpName(node.op));
  Tensors tensors(inputs.begin(), inputs.end());
  tensors.push_back(output);
  switch (node.op) {
    case Op::kUnary:
    case Op::kGated: {
      const auto& attrs = std::get<graph::ActivationAttrs>(node.attrs);
      const auto kind = attrs.activation;
      scale = attrs.limit;
      bias = attrs.up_offset;
      activation = static_cast<uint32_t>(kind);
      op = node.op == Op::kUnary ? kUnary : kGated;
      absl::StrAppend(&kernel, " ", graph::ActivationName(kind));
      break;
    }
    case Op::kBinary:
      op = kAdd + static_cast<uint32_t>(std::get<graph::BinaryAttrs>(node.attrs).op);
      break;
    case Op::kScale:
      op = kScale;
      scale = std::get<graph::ScaleAttrs>(node.attrs).scale;
      bias = std::get<graph::ScaleAttrs>(node.attrs).bias;
      break;
    case Op::kGatherElements:
      op = kGather;
      break;
    default:  // a copy, in words of any type
      for (Tensor& tensor : tensors) {
        tensor.shape[0] = quant::RowBytes(tensor.type, tensor.shape[0]) / 4;
        tensor.type = Type::kI32;
        tensor.strides[0] = 4;
      }
  }
  return ForFitting(tensors, op == kGather ? 1 : 0, [&](const Tensors& t) {
    const Tensor& a = t[0];
    const bool two = t.size() == 3;
    const Tensor& out = t.back();
    Builder builder(*this, Shader::kElementwise, kernel);
    builder.Constants({kLocal, op, activation});
    const uint32_t a_at = builder.BindWords(a);
    uint32_t b_at = 0;
    if (two) {
      b_at = builder.BindWords(t[1]);
    } else {
      builder.BindCodebooks();
    }
    const uint32_t out_at = builder.BindWords(out, true);
    for (int64_t size : out.shape) builder.Push(static_cast<uint32_t>(size));
    for (int64_t stride : a.strides) builder.Push(static_cast<uint32_t>(stride / 4));
    for (int d = 0; d < graph::kMaxDims; ++d) {
      builder.Push(two && t[1].shape[d] != 1 ? static_cast<uint32_t>(t[1].strides[d] / 4) : 0u);
    }
    builder.PushAll({a_at, b_at, out_at});
    builder.Push(scale);
    builder.Push(bias);
    builder.Push(static_cast<uint32_t>(a.shape[0]));
    builder.Finish(Groups(graph::ElementCount(out.shape), kLocal));
    return absl::OkStatus();
  });
}

absl::Status Lowering::Rows(const graph::Node& node, std::span<const Tensor> inputs,
                            const Tensor& output) {
  return ForFitting({inputs[0], output}, 1, [&](const Tensors& t) {
    const Tensor& x = t[0];
    const Tensor& out = t[1];
    const Shader shader = node.op == Op::kNorm      ? Shader::kNorm
                          : node.op == Op::kSoftmax ? Shader::kSoftmax
                                                    : Shader::kTopK;
    Builder builder(*this, shader, graph::OpName(node.op));
    uint32_t extra[2] = {0, 0};
    float scale = 0;
    const uint32_t x_at = builder.BindWords(x);
    if (const auto* norm = std::get_if<graph::NormAttrs>(&node.attrs)) {
      const auto vectors = static_cast<uint32_t>(inputs.size() - 1);
      builder.Constants({kLocal, norm->kind == graph::NormKind::kLayer, vectors});
      scale = norm->epsilon;
      for (uint32_t i = 0; i < 2; ++i) {
        if (i < vectors) {
          extra[i] = builder.BindWords(inputs[1 + i]);
        } else {
          builder.BindCodebooks();
        }
      }
    } else {
      builder.Constants({kLocal});
      if (node.op == Op::kSoftmax) scale = std::get<graph::SoftmaxAttrs>(node.attrs).scale;
    }
    const uint32_t out_at = builder.BindWords(out, true);
    for (int64_t size : x.shape) builder.Push(static_cast<uint32_t>(size));
    for (int64_t stride : x.strides) builder.Push(static_cast<uint32_t>(stride / 4));
    builder.PushAll({x_at, out_at, extra[0], extra[1]});
    builder.Push(scale);
    builder.Push(static_cast<uint32_t>(out.shape[0]));
    builder.Finish(static_cast<uint64_t>(graph::RowCount(x.shape)));
    return absl::OkStatus();
  });
}

absl::Status Lowering::ArgMax(std::span<const Tensor> inputs, const Tensor& output) {
  const auto parts =
      std::min<int64_t>(inputs[0].shape[0] / (kLongRow / 2), traits_.is_processor ? 4 : 64);
  return ForFitting({inputs[0], output}, 1, [&](const Tensors& t) {
    const Tensor& x = t[0];
    const int64_t rows = x.shape[1];
    const Tensor found = Scratch({2 * parts, rows, 1, 1});  // pairs of key and index
    for (bool join : {false, true}) {
      Builder builder(*this, Shader::kArgMax, join ? "argmax of parts" : "argmax");
      builder.Constants({kLocal, join});
      uint32_t x_at = 0, out_at = 0;
      if (join) {
        builder.BindCodebooks();
      } else {
        x_at = builder.BindWords(x);
      }
      builder.Bind(found, !join);
      if (join) {
        out_at = builder.BindWords(t[1], true);
      } else {
        builder.BindCodebooks();
      }
      builder.PushAll({x.shape[0], rows, x.strides[1] / 4, x_at, out_at, parts});
      builder.Finish(join ? rows : rows * parts);
    }
    return absl::OkStatus();
  });
}

absl::Status Lowering::Rope(const graph::Node& node, std::span<const Tensor> inputs,
                            const Tensor& output) {
  const auto& attrs = std::get<graph::RopeAttrs>(node.attrs);
  const bool factors = inputs.size() > 2;
  const RopeTable rope = MakeRopeTable(attrs);
  // Layers share their table.
  auto found =
      std::search(constants_.begin(), constants_.end(), rope.words.begin(), rope.words.end());
  const auto table_at = static_cast<uint32_t>(found - constants_.begin());
  if (found == constants_.end()) {
    constants_.insert(constants_.end(), rope.words.begin(), rope.words.end());
  }
  Tensor table;
  table.own = Own::kConstants;
  table.shape[0] = table_at + static_cast<int64_t>(rope.words.size());

  return ForFitting({inputs[0], Along(inputs[1], 2), output}, 2, [&](const Tensors& t) {
    const Tensor& x = t[0];
    const bool neox = attrs.layout == graph::RopeLayout::kNeox;
    Builder builder(*this, Shader::kRope, neox ? "rope neox" : "rope interleaved");
    builder.Constants({kLocal, neox, factors});
    const uint32_t x_at = builder.BindWords(x);
    const uint32_t positions_at = builder.BindWords(t[1]);
    uint32_t factors_at = 0;
    if (factors) {
      factors_at = builder.BindWords(inputs[2]);
    } else {
      builder.BindCodebooks();
    }
    builder.Bind(table);
    const uint32_t out_at = builder.BindWords(t[2], true);
    const int64_t pairs = attrs.n_dims / 2, head_dim = x.shape[0], tokens = x.shape[2];
    builder.PushAll({pairs, x.shape[1], tokens, head_dim, x.strides[1] / 4, x.strides[2] / 4, x_at,
                     out_at, positions_at, factors_at, table_at});
    builder.Push(rope.magnitude);
    builder.Finish(Groups((head_dim - pairs) * tokens, kLocal));
    return absl::OkStatus();
  });
}

absl::Status Lowering::Decode(const graph::Node& node, std::span<const Tensor> inputs,
                              const Tensor& output) {
  const bool gather = node.op == Op::kGatherRows;
  const Tensor& source = inputs[0];
  const std::string kernel = absl::StrCat(graph::OpName(node.op), " ", quant::Name(source.type));
  auto lower = [&](const Tensor& x, const Tensor* ids, const Tensor& out, int64_t first_row) {
    Builder builder(*this, Shader::kDecode, kernel);
    builder.Constants({kLocal, static_cast<uint32_t>(source.type)});
    const uint32_t x_at = builder.Bind(x);
    builder.BindCodebooks();
    uint32_t ids_at = 0;
    if (ids != nullptr) {
      ids_at = builder.BindWords(*ids);
    } else {
      builder.BindCodebooks();
    }
    const uint32_t out_at = builder.BindWords(out, true);
    for (int64_t size : out.shape) builder.Push(static_cast<uint32_t>(size));
    for (int64_t stride : x.strides) builder.Push(static_cast<uint32_t>(stride));
    builder.PushAll({x_at, ids_at, out_at, first_row, x.shape[1], source.shape[1], gather});
    builder.Finish(Groups(Groups(out.shape[0], 16) * graph::RowCount(out.shape), kLocal));
  };
  if (!gather) {
    return ForFitting({source, output}, 1, [&](const Tensors& t) {
      lower(t[0], nullptr, t[1], 0);
      return absl::OkStatus();
    });
  }
  return ForFitting({Along(inputs[1], 1), output}, 1, [&](const Tensors& t) -> absl::Status {
    int64_t row = 0;
    do {  // once for a table without rows, too
      BANTAM_ASSIGN_OR_RETURN(const int64_t rows, FittingCount(source, 1, row));
      lower(source.Slice(1, row, rows), &t[0], t[1], row);
      row += rows;
    } while (row < source.shape[1]);
    return absl::OkStatus();
  });
}

absl::Status Lowering::KvWrite(std::span<const Tensor> inputs) {
  const Tensor& cache = inputs[0];
  BANTAM_ASSIGN_OR_RETURN(const int64_t slots, FittingCount(cache, 2));
  return ForFitting({Along(inputs[2], 2), inputs[1]}, 2, [&](const Tensors& t) {
    const Tensor& x = t[1];
    for (int64_t first = 0; first < cache.shape[2]; first += slots) {
      Builder builder(*this, Shader::kKvWrite, absl::StrCat("kv_write ", quant::Name(cache.type)));
      builder.Constants({kLocal, static_cast<uint32_t>(cache.type)});
      const int64_t count = std::min(slots, cache.shape[2] - first);
      const uint32_t cache_at = builder.Bind(cache.Slice(2, first, count), true);
      const uint32_t x_at = builder.BindWords(x);
      const uint32_t slots_at = builder.BindWords(t[0]);
      builder.PushAll({x.shape[0], x.shape[1], x.shape[2], x.strides[1] / 4, x.strides[2] / 4,
                       cache.strides[1], cache.strides[2], x_at, slots_at, cache_at, first, count});
      const int64_t unit = cache.type == Type::kF32 ? 1 : cache.type == Type::kF16 ? 2 : 32;
      builder.Finish(Groups(Groups(x.shape[0], unit) * x.shape[1] * x.shape[2], kLocal));
    }
    return absl::OkStatus();
  });
}

absl::Status Lowering::Attention(const graph::Node& node, std::span<const Tensor> inputs,
                                 const Tensor& output) {
  const auto& attrs = std::get<graph::AttentionAttrs>(node.attrs);
  const Tensor& k = inputs[1];
  const Tensor& v = inputs[2];
  const Tensor kv_cells = Along(inputs[4], 2, 2);
  const bool sinks = inputs.size() > 6;
  const int64_t head_dim = k.shape[0], v_dim = v.shape[0], kv_heads = k.shape[1],
                context = k.shape[2], heads = inputs[0].shape[1];
  // The cells at a time that fit bindings of K, V and the cells' positions.
  int64_t window = std::max<int64_t>(context, 1);
  for (const Tensor& tensor : {k, v, kv_cells}) {
    if (tensor.empty()) continue;
    BANTAM_ASSIGN_OR_RETURN(const int64_t count, FittingCount(tensor, 2));
    window = std::min(window, count);
  }
  const int64_t windows = std::max<int64_t>(1, (context + window - 1) / window);

  constexpr uint32_t kBlock = 64;  // cells, and invocations
  const int64_t all_pairs = heads / kv_heads * inputs[0].shape[2];
  // Pairs share what is read of the cache; their queries and scores are in shared memory. Queries
  // have room in a few sizes, for a shader is compiled for each.
  uint32_t query_width = 16;  // vec4
  while (4 * query_width < head_dim) query_width *= 2;
  auto shared = [&](uint32_t p) { return p * (query_width * 16 + kBlock * 4 + 8 * 4) + 64; };
  if (shared(1) > traits_.shared_memory) query_width = static_cast<uint32_t>(head_dim + 3) / 4;
  const uint32_t most_pairs = traits_.is_processor ? 4 : 8;
  uint32_t pairs = all_pairs == 1 ? 1 : most_pairs;
  while (pairs > 1 && shared(pairs) > traits_.shared_memory) pairs /= 2;
  const auto groups_in_all = static_cast<int64_t>(Groups(all_pairs, pairs)) * kv_heads;
  const auto blocks = static_cast<int64_t>(Groups(window, kBlock));
  const int64_t wanted = traits_.is_processor ? 4 : 128;  // workgroups
  int64_t splits = std::clamp<int64_t>(wanted / groups_in_all, 1, std::max<int64_t>(1, blocks / 4));
  if (settings_.kv_splits > 0) splits = settings_.kv_splits;
  const int64_t all_splits = splits * windows;
  const bool split = all_splits > 1;
  Tensor all_parts;  // of a query in a row, so that it is cut with the queries
  all_parts.own = Own::kScratch;
  all_parts.shape = {split ? heads * all_splits * (v_dim + 2) : 1, 1, inputs[0].shape[2], 1};
  all_parts.strides = graph::ContiguousStrides(Type::kF32, all_parts.shape);
  return ForFitting(
      {inputs[0], Along(inputs[3], 2, 2), all_parts, output}, 2, [&](const Tensors& t) {
        const Tensor& q = t[0];
        Tensor parts = t[2];
        parts.offset = 0;
        const Tensor& out = t[3];
        const int64_t queries = q.shape[2];
        const uint64_t groups = Groups(heads / kv_heads * queries, pairs) * kv_heads;
        if (split) scratch_bytes_ = std::max(scratch_bytes_, parts.SpanBytes());
        for (int64_t w = 0; w < windows; ++w) {
          const int64_t first = w * window;
          const int64_t count = std::min(window, context - first);
          Builder builder(*this, Shader::kAttention,
                          absl::StrCat("attention ", quant::Name(k.type)));
          builder.Constants({kBlock, static_cast<uint32_t>(k.type), static_cast<uint32_t>(v.type),
                             pairs, static_cast<uint32_t>(Groups(v_dim, kBlock)), query_width});
          const uint32_t q_at = builder.BindWords(q);
          const uint32_t k_at = builder.Bind(k.Slice(2, first, count));
          const uint32_t v_at = builder.Bind(v.Slice(2, first, count));
          const uint32_t q_cells_at = builder.BindWords(t[1]);
          const uint32_t kv_cells_at = builder.BindWords(kv_cells.Slice(2, first, count));
          const uint32_t length_at = builder.BindWords(inputs[5]);
          uint32_t sinks_at = 0;
          if (sinks && !split) {
            sinks_at = builder.BindWords(inputs[6]);
          } else {
            builder.BindCodebooks();
          }
          const uint32_t out_at = builder.BindWords(split ? parts : out, true);
          builder.PushAll({v_dim,
                           heads,
                           kv_heads,
                           queries,
                           q.strides[1] / 4,
                           q.strides[2] / 4,
                           k.strides[1],
                           k.strides[2],
                           v.strides[1],
                           v.strides[2],
                           q_at,
                           k_at,
                           v_at,
                           q_cells_at,
                           kv_cells_at,
                           length_at,
                           sinks_at,
                           out_at,
                           first,
                           count,
                           splits,
                           w * splits,
                           all_splits,
                           attrs.window});
          builder.Push(attrs.scale);
          builder.Push(attrs.softcap);
          builder.PushAll({head_dim, (attrs.causal ? 1 : 0) | (sinks && !split ? 2 : 0)});
          builder.Finish(groups * splits);
        }
        if (!split) return absl::OkStatus();
        Builder builder(*this, Shader::kAttentionMerge, "attention merge");
        builder.Constants({kBlock});
        const uint32_t parts_at = builder.BindWords(parts);
        uint32_t sinks_at = 0;
        if (sinks) {
          sinks_at = builder.BindWords(inputs[6]);
        } else {
          builder.BindCodebooks();
        }
        const uint32_t out_at = builder.BindWords(out, true);
        builder.PushAll(
            {v_dim, heads, heads * queries, all_splits, parts_at, sinks_at, out_at, sinks});
        builder.Finish(heads * queries);
        return absl::OkStatus();
      });
}

}  // namespace bantam::vulkan
