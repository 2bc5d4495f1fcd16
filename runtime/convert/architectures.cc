#include "runtime/convert/architectures.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::convert {
namespace {

constexpr TensorName kShared[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm"},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q"},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k"},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v"},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output"},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate"},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up"},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down"},
};

constexpr TensorName kMixtralNames[] = {
    {"model.layers.#.block_sparse_moe.gate", "blk.#.ffn_gate_inp"},
    {"model.layers.#.block_sparse_moe.experts.%.w1", "blk.#.ffn_gate_exps"},
    {"model.layers.#.block_sparse_moe.experts.%.w2", "blk.#.ffn_down_exps"},
    {"model.layers.#.block_sparse_moe.experts.%.w3", "blk.#.ffn_up_exps"},
};
constexpr KeyName kMixtralKeys[] = {
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
};

constexpr TensorName kHeadNorms[] = {
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
};
// The rotation of these sees everything; so must the attention.
constexpr Expected kNoWindow[] = {{"use_sliding_window", 0}};

constexpr TensorName kQwenMoeNames[] = {
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
    {"model.layers.#.mlp.gate", "blk.#.ffn_gate_inp"},
    {"model.layers.#.mlp.experts.%.gate_proj", "blk.#.ffn_gate_exps"},
    {"model.layers.#.mlp.experts.%.up_proj", "blk.#.ffn_up_exps"},
    {"model.layers.#.mlp.experts.%.down_proj", "blk.#.ffn_down_exps"},
    {"model.layers.#.mlp.shared_expert.gate_proj", "blk.#.ffn_gate_shexp"},
    {"model.layers.#.mlp.shared_expert.up_proj", "blk.#.ffn_up_shexp"},
    {"model.layers.#.mlp.shared_expert.down_proj", "blk.#.ffn_down_shexp"},
    {"model.layers.#.mlp.shared_expert_gate", "blk.#.ffn_gate_inp_shexp"},
};
constexpr KeyName kQwenMoeKeys[] = {
    {"num_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", KeyName::kInt, false},
};
constexpr Expected kQwen2Moe[] = {{"use_sliding_window", 0},
                                  {"decoder_sparse_step", 1},
                                  {"mlp_only_layers", 0},
                                  {"norm_topk_prob", 0}};
constexpr Expected kQwen3Moe[] = {{"use_sliding_window", 0},
                                  {"decoder_sparse_step", 1},
                                  {"mlp_only_layers", 0},
                                  {"norm_topk_prob", 1}};

constexpr TensorName kGemmaNames[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm"},
    {"model.layers.#.pre_feedforward_layernorm", "blk.#.ffn_norm"},
    {"model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm"},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
};
constexpr KeyName kGemma2Keys[] = {
    {"sliding_window", "attention.sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping", KeyName::kFloat, false},
    {"final_logit_softcapping", "final_logit_softcapping", KeyName::kFloat, false},
};
constexpr KeyName kGemma3Keys[] = {
    {"sliding_window", "attention.sliding_window"},
    {"final_logit_softcapping", "final_logit_softcapping", KeyName::kFloat, false},
    {"rope_local_base_freq", "rope.freq_base_swa", KeyName::kFloat, false},
    {"rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa", KeyName::kFloat, false},
};

constexpr TensorName kPhi3Names[] = {
    {"model.layers.#.self_attn.qkv_proj", "blk.#.attn_qkv"},
    {"model.layers.#.mlp.gate_up_proj", "blk.#.ffn_up"},
};
constexpr KeyName kPhi3Keys[] = {
    {"original_max_position_embeddings", "rope.scaling.original_context_length", KeyName::kInt,
     false},
    {"sliding_window", "attention.sliding_window", KeyName::kInt, false},
};

constexpr TensorName kGraniteMoeNames[] = {
    {"model.layers.#.block_sparse_moe.router.layer", "blk.#.ffn_gate_inp"},
    {"model.layers.#.block_sparse_moe.input_linear", "blk.#.ffn_gate_exps|blk.#.ffn_up_exps"},
    {"model.layers.#.block_sparse_moe.output_linear", "blk.#.ffn_down_exps"},
    {"model.layers.#.shared_mlp.input_linear", "blk.#.ffn_gate_shexp|blk.#.ffn_up_shexp"},
    {"model.layers.#.shared_mlp.output_linear", "blk.#.ffn_down_shexp"},
};
constexpr KeyName kGraniteMoeKeys[] = {
    {"logits_scaling", "logit_scale", KeyName::kFloat},
    {"residual_multiplier", "residual_scale", KeyName::kFloat},
    {"embedding_multiplier", "embedding_scale", KeyName::kFloat},
    {"attention_multiplier", "attention.scale", KeyName::kFloat},
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"intermediate_size", "expert_feed_forward_length"},
    {"shared_intermediate_size", "expert_shared_feed_forward_length", KeyName::kInt, false},
};
// The scales, without what is of experts.
constexpr auto kGraniteKeys = std::span(kGraniteMoeKeys).first<4>();

