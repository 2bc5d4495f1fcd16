// Matrix products: dense, and with a matrix chosen by expert id for each row.
//
// First the rows of x that meet quantized weights are quantized to int8, once for all weights, into
// the scratch all workers share. Then one task is a tile of Tile<Isa>::kRows weight rows times all
// rows of x, or a part of them where there are too few tiles for the workers. Weights by type:
//
//   quantized        integer products (matmul_int8.h): up to kFewColumns columns with the weights
//                    unpacked in registers, more through a panel unpacked once; the weights as they
//                    lie in a file, or interleaved (interleave.h)
//   F32 F16 BF16     fused multiply-adds where the weights lie (dot.h); F16 and BF16 with more than
//                    kFewColumns columns in fixed point where the set has that (matmul_fixed.h)
//   F64, integers    the same after decoding to f32, in blocks
//
// A result depends on its two rows alone: not on how many others there are, nor on the threads; but
// for what is made in fixed point, because there are more than kFewColumns columns or, on average,
// as many for each expert.

#pragma once

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/plan/step.h"
#include "backends/cpu/reference/activation.h"
#include "backends/cpu/simd/activation_functions.h"
#include "backends/cpu/simd/dot.h"
#include "backends/cpu/simd/matmul_fixed.h"
#include "backends/cpu/simd/matmul_int8.h"
#include "backends/cpu/simd/matmul_panels.h"
#include "backends/cpu/simd/tile.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::simd {

inline constexpr int64_t kMostBlock = 768;  // of the sums in f32

// Elements of the blocks a sum of k is made in: near 512, so that what a block meets stays in the
// first-level cache, and all about as long.
inline int64_t BlockOf(int64_t k) {
  const int64_t blocks = std::max<int64_t>(1, (k + 256) / 512);
  return ((k + blocks - 1) / blocks + 7) / 8 * 8;
}

// Tasks in a chunk, given the products in a task: chunks of a microsecond or more, because a worker
// takes one in a fraction of that; and where there are many tasks no more chunks than even out what
// workers differ in, because tasks that follow each other have their weights fetched ahead.
inline int64_t GrainOf(int64_t products, int64_t tasks, int workers) {
  constexpr int64_t kProducts = 65536, kChunksPerWorker = 24;
  return std::max({int64_t{1}, kProducts / std::max<int64_t>(1, products),
                   tasks / (kChunksPerWorker * workers)});
}

class DenseColumns : public Columns {
 public:
  DenseColumns(const Tensor& x, const ActivationRows& quantized, const Tensor& out, int64_t offset)
      : x_(x), quantized_(quantized), out_(out), offset_(offset) {}
  const float* X(int64_t c) const override { return x_.RowAs<const float>(c); }
  ActivationRow Quantized(int64_t c) const override { return quantized_.Row(c); }
  float* Out(int64_t c) const override { return out_.RowAs<float>(c) + offset_; }
  int64_t XRow(int64_t c) const override { return c; }

 private:
  const Tensor& x_;
  const ActivationRows& quantized_;
  const Tensor& out_;
  const int64_t offset_;
};

// The rows that chose one expert.
class ChosenColumns : public Columns {
 public:
  ChosenColumns(const Step& step, const ActivationRows& quantized, const int32_t* chosen,
                int64_t first)
      : step_(step), quantized_(quantized), chosen_(chosen), first_(first) {}
  const float* X(int64_t c) const override { return x().RowAs<const float>(XRow(c)); }
  ActivationRow Quantized(int64_t c) const override { return quantized_.Row(XRow(c)); }
  float* Out(int64_t c) const override { return step_.output.RowAs<float>(chosen_[c]) + first_; }
  int64_t XRow(int64_t c) const override {
    const int64_t top_k = step_.inputs[2].shape[0];
    const int64_t slot = std::min(chosen_[c] % top_k, x().shape[1] - 1);
    return chosen_[c] / top_k * x().shape[1] + slot;
  }

