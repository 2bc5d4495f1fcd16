#include "backends/cpu/amx/matmul.h"

#include <algorithm>

#include "backends/cpu/amx/operands.h"
#include "backends/cpu/amx/tiles.h"
#include "backends/cpu/avx512/kernels.h"
#include "backends/cpu/avx512/set.h"
#include "backends/cpu/reference/activation.h"
#include "backends/cpu/simd/activation_functions.h"
#include "backends/cpu/simd/matmul.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::amx {
namespace {

constexpr absl::string_view kName = "amx";
constexpr int64_t kMostPanels = 8, kMostColumns = 512;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// What a worker needs; sums of kMostPanels panels follow.
struct alignas(64) Scratch {
  PackScratch pack;
  WeightTiles weights[2];  // that are met, and that are being made

  float* sums() { return reinterpret_cast<float*>(this + 1); }
  static int64_t Bytes(int64_t most_columns) {
    const int64_t columns = std::min(kMostColumns, RoundUp(most_columns, 2 * kTileRows));
    return static_cast<int64_t>(sizeof(Scratch) +
                                kMostPanels * columns * kPanelRows * sizeof(float));
  }
};

struct TileScope {
  TileScope() { Configure(); }
  ~TileScope() { Release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

// Packs 16 columns of a chunk.
void PackTile(const simd::Columns& columns, int64_t count, int64_t k, const ColumnTiles& tiles,
              int64_t tile, int64_t chunk) {
  const float* x[kTileRows];
  for (int64_t c = 0; c < kTileRows; ++c) {
    const int64_t column = tile * kTileRows + c;
    x[c] = column < count ? columns.X(column) : nullptr;
  }
  const int64_t first = chunk * kChunk;
  PackColumns(x, first, std::min(kChunk, k - first), tiles.terms, tiles.At(tile, chunk));
}

// Weight rows `first` to `first + count` of a matrix.
struct WeightRows {
  const Tensor& w;
  int64_t matrix;
  int64_t first;
  int64_t count;  // at most kMostPanels * kPanelRows

  // Past the last row of a panel the last again.
  WeightChunk Chunk(int64_t panel, int64_t chunk) const {
    const int64_t from = chunk * kChunk;
    const int64_t end = first + (panel + 1) * kPanelRows;
    const bool interleaved = w.interleaved && end <= InterleavedRows(w.shape[1]);
    WeightChunk part = {w.type, interleaved, {}, from, std::min(kChunk, w.shape[0] - from)};
    for (int64_t r = 0; r < kPanelRows; ++r) {
      const int64_t row = std::min(panel * kPanelRows + r, count - 1);
      part.rows[r] = reinterpret_cast<const uint8_t*>(w.Row(first + row, matrix, 0));
    }
    return part;
  }
};

// out[row] = product of weight row `row` and a column, for columns `begin` to `end`, at most
// kMostColumns; `begin` starts a pair of tiles. `done` is called with each column's number.
template <typename Done>
void MultiplyRows(const WeightRows& rows, const simd::Columns& columns, const ColumnTiles& tiles,
                  int64_t begin, int64_t end, Scratch& scratch, const Done& done) {
  const int64_t k = rows.w.shape[0], panels = CeilDiv(rows.count, kPanelRows);
  const int64_t first_tile = begin / kTileRows, last_tile = TilesOf(end);
  const int64_t panel_sums = (last_tile - first_tile) * kTileRows * kPanelRows;
  const Weights& weights = WeightsOf(rows.w.type);
  // Panels take turns with each chunk of k. While one's tiles meet the columns, two tiles of them
  // at a time, the next one's are made: the processor does both at once.
  const int64_t pairs = CeilDiv(last_tile - first_tile, 2), turns = CeilDiv(k, kChunk) * panels;
  if (turns == 0) std::fill_n(scratch.sums(), panels * panel_sums, 0.0f);
  auto chunk_of = [&](int64_t turn) { return rows.Chunk(turn % panels, turn / panels); };
  WeightChunk part;
  auto make = [&](int64_t turn, int64_t piece, int64_t piece_end) {
    for (; piece < piece_end; ++piece) {
      weights.pack(part, piece, scratch.pack, scratch.weights[turn % 2]);
    }
  };
  if (turns > 0) {
    part = chunk_of(0);
    make(0, 0, part.pieces());
  }
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t chunk = turn / panels, steps = StepsOf(part.elements);
    const bool is_last = turn + 1 == turns;
    if (!is_last) part = chunk_of(turn + 1);
    const int64_t pieces = is_last ? 0 : part.pieces();
    float* sums = scratch.sums() + turn % panels * panel_sums;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      make(turn + 1, pieces * pair / pairs, pieces * (pair + 1) / pairs);
      const int64_t tile = first_tile + 2 * pair;
      const std::byte* second = tile + 1 < last_tile ? tiles.At(tile + 1, chunk) : nullptr;
      Multiply(weights, {{tiles.At(tile, chunk), second},
                         tiles.terms,
                         scratch.weights[turn % 2],
                         steps,
                         chunk != 0,
                         sums});
      sums += 2 * kTileRows * kPanelRows;
    }
  }
  for (int64_t c = begin; c < end; ++c) {
    float* out = columns.Out(c);
    const float* sums = scratch.sums() + (c - begin) * kPanelRows;
    for (int64_t panel = 0; panel < panels; ++panel, sums += panel_sums) {
      const int64_t row = panel * kPanelRows;
      std::copy_n(sums, std::min(kPanelRows, rows.count - row), out + row);
    }
    done(out);
  }
}

// A tile's part of a chunk is little work.
constexpr int64_t kPackGrain = 4;

constexpr int64_t kTasksPerWorker = 2;

// Columns of a task: as many as it may have, but fewer, which unpacking a panel pays for less well,
// where there are too few panels for the workers.
int64_t ColumnsPerTask(int64_t columns, int64_t panels, int workers) {
  constexpr int64_t kLeastColumns = 128;
  const int64_t least = CeilDiv(columns, kMostColumns);
  const int64_t blocks =
      std::clamp(CeilDiv(kTasksPerWorker * workers, std::max<int64_t>(1, panels)), least,
                 std::max(least, columns / kLeastColumns));
  return RoundUp(CeilDiv(columns, blocks), 2 * kTileRows);
}

// Panels of a task: as many as leave each worker some tasks, but the fewer there are the more often
// columns are fetched from the last-level cache.
int64_t PanelsPerTask(int64_t panels, int64_t others, int workers) {
  return std::clamp<int64_t>(panels * others / (kTasksPerWorker * workers), 1, kMostPanels);
}

int64_t TermsOf(const Step& step, int64_t parts) {
  int64_t terms = 1;
  for (int64_t p = 0; p < parts; ++p) {
    terms = std::max<int64_t>(terms, WeightsOf(step.inputs[p].type).column_terms);
  }
  return terms;
}

void RunMatMul(const Step& step, const RunContext& context) {
  const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
  const Tensor& x = step.inputs[attrs.parts];
  const int64_t k = x.shape[0], columns = x.rows();
  const simd::ActivationRows unquantized = {nullptr, k};
  const ColumnTiles tiles = {context.shared, TilesOf(columns), StepsOf(k),
                             TermsOf(step, attrs.parts)};
  const int64_t chunks = CeilDiv(k, kChunk);
  const simd::DenseColumns from(x, unquantized, step.output, 0);
  context.pool.ParallelFor(tiles.count * chunks, kPackGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      PackTile(from, columns, k, tiles, i / chunks, i % chunks);
    }
  });

  const reference::ActivationFunction activate =
      simd::ActivationInPlace<avx512::Isa>(attrs.activation);
  int64_t panels = 0;
  for (int32_t p = 0; p < attrs.parts; ++p) {
    panels += CeilDiv(step.inputs[p].shape[1], kPanelRows);
  }
  const int64_t width = ColumnsPerTask(columns, panels, context.pool.size());
  const int64_t blocks = CeilDiv(columns, width);
  const int64_t task_rows = kPanelRows * PanelsPerTask(panels, blocks, context.pool.size());
  auto tasks_of = [&](int32_t part) { return CeilDiv(step.inputs[part].shape[1], task_rows); };
  auto run_task = [&](int64_t task, int worker) {
    int64_t index = task / blocks;
    const int64_t begin = task % blocks * width, end = std::min(begin + width, columns);
    int32_t part = 0;
    int64_t part_begin = 0;  // in rows of the output
    while (index >= tasks_of(part)) {
      index -= tasks_of(part);
      part_begin += step.inputs[part++].shape[1];
    }
    const Tensor& w = step.inputs[part];
    const int64_t first = index * task_rows;
    const WeightRows rows = {w, 0, first, std::min(task_rows, w.shape[1] - first)};
    float bias[kMostPanels * kPanelRows];
    if (attrs.has_bias) {
      const Tensor& b = step.inputs[attrs.parts + 1 + part];
      quant::DecodeRow(b.type, b.data + quant::RowBytes(b.type, first), bias, rows.count);
    }
    const simd::DenseColumns to(x, unquantized, step.output, part_begin + first);
    MultiplyRows(rows, to, tiles, begin, end, *reinterpret_cast<Scratch*>(context.Scratch(worker)),
                 [&](float* out) {
                   if (attrs.has_bias) {
                     for (int64_t r = 0; r < rows.count; ++r) out[r] += bias[r];
                   }
                   if (activate != nullptr) activate(out, rows.count);
                 });
  };
  int64_t tasks = 0;
  for (int32_t p = 0; p < attrs.parts; ++p) tasks += tasks_of(p) * blocks;
  context.pool.ParallelFor(tasks, 1, [&](int64_t begin, int64_t end, int worker) {
    const TileScope scope;
    for (int64_t task = begin; task < end; ++task) run_task(task, worker);
  });
}

