#include "runtime/quantize/recipe.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <regex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::quantize {
namespace {

using quant::Type;

// The file types are those of GGUF files everywhere; their numbers are part of the format.
enum FileType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 7,
  kQ5_0 = 8,
  kQ5_1 = 9,
  kQ2_K = 10,
  kQ3_K_S = 11,
  kQ3_K_M = 12,
  kQ3_K_L = 13,
  kQ4_K_S = 14,
  kQ4_K_M = 15,
  kQ5_K_S = 16,
  kQ5_K_M = 17,
  kQ6_K = 18,
  kIQ2_XXS = 19,
  kIQ2_XS = 20,
  kQ2_K_S = 21,
  kIQ3_XS = 22,
  kIQ3_XXS = 23,
  kIQ1_S = 24,
  kIQ4_NL = 25,
  kIQ3_S = 26,
  kIQ3_M = 27,
  kIQ2_S = 28,
  kIQ2_M = 29,
  kIQ4_XS = 30,
  kIQ1_M = 31,
  kBF16 = 32,
  kTQ1_0 = 36,
  kTQ2_0 = 37,
  kMXFP4_MOE = 38,
  kNVFP4 = 39,
};

constexpr Recipe kRecipes[] = {
    {"IQ1_S", kIQ1_S, Type::kIQ1_S},
    {"TQ1_0", kTQ1_0, Type::kTQ1_0},
    {"IQ1_M", kIQ1_M, Type::kIQ1_M},
    {"IQ2_XXS", kIQ2_XXS, Type::kIQ2_XXS},
    {"TQ2_0", kTQ2_0, Type::kTQ2_0},
    {"IQ2_XS", kIQ2_XS, Type::kIQ2_XS},
    {"IQ2_S", kIQ2_S, Type::kIQ2_XS},
    {"IQ2_M", kIQ2_M, Type::kIQ2_S},
    {"Q2_K_S", kQ2_K_S, Type::kQ2_K},
    {"Q2_K", kQ2_K, Type::kQ2_K},
    {"IQ3_XXS", kIQ3_XXS, Type::kIQ3_XXS},
    {"IQ3_XS", kIQ3_XS, Type::kIQ3_S},
    {"IQ3_S", kIQ3_S, Type::kIQ3_S},
    {"Q3_K_S", kQ3_K_S, Type::kQ3_K},
    {"IQ3_M", kIQ3_M, Type::kIQ3_S},
    {"Q3_K_M", kQ3_K_M, Type::kQ3_K},
    {"Q3_K_L", kQ3_K_L, Type::kQ3_K},
    {"IQ4_XS", kIQ4_XS, Type::kIQ4_XS},
    {"MXFP4_MOE", kMXFP4_MOE, Type::kMXFP4},
    {"Q4_0", kQ4_0, Type::kQ4_0},
    {"IQ4_NL", kIQ4_NL, Type::kIQ4_NL},
    {"NVFP4", kNVFP4, Type::kNVFP4},
    {"Q4_K_S", kQ4_K_S, Type::kQ4_K},
    {"Q4_K_M", kQ4_K_M, Type::kQ4_K},
    {"Q4_1", kQ4_1, Type::kQ4_1},
    {"Q5_0", kQ5_0, Type::kQ5_0},
    {"Q5_K_S", kQ5_K_S, Type::kQ5_K},
    {"Q5_K_M", kQ5_K_M, Type::kQ5_K},
    {"Q5_1", kQ5_1, Type::kQ5_1},
    {"Q6_K", kQ6_K, Type::kQ6_K},
    {"Q8_0", kQ8_0, Type::kQ8_0},
    {"F16", kF16, Type::kF16},
    {"BF16", kBF16, Type::kBF16},
    {"F32", kF32, Type::kF32},
};