constexpr TensorName kBertNames[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {"encoder.layer.#.attention.self.query", "blk.#.attn_q"},
    {"encoder.layer.#.attention.self.key", "blk.#.attn_k"},
    {"encoder.layer.#.attention.self.value", "blk.#.attn_v"},
    {"encoder.layer.#.attention.output.dense", "blk.#.attn_output"},
    {"encoder.layer.#.attention.output.LayerNorm", "blk.#.attn_output_norm"},
    {"encoder.layer.#.intermediate.dense", "blk.#.ffn_up"},
    {"encoder.layer.#.output.dense", "blk.#.ffn_down"},
    {"encoder.layer.#.output.LayerNorm", "blk.#.layer_output_norm"},
};
constexpr TensorName kNomicBertNames[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"emb_ln", "token_embd_norm"},
    {"encoder.layers.#.attn.Wqkv", "blk.#.attn_qkv"},
    {"encoder.layers.#.attn.out_proj", "blk.#.attn_output"},
    {"encoder.layers.#.norm1", "blk.#.attn_output_norm"},
    {"encoder.layers.#.mlp.fc11", "blk.#.ffn_up"},
    {"encoder.layers.#.mlp.fc12", "blk.#.ffn_gate"},
    {"encoder.layers.#.mlp.fc2", "blk.#.ffn_down"},
    {"encoder.layers.#.norm2", "blk.#.layer_output_norm"},
};
constexpr Alias kNomicBertAliases[] = {
    {"n_positions", "max_position_embeddings"}, {"n_embd", "hidden_size"},
    {"n_layer", "num_hidden_layers"},           {"n_inner", "intermediate_size"},
    {"n_head", "num_attention_heads"},          {"layer_norm_epsilon", "layer_norm_eps"},
    {"rotary_emb_base", "rope_theta"},
};
constexpr Expected kNomicBert[] = {
    {"rotary_emb_fraction", 1}, {"rotary_emb_interleaved", 0}, {"moe_every_n_layers", 0}};

constexpr TensorName kStarcoder2Names[] = {
    {"model.layers.#.mlp.c_fc", "blk.#.ffn_up"},
    {"model.layers.#.mlp.c_proj", "blk.#.ffn_down"},
};

constexpr TensorName kGptOssNames[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm"},
    {"model.layers.#.mlp.router", "blk.#.ffn_gate_inp"},
    {"model.layers.#.self_attn.sinks", "blk.#.attn_sinks", /*bare=*/true},
};
constexpr KeyName kGptOssKeys[] = {
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"intermediate_size", "expert_feed_forward_length"},
    {"sliding_window", "attention.sliding_window"},
};

constexpr ArchitectureRow kRows[] = {
    {.names = "LlamaForCausalLM LLaMAForCausalLM MistralForCausalLM",
     .target = "llama",
     .interleave_rope = true},
    {.names = "MixtralForCausalLM",
     .target = "llama",
     .extra_names = kMixtralNames,
     .extra_keys = kMixtralKeys,
     .interleave_rope = true},
    {.names = "Qwen2ForCausalLM", .target = "qwen2", .expected = kNoWindow},
    {.names = "Qwen3ForCausalLM",
     .target = "qwen3",
     .extra_names = kHeadNorms,
     .expected = kNoWindow},
    {.names = "Qwen2MoeForCausalLM",
     .target = "qwen2moe",
     .extra_names = kQwenMoeNames,
     .extra_keys = kQwenMoeKeys,
     .expected = kQwen2Moe},
    {.names = "Qwen3MoeForCausalLM",
     .target = "qwen3moe",
     .extra_names = kQwenMoeNames,
     .extra_keys = kQwenMoeKeys,
     .expected = kQwen3Moe},
    {.names = "GemmaForCausalLM", .target = "gemma", .norms_less_one = true, .tied = true},
    {.names = "Gemma2ForCausalLM",
     .target = "gemma2",
     .extra_names = kGemmaNames,
     .extra_keys = kGemma2Keys,
     .norms_less_one = true,
     .tied = true,
     .windows_by_layer = true},
    {.names = "Gemma3ForCausalLM",
     .target = "gemma3",
     .extra_names = kGemmaNames,
     .extra_keys = kGemma3Keys,
     .norms_less_one = true,
     .tied = true,
     .windows_by_layer = true},
    {.names = "Phi3ForCausalLM",
     .target = "phi3",
     .extra_names = kPhi3Names,
     .extra_keys = kPhi3Keys},
    {.names = "GptOssForCausalLM",
     .target = "gpt-oss",
     .extra_names = kGptOssNames,
     .extra_keys = kGptOssKeys,
     .fused_experts = true,
     .windows_by_layer = true},
    {.names = "GraniteForCausalLM",
     .target = "granite",
     .extra_keys = kGraniteKeys,
     .interleave_rope = true},
    {.names = "GraniteMoeForCausalLM GraniteMoeSharedForCausalLM",
     .target = "granitemoe",
     .extra_names = kGraniteMoeNames,
     .extra_keys = kGraniteMoeKeys,
     .interleave_rope = true},
    {.names = "BertModel BertForMaskedLM",
     .target = "bert",
     .extra_names = kBertNames,
     .layer_norm = true,
     .encoder = true,
     .rotates = false,
     .prefix = "bert."},
    {.names = "NomicBertModel",
     .target = "nomic-bert",
     .extra_names = kNomicBertNames,
     .expected = kNomicBert,
     .layer_norm = true,
     .encoder = true,
     .aliases = kNomicBertAliases},
    {.names = "Starcoder2ForCausalLM",
     .target = "starcoder2",
     .extra_names = kStarcoder2Names,
     .tied = true,
     .layer_norm = true},
};

