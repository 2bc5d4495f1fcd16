// The building blocks that architectures share. They append to a graph and check nothing: Infer
// does that afterwards.
#pragma once

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"
#include "runtime/model/architecture.h"

namespace bantam::model {

// Where a step writes to a KV cache, and what is in it.
struct CacheInputs {
  graph::ValueId slots = graph::kNone, cells = graph::kNone, length = graph::kNone;
  int64_t count = 0;  // of cells
};

// The inputs every step has (see architecture.h), added to a graph.
struct StepInputs {
  graph::ValueId tokens, positions, query_cells, output_rows;
  CacheInputs cache;         // of layers that see everything
  CacheInputs window_cache;  // of layers with a window; added with the first of them
};

class GraphBuilder {
 public:
  GraphBuilder(const gguf::File& file, const GraphOptions& options);

  graph::Graph& graph() { return graph_; }
  const StepInputs& inputs() const { return inputs_; }
  // Calls `output` by `name`, runs inference and hands the graph over.
  absl::StatusOr<graph::Graph> Finish(graph::ValueId output, absl::string_view name);

  // A tensor of the file by name, added to the graph once; kNone when the file has none.
  graph::ValueId Weight(absl::string_view name);

  graph::ValueId Embed(absl::string_view table);
  // norm(x) * <name>.weight [+ <name>.bias]
  graph::ValueId Norm(graph::ValueId x, absl::string_view name, const graph::NormAttrs& attrs);
  // <name>.weight x [+ <name>.bias]
  graph::ValueId Linear(graph::ValueId x, absl::string_view name);
  graph::ValueId Add(graph::ValueId a, graph::ValueId b, absl::string_view name);
  graph::ValueId Mul(graph::ValueId a, graph::ValueId b, absl::string_view name);
  // x itself when `scale` is 1.
  graph::ValueId Scale(graph::ValueId x, float scale, absl::string_view name);
  // cap * tanh(x / cap); x itself when `cap` is 0.
  graph::ValueId SoftCap(graph::ValueId x, float cap, absl::string_view name);
  // {width * heads, n} -> {width, heads, n}
  graph::ValueId SplitHeads(graph::ValueId x, int64_t width, int64_t heads, absl::string_view name);

  // Grouped-query self-attention over the KV cache of one layer, with the output projection.
  // Reads <prefix>attn_q, attn_k, attn_v or the three stacked in attn_qkv; attn_sinks, if there
  // are any; attn_output.
  struct AttentionBlock {
    graph::RopeAttrs rope;  // n_dims 0: none
    graph::AttentionAttrs attention;
    graph::ValueId freq_factors = graph::kNone;
    // Of each head of Q and K before the rotation: <prefix>attn_q_norm, attn_k_norm.
    std::optional<graph::NormAttrs> head_norm;
  };
  graph::ValueId SelfAttention(graph::ValueId x, int layer, const Config& config,
                               const AttentionBlock& block);

  // down(activation(gate(x)) * up(x)) from <prefix>ffn_gate, ffn_up, ffn_down; `suffix` follows
  // these names. Without a gate in the file, ffn_up holds the gate and then the rest.
  graph::ValueId GatedFeedForward(graph::ValueId x, int layer, graph::Activation activation,
                                  absl::string_view suffix = "");
  // down(activation(up(x)))
  graph::ValueId PlainFeedForward(graph::ValueId x, int layer, graph::Activation activation);

  // A gated feed-forward for each of many experts, few of which each token is sent to. Reads
  // <prefix>ffn_gate_inp, ffn_gate_exps, ffn_up_exps, ffn_down_exps, all with or without bias.
  struct ExpertsBlock {
    int32_t count = 0;  // 0: a dense model
    int32_t used = 0;   // by each token
    // Whether the weights of the chosen experts add up to 1, or keep their share among all.
    bool renormalize = true;
    graph::ActivationAttrs activation;
  };
  graph::ValueId Experts(graph::ValueId x, int layer, const ExpertsBlock& block);
  // What every token goes through besides: <prefix>ffn_{gate,up,down}_shexp, scaled by the sigmoid
  // of ffn_gate_inp_shexp where there is one.
  graph::ValueId SharedExpert(graph::ValueId x, int layer, graph::Activation activation);

  // The rows whose logits are wanted. What is built from then on has so many rows.
  graph::ValueId OutputRows(graph::ValueId x, absl::string_view name);

 private:
  // The inputs of the KV cache of layers with or without a window.
  const CacheInputs& CacheOf(bool has_window);
  CacheInputs AddCache(int64_t count, absl::string_view slots, absl::string_view cells,
                       absl::string_view length);
  // Elements `first` to `first + width * heads` of every row of x {total, n} -> {width, heads, n}.
  graph::ValueId SliceHeads(graph::ValueId x, int64_t total, int64_t first, int64_t width,
                            int64_t heads, absl::string_view name);
  // w[:, :, ids] x + b[:, ids]
  graph::ValueId ExpertLinear(graph::ValueId x, graph::ValueId ids, int32_t used,
                              absl::string_view name);

  const gguf::File& file_;
  GraphOptions options_;
  int64_t rows_;  // of what is being built: options_.rows, then options_.output_rows
  graph::Graph graph_;
  StepInputs inputs_;
  absl::flat_hash_map<std::string, graph::ValueId> weights_;
};

// "blk.3."
std::string LayerPrefix(int layer);

}  // namespace bantam::model