 private:
  const Tensor& x() const { return step_.inputs[1]; }
  const Step& step_;
  const ActivationRows& quantized_;
  const int32_t* chosen_;  // pairs (token, choice) as token * top_k + choice
  const int64_t first_;    // row of the tile
};

// `Isa` is a set's description (avx2/set.h).
template <typename Isa>
class MatMul {
 public:
  static void Prepare(Step& step) {
    const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
    const Tensor& x = step.inputs[attrs.parts];
    step.origin = Isa::kName;
    step.run = &RunMatMul;
    step.kernel = "matmul";
    bool any_int8 = false;
    for (int32_t p = 0; p < attrs.parts; ++p) {
      absl::StrAppend(&step.kernel, p == 0 ? " " : "+", TypeName(step.inputs[p]));
      any_int8 |= IsInt8(step.inputs[p]);
    }
    if (attrs.has_bias) absl::StrAppend(&step.kernel, " bias");
    if (attrs.activation != graph::Activation::kNone) {
      absl::StrAppend(&step.kernel, " ", graph::ActivationName(attrs.activation));
    }
    step.worker_scratch = sizeof(Scratch);
    if (any_int8) step.shared_scratch = x.rows() * ActivationRows::BytesOfRow(x.shape[0]);
    Fixed::Reserve(step);
  }

  static void PrepareExpert(Step& step) {
    const Tensor& x = step.inputs[1];
    const Tensor& ids = step.inputs[2];
    step.origin = Isa::kName;
    step.run = &RunMatMulExpert;
    step.kernel = absl::StrCat("matmul_expert ", TypeName(step.inputs[0]));
    step.worker_scratch = static_cast<int64_t>(sizeof(Scratch)) +
                          ids.shape[0] * ids.shape[1] * static_cast<int64_t>(sizeof(int32_t));
    if (IsInt8(step.inputs[0])) {
      step.shared_scratch = x.rows() * ActivationRows::BytesOfRow(x.shape[0]);
    }
    Fixed::Reserve(step);
  }

 private:
  using Fixed = FixedStep < Isa, requires { &Isa::FixedKernelsOf; }
  > ;

  // What a worker needs: panels, or a tile decoded to f32.
  union Scratch {
    PanelProducts<Isa> panels;
    float decoded[Tile<Isa>::kRows * kMostBlock];
  };

  // Of a tile whose first row is row `at` of the results.
  static void MultiplyFew(const Tile<Isa>& tile, int64_t at, int64_t k, const Columns& columns,
                          int64_t begin, int64_t end) {
    if constexpr (Tile<Isa>::kInterleaves) {
      if (tile.interleaved) {
        const auto& vector = Isa::InterleavedKernelsOf(tile.type)->vector;
        return ByRows<kInterleaved>(tile, at, columns, begin, end, [&](int64_t r, const auto& x) {
          vector[x.width - 1](tile.rows[r], k, x.columns, x.out);
        });
      }
    }
    const auto& vector = Isa::Int8KernelsOf(tile.type)->vector;
    ByRows<Isa::kVectorRows>(tile, at, columns, begin, end, [&](int64_t r, const auto& x) {
      vector[x.width - 1](tile.rows + r, k, x.columns, x.out,
                          tile.rows[r] + Isa::kVectorRows * tile.stride);
    });
  }

  // Up to Isa::kVectorColumns columns, and where kRows results of each go.
  template <int64_t kRows>
  struct FewColumns {
    int64_t width;
    ActivationRow columns[Isa::kVectorColumns];
    float* out[Isa::kVectorColumns];
    alignas(64) float results[Isa::kVectorColumns][kRows];
  };

