// What config.json says about a model, as GGUF's metadata says it.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/convert/architectures.h"

namespace bantam::convert {
namespace {

// The keys that every architecture has.
constexpr KeyName kSharedKeys[] = {
    {"max_position_embeddings", "context_length"},
    {"hidden_size", "embedding_length"},
    {"num_hidden_layers", "block_count"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv", KeyName::kInt, false},
    {"head_dim", "attention.key_length", KeyName::kInt, false},
    {"head_dim", "attention.value_length", KeyName::kInt, false},
    {"vocab_size", "vocab_size", KeyName::kInt, false},
};

class MetadataWriter {
 public:
  MetadataWriter(const JsonFile& config, const ArchitectureRow& row, gguf::Writer& writer)
      : config_(config), row_(row), writer_(writer) {}

  void Set(absl::string_view key, gguf::MetaValue value) {
    writer_.Set(absl::StrCat(row_.target, ".", key), std::move(value));
  }

  absl::Status Keys(std::span<const KeyName> keys) {
    for (const KeyName& key : keys) BANTAM_RETURN_IF_ERROR(PutKey(key));
    return absl::OkStatus();
  }

  absl::Status CheckExpected() const {
    for (const Expected& expected : row_.expected) {
      const nlohmann::json* value = config_.Find(expected.source);
      if (value == nullptr) continue;
      const double found = value->is_array()     ? static_cast<double>(value->size())
                           : value->is_boolean() ? static_cast<double>(value->get<bool>())
                           : value->is_number()  ? value->get<double>()
                                                 : -1;
      if (found != expected.value) {
        return absl::UnimplementedError(absl::StrCat(config_.name(), ": ", expected.source, " is ",
                                                     Printable(value->dump()), ", which ",
                                                     row_.target, " models here do without"));
      }
    }
    return absl::OkStatus();
  }

  // The base of the rotation and what changes it, from "rope_scaling" or "rope_parameters".
  absl::Status Rope(int64_t head_length, HyperParameters& out) {
    std::string scaling =
        config_.Find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters";
    // Where some layers rotate in another way, this is of those that see everything.
    const std::string full = "rope_parameters.full_attention";
    if (config_.Find(full) != nullptr) scaling = full;
    BANTAM_ASSIGN_OR_RETURN(auto theta, config_.Number("rope_theta"));
    for (const std::string& place : {full, std::string("rope_parameters")}) {
      if (theta) break;
      BANTAM_ASSIGN_OR_RETURN(theta, config_.Number(place + ".rope_theta"));
    }
    const double base = theta.value_or(10000.0);
    if (!(base > 0) || std::isinf(base)) return config_.Error("rope_theta", "is not positive");
    Set("rope.freq_base", static_cast<float>(base));
    BANTAM_ASSIGN_OR_RETURN(const auto partial, config_.Number("partial_rotary_factor"));
    const auto rotated =
        static_cast<int64_t>(static_cast<double>(head_length) * partial.value_or(1));
    if (rotated < 2 || rotated > head_length || rotated % 2 != 0) {
      return config_.Error("partial_rotary_factor",
                           absl::StrCat("makes ", rotated, " rotated elements of ", head_length));
    }
    Set("rope.dimension_count", static_cast<uint32_t>(rotated));
    BANTAM_ASSIGN_OR_RETURN(auto type, config_.String(scaling + ".rope_type"));
    if (!type) {
      BANTAM_ASSIGN_OR_RETURN(type, config_.String(scaling + ".type"));
    }
    if (!type || *type == "default") return absl::OkStatus();
    if (*type == "longrope" || *type == "su") return LongRope(scaling, rotated / 2, out);
    BANTAM_ASSIGN_OR_RETURN(const auto factor, config_.Number(scaling + ".factor"));
    if (!factor || !(*factor > 0)) return config_.Error(scaling + ".factor", "is no factor");
    BANTAM_ASSIGN_OR_RETURN(const auto original,
                            config_.Int(scaling + ".original_max_position_embeddings"));
    if (*type == "linear" || *type == "yarn") {
      Set("rope.scaling.type", absl::string_view(*type == "linear" ? "linear" : "yarn"));
      Set("rope.scaling.factor", static_cast<float>(*factor));
      if (original) Set("rope.scaling.original_context_length", static_cast<uint32_t>(*original));
      for (const char* bound : {"beta_fast", "beta_slow"}) {
        BANTAM_ASSIGN_OR_RETURN(const auto turns,
                                config_.Number(absl::StrCat(scaling, ".", bound)));
        if (turns) Set(absl::StrCat("rope.scaling.yarn_", bound), static_cast<float>(*turns));
      }
      return absl::OkStatus();
    }
    if (*type == "llama3") {
      return Llama3Factors(scaling, base, rotated, *factor, original.value_or(8192), out);
    }
    return absl::UnimplementedError(
        absl::StrCat(config_.name(), ": ", scaling, " is of type '", Printable(*type),
                     "'; supported are linear, yarn, longrope and llama3"));
  }

  // Which layers see only a window: of every so many all but the last, or as a list says.
  absl::Status Windows(int64_t layers, HyperParameters& out) {
    const nlohmann::json* types = config_.Find("layer_types");
    if (types == nullptr) {
      for (const char* source : {"sliding_window_pattern", "_sliding_window_pattern"}) {
        BANTAM_ASSIGN_OR_RETURN(const auto period, config_.Int(source));
        if (!period) continue;
        if (*period < 1 || *period > 4096) return config_.Error(source, "is out of range");
        Set(kWindowPattern, static_cast<uint32_t>(*period));
      }
      return absl::OkStatus();
    }
    if (!types->is_array() || static_cast<int64_t>(types->size()) != layers) {
      return config_.Error("layer_types", absl::StrCat("does not list ", layers, " layers"));
    }
    for (const nlohmann::json& type : *types) {
      if (type != "sliding_attention" && type != "full_attention") {
        return config_.Error("layer_types",
                             "names something other than sliding_attention and "
                             "full_attention");
      }
      out.windowed.push_back(type == "sliding_attention" ? 1 : 0);
    }
    const auto first_full = std::find(out.windowed.begin(), out.windowed.end(), 0);
    const int64_t period = first_full - out.windowed.begin() + 1;
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (out.windowed[layer] != (layer % period < period - 1 ? 1 : 0)) return absl::OkStatus();
    }
    out.windowed.clear();
    Set(kWindowPattern, static_cast<uint32_t>(period));
    return absl::OkStatus();
  }

  absl::Status Encoder() {
    Set("attention.causal", false);
    BANTAM_ASSIGN_OR_RETURN(const auto types, config_.Int("type_vocab_size"));
    if (types && (*types < 1 || *types > INT32_MAX)) {
      return config_.Error("type_vocab_size", "is out of range");
    }
    writer_.Set("tokenizer.ggml.token_type_count", static_cast<uint32_t>(types.value_or(2)));
    BANTAM_ASSIGN_OR_RETURN(const auto positions, config_.String("position_embedding_type"));
    if (positions && *positions != "absolute") {
      return absl::UnimplementedError(absl::StrCat(config_.name(), ": position_embedding_type is ",
                                                   Printable(*positions),
                                                   "; supported is absolute"));
    }
    return absl::OkStatus();
  }

  // Gemma divides scores by the root of this, which need not be the length of a head.
  absl::Status AttentionScale(int64_t head_length) {
    BANTAM_ASSIGN_OR_RETURN(const auto scalar, config_.Number("query_pre_attn_scalar"));
    if (!scalar || *scalar == static_cast<double>(head_length)) return absl::OkStatus();
    if (!(*scalar > 0)) return config_.Error("query_pre_attn_scalar", "is not positive");
    Set("attention.scale", static_cast<float>(1 / std::sqrt(*scalar)));
    return absl::OkStatus();
  }

 private:
  absl::Status PutKey(const KeyName& key) {
    BANTAM_ASSIGN_OR_RETURN(const auto value, config_.Number(key.source));
    if (!value && key.required) return config_.Error(key.source, "is missing");
    if (!value) return absl::OkStatus();
    if (key.kind == KeyName::kFloat) {
      if (!std::isfinite(static_cast<float>(*value))) {
        return config_.Error(key.source, "is out of range");
      }
      Set(key.target, static_cast<float>(*value));
      return absl::OkStatus();
    }
    BANTAM_ASSIGN_OR_RETURN(const auto number, config_.Int(key.source));
    if (*number < 1 || *number > INT32_MAX) return config_.Error(key.source, "is out of range");
    Set(key.target, static_cast<uint32_t>(*number));
    return absl::OkStatus();
  }

  // Grattafiori et al. 2024 and the reference code of Llama 3.1: low frequencies are divided by
  // the factor, high ones kept, those between interpolated.
  absl::Status Llama3Factors(const std::string& scaling, double base, int64_t rotated,
                             double factor, int64_t original, HyperParameters& out) {
    BANTAM_ASSIGN_OR_RETURN(const auto low, config_.Number(scaling + ".low_freq_factor"));
    BANTAM_ASSIGN_OR_RETURN(const auto high, config_.Number(scaling + ".high_freq_factor"));
    const double low_factor = low.value_or(1), high_factor = high.value_or(4);
    if (!(low_factor > 0) || !(high_factor > low_factor)) {
      return config_.Error(scaling + ".high_freq_factor", "is not above low_freq_factor");
    }
    for (int64_t i = 0; i < rotated / 2; ++i) {
      const double frequency =
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotated));
      const double turns = static_cast<double>(original) * frequency / (2 * M_PI);
      const double smooth = std::clamp((turns - low_factor) / (high_factor - low_factor), 0.0, 1.0);
      out.rope_factors.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
    return absl::OkStatus();
  }

