#include "runtime/convert/architectures.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
constexpr TensorName kHeadNorms[] = {
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
};

constexpr ArchitectureRow kRows[] = {
    {"LlamaForCausalLM LLaMAForCausalLM MistralForCausalLM", "llama", {}, true},
    {"Qwen2ForCausalLM", "qwen2", {}, false},
    {"Qwen3ForCausalLM", "qwen3", kHeadNorms, false},
};

constexpr absl::string_view kLayers = "model.layers.";

// Puts the values of the keys that every architecture has.
struct IntKey {
  const char* source;
  const char* target;
  bool required;
};
constexpr IntKey kIntKeys[] = {
    {"max_position_embeddings", "context_length", true},
    {"hidden_size", "embedding_length", true},
    {"num_hidden_layers", "block_count", true},
    {"intermediate_size", "feed_forward_length", true},
    {"num_attention_heads", "attention.head_count", true},
    {"num_key_value_heads", "attention.head_count_kv", false},
    {"head_dim", "attention.key_length", false},
    {"head_dim", "attention.value_length", false},
    {"vocab_size", "vocab_size", false},
};

class MetadataWriter {
 public:
  MetadataWriter(const JsonFile& config, const ArchitectureRow& row, gguf::Writer& writer)
      : config_(config), row_(row), writer_(writer) {}

  void Set(absl::string_view key, gguf::MetaValue value) {
    writer_.Set(absl::StrCat(row_.target, ".", key), std::move(value));
  }

  absl::Status Ints() {
    for (const IntKey& key : kIntKeys) {
      BANTAM_ASSIGN_OR_RETURN(const auto value, config_.Int(key.source));
      if (!value && key.required) return config_.Error(key.source, "is missing");
      if (!value) continue;
      if (*value < 1 || *value > INT32_MAX) return config_.Error(key.source, "is out of range");
      Set(key.target, static_cast<uint32_t>(*value));
    }
    return absl::OkStatus();
  }

  // The base of the rotation and what changes it, from "rope_scaling" or "rope_parameters".
  absl::Status Rope(int64_t head_length, HyperParameters& out) {
    const std::string scaling =
        config_.Find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters";
    BANTAM_ASSIGN_OR_RETURN(auto theta, config_.Number("rope_theta"));
    if (!theta) {
      BANTAM_ASSIGN_OR_RETURN(theta, config_.Number("rope_parameters.rope_theta"));
    }
    const double base = theta.value_or(10000.0);
    if (!(base > 0) || std::isinf(base)) return config_.Error("rope_theta", "is not positive");
    Set("rope.freq_base", static_cast<float>(base));
    Set("rope.dimension_count", static_cast<uint32_t>(head_length));
    BANTAM_ASSIGN_OR_RETURN(auto type, config_.String(scaling + ".rope_type"));
    if (!type) {
      BANTAM_ASSIGN_OR_RETURN(type, config_.String(scaling + ".type"));
    }
    if (!type || *type == "default") return absl::OkStatus();
    BANTAM_ASSIGN_OR_RETURN(const auto factor, config_.Number(scaling + ".factor"));
    if (!factor || !(*factor > 0)) return config_.Error(scaling + ".factor", "is no factor");
    BANTAM_ASSIGN_OR_RETURN(const auto original,
                            config_.Int(scaling + ".original_max_position_embeddings"));
    if (*type == "linear" || *type == "yarn") {
      Set("rope.scaling.type", absl::string_view(*type == "linear" ? "linear" : "yarn"));
      Set("rope.scaling.factor", static_cast<float>(*factor));
      if (original) Set("rope.scaling.original_context_length", static_cast<uint32_t>(*original));
      return absl::OkStatus();
    }
    if (*type == "llama3") {
      return Llama3Factors(scaling, base, head_length, *factor, original.value_or(8192), out);
    }
    return absl::UnimplementedError(absl::StrCat(config_.name(), ": ", scaling, " is of type '",
                                                 Printable(*type),
                                                 "'; supported are linear, yarn and llama3"));
  }