constexpr std::pair<absl::string_view, absl::string_view> kAliases[] = {
    {"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}, {"MXFP4", "MXFP4_MOE"}};

// What a tensor does, as far as recipes care.
enum class Role {
  kOutput,
  kEmbedding,
  kAttentionQ,
  kAttentionK,
  kAttentionV,    // also of multi-head latent attention
  kAttentionQkv,  // all three in one
  kAttentionOutput,
  kFfnGate,
  kFfnUp,
  kFfnDown,
  kOther,
};

Role RoleOf(absl::string_view name) {
  if (name == "output.weight") return Role::kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return Role::kEmbedding;
  constexpr std::pair<absl::string_view, Role> kParts[] = {
      {"attn_qkv.weight", Role::kAttentionQkv},
      {"attn_kv_b.weight", Role::kAttentionV},
      {"attn_v.weight", Role::kAttentionV},
      {"attn_k.weight", Role::kAttentionK},
      {"attn_q.weight", Role::kAttentionQ},
      {"attn_output.weight", Role::kAttentionOutput},
      {"ffn_up", Role::kFfnUp},
      {"ffn_gate", Role::kFfnGate},
      {"ffn_down", Role::kFfnDown}};
  for (const auto& [part, role] : kParts) {
    if (absl::StrContains(name, part)) return role;
  }
  return Role::kOther;
}

// What the choice depends on besides the tensor.
struct Model {
  uint32_t file_type = 0;
  bool falcon = false;
  bool tied = true;    // the embedding is the output matrix too
  bool large = false;  // the 70B shape of Llama: eight query heads share narrow K and V
  int64_t layers = 0;
  int64_t queries_per_kv = 1;
  int64_t experts = 0;
  bool has_importance = false;
};

// The first value of a number or of a number per layer.
int64_t FirstInt(const gguf::File& file, const std::string& key, int64_t fallback) {
  if (const auto value = file.GetInt(key); value.ok()) return *value;
  const auto values = file.GetInts(key);
  if (!values.ok()) return fallback;
  // Layers without attention say 0.
  for (const int64_t value : *values) {
    if (value > 0) return value;
  }
  return fallback;
}

Model Describe(const gguf::File& file, const Recipe& recipe, bool has_importance) {
  Model model;
  model.file_type = recipe.file_type;
  model.has_importance = has_importance;
  const auto name = file.GetString("general.architecture");
  const std::string architecture(name.ok() ? *name : "");
  model.falcon = architecture == "falcon";
  model.tied = file.FindTensor("output.weight") == nullptr;
  model.layers = FirstInt(file, architecture + ".block_count", 0);
  const int64_t heads = FirstInt(file, architecture + ".attention.head_count", 1);
  const int64_t kv_heads = FirstInt(file, architecture + ".attention.head_count_kv", heads);
  model.queries_per_kv = kv_heads > 0 ? heads / kv_heads : 1;
  model.experts = FirstInt(file, architecture + ".expert_count", 0);
  model.large = architecture == "llama" && model.layers == 80 && heads != kv_heads;
  return model;
}

// The layers that lose most: the first and last eighth and every third between them.
bool IsSensitive(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

bool IsTiny(uint32_t f) {
  return f == kIQ1_S || f == kIQ1_M || f == kIQ2_XXS || f == kIQ2_XS || f == kIQ2_S || f == kIQ2_M;
}

// Recipes below three bits: everything has `base` but what is named here.
Type ChooseTiny(const Model& m, Role role, int64_t index, Type base) {
  const bool upper = m.file_type == kIQ2_S || m.file_type == kIQ2_M;
  switch (role) {
    case Role::kAttentionV:
    case Role::kAttentionQkv:
      if (m.queries_per_kv >= 4 || m.experts >= 4) return Type::kQ4_K;
      return upper ? Type::kIQ3_S : Type::kQ2_K;
    case Role::kAttentionK:
      return m.experts == 8 ? Type::kQ4_K : base;
    case Role::kFfnDown:
      if (index < m.layers / 8) return upper ? Type::kIQ3_S : Type::kQ2_K;
      return base;
    case Role::kAttentionOutput:
      if (m.experts == 8) return Type::kQ5_K;
      if (upper) return Type::kIQ3_S;
      return m.file_type == kIQ1_S || m.file_type == kIQ1_M ? Type::kIQ2_XXS : base;
    default:
      return base;
  }
}

Type ChooseOutput(const Model& m, Type base, int64_t columns) {
  if (m.file_type == kMXFP4_MOE || m.falcon) return Type::kQ8_0;
  if (columns % quant::Traits(base).block_size != 0) return Type::kQ8_0;
  if (m.file_type == kIQ3_XXS || IsTiny(m.file_type)) return Type::kQ5_K;
  return base == Type::kQ8_0 ? base : Type::kQ6_K;
}

Type ChooseEmbedding(const Model& m, Type base) {
  switch (m.file_type) {
    case kIQ1_S:
    case kIQ1_M:
    case kIQ2_XXS:
    case kIQ2_XS:
      return Type::kQ2_K;
    case kIQ2_S:
    case kIQ2_M:
    case kIQ3_XXS:
      return Type::kIQ3_S;
    case kTQ1_0:
    case kTQ2_0:
      return Type::kQ4_K;
    default:
      return base;
  }
}

// attn_v, and what stands for it. `index` counts these tensors, of `count`.
Type ChooseAttentionV(const Model& m, int64_t index, int64_t count, Type base) {
  const bool shared = m.queries_per_kv >= 4;
  Type type = base;
  switch (m.file_type) {
    case kQ2_K:
      type = shared ? Type::kQ4_K : Type::kQ3_K;
      break;
    case kQ2_K_S:
    case kIQ3_XS:
    case kIQ3_S:
      if (shared) type = Type::kQ4_K;
      break;
    case kIQ3_XXS:
      type = shared ? Type::kQ4_K : m.has_importance ? Type::kIQ3_XXS : Type::kIQ3_S;
      break;
    case kIQ3_M:
      type = Type::kQ4_K;
      break;
    case kQ3_K_M:
      type = index < 2 ? Type::kQ5_K : Type::kQ4_K;
      break;
    case kQ3_K_L:
      type = Type::kQ5_K;
      break;
    case kIQ4_NL:
    case kIQ4_XS:
      if (shared) type = Type::kQ5_K;
      break;
    case kQ4_K_M:
    case kQ5_K_M:
      if (IsSensitive(index, count)) type = Type::kQ6_K;
      break;
    case kQ4_K_S:
      if (index < 4) type = Type::kQ5_K;
      break;
    default:
      break;
  }
  if (m.large && (type == Type::kQ3_K || type == Type::kQ4_K)) type = Type::kQ5_K;
  return m.experts == 8 ? Type::kQ8_0 : type;
}

Type ChooseFfnDown(const Model& m, int64_t layer, Type base) {
  const bool early = layer < m.layers / 8, first = layer < m.layers / 16;
  const bool sensitive = IsSensitive(layer, m.layers);
  switch (m.file_type) {
    case kQ2_K:
      return Type::kQ3_K;
    case kQ2_K_S:
      return early ? Type::kQ4_K : base;
    case kIQ3_XXS:
      if (m.has_importance) return base;
      return early ? Type::kQ4_K : Type::kQ3_K;
    case kQ3_K_M:
      if (first) return Type::kQ5_K;
      return m.falcon && !sensitive ? Type::kQ3_K : Type::kQ4_K;
    case kIQ3_M:
      return early || (m.experts == 8 && sensitive) ? Type::kQ4_K : base;
    case kQ3_K_L:
      return m.falcon ? Type::kQ4_K : Type::kQ5_K;
    case kQ4_K_M:
      if (!m.falcon) return sensitive ? Type::kQ6_K : base;
      return first ? Type::kQ6_K : sensitive ? Type::kQ5_K : Type::kQ4_K;
    case kIQ4_NL:
    case kIQ4_XS:
      return early && !m.has_importance ? Type::kQ5_K : base;
    case kQ5_K_M:
      return sensitive ? Type::kQ6_K : base;
    case kQ4_K_S:
      return early && !m.falcon ? Type::kQ5_K : base;
    case kQ4_0:
      return early && m.has_importance ? Type::kQ4_1 : base;
    case kQ5_0:
      return early && m.has_importance ? Type::kQ5_1 : base;
    default:
      return base;
  }
}

Type ChooseAttentionOutput(const Model& m, Type base) {
  const uint32_t f = m.file_type;
  if (m.falcon) return f == kQ3_K_L ? Type::kQ4_K : base;
  if (m.experts == 8) {
    constexpr uint32_t kRaised[] = {kQ2_K,   kIQ3_XS, kIQ3_XXS, kQ3_K_S, kQ3_K_M, kIQ4_NL,
                                    kQ4_K_S, kQ4_K_M, kIQ3_S,   kIQ3_M,  kIQ4_XS};
    return std::find(std::begin(kRaised), std::end(kRaised), f) != std::end(kRaised) ? Type::kQ5_K
                                                                                     : base;
  }
  switch (f) {
    case kQ2_K:
      return Type::kQ3_K;
    case kIQ3_XXS:
      return Type::kIQ3_S;
    case kQ3_K_M:
    case kIQ3_M:
      return Type::kQ4_K;
    case kQ3_K_L:
      return Type::kQ5_K;
    default:
      return base;
  }
}

// A tensor's type before its shape is looked at. `index` counts the tensors of its role.
Type Choose(const Model& m, const gguf::TensorInfo& tensor, Role role, int64_t index, int64_t count,
            int64_t layer, Type base) {
  const uint32_t f = m.file_type;
  if (role == Role::kOutput || (m.tied && role == Role::kEmbedding)) {
    return ChooseOutput(m, base, tensor.shape[0]);
  }
  if (f == kMXFP4_MOE) return tensor.shape[2] > 1 ? Type::kMXFP4 : Type::kQ8_0;
  if (role == Role::kEmbedding) return ChooseEmbedding(m, base);
  if (IsTiny(f)) return ChooseTiny(m, role, role == Role::kFfnDown ? layer : index, base);
  switch (role) {
    case Role::kAttentionV:
    case Role::kAttentionQkv:
      return ChooseAttentionV(m, index, count, base);
    case Role::kAttentionK:
      if (m.experts == 8) return Type::kQ8_0;
      [[fallthrough]];
    case Role::kAttentionQ:
      return f == kIQ3_XS ? Type::kIQ3_XXS : f == kIQ3_XXS ? Type::kIQ2_S : base;
    case Role::kFfnDown:
      return ChooseFfnDown(m, layer, base);
    case Role::kAttentionOutput:
      return ChooseAttentionOutput(m, base);
    case Role::kFfnGate:
    case Role::kFfnUp:
      return f == kIQ3_XS && layer >= m.layers / 8 && layer < 7 * m.layers / 8 ? Type::kIQ3_XXS
                                                                               : base;
    default:
      return base;
  }
}

// The N of "blk.N.", -1 without one.
int64_t LayerOf(absl::string_view name) {
  int layer = -1;
  if (std::sscanf(std::string(name).c_str(), "blk.%6d.", &layer) != 1) return -1;
  return layer;
}

struct Pattern {
  std::regex regex;
  Type type;
};

absl::StatusOr<std::vector<Pattern>> Compile(const Overrides& overrides) {
  std::vector<Pattern> patterns;
  for (const auto& [text, type] : overrides.tensor_types) {
    // <regex> reports by exception; none leaves this function.
    try {
      patterns.push_back({std::regex(text), type});
    } catch (const std::regex_error& error) {
      return absl::InvalidArgumentError(absl::StrCat("the pattern '", Printable(text),
                                                     "' is no regular expression: ", error.what()));
    }
  }
  return patterns;
}

}  // namespace

std::span<const Recipe> Recipes() { return kRecipes; }

absl::StatusOr<Recipe> FindRecipe(absl::string_view name) {
  for (const auto& [alias, full] : kAliases) {
    if (absl::EqualsIgnoreCase(name, alias)) name = full;
  }
  for (const Recipe& recipe : kRecipes) {
    if (absl::EqualsIgnoreCase(name, recipe.name)) return recipe;
  }
  return absl::NotFoundError(absl::StrCat(
      "there is no recipe '", Printable(name), "'; expected one of ",
      absl::StrJoin(kRecipes, " ",
                    [](std::string* out, const Recipe& r) { absl::StrAppend(out, r.name); })));
}

bool IsQuantizable(const gguf::TensorInfo& tensor) {
  if (tensor.shape[1] * tensor.shape[2] * tensor.shape[3] <= 1) return false;
  if (quant::Traits(tensor.type).is_quantized == false && tensor.type != Type::kF32 &&
      tensor.type != Type::kF16 && tensor.type != Type::kBF16 && tensor.type != Type::kF64) {
    return false;
  }
  const absl::string_view name = tensor.name;
  if (!absl::EndsWith(name, "weight")) return false;
  // Small tensors and those whose exact values matter: norms, routers, position and type tables,
  // convolutions and mixing factors of recurrent layers, low-rank side paths, parts of vision and
  // audio towers.
  constexpr absl::string_view kKept[] = {"_norm.weight",
                                         "ffn_gate_inp.weight",
                                         "ffn_gate_tid2eid",
                                         "altup",
                                         "laurel",
                                         "per_layer_model_proj",
                                         "ssm_conv1d",
                                         "shortconv.conv.weight",
                                         "indexer.k_proj",
                                         "indexer.q_proj",
                                         "time_mix_first",
                                         "time_mix_w0",
                                         "time_mix_w1",
                                         "time_mix_w2",
                                         "time_mix_v0",
                                         "time_mix_v1",
                                         "time_mix_v2",
                                         "time_mix_a0",
                                         "time_mix_a1",
                                         "time_mix_a2",
                                         "time_mix_g1",
                                         "time_mix_g2",
                                         "time_mix_decay_w1",
                                         "time_mix_decay_w2",
                                         "time_mix_lerp_fused",
                                         "attn_rel_b.weight",
                                         ".position_embd",
                                         "sam.",
                                         ".rel_pos",
                                         ".patch_embd",
                                         ".patch_merger",
                                         "a.rvq.codebook",
                                         "mm.a.code_embd"};
  if (name == "position_embd.weight" || name == "token_types.weight") return false;
  return std::none_of(std::begin(kKept), std::end(kKept),
                      [name](absl::string_view part) { return absl::StrContains(name, part); });
}

quant::Type TypeThatFits(quant::Type type, int64_t columns) {
  const auto fits = [columns](Type t) { return columns % quant::Traits(t).block_size == 0; };
  if (fits(type)) return type;
  Type fallback = type;
  switch (type) {
    case Type::kQ2_K:
    case Type::kQ3_K:
    case Type::kTQ1_0:
    case Type::kTQ2_0:
      fallback = Type::kQ4_0;
      break;
    case Type::kQ4_K:
      fallback = Type::kQ5_0;
      break;
    case Type::kQ5_K:
      fallback = Type::kQ5_1;
      break;
    case Type::kQ6_K:
      fallback = Type::kQ8_0;
      break;
    default:
      fallback = Type::kIQ4_NL;  // the i-quants and NVFP4
  }
  return fits(fallback) ? fallback : Type::kF16;
}

absl::StatusOr<std::vector<Choice>> ChooseTypes(const gguf::File& source, const Recipe& recipe,
                                                const Overrides& overrides, bool has_importance) {
  BANTAM_ASSIGN_OR_RETURN(const std::vector<Pattern> patterns, Compile(overrides));
  const Model model = Describe(source, recipe, has_importance);
  const auto counts_as_v = [](Role role) {
    return role == Role::kAttentionV || role == Role::kAttentionQkv;
  };
  // V tensors are counted in the order of their layers, whatever that of the file.
  std::vector<std::pair<int64_t, absl::string_view>> values;
  for (const gguf::TensorInfo& tensor : source.tensors()) {
    if (counts_as_v(RoleOf(tensor.name))) values.emplace_back(LayerOf(tensor.name), tensor.name);
  }
  std::sort(values.begin(), values.end());

  std::vector<Choice> choices;
  for (const gguf::TensorInfo& tensor : source.tensors()) {
    Choice choice;
    choice.type = tensor.type;
    if (!IsQuantizable(tensor)) {
      choices.push_back(choice);
      continue;
    }
    const Role role = RoleOf(tensor.name);
    const int64_t layer = LayerOf(tensor.name);
    const int64_t index = std::find(values.begin(), values.end(),
                                    std::pair<int64_t, absl::string_view>(layer, tensor.name)) -
                          values.begin();
    const std::string name(tensor.name);
    const auto matching = std::find_if(patterns.begin(), patterns.end(), [&](const Pattern& p) {
      return std::regex_search(name, p.regex);
    });
    const bool is_output =
        tensor.name == "output.weight" || (model.tied && tensor.name == "token_embd.weight");
    Type wanted = recipe.base;
    if (matching != patterns.end()) {
      wanted = matching->type;
    } else if (overrides.token_embedding.has_value() && tensor.name == "token_embd.weight") {
      wanted = *overrides.token_embedding;
    } else if (overrides.output.has_value() && is_output) {
      wanted = *overrides.output;
    } else if (quant::Traits(recipe.base).is_quantized && !overrides.pure) {
      wanted = Choose(model, tensor, role, index, static_cast<int64_t>(values.size()), layer,
                      recipe.base);
    }
    choice.type = TypeThatFits(wanted, tensor.shape[0]);
    if (choice.type != wanted) choice.instead_of = wanted;
    choices.push_back(choice);
  }
  return choices;
}

}  // namespace bantam::quantize