  // Calls multiply(r, FewColumns) for each kRows rows of a tile, from row r on, and few columns.
  template <int64_t kRows, typename F>
  static void ByRows(const Tile<Isa>& tile, int64_t at, const Columns& columns, int64_t begin,
                     int64_t end, const F& multiply) {
    for (int64_t r = 0; r < tile.count; r += kRows) {
      const int64_t count = std::min(kRows, tile.count - r);
      for (int64_t c = begin; c < end; c += Isa::kVectorColumns) {
        FewColumns<kRows> x;
        x.width = std::min<int64_t>(Isa::kVectorColumns, end - c);
        for (int64_t j = 0; j < x.width; ++j) {
          x.columns[j] = columns.Quantized(c + j);
          x.out[j] = x.results[j];
        }
        multiply(r, x);
        for (int64_t j = 0; j < x.width; ++j) {
          std::copy_n(x.results[j], count, columns.Out(c + j) + at + r);
        }
      }
    }
  }

  // Up to Isa::kDotColumns columns from `begin` on, as DotFn takes them.
  struct DotGroup {
    int width;
    const float* x[Isa::kDotColumns];
    float* out[Isa::kDotColumns];

    DotGroup(const Columns& columns, int64_t at, int64_t begin, int64_t end)
        : width(static_cast<int>(std::min<int64_t>(Isa::kDotColumns, end - begin))) {
      for (int j = 0; j < width; ++j) {
        x[j] = columns.X(begin + j);
        out[j] = columns.Out(begin + j) + at;
      }
    }
    // Adds the products of rows r up, elements `first` up, of which rows[r] is the first.
    void Add(quant::Type type, const uint8_t* const* rows, int64_t r, int64_t count, int64_t first,
             int64_t length, const uint8_t* next) const {
      const int height = static_cast<int>(std::min<int64_t>(Isa::kDotRows, count - r));
      const float* from[Isa::kDotColumns];
      float* to[Isa::kDotColumns];
      for (int j = 0; j < width; ++j) {
        from[j] = x[j] + first;
        to[j] = out[j] + r;
      }
      Isa::DotOf(type, height, width)(rows + r, from, to, length, next);
    }
  };

  // As MultiplyFew.
  static void MultiplyFloat(const Tile<Isa>& tile, int64_t at, int64_t k, const Columns& columns,
                            int64_t begin, int64_t end, float* decoded) {
    const bool direct = HasDot(tile.type);
    const int64_t block = BlockOf(k);
    for (int64_t c = begin; c < end; ++c) std::fill_n(columns.Out(c) + at, tile.count, 0.0f);
    const uint8_t* rows[Tile<Isa>::kRows];
    if (direct && end - begin <= kFewColumns) {
      // Row by row from end to end, as they lie in memory.
      for (int64_t r = 0; r < tile.count; r += Isa::kDotRows) {
        for (int64_t first = 0; first < k; first += block) {
          const int64_t bytes = quant::RowBytes(tile.type, first);
          for (int64_t i = r; i < std::min(r + Isa::kDotRows, tile.count); ++i) {
            rows[i] = tile.rows[i] + bytes;
          }
          for (int64_t c = begin; c < end; c += Isa::kDotColumns) {
            DotGroup(columns, at, c, end)
                .Add(tile.type, rows, r, tile.count, first, std::min(block, k - first),
                     tile.rows[r] + Isa::kDotRows * (tile.stride + bytes));
          }
        }
      }
      return;
    }
    for (int64_t first = 0; first < k; first += block) {
      const int64_t length = std::min(block, k - first);
      for (int64_t r = 0; r < tile.count; ++r) {
        rows[r] = tile.rows[r] + quant::RowBytes(tile.type, first);
        if (direct) continue;
        quant::DecodeRow(tile.type, rows[r], decoded + r * kMostBlock, length);
        rows[r] = reinterpret_cast<const uint8_t*>(decoded + r * kMostBlock);
      }
      const quant::Type type = direct ? tile.type : quant::Type::kF32;
      for (int64_t c = begin; c < end; c += Isa::kDotColumns) {
        const DotGroup group(columns, at, c, end);
        for (int64_t r = 0; r < tile.count; r += Isa::kDotRows) {
          group.Add(type, rows, r, tile.count, first, length, rows[r]);
        }
      }
    }
  }

