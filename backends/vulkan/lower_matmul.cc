// Matrix products: which shader, how wide, cut how.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/builder.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

using Tile = ProductTile;

// Up to so many columns the product is limited by reading the weights.
constexpr int64_t kVectorColumns = 8;

// How matvec.comp is cut: TEAM invocations own `rows` rows, `local / team` teams a workgroup.
struct VectorShape {
  uint32_t local, team, rows;
};
VectorShape VectorShapeOf(const Traits& traits, uint32_t columns, quant::Type type) {
  // Conversions of 64-bit numbers are long; no model is made of them.
  const bool odd = type == quant::Type::kF64 || type == quant::Type::kI64;
  // A processor keeps a team in one vector register, and starts a workgroup under a lock: few large
  // ones.
  if (traits.is_processor) return {std::min(traits.max_invocations, 256u), 8, odd ? 1u : 2u};
  const uint32_t team = traits.subgroup_size != 0 ? traits.subgroup_size : 32;
  return {std::max(team, 128u), team, odd || columns > 4 ? 1u : 2u};
}
// Columns of a workgroup: few variants, for a shader is compiled for each.
uint32_t VectorColumns(const Traits& traits, int64_t columns) {
  if (columns == 1) return 1;
  return columns <= 4 || traits.is_processor ? 4 : 8;
}

// How matmul.comp is cut: tiles in workgroups, parts of them in invocations, or in subgroups where
// those multiply matrices.
struct TileShape {
  uint32_t tile_m, tile_n, part_m, part_n;
  uint32_t parts() const { return tile_m / part_m * (tile_n / part_n); }
  uint32_t Local(const Traits& traits, Tile tile) const {
    return parts() * (tile == Tile::kMatrix ? traits.subgroup_size : 1);
  }
  uint32_t SharedBytes(const Traits& traits, Tile tile) const {
    if (tile == Tile::kMatrix) {
      return (tile_m + tile_n) * 80 + parts() * traits.matrix.m * traits.matrix.n * 4 + tile_n * 12;
    }
    return (tile_m + tile_n) * 32 * 4 + tile_n * 3 * 4;  // as f32, larger than as the others
  }
};
TileShape TileShapeOf(const Traits& traits, Tile tile, int64_t rows, int64_t columns) {
  const auto fits = [&](const TileShape& shape) {
    return shape.Local(traits, tile) <= traits.max_invocations &&
           shape.SharedBytes(traits, tile) <= traits.shared_memory;
  };
  if (tile == Tile::kMatrix) {
    // Large tiles decode and read less for each product, where there are enough to keep a GPU busy.
    constexpr TileShape kLarge{128, 128, 64, 32};
    constexpr int64_t kEnough = 64;
    if (rows > 64 && columns > 64 && rows * columns >= kEnough * 128 * 128 && fits(kLarge)) {
      return kLarge;
    }
    return columns > 32 ? TileShape{64, 64, 32, 32} : TileShape{64, 32, 32, 16};
  }
  if (traits.is_processor) {
    return columns > 16 ? TileShape{64, 32, 8, 8} : TileShape{64, 16, 8, 4};
  }
  constexpr TileShape kWide{64, 64, 4, 4};
  return columns > 32 && fits(kWide) ? kWide : TileShape{64, 32, 4, 2};
}

// More tiles of `width` columns group_experts.comp never makes: each expert may have one that is
// not full, and so may the pairs of no expert.
int64_t MostTiles(int64_t pairs, int64_t experts, int64_t width) {
  return pairs / width + std::min(pairs, experts + 1);
}

// Whether the weights are integers with scales, which integer dot products multiply.
bool IsQuantized(quant::Type type) { return quant::Traits(type).block_size > 1; }

// The constants of matmul.comp.
template <typename Builder>
void SetTile(Builder& builder, const Traits& traits, Tile tile, quant::Type type,
             const TileShape& shape, bool experts) {
  builder.Constants({shape.Local(traits, tile), static_cast<uint32_t>(type), shape.tile_m,
                     shape.tile_n, shape.part_m, shape.part_n, experts, traits.matrix.m,
                     traits.matrix.n, traits.matrix.k});
  if (tile == Tile::kMatrix) builder.Subgroups(traits.subgroup_size);
}