// The rows of x by the expert they chose, in the scratch all workers share, before the tiles. Each
// expert's columns begin a tile.
struct Chosen {
  int32_t* pairs;        // token * top_k + choice, by expert
  int32_t* begins;       // of an expert's pairs; the last is the end
  int32_t* tile_begins;  // of its tiles; the last is the end
  int32_t* experts;      // of a tile
  std::byte* tiles;      // 64-byte aligned

  static int64_t MostTiles(int64_t pairs, int64_t experts) {
    return TilesOf(pairs) + std::min(experts, pairs);
  }
  static int64_t Bytes(int64_t pairs, int64_t experts) {
    const int64_t integers = pairs + 2 * (experts + 1) + MostTiles(pairs, experts);
    return RoundUp(integers * static_cast<int64_t>(sizeof(int32_t)), 64);
  }
  Chosen(std::byte* memory, int64_t pair_count, int64_t expert_count)
      : pairs(reinterpret_cast<int32_t*>(memory)),
        begins(pairs + pair_count),
        tile_begins(begins + expert_count + 1),
        experts(tile_begins + expert_count + 1),
        tiles(memory + Bytes(pair_count, expert_count)) {}
};

void RunMatMulExpert(const Step& step, const RunContext& context) {
  const Tensor& w = step.inputs[0];
  const Tensor& ids = step.inputs[2];
  const int64_t k = w.shape[0], m = w.shape[1], experts = w.shape[2];
  const int64_t top_k = ids.shape[0], pairs = top_k * ids.shape[1];
  auto id = [&](int64_t pair) -> int64_t {
    const int32_t i = ids.RowAs<const int32_t>(pair / top_k)[pair % top_k];
    return i < 0 || i >= experts ? -1 : i;
  };
  Chosen chosen(context.shared, pairs, experts);
  std::fill_n(chosen.begins, experts + 1, 0);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    if (id(pair) >= 0) {
      ++chosen.begins[id(pair)];
    } else {
      std::fill_n(step.output.RowAs<float>(pair), m, 0.0f);
    }
  }
  int32_t pair_sum = 0, tile_sum = 0;
  for (int64_t e = 0; e <= experts; ++e) {
    const int32_t count = chosen.begins[e];
    chosen.begins[e] = pair_sum;
    chosen.tile_begins[e] = tile_sum;
    const auto tiles = static_cast<int32_t>(TilesOf(count));
    std::fill_n(chosen.experts + tile_sum, tiles, static_cast<int32_t>(e));
    pair_sum += count;
    tile_sum += tiles;
  }
  for (int64_t pair = 0; pair < pairs; ++pair) {
    // Each begin moves to its end, which is the next one's begin.
    if (id(pair) >= 0) chosen.pairs[chosen.begins[id(pair)]++] = static_cast<int32_t>(pair);
  }
  std::copy_backward(chosen.begins, chosen.begins + experts, chosen.begins + experts + 1);
  chosen.begins[0] = 0;

  const simd::ActivationRows unquantized = {nullptr, k};
  const int64_t steps = StepsOf(k), terms = TermsOf(step, 1), chunks = CeilDiv(k, kChunk);
  auto tiles_of = [&](int64_t e) -> ColumnTiles {
    const int64_t first = chosen.tile_begins[e];
    return {chosen.tiles + ColumnTiles::Bytes(first, steps, terms),
            chosen.tile_begins[e + 1] - first, steps, terms};
  };
  auto columns_of = [&](int64_t e, int64_t first) {
    return simd::ChosenColumns(step, unquantized, chosen.pairs + chosen.begins[e], first);
  };
  auto count_of = [&](int64_t e) -> int64_t { return chosen.begins[e + 1] - chosen.begins[e]; };
  context.pool.ParallelFor(tile_sum * chunks, kPackGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i / chunks, e = chosen.experts[tile];
      PackTile(columns_of(e, 0), count_of(e), k, tiles_of(e), tile - chosen.tile_begins[e],
               i % chunks);
    }
  });

  const int64_t panels = CeilDiv(m, kPanelRows);
  const int64_t task_rows = kPanelRows * PanelsPerTask(panels, experts, context.pool.size());
  const int64_t tasks = CeilDiv(m, task_rows);  // of an expert
  auto run_task = [&](int64_t task, int worker) {
    const int64_t e = task / tasks, first = task % tasks * task_rows, count = count_of(e);
    const WeightRows rows = {w, e, first, std::min(task_rows, m - first)};
    const simd::ChosenColumns columns = columns_of(e, first);
    for (int64_t begin = 0; begin < count; begin += kMostColumns) {
      MultiplyRows(rows, columns, tiles_of(e), begin, std::min(begin + kMostColumns, count),
                   *reinterpret_cast<Scratch*>(context.Scratch(worker)), [](float*) {});
    }
  };
  context.pool.ParallelFor(experts * tasks, 1, [&](int64_t begin, int64_t end, int worker) {
    const TileScope scope;
    for (int64_t task = begin; task < end; ++task) run_task(task, worker);
  });
}