  // columns.Out(c)[r] = product of row r of the tiles and column c, for columns `begin` to `end`.
  static void MultiplyTiles(const Tiles<Isa>& tiles, int64_t k, const Columns& columns,
                            int64_t begin, int64_t end, bool few, const Fixed& fixed,
                            std::byte* memory) {
    auto& scratch = *reinterpret_cast<Scratch*>(memory);
    if (fixed.Has(tiles.tile[0].type)) return fixed.Multiply(tiles, columns, begin, end, memory);
    const Int8Kernels<Isa>* kernels = Isa::Int8KernelsOf(tiles.tile[0].type);
    if (kernels != nullptr && !few) {
      return scratch.panels.Multiply(*kernels, tiles, k, columns, begin, end);
    }
    for (int64_t t = 0; t < tiles.count; ++t) {
      if (kernels == nullptr) {
        MultiplyFloat(tiles.tile[t], t * Tile<Isa>::kRows, k, columns, begin, end, scratch.decoded);
      } else {
        MultiplyFew(tiles.tile[t], t * Tile<Isa>::kRows, k, columns, begin, end);
      }
    }
  }

  static void QuantizeRows(const Tensor& x, const ActivationRows& rows, const RunContext& context) {
    context.pool.ParallelFor(x.rows(), Grain(2 * rows.k), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) Isa::Quantize(rows, r, x.RowAs<const float>(r));
    });
  }

  static bool IsInt8(const Tensor& w) { return Isa::Int8KernelsOf(w.type) != nullptr; }

  static void RunMatMul(const Step& step, const RunContext& context) {
    const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
    const Tensor& x = step.inputs[attrs.parts];
    const int64_t k = x.shape[0];
    const int64_t columns = x.rows();
    if (columns == 0) return;
    const reference::ActivationFunction activate = ActivationInPlace<Isa>(attrs.activation);
    const ActivationRows quantized = {context.shared, k};
    const Fixed fixed(step, context);
    if (fixed.shared_before() != 0) QuantizeRows(x, quantized, context);
    fixed.PackColumns(x, context);
    int64_t tiles = 0;
    for (int32_t p = 0; p < attrs.parts; ++p) tiles += Tile<Isa>::CountOf(step.inputs[p].shape[1]);
    // Columns are split where tiles alone would leave workers idle.
    constexpr int64_t kTasksPerWorker = 4, kLeastColumns = 32;
    const int64_t wanted = kTasksPerWorker * context.pool.size();
    const int64_t splits = std::clamp<int64_t>((wanted + tiles - 1) / tiles, 1,
                                               std::max<int64_t>(1, columns / kLeastColumns));
    const int64_t width = (columns + splits - 1) / splits;
    const bool few = columns <= kFewColumns;
    const int64_t task_rows =
        Tile<Isa>::kRows *
        (few ? 1 : std::clamp<int64_t>(tiles * splits / wanted, 1, Tiles<Isa>::kMost));
    auto groups_of = [&](int32_t part) {  // of task_rows
      return (step.inputs[part].shape[1] + task_rows - 1) / task_rows;
    };
    int64_t tasks = 0;
    for (int32_t p = 0; p < attrs.parts; ++p) tasks += groups_of(p) * splits;

    auto run_task = [&](int64_t task, int worker) {
      int64_t group = task / splits;
      const int64_t begin = task % splits * width, end = std::min(begin + width, columns);
      int32_t part = 0;
      int64_t part_begin = 0;  // in rows of the output
      while (group >= groups_of(part)) {
        group -= groups_of(part);
        part_begin += step.inputs[part++].shape[1];
      }
      const Tensor& w = step.inputs[part];
      const int64_t first = group * task_rows, rows = std::min(task_rows, w.shape[1] - first);
      const DenseColumns to(x, quantized, step.output, part_begin + first);
      MultiplyTiles(Tiles<Isa>::Of(w, first, rows, 0), k, to, begin, end, few, fixed,
                    reinterpret_cast<std::byte*>(context.Scratch(worker)));
      if (attrs.has_bias) {
        const Tensor& bias = step.inputs[attrs.parts + 1 + part];
        float b[Tiles<Isa>::kMost * Tile<Isa>::kRows];
        quant::DecodeRow(bias.type, bias.data + quant::RowBytes(bias.type, first), b, rows);
        for (int64_t c = begin; c < end; ++c) {
          float* y = to.Out(c);
          for (int64_t r = 0; r < rows; ++r) y[r] += b[r];
        }
      }
      if (activate != nullptr) {
        for (int64_t c = begin; c < end; ++c) activate(to.Out(c), rows);
      }
    };
    context.pool.ParallelFor(tasks, GrainOf(task_rows * k * width, tasks, context.pool.size()),
                             [&](int64_t begin, int64_t end, int worker) {
                               for (int64_t task = begin; task < end; ++task)
                                 run_task(task, worker);
                             });
  }

  static void RunMatMulExpert(const Step& step, const RunContext& context) {
    const Tensor& w = step.inputs[0];
    const Tensor& ids = step.inputs[2];
    const int64_t k = w.shape[0], m = w.shape[1], experts = w.shape[2];
    const int64_t top_k = ids.shape[0], pairs = top_k * ids.shape[1];
    if (pairs == 0) return;
    auto id = [&](int64_t pair) { return ids.RowAs<const int32_t>(pair / top_k)[pair % top_k]; };
    for (int64_t pair = 0; pair < pairs; ++pair) {
      if (id(pair) < 0 || id(pair) >= experts) {
        std::fill_n(step.output.RowAs<float>(pair), m, 0.0f);
      }
    }
    const ActivationRows quantized = {context.shared, k};
    const Fixed fixed(step, context);
    if (fixed.shared_before() != 0) QuantizeRows(step.inputs[1], quantized, context);
    fixed.PackColumns(step.inputs[1], context);
    const int64_t tiles = Tile<Isa>::CountOf(m);
    auto run_task = [&](int64_t task, int worker) {
      const int64_t expert = task / tiles;
      const int64_t first = task % tiles * Tile<Isa>::kRows;
      auto* scratch = reinterpret_cast<Scratch*>(context.Scratch(worker));
      auto* chosen = reinterpret_cast<int32_t*>(scratch + 1);
      int64_t count = 0;
      for (int64_t pair = 0; pair < pairs; ++pair) {
        if (id(pair) == expert) chosen[count++] = static_cast<int32_t>(pair);
      }
      if (count == 0) return;
      MultiplyTiles(Tiles<Isa>::Of(w, first, std::min(Tile<Isa>::kRows, m - first), expert), k,
                    ChosenColumns(step, quantized, chosen, first), 0, count, count <= kFewColumns,
                    fixed, reinterpret_cast<std::byte*>(scratch));
    };
    const int64_t tasks = experts * tiles;
    context.pool.ParallelFor(
        tasks, GrainOf(Tile<Isa>::kRows * k * pairs / experts, tasks, context.pool.size()),
        [&](int64_t begin, int64_t end, int worker) {
          for (int64_t task = begin; task < end; ++task) run_task(task, worker);
        });
  }

  // "Q4_K", or how a type without integers or dot products of its own is computed.
  static std::string TypeName(const Tensor& w) {
    const bool direct = IsInt8(w) || HasDot(w.type);
    return absl::StrCat(quant::Name(w.type), w.interleaved ? " interleaved" : "",
                        direct ? "" : " decoded to F32");
  }
};

}  // namespace bantam::cpu::simd