// Whether x is rounded by halves.comp; and in which words a shader counts its columns.
bool TakesHalves(Tile tile) { return tile == Tile::kHalves || tile == Tile::kMatrix; }
uint32_t UnitWords(Tile tile) { return TakesHalves(tile) ? 4 : 1; }

Shader ProductShader(Tile tile, bool subgroups) {
  switch (tile) {
    case Tile::kF32:
      return Shader::kMatMul;
    case Tile::kHalves:
      return Shader::kMatMulHalves;
    case Tile::kInt8:
      return Shader::kMatMulInt8;
    case Tile::kMatrix:
      return Shader::kMatMulMatrix;
    case Tile::kNone:
      break;
  }
  return subgroups ? Shader::kMatVecSubgroups : Shader::kMatVec;
}
absl::string_view ProductName(Tile tile) {
  switch (tile) {
    case Tile::kF32:
      return "matmul ";
    case Tile::kHalves:
      return "matmul halves ";
    case Tile::kInt8:
      return "matmul int8 ";
    case Tile::kMatrix:
      return "matmul matrices ";
    case Tile::kNone:
      break;
  }
  return "matvec ";
}

}  // namespace

absl::Status Lowering::MatMul(const graph::Node& node, std::span<const Tensor> inputs,
                              const Tensor& output) {
  const auto& attrs = std::get<graph::MatMulAttrs>(node.attrs);
  const auto parts = static_cast<size_t>(attrs.parts);
  return ForFitting({inputs[parts], output}, 1, [&](const Tensors& t) -> absl::Status {
    const Tensor& x = t[0];
    int64_t part_row = 0;
    for (size_t part = 0; part < parts; ++part) {
      const Tensor weight = Reachable(inputs[part]);
      const int64_t m = weight.shape[1];
      for (int64_t first = 0, count = 0; first < m; first += count) {
        BANTAM_ASSIGN_OR_RETURN(count, FittingCount(weight, 1, first));
        const Tensor w = weight.Slice(1, first, count);
        Tensor out = t[1];
        out.offset += (part_row + first) * 4;
        out.shape[0] = count;
        const int64_t columns = x.shape[1];
        const bool vector = columns <= kVectorColumns && !settings_.matmul_tile_only;
        const uint32_t cols = VectorColumns(traits_, columns);
        const auto type = static_cast<uint32_t>(weight.type);
        const auto activation = static_cast<int64_t>(attrs.activation);
        const bool subgroups = vector && traits_.subgroup_size != 0;
        const Tile tile = vector ? Tile::kNone : TileFor(weight.type, x.shape[0]);
        const Tensor multiplied = Multiplied(tile, x, 0);
        Builder builder(*this, ProductShader(tile, subgroups),
                        absl::StrCat(ProductName(tile), quant::Name(weight.type)));
        uint64_t groups = graph::RowCount({1, 1, x.shape[2], x.shape[3]});
        if (vector) {
          const VectorShape shape = VectorShapeOf(traits_, cols, weight.type);
          builder.Constants({shape.local, type, shape.team, shape.rows, cols});
          if (subgroups) builder.Subgroups(shape.team);
          groups *= Groups(count, shape.local / shape.team * shape.rows) * Groups(columns, cols);
        } else {
          const TileShape shape = TileShapeOf(traits_, tile, count, columns);
          SetTile(builder, traits_, tile, weight.type, shape, /*experts=*/false);
          groups *= Groups(count, shape.tile_m) * Groups(columns, shape.tile_n);
        }
        const uint32_t w_at = builder.Bind(w);
        builder.BindCodebooks();
        const uint32_t unit = UnitWords(tile);
        const uint32_t x_at = builder.BindWords(multiplied) / unit;
        uint32_t bias_at = 0;
        if (attrs.has_bias) {
          bias_at = builder.BindWords(inputs[parts + 1 + part].Slice(0, first, count));
        } else {
          builder.BindCodebooks();
        }
        builder.BindCodebooks();  // ids
        const uint32_t out_at = builder.BindWords(out, true);
        builder.PushAll({x.shape[0], count});
        for (int d = 1; d < 4; ++d) builder.Push(static_cast<uint32_t>(x.shape[d]));
        for (int d = 1; d < 4; ++d) {
          builder.Push(static_cast<uint32_t>(multiplied.strides[d] / 4 / unit));
        }
        for (int d = 1; d < 4; ++d) builder.Push(static_cast<uint32_t>(out.strides[d] / 4));
        builder.PushAll(
            {w.strides[1], 0, w_at, x_at, out_at, bias_at, 0, 0, 0, 0, activation, attrs.has_bias});
        builder.PushAddress();
        builder.Finish(groups);
      }
      part_row += m;
    }
    return absl::OkStatus();
  });
}

