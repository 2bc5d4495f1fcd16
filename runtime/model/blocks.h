// The building blocks that architectures share. They append to a graph and check nothing: Infer
// does that afterwards.
#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"
#include "runtime/model/architecture.h"

namespace bantam::model {

// The inputs every step has (see architecture.h), added to a graph.
struct StepInputs {
  graph::ValueId tokens, positions, slots, query_cells, kv_cells, kv_length, output_rows;
};

class GraphBuilder {
 public:
  GraphBuilder(const gguf::File& file, const GraphOptions& options);

  graph::Graph& graph() { return graph_; }
  const StepInputs& inputs() const { return inputs_; }
  // Runs inference and hands the graph over.
  absl::StatusOr<graph::Graph> Finish(graph::ValueId logits);

  // A tensor of the file by name, added to the graph once; kNone when the file has none.
  graph::ValueId Weight(absl::string_view name);

  graph::ValueId Embed(absl::string_view table);
  // norm(x) * <name>.weight [+ <name>.bias]
  graph::ValueId Norm(graph::ValueId x, absl::string_view name, const graph::NormAttrs& attrs);
  // <name>.weight x [+ <name>.bias]
  graph::ValueId Linear(graph::ValueId x, absl::string_view name);
  graph::ValueId Add(graph::ValueId a, graph::ValueId b, absl::string_view name);
  // {width * heads, n} -> {width, heads, n}
  graph::ValueId SplitHeads(graph::ValueId x, int64_t width, int64_t heads, absl::string_view name);

  // Grouped-query self-attention over the KV cache of one layer, with the output projection.
  // Reads <prefix>attn_q, attn_k, attn_v, attn_output; `freq_factors` may be kNone.
  struct AttentionBlock {
    graph::RopeAttrs rope;
    graph::AttentionAttrs attention;
    graph::ValueId freq_factors = graph::kNone;
  };
  graph::ValueId SelfAttention(graph::ValueId x, int layer, const Config& config,
                               const AttentionBlock& block);
  // down(activation(gate(x)) * up(x)) from <prefix>ffn_gate, ffn_up, ffn_down.
  graph::ValueId GatedFeedForward(graph::ValueId x, int layer, graph::Activation activation);
  // The rows whose logits are wanted.
  graph::ValueId OutputRows(graph::ValueId x, absl::string_view name);

 private:
  const gguf::File& file_;
  GraphOptions options_;
  graph::Graph graph_;
  StepInputs inputs_;
  absl::flat_hash_map<std::string, graph::ValueId> weights_;
};

// "blk.3."
std::string LayerPrefix(int layer);

}  // namespace bantam::model
