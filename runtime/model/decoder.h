// The decoder-only transformer, which most language models are. What sets one apart from another is
// data: each architecture's file fills a DecoderSpec from hyper-parameters.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/model/architecture.h"
#include "runtime/model/blocks.h"
#include "runtime/model/hyper_parameters.h"

namespace bantam::model {

enum class FeedForward : uint8_t {
  kGated,    // ffn_gate, ffn_up, ffn_down
  kStacked,  // the same; ffn_up holds the gate and then the rest
  kPlain,    // ffn_up, ffn_down
};

// For every layer:
//
//   x += residual_scale * [post_attention_norm] attention(attn_norm x)
//   x += residual_scale * [post_ffw_norm] (feed-forward or experts + shared expert)(ffn_norm x)
//
// before it x = embedding_scale * token_embd[token], after it
// logits = logit_softcap(logit_scale * output(output_norm x)).
struct DecoderSpec {
  Config config;
  graph::NormAttrs norm;
  graph::RopeAttrs rope;
  graph::RopeAttrs local_rope;      // of layers with a window
  graph::AttentionAttrs attention;  // of every layer, but for the window
  bool head_norm = false;           // attn_q_norm and attn_k_norm, of each head
  bool sinks = false;               // attn_sinks
  bool post_norms = false;          // post_attention_norm and post_ffw_norm
  absl::string_view ffn_norm = "ffn_norm";
  FeedForward feed_forward = FeedForward::kGated;
  graph::Activation activation = graph::Activation::kSilu;
  int64_t feed_forward_length = 0;            // of the first layer; 0: not said
  std::vector<int64_t> feed_forward_lengths;  // by layer, of a dense model
  GraphBuilder::ExpertsBlock experts;
  int64_t expert_length = 0;
  int64_t shared_length = 0;  // 0: no shared expert
  bool shared_gate = false;
  float embedding_scale = 1;
  float residual_scale = 1;
  float logit_scale = 1;
  float logit_softcap = 0;
};

// Reads what nearly all have: config, norm, rope, attention scale (1/sqrt(key_length) unless
// attention.scale says otherwise), feed_forward_length, and expert_count, expert_used_count,
// expert_feed_forward_length (feed_forward_length where it is missing).
absl::StatusOr<DecoderSpec> ReadDecoderSpec(const HyperParameters& params, graph::NormKind norm,
                                            graph::RopeLayout layout);

// kInvalidArgument when the model has no experts.
absl::Status RequireExperts(const HyperParameters& params, const DecoderSpec& spec);

// 0 or a positive number.
absl::StatusOr<float> ReadSoftCap(const HyperParameters& params, absl::string_view key,
                                  float fallback);

// Checks the tensors against the spec. `file` must outlive the result.
absl::StatusOr<std::unique_ptr<Architecture>> MakeDecoder(const gguf::File& file, DecoderSpec spec);

}  // namespace bantam::model
