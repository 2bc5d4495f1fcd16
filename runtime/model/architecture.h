// From GGUF hyper-parameters to a graph. One file per architecture registers itself here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"

namespace bantam::model {

// How the rows of a text become one embedding (<arch>.pooling_type).
enum class Pooling : uint8_t { kNone, kMean, kCls, kLast };

// What the engine needs to know of any model.
struct Config {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, or ""
  int64_t vocab_size = 0;
  int64_t context_length = 0;  // tokens the model was trained for
  int64_t embedding_length = 0;
  int64_t block_count = 0;
  int64_t head_count = 0;     // of the layer with most
  int64_t head_count_kv = 0;  // of the layer with most
  // By layer, where they differ; else empty.
  std::vector<int64_t> head_counts, head_counts_kv;
  int64_t HeadCount(int layer) const {
    return head_counts.empty() ? head_count : head_counts[layer];
  }
  int64_t HeadCountKv(int layer) const {
    return head_counts_kv.empty() ? head_count_kv : head_counts_kv[layer];
  }
  int64_t key_length = 0;    // elements of one K head
  int64_t value_length = 0;  // elements of one V head
  // Whether a token sees only those before it. Where not, a whole text must be in one step.
  bool causal = true;
  bool has_logits = true;  // an encoder gives embeddings alone
  Pooling pooling = Pooling::kNone;
  // By layer: tokens it looks back over, itself included; 0: all. Empty: all, in every layer.
  std::vector<int32_t> windows;
};

struct GraphOptions {
  int64_t rows = 1;         // tokens in one step
  int64_t output_rows = 1;  // rows whose logits are computed, chosen by the input "output_rows"
  int64_t context = 0;      // cells of the KV cache
  // Cells of the KV cache of layers with a window, which need not hold more than that; 0: as many
  // as the others.
  int64_t window_cells = 0;
  quant::Type kv_type = quant::Type::kF16;
  bool embeddings = false;  // the last hidden states of the output rows in place of their logits
};

// Names of the inputs and outputs of a graph, which the engine binds.
inline constexpr char kInputTokens[] = "tokens";           // i32 {rows}
inline constexpr char kInputPositions[] = "positions";     // i32 {rows}
inline constexpr char kInputSlots[] = "slots";             // i32 {rows}
inline constexpr char kInputQueryCells[] = "query_cells";  // i32 {2, rows}: position, sequence
inline constexpr char kInputKvCells[] = "kv_cells";        // i32 {2, context}: position, sequence
inline constexpr char kInputKvLength[] = "kv_length";      // i32 {1}: cells in use
// The same of the layers with a window, where a model has any.
inline constexpr char kInputWindowSlots[] = "window_slots";    // i32 {rows}
inline constexpr char kInputWindowCells[] = "window_cells";    // i32 {2, window_cells}
inline constexpr char kInputWindowLength[] = "window_length";  // i32 {1}
inline constexpr char kInputOutputRows[] = "output_rows";      // i32 {output_rows}
inline constexpr char kOutputLogits[] = "logits";              // f32 {vocab_size, output_rows}
inline constexpr char kOutputEmbeddings[] = "embeddings";  // f32 {embedding_length, output_rows}

// One model: hyper-parameters read and checked against the tensors in the file. Immutable.
class Architecture {
 public:
  virtual ~Architecture() = default;
  const Config& config() const { return config_; }
  // Weights are named and shaped as in the file; states (the KV cache) are named by layer. The
  // graph is inferred and not yet optimised.
  virtual absl::StatusOr<graph::Graph> BuildGraph(const GraphOptions& options) const = 0;

 protected:
  Config config_;
};

using Factory = absl::StatusOr<std::unique_ptr<Architecture>> (*)(const gguf::File& file);
struct Registration {
  Registration(absl::string_view name, Factory factory);
};

// Chooses by general.architecture. kUnimplemented names an unknown one and lists those known;
// kInvalidArgument names the key or tensor that is missing or has the wrong shape.
absl::StatusOr<std::unique_ptr<Architecture>> Open(const gguf::File& file);

}  // namespace bantam::model
