// Every kernel as a function that launches it on a stream, for host code: lowering.cc calls these
// while a stream is being captured, and once before with no stream, which loads the kernel.
// Pointers are to device memory. One .cu file in kernels/ for each group.
#pragma once

#include <cstdint>

#include "backends/cuda/launch.h"
#include "runtime/graph/graph.h"
#include "runtime/quant/type.h"

namespace bantam::cuda {

// A tensor of up to four dimensions; strides in bytes.
struct View {
  unsigned char* data = nullptr;
  int32_t shape[4] = {1, 1, 1, 1};
  int64_t strides[4] = {};
};

// elementwise.cu

enum class ElementOp : int32_t { kUnary, kGated, kAdd, kSub, kMul, kDiv, kScale, kGather };
struct ElementwiseParams {
  View a, b, out;  // a stride of 0 where b is broadcast; out is contiguous
  ElementOp op;
  graph::Activation activation = graph::Activation::kNone;
  float scale = 1, bias = 0;  // kGated: the limit (0: none) and what is added to b
};
void Elementwise(const ElementwiseParams& params, Stream stream);
// Packs `from`, whose shape counts units of 1, 2 or 4 bytes.
void Pack(const View& from, void* to, int unit_bytes, Stream stream);

// rows.cu: a block to a row of x; out is contiguous.

struct RowParams {
  View x;
  void* out;
};
void Softmax(const RowParams& rows, float scale, Stream stream);
void TopK(const RowParams& rows, int k, Stream stream);

// cache.cu

struct RopeParams {
  View x;  // {head_dim, heads, tokens}; no data: nothing to turn
  float* out;
  bool norms;                // heads are divided by their root mean square first
  float* normed;             // where these are written, too; or null
  const float* norm_weight;  // or null
  float epsilon;
  const int32_t* positions;
  const float* factors;  // or null
  const double* turns;   // per position, of each pair
  int32_t pairs;
  float magnitude;
  bool neox;
};
struct KvWriteParams {
  View cache, x;  // no data: nothing to write
  const int32_t* slots;
};
// Q turned; K turned, and written; V written. Each may be missing, or be what the others are not.
struct CacheParams {
  RopeParams q, k;
  KvWriteParams write_k, write_v;  // write_k.x is k.out, where there is that
  quant::Type cache_type;          // kF32, kF16, kQ8_0 or kQ4_0
};
void Cache(const CacheParams& params, Stream stream);

// decode.cu: values of any type to f32. With `ids`, rows of a table of ids.
struct DecodeParams {
  View x;
  float* out;
  const int32_t* ids;  // or null
  int32_t id_count;
  quant::Type type;
};
void Decode(const DecodeParams& params, Stream stream);

// Matrix products: out[column][i] = activation(w[i] . x[column] + bias[i]).

// The columns of x rounded to two planes of int8, by runs of 32 elements: x is scale * (kFine *
// high
// + low), so that high alone is int8 as usual, and both are 16 bits. One allocation of
// QuantizedBytes.
struct QuantizedX {
  int8_t* quants = nullptr;  // [columns][chunks][plane, half of a run][32 runs][16]
  float* scales = nullptr;   // [columns][k / 32]
  float* sums = nullptr;     // [columns][k / 16], of x itself, before rounding
  // Of 32 runs, as many as a warp has lanes: neighbours read neighbouring words of 16 bytes.
  int32_t chunks = 0;
};
inline constexpr int kFine = 254, kPlanes = 2, kChunkBytes = kPlanes * 1024;
inline int64_t Chunks(int64_t k) { return (k + 1023) / 1024; }
inline int64_t QuantizedBytes(int64_t k, int64_t columns) {
  return columns * (Chunks(k) * kChunkBytes + k / 32 * 12 + 48);
}
QuantizedX QuantizedAt(void* memory, int64_t k, int64_t columns);
// x's rows are the columns of the product.
void Quantize(const View& x, const QuantizedX& out, Stream stream);

// rows.cu: out = norm(x), or sum = x + y and out = norm(sum), and out rounded where `rounded` is
// given. A block to a row; sum and out are contiguous.
struct NormParams {
  View x, y;
  float* sum;  // null: no y
  float* out;
  bool layer;
  float epsilon;
  const float *weight, *bias;  // or null
  QuantizedX rounded;
};
void Norm(const NormParams& params, Stream stream);

// quantize.cu: out = activation(gate) * up, as elementwise.cu has it, and out rounded.
struct GatedParams {
  View gate, up;
  float* out;  // contiguous
  graph::Activation activation;
  float limit, up_offset;
  QuantizedX rounded;
};
void Gated(const GatedParams& params, Stream stream);

// The columns of x in 16 bits: F16 after division by a scale each, or BF16, whose 8 bits are too
// few, in two planes, of which the second is what the first leaves.
struct HalvedX {
  uint16_t* halves = nullptr;  // [columns][planes][padded], zeros from k on
  float* scales = nullptr;     // [columns]
  int32_t planes = 1, padded = 0;
};
int64_t HalvedBytes(quant::Type type, int64_t k, int64_t columns);
HalvedX HalvedAt(quant::Type type, void* memory, int64_t k, int64_t columns);
void Halve(quant::Type type, const View& x, const HalvedX& out, Stream stream);

struct MatMulParams {
  const unsigned char* w = nullptr;
  int64_t w_stride = 0;  // bytes from row to row
  quant::Type type = quant::Type::kF32;
  int32_t k = 0, m = 0, columns = 0;
  View x;                    // where the type is plain
  QuantizedX quantized;      // where it is not
  int32_t planes = kPlanes;  // of x that TileInt8 multiplies: the high one, or both
  HalvedX halved;            // TileHalf
  float* out = nullptr;
  int64_t out_stride = 0;  // elements from column to column
  const float* bias = nullptr;
  // Further matrices, stacked below w in the rows of the product: the one of a row is the last
  // whose first row is not past it.
  struct Part {
    const unsigned char* w = nullptr;
    const float* bias = nullptr;
    int32_t first = INT32_MAX;
  };
  static constexpr int kMore = 2;
  Part more[kMore];
  graph::Activation activation = graph::Activation::kNone;
  // Experts: column c is of expert ids[c] (zeros where that is none) and of row
  // min(c % top_k, x_rows - 1) of the x_rows rows of token c / top_k.
  const int32_t* ids = nullptr;
  int64_t expert_stride = 0;
  int32_t experts = 0, top_k = 1, x_rows = 1;
  // Experts in tiles: what PlanExperts makes.
  const int32_t* order = nullptr;  // columns, grouped by expert
  const int32_t* tiles = nullptr;  // {expert, first in order, columns} each
};
// The columns of a tile, and the most columns the vector kernels take.
inline constexpr int kTileColumns = 64, kVectorColumns = 8;
inline int MaxTiles(int columns, int experts) { return columns / kTileColumns + experts; }
// Bytes of order and tiles.
inline int64_t PlanBytes(int columns, int experts) {
  return 4 * (int64_t{columns} + 3 * MaxTiles(columns, experts) + experts + 1);
}
inline constexpr int kMaxPlannedExperts = 4096;
// Groups columns by expert into `plan` and points params.order and params.tiles there. Columns of
// no expert are left out: their outputs must be zeroed before.
void PlanExperts(MatMulParams& params, void* plan, Stream stream);

void VectorInt8(const MatMulParams& params, Stream stream);   // matvec_*.cu
void VectorFloat(const MatMulParams& params, Stream stream);  // matmul_float.cu
void TileInt8(const MatMulParams& params, Stream stream);     // matmul_*.cu
void TileFloat(const MatMulParams& params, Stream stream);    // matmul_float.cu
void TileHalf(const MatMulParams& params, Stream stream);     // matmul_half.cu
// F16, and BF16 from compute capability 8.0 on, in whole 16-byte words.
bool CanTileHalf(const MatMulParams& p, int capability);
// matmul_half.cu: out = activation(scale * out + bias), of products that were computed without;
// with the scales of p.halved where it has some.
void FinishProduct(const MatMulParams& params, Stream stream);
void Zero(float* out, int64_t count, Stream stream);  // elementwise.cu

// attention.cu, and attention_tile.cu for many pairs.

struct AttentionParams {
  View q, k, v;  // {head_dim, heads, n}, {head_dim, kv_heads, context}, {v_dim, kv_heads, context}
  quant::Type k_type, v_type;
  const int32_t* q_cells;
  const int32_t* kv_cells;
  const int32_t* kv_length;
  const float* sinks;  // or null
  float* out;
  float* parts;  // where splits > 1
  int32_t splits;
  QuantizedX rounded;  // where given: out rounded too, as columns of all heads of a query
  float scale, softcap;
  int32_t window;
  bool causal;
};
inline constexpr int kMaxHead = 512;  // values of a head of V
// Elements of `parts`.
inline int64_t PartElements(int64_t v_dim, int64_t heads, int64_t n, int64_t splits) {
  return (v_dim + 2) * heads * n * splits;
}
// How many (query, head) pairs of one KV head a block works on.
int AttentionPairs(const AttentionParams& params);
void Attention(const AttentionParams& params, Stream stream);
bool CanRoundAttention(const AttentionParams& params);  // whether `rounded` may be given
bool CanTileAttention(const AttentionParams& params);
int AttentionTilePairs(const AttentionParams& params);
void AttentionTile(const AttentionParams& params, Stream stream);

}  // namespace bantam::cuda