  // Ding et al. 2024 (LongRoPE), as Phi-3 has it: two lists of factors, and an attention that is
  // sharpened by how much longer the context has become.
  absl::Status LongRope(const std::string& scaling, int64_t pairs, HyperParameters& out) {
    for (const auto& [key, factors] :
         {std::pair{"long_factor", &out.rope_long}, std::pair{"short_factor", &out.rope_short}}) {
      const nlohmann::json* list = config_.Find(absl::StrCat(scaling, ".", key));
      const bool fits =
          list != nullptr && list->is_array() && static_cast<int64_t>(list->size()) == pairs &&
          std::all_of(list->begin(), list->end(),
                      [](const nlohmann::json& v) { return v.is_number() && v.get<double>() > 0; });
      if (!fits) {
        return config_.Error(absl::StrCat(scaling, ".", key),
                             absl::StrCat("is no list of ", pairs, " positive factors"));
      }
      for (const nlohmann::json& v : *list) factors->push_back(v.get<float>());
    }
    BANTAM_ASSIGN_OR_RETURN(const auto trained, config_.Int("max_position_embeddings"));
    BANTAM_ASSIGN_OR_RETURN(auto original, config_.Int("original_max_position_embeddings"));
    if (!original) {
      BANTAM_ASSIGN_OR_RETURN(original, config_.Int(scaling + ".original_max_position_embeddings"));
    }
    if (!original || *original < 2 || *original > INT32_MAX) {
      return config_.Error("original_max_position_embeddings", "is missing or out of range");
    }
    BANTAM_ASSIGN_OR_RETURN(auto sharpened, config_.Number(scaling + ".attention_factor"));
    if (!sharpened) {
      const double longer = static_cast<double>(*trained) / static_cast<double>(*original);
      sharpened = longer > 1
                      ? std::sqrt(1 + std::log(longer) / std::log(static_cast<double>(*original)))
                      : 1.0;
    }
    Set("rope.scaling.type", absl::string_view("longrope"));
    Set("rope.scaling.original_context_length", static_cast<uint32_t>(*original));
    Set("rope.scaling.attn_factor", static_cast<float>(*sharpened));
    return absl::OkStatus();
  }