Tile Lowering::TileFor(quant::Type type, int64_t k) const {
  // Shorter rows are not worth rounding.
  constexpr int64_t kShortest = 64;
  const bool as_halves = k >= kShortest && (IsQuantized(type) || type == quant::Type::kF16);
  if (traits_.matrix.m != 0 && as_halves) return Tile::kMatrix;
  if (traits_.integer_dot && IsQuantized(type)) return Tile::kInt8;
  return traits_.half_products && as_halves ? Tile::kHalves : Tile::kF32;
}

Tensor Lowering::Multiplied(Tile tile, const Tensor& x, uint64_t offset) {
  const bool halves = TakesHalves(tile);
  if (tile != Tile::kInt8 && !halves) return x;
  const auto kind = static_cast<uint32_t>(1 + offset + halves);  // offsets are not odd
  if (Holds(rounded_, x, kind)) return rounded_.tensor;
  // As shaders/planes.glsl and halves.comp write a row.
  constexpr int64_t kBlock = 32, kPlaneWords = 20, kHalfWords = 16, kHeader = 4;
  const int64_t blocks = (x.shape[0] + kBlock - 1) / kBlock;
  const Tensor rounded = Scratch({halves ? kHeader + blocks * kHalfWords : blocks * kPlaneWords,
                                  x.shape[1], x.shape[2], x.shape[3]},
                                 offset);
  constexpr uint32_t kLocal = 128;
  Builder builder(*this, halves ? Shader::kHalves : Shader::kQuantize,
                  halves ? "halves" : "quantize");
  builder.Constants({kLocal});
  const uint32_t x_at = builder.BindWords(x);
  const uint32_t out_at = builder.BindWords(rounded, true);
  for (int64_t size : x.shape) builder.Push(static_cast<uint32_t>(size));
  for (int64_t stride : x.strides) builder.Push(static_cast<uint32_t>(stride / 4));
  builder.PushAll({x_at, out_at});
  if (halves) {
    builder.PushAll({0, 0, 0, 0});  // the rest of shaders/rows.glsl
    builder.Finish(static_cast<uint64_t>(graph::RowCount(x.shape)));
  } else {
    builder.Finish(Groups(graph::ElementCount(x.shape) / 4, kLocal));
  }
  Keep(rounded_, x, rounded, kind);
  return rounded;
}

Tensor Lowering::TileLists(const Tensor& ids, int64_t all_experts, uint32_t width) {
  if (Holds(lists_, ids, width)) return lists_.tensor;
  const int64_t slots = ids.shape[0], tokens = ids.shape[2], pairs = slots * tokens;
  const int64_t most_tiles = MostTiles(pairs, all_experts, width), pairs_at = 1 + 3 * most_tiles;
  const Tensor lists = Scratch({pairs_at + pairs, 1, 1, 1});
  Builder builder(*this, Shader::kGroupExperts, "group experts");
  builder.Constants({std::min(traits_.max_invocations, 256u), static_cast<uint32_t>(all_experts)});
  const uint32_t ids_at = builder.BindWords(ids);
  const uint32_t out_at = builder.BindWords(lists, true);
  builder.PushAll({slots, tokens, ids_at, out_at, pairs_at, width});
  builder.Finish(1);
  Keep(lists_, ids, lists, width);
  return lists;
}

bool Lowering::GroupExperts(int64_t pairs, int64_t all_experts) const {
  const uint64_t shared = 2 * sizeof(uint32_t) * (all_experts + 1);
  if (shared > traits_.shared_memory) return false;
  return settings_.matmul_tile_only || pairs >= 2 * std::max<int64_t>(all_experts, 4);
}