void PrepareAsExtended(Step& step) {
  avx512::Kernels().prepare[static_cast<size_t>(step.op)](step);
}

}  // namespace

void PrepareMatMul(Step& step) {
  PrepareAsExtended(step);
  const auto& attrs = std::get<graph::MatMulAttrs>(step.attrs);
  const Tensor& x = step.inputs[attrs.parts];
  if (x.rows() <= simd::kFewColumns) return;
  step.origin = kName;
  step.run = &RunMatMul;
  step.worker_scratch = Scratch::Bytes(x.rows());
  step.shared_scratch =
      ColumnTiles::Bytes(TilesOf(x.rows()), StepsOf(x.shape[0]), TermsOf(step, attrs.parts));
}

void PrepareMatMulExpert(Step& step) {
  PrepareAsExtended(step);
  const Tensor& w = step.inputs[0];
  const Tensor& ids = step.inputs[2];
  const int64_t experts = w.shape[2], pairs = ids.shape[0] * ids.shape[1];
  if (pairs <= simd::kFewColumns * experts) return;
  step.origin = kName;
  step.run = &RunMatMulExpert;
  step.worker_scratch = Scratch::Bytes(pairs);
  step.shared_scratch =
      Chosen::Bytes(pairs, experts) +
      ColumnTiles::Bytes(Chosen::MostTiles(pairs, experts), StepsOf(w.shape[0]), TermsOf(step, 1));
}

}  // namespace bantam::cpu::amx