  const JsonFile& config_;
  const ArchitectureRow& row_;
  gguf::Writer& writer_;
};

}  // namespace

absl::StatusOr<HyperParameters> WriteHyperParameters(const JsonFile& config,
                                                     const ArchitectureRow& row,
                                                     gguf::Writer& writer) {
  HyperParameters out;
  MetadataWriter metadata(config, row, writer);
  BANTAM_RETURN_IF_ERROR(metadata.CheckExpected());
  BANTAM_RETURN_IF_ERROR(metadata.Keys(kSharedKeys));
  BANTAM_RETURN_IF_ERROR(metadata.Keys(row.extra_keys));
  BANTAM_ASSIGN_OR_RETURN(const auto heads, config.Int("num_attention_heads"));
  BANTAM_ASSIGN_OR_RETURN(const auto heads_kv, config.Int("num_key_value_heads"));
  BANTAM_ASSIGN_OR_RETURN(const auto width, config.Int("hidden_size"));
  BANTAM_ASSIGN_OR_RETURN(const auto head_length, config.Int("head_dim"));
  BANTAM_ASSIGN_OR_RETURN(const auto layers, config.Int("num_hidden_layers"));
  BANTAM_ASSIGN_OR_RETURN(const auto tied, config.Bool("tie_word_embeddings"));
  out.heads = *heads;
  out.heads_kv = heads_kv.value_or(*heads);
  out.layers = *layers;
  out.tied = tied.value_or(row.tied);
  for (const KeyName& key : row.extra_keys) {
    if (key.target != "expert_count") continue;
    BANTAM_ASSIGN_OR_RETURN(const auto experts, config.Int(key.source));
    out.experts = *experts;
  }
  const int64_t head = head_length.value_or(*width / out.heads);
  if (head < 2 || head % 2 != 0) {
    return config.Error("num_attention_heads", absl::StrCat("makes heads of ", head, " elements"));
  }
  metadata.Set("attention.head_count_kv", static_cast<uint32_t>(out.heads_kv));
  const absl::string_view source = row.encoder      ? "layer_norm_eps"
                                   : row.layer_norm ? "norm_epsilon"
                                                    : "rms_norm_eps";
  BANTAM_ASSIGN_OR_RETURN(const auto epsilon, config.Number(source));
  if (!epsilon || !(*epsilon >= 0)) return config.Error(source, "is missing or negative");
  metadata.Set(row.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
               static_cast<float>(*epsilon));
  if (row.rotates) BANTAM_RETURN_IF_ERROR(metadata.Rope(head, out));
  if (row.encoder) BANTAM_RETURN_IF_ERROR(metadata.Encoder());
  if (row.norms_less_one) BANTAM_RETURN_IF_ERROR(metadata.AttentionScale(head));
  if (row.windows_by_layer) BANTAM_RETURN_IF_ERROR(metadata.Windows(out.layers, out));
  return out;
}

}  // namespace bantam::convert