absl::Status Lowering::MatMulExpert(std::span<const Tensor> inputs, const Tensor& output) {
  const Tensor weights = Reachable(inputs[0]);
  Tensor ids = inputs[2];
  ids.shape = {inputs[2].shape[0], 1, inputs[2].shape[1], 1};
  ids.strides = {4, 4 * ids.shape[0], 4 * ids.shape[0], 4 * ids.shape[0]};
  const int64_t all_experts = weights.shape[2];
  const bool subgroups = traits_.subgroup_size != 0;
  const VectorShape vector = VectorShapeOf(traits_, 1, weights.type);
  return ForFitting({inputs[1], ids, output}, 2, [&](const Tensors& t) -> absl::Status {
    const Tensor& x = t[0];
    const int64_t slots = t[2].shape[1], tokens = t[2].shape[2], pairs = slots * tokens;
    // Many tokens: the pairs of an expert together, so that its weights are read once for all.
    const bool grouped = GroupExperts(pairs, all_experts);
    const Tile tile = grouped ? TileFor(weights.type, x.shape[0]) : Tile::kNone;
    const TileShape shape =
        TileShapeOf(traits_, tile, weights.shape[1] * all_experts, pairs / all_experts);
    const uint32_t unit = UnitWords(tile);
    Tensor multiplied = x, lists;
    if (grouped) {
      lists = TileLists(t[1], all_experts, shape.tile_n);
      // Rounded columns come after the lists.
      const uint64_t alignment = traits_.offset_alignment;
      multiplied = Multiplied(tile, x, (lists.SpanBytes() + alignment - 1) / alignment * alignment);
    }
    for (int64_t first = 0, here = 0; first < all_experts; first += here) {
      // As many whole experts at a time as fit; when not even one does, parts of its rows.
      here = 1;
      if (Fits(weights.Slice(2, first, 1))) {
        BANTAM_ASSIGN_OR_RETURN(here, FittingCount(weights, 2, first));
      }
      const Tensor of_experts = weights.Slice(2, first, here);
      for (int64_t row = 0, count = 0; row < weights.shape[1]; row += count) {
        BANTAM_ASSIGN_OR_RETURN(count, FittingCount(of_experts, 1, row));
        const Tensor w = of_experts.Slice(1, row, count);
        Tensor out = t[2];
        out.offset += row * 4;
        out.shape[0] = count;
        Builder builder(*this, ProductShader(tile, subgroups),
                        absl::StrCat(ProductName(tile), "experts ", quant::Name(weights.type)));
        const auto type = static_cast<uint32_t>(weights.type);
        if (grouped) {
          SetTile(builder, traits_, tile, weights.type, shape, /*experts=*/true);
        } else {
          builder.Constants({vector.local, type, vector.team, vector.rows, 1});
          if (subgroups) builder.Subgroups(vector.team);
        }
        const uint32_t w_at = builder.Bind(w);
        builder.BindCodebooks();
        const uint32_t x_at = builder.BindWords(multiplied) / unit;
        builder.BindCodebooks();  // bias
        const uint32_t ids_at = builder.BindWords(grouped ? lists : t[1]);
        const uint32_t out_at = builder.BindWords(out, true);
        builder.PushAll({x.shape[0],
                         count,
                         slots,
                         tokens,
                         1,
                         x.shape[1] == 1 ? 0 : multiplied.strides[1] / 4 / unit,
                         multiplied.strides[2] / 4 / unit,
                         0,
                         out.strides[1] / 4,
                         out.strides[2] / 4,
                         0,
                         w.strides[1],
                         w.strides[2],
                         w_at,
                         x_at,
                         out_at,
                         0,
                         ids_at,
                         first,
                         here,
                         all_experts,
                         0,
                         0});
        builder.PushAddress();
        builder.Finish(grouped ? Groups(count, shape.tile_m) *
                                     MostTiles(pairs, all_experts, shape.tile_n)
                               : Groups(count, vector.local / vector.team * vector.rows) * pairs);
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace bantam::vulkan