 private:
  // Grattafiori et al. 2024 and the reference code of Llama 3.1: low frequencies are divided by
  // the factor, high ones kept, those between interpolated.
  absl::Status Llama3Factors(const std::string& scaling, double base, int64_t head_length,
                             double factor, int64_t original, HyperParameters& out) {
    BANTAM_ASSIGN_OR_RETURN(const auto low, config_.Number(scaling + ".low_freq_factor"));
    BANTAM_ASSIGN_OR_RETURN(const auto high, config_.Number(scaling + ".high_freq_factor"));
    const double low_factor = low.value_or(1), high_factor = high.value_or(4);
    if (!(low_factor > 0) || !(high_factor > low_factor)) {
      return config_.Error(scaling + ".high_freq_factor", "is not above low_freq_factor");
    }
    for (int64_t i = 0; i < head_length / 2; ++i) {
      const double frequency =
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head_length));
      const double turns = static_cast<double>(original) * frequency / (2 * M_PI);
      const double smooth = std::clamp((turns - low_factor) / (high_factor - low_factor), 0.0, 1.0);
      out.rope_factors.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
    return absl::OkStatus();
  }

  const JsonFile& config_;
  const ArchitectureRow& row_;
  gguf::Writer& writer_;
};

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

std::optional<std::string> TargetName(const ArchitectureRow& row, absl::string_view source) {
  const size_t dot = source.rfind('.');
  if (dot == absl::string_view::npos) return std::nullopt;
  const absl::string_view suffix = source.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  std::string stem(source.substr(0, dot));
  std::string layer;
  if (absl::StartsWith(stem, kLayers)) {
    const size_t end = stem.find('.', kLayers.size());
    if (end == std::string::npos) return std::nullopt;
    layer = stem.substr(kLayers.size(), end - kLayers.size());
    // No sign, no leading zero: each layer has one name.
    const bool digits = !layer.empty() && layer.size() <= 4 &&
                        std::all_of(layer.begin(), layer.end(), absl::ascii_isdigit);
    if (!digits || (layer.size() > 1 && layer[0] == '0')) return std::nullopt;
    stem.replace(kLayers.size(), layer.size(), "#");
  }
  for (const auto names : {row.extra_names, std::span<const TensorName>(kShared)}) {
    for (const TensorName& name : names) {
      if (name.source != stem) continue;
      std::string target = absl::StrCat(name.target, suffix);
      if (const size_t at = target.find('#'); at != std::string::npos) target.replace(at, 1, layer);
      return target;
    }
  }
  return std::nullopt;
}

bool IsIgnored(absl::string_view source) {
  return absl::EndsWith(source, ".rotary_emb.inv_freq") ||
         absl::EndsWith(source, ".attention.bias") ||
         absl::EndsWith(source, ".attention.masked_bias");
}

absl::StatusOr<HyperParameters> WriteHyperParameters(const JsonFile& config,
                                                     const ArchitectureRow& row,
                                                     gguf::Writer& writer) {
  HyperParameters out;
  MetadataWriter metadata(config, row, writer);
  BANTAM_RETURN_IF_ERROR(metadata.Ints());
  BANTAM_ASSIGN_OR_RETURN(const auto heads, config.Int("num_attention_heads"));
  BANTAM_ASSIGN_OR_RETURN(const auto heads_kv, config.Int("num_key_value_heads"));
  BANTAM_ASSIGN_OR_RETURN(const auto width, config.Int("hidden_size"));
  BANTAM_ASSIGN_OR_RETURN(const auto head_length, config.Int("head_dim"));
  BANTAM_ASSIGN_OR_RETURN(const auto layers, config.Int("num_hidden_layers"));
  BANTAM_ASSIGN_OR_RETURN(const auto tied, config.Bool("tie_word_embeddings"));
  BANTAM_ASSIGN_OR_RETURN(const auto epsilon, config.Number("rms_norm_eps"));
  out.heads = *heads;
  out.heads_kv = heads_kv.value_or(*heads);
  out.layers = *layers;
  out.tied = tied.value_or(false);
  const int64_t head = head_length.value_or(*width / out.heads);
  if (head < 2 || head % 2 != 0) {
    return config.Error("num_attention_heads", absl::StrCat("makes heads of ", head, " elements"));
  }
  metadata.Set("attention.head_count_kv", static_cast<uint32_t>(out.heads_kv));
  if (!epsilon || !(*epsilon >= 0)) return config.Error("rms_norm_eps", "is missing or negative");
  metadata.Set("attention.layer_norm_rms_epsilon", static_cast<float>(*epsilon));
  BANTAM_RETURN_IF_ERROR(metadata.Rope(head, out));
  return out;
}

}  // namespace bantam::convert