// A whole number without sign or leading zero, so that each layer and expert has one name.
bool IsIndex(absl::string_view text) {
  return !text.empty() && text.size() <= 4 && (text.size() == 1 || text[0] != '0') &&
         std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

struct Match {
  std::string layer;
  int64_t expert = -1;
};

std::optional<Match> MatchName(absl::string_view pattern, absl::string_view name) {
  Match match;
  const std::vector<absl::string_view> expected = absl::StrSplit(pattern, '.');
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  if (expected.size() != parts.size()) return std::nullopt;
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool is_layer = expected[i] == "#", is_expert = expected[i] == "%";
    if (is_layer || is_expert) {
      if (!IsIndex(parts[i])) return std::nullopt;
      if (is_layer) match.layer = std::string(parts[i]);
      if (is_expert && !absl::SimpleAtoi(parts[i], &match.expert)) return std::nullopt;
    } else if (expected[i] != parts[i]) {
      return std::nullopt;
    }
  }
  return match;
}

}  // namespace

absl::StatusOr<const ArchitectureRow*> FindArchitecture(const JsonFile& config) {
  const nlohmann::json* list = config.Find("architectures");
  if (list == nullptr || !list->is_array() || list->empty() || !(*list)[0].is_string()) {
    return config.Error("architectures", "does not name an architecture");
  }
  const std::string name = (*list)[0].get<std::string>();
  std::vector<absl::string_view> known;
  for (const ArchitectureRow& row : kRows) {
    for (absl::string_view candidate : absl::StrSplit(row.names, ' ')) {
      if (candidate == name) return &row;
      known.push_back(candidate);
    }
  }
  return absl::UnimplementedError(absl::StrCat(config.name(), ": the architecture is ",
                                               Printable(name), "; supported are ",
                                               absl::StrJoin(known, ", ")));
}

std::optional<Target> TargetOf(const ArchitectureRow& row, absl::string_view source) {
  absl::ConsumePrefix(&source, row.prefix);
  const size_t dot = source.rfind('.');
  if (dot == absl::string_view::npos) return std::nullopt;
  absl::string_view suffix = source.substr(dot), stem = source.substr(0, dot);
  const bool bare = suffix != ".weight" && suffix != ".bias";
  if (bare) {
    suffix = ".weight";
    stem = source;
  }
  for (const auto names : {row.extra_names, std::span<const TensorName>(kShared)}) {
    for (const TensorName& name : names) {
      if (name.bare != bare) continue;
      const auto match = MatchName(name.source, stem);
      if (!match) continue;
      const std::string of_layer = absl::StrReplaceAll(name.target, {{"#", match->layer}});
      const std::pair<absl::string_view, absl::string_view> halves =
          absl::StrSplit(of_layer, absl::MaxSplits('|', 1));
      Target target{absl::StrCat(halves.first, suffix), "", match->expert};
      if (!halves.second.empty()) target.other_half = absl::StrCat(halves.second, suffix);
      return target;
    }
  }
  return std::nullopt;
}

bool IsIgnored(absl::string_view source) {
  return absl::EndsWith(source, "embeddings.position_ids") ||
         absl::StrContains(source, "pooler.dense.") || absl::StartsWith(source, "cls.") ||
         absl::EndsWith(source, ".rotary_emb.inv_freq") ||
         absl::EndsWith(source, ".attention.bias") ||
         absl::EndsWith(source, ".attention.masked_bias");
}

}  // namespace bantam::convert
