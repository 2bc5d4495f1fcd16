#include "runtime/model/hyper_parameters.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"

namespace bantam::model {
namespace {

// Far above any model there is; keeps products of two in 64 bits.
constexpr int64_t kMaxDimension = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 30;

bool Differ(const std::vector<int64_t>& values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) != values.end();
}

// An array of bools, or of integers used as such.
absl::StatusOr<std::vector<int64_t>> Flags(const HyperParameters& params, absl::string_view key,
                                           const gguf::MetaValue& value) {
  const auto& array = std::get<std::shared_ptr<const gguf::MetaArray>>(value);
  if (array->element != gguf::MetaType::kBool) {
    return params.file().GetInts(absl::StrCat(params.architecture(), ".", key));
  }
  std::vector<int64_t> flags;
  for (std::byte flag : array->raw) flags.push_back(std::to_integer<int64_t>(flag));
  return flags;
}

std::string ShapeText(const int64_t* dims, size_t n) {
  return absl::StrCat("[", absl::StrJoin(dims, dims + n, ", "), "]");
}

}  // namespace

HyperParameters::HyperParameters(const gguf::File& file) : file_(file) {
  auto name = file.GetString("general.architecture");
  if (name.ok()) architecture_ = std::string(*name);
}

std::string HyperParameters::FullKey(absl::string_view key) const {
  return absl::StrCat(architecture_, ".", key);
}

bool HyperParameters::Has(absl::string_view key) const {
  return file_.Find(FullKey(key)) != nullptr;
}

bool HyperParameters::IsArray(absl::string_view key) const {
  const gguf::MetaValue* value = file_.Find(FullKey(key));
  return value != nullptr && gguf::TypeOf(*value) == gguf::MetaType::kArray;
}

absl::Status HyperParameters::Error(absl::string_view key, absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", FullKey(key), " ", message));
}

absl::StatusOr<int64_t> HyperParameters::Int(absl::string_view key, int64_t min,
                                             int64_t max) const {
  BANTAM_ASSIGN_OR_RETURN(const int64_t value, file_.GetInt(FullKey(key)));
  if (value < min || value > max) {
    return Error(key, absl::StrFormat("is %d; expected %d to %d", value, min, max));
  }
  return value;
}

absl::StatusOr<int64_t> HyperParameters::IntOr(absl::string_view key, int64_t min, int64_t max,
                                               int64_t fallback) const {
  return Has(key) ? Int(key, min, max) : fallback;
}

absl::StatusOr<float> HyperParameters::Float(absl::string_view key) const {
  BANTAM_ASSIGN_OR_RETURN(const double value, file_.GetFloat(FullKey(key)));
  if (!std::isfinite(value)) return Error(key, "is not a finite number");
  return static_cast<float>(value);
}

absl::StatusOr<float> HyperParameters::FloatOr(absl::string_view key, float fallback) const {
  return Has(key) ? Float(key) : fallback;
}

absl::StatusOr<std::string> HyperParameters::StringOr(absl::string_view key,
                                                      absl::string_view fallback) const {
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view value,
                          gguf::Or(file_.GetString(FullKey(key)), fallback));
  return std::string(value);
}

absl::StatusOr<std::vector<int64_t>> HyperParameters::IntsByLayer(absl::string_view key,
                                                                  int64_t block_count,
                                                                  int64_t max) const {
  if (!IsArray(key)) {
    BANTAM_ASSIGN_OR_RETURN(const int64_t number, Int(key, 1, max));
    return std::vector<int64_t>(block_count, number);
  }
  BANTAM_ASSIGN_OR_RETURN(std::vector<int64_t> values, file_.GetInts(FullKey(key)));
  if (static_cast<int64_t>(values.size()) < block_count) {
    return Error(key, absl::StrFormat("has %d entries; expected one for each of the %d layers",
                                      values.size(), block_count));
  }
  values.resize(block_count);
  for (size_t layer = 0; layer < values.size(); ++layer) {
    if (values[layer] == 0) {
      return absl::UnimplementedError(
          absl::StrFormat("%s: %s is 0 in layer %d; layers without attention or feed-forward are "
                          "not supported",
                          file_.path(), FullKey(key), layer));
    }
    if (values[layer] < 0 || values[layer] > max) {
      return Error(
          key, absl::StrFormat("is %d in layer %d; expected 1 to %d", values[layer], layer, max));
    }
  }
  return values;
}

absl::Status HyperParameters::RequireUniform(absl::string_view key,
                                             const std::vector<int64_t>& values) const {
  if (!Differ(values)) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(file_.path(), ": ", FullKey(key), " differs between layers (",
                   absl::StrJoin(values, ", "), "), which is not supported for ", architecture_));
}

absl::StatusOr<Config> ReadConfig(const HyperParameters& params) {
  const gguf::File& file = params.file();
  Config config;
  config.architecture = params.architecture();
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view name,
                          gguf::Or(file.GetString("general.name"), absl::string_view()));
  config.name = std::string(name);
  BANTAM_ASSIGN_OR_RETURN(config.context_length, params.Int("context_length", 1, kMaxContext));
  BANTAM_ASSIGN_OR_RETURN(config.embedding_length,
                          params.Int("embedding_length", 1, kMaxDimension));
  BANTAM_ASSIGN_OR_RETURN(config.block_count, params.Int("block_count", 1, 4096));
  BANTAM_ASSIGN_OR_RETURN(
      std::vector<int64_t> heads,
      params.IntsByLayer("attention.head_count", config.block_count, kMaxDimension));
  std::vector<int64_t> heads_kv = heads;
  if (params.Has("attention.head_count_kv")) {
    BANTAM_ASSIGN_OR_RETURN(
        heads_kv, params.IntsByLayer("attention.head_count_kv", config.block_count, kMaxDimension));
  }
  for (int64_t layer = 0; layer < config.block_count; ++layer) {
    if (heads[layer] % heads_kv[layer] == 0) continue;
    return params.Error("attention.head_count_kv",
                        absl::StrFormat("is %d; expected a divisor of the %d heads",
                                        heads_kv[layer], heads[layer]));
  }
  config.head_count = *std::max_element(heads.begin(), heads.end());
  config.head_count_kv = *std::max_element(heads_kv.begin(), heads_kv.end());
  if (Differ(heads)) {
    for (absl::string_view key : {"attention.key_length", "attention.value_length"}) {
      if (!params.Has(key)) {
        return params.Error(key, "is missing, and the number of heads differs between layers");
      }
    }
    config.head_counts = std::move(heads);
  }
  if (Differ(heads_kv)) config.head_counts_kv = std::move(heads_kv);
  const int64_t head_length = config.embedding_length / config.head_count;
  BANTAM_ASSIGN_OR_RETURN(config.key_length,
                          params.IntOr("attention.key_length", 1, kMaxDimension, head_length));
  BANTAM_ASSIGN_OR_RETURN(config.value_length,
                          params.IntOr("attention.value_length", 1, kMaxDimension, head_length));
  if (config.key_length < 1 || config.value_length < 1) {
    return params.Error("attention.head_count",
                        absl::StrFormat("is %d, more than embedding_length (%d)", config.head_count,
                                        config.embedding_length));
  }
  // The embedding table is the truth on the vocabulary; <arch>.vocab_size is often stale.
  const gguf::TensorInfo* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": tensor token_embd.weight is missing"));
  }
  config.vocab_size = embedding->shape[1];
  if (config.vocab_size < 1 || config.vocab_size > kMaxDimension) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: tensor token_embd.weight has %d rows; expected 1 to %d", file.path(),
                        config.vocab_size, kMaxDimension));
  }
  return config;
}

absl::StatusOr<graph::RopeAttrs> ReadRope(const HyperParameters& params, graph::RopeLayout layout,
                                          int64_t head_length) {
  graph::RopeAttrs rope;
  rope.layout = layout;
  BANTAM_ASSIGN_OR_RETURN(const int64_t n_dims,
                          params.IntOr("rope.dimension_count", 2, head_length, head_length));
  if (n_dims % 2 != 0) {
    return params.Error("rope.dimension_count",
                        absl::StrFormat("is %d; expected an even number", n_dims));
  }
  rope.n_dims = static_cast<int32_t>(n_dims);
  BANTAM_ASSIGN_OR_RETURN(rope.theta_base, params.FloatOr("rope.freq_base", 10000.0f));
  if (rope.theta_base <= 0) return params.Error("rope.freq_base", "is not positive");

  // Files from before rope.scaling.* say linear scaling with rope.scale_linear alone.
  BANTAM_ASSIGN_OR_RETURN(const float old_factor, params.FloatOr("rope.scale_linear", 1.0f));
  BANTAM_ASSIGN_OR_RETURN(const std::string scaling,
                          params.StringOr("rope.scaling.type", "linear"));
  BANTAM_ASSIGN_OR_RETURN(float factor, params.FloatOr("rope.scaling.factor", old_factor));
  if (factor == 0) factor = 1;
  if (factor < 0) return params.Error("rope.scaling.factor", "is negative");
  if (scaling == "none") return rope;
  if (scaling != "linear" && scaling != "yarn" && scaling != "longrope") {
    return absl::UnimplementedError(absl::StrFormat(
        "%s: %s.rope.scaling.type is '%s'; supported are none, linear, yarn and longrope",
        params.file().path(), params.architecture(), scaling));
  }
  rope.freq_scale = 1.0f / factor;
  BANTAM_ASSIGN_OR_RETURN(rope.attn_factor, params.FloatOr("rope.scaling.attn_factor", 1.0f));
  BANTAM_ASSIGN_OR_RETURN(const int64_t original, ReadOriginalContext(params));
  rope.original_context = static_cast<int32_t>(original);
  if (scaling != "yarn") return rope;
  BANTAM_ASSIGN_OR_RETURN(rope.ext_factor, params.FloatOr("rope.scaling.yarn_ext_factor", 1.0f));
  BANTAM_ASSIGN_OR_RETURN(rope.beta_fast, params.FloatOr("rope.scaling.yarn_beta_fast", 32.0f));
  BANTAM_ASSIGN_OR_RETURN(rope.beta_slow, params.FloatOr("rope.scaling.yarn_beta_slow", 1.0f));
  return rope;
}

absl::StatusOr<int64_t> ReadOriginalContext(const HyperParameters& params) {
  BANTAM_ASSIGN_OR_RETURN(const int64_t trained, params.Int("context_length", 1, kMaxContext));
  return params.IntOr("rope.scaling.original_context_length", 1, kMaxContext, trained);
}

absl::StatusOr<graph::NormAttrs> ReadNorm(const HyperParameters& params, graph::NormKind kind) {
  const absl::string_view key = kind == graph::NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                              : "attention.layer_norm_epsilon";
  graph::NormAttrs norm;
  norm.kind = kind;
  BANTAM_ASSIGN_OR_RETURN(norm.epsilon, params.Float(key));
  if (norm.epsilon < 0) return params.Error(key, "is negative");
  return norm;
}

absl::StatusOr<std::vector<int32_t>> ReadWindows(const HyperParameters& params, int64_t block_count,
                                                 int64_t default_window, int64_t default_period) {
  constexpr absl::string_view kWindow = "attention.sliding_window";
  constexpr absl::string_view kPattern = "attention.sliding_window_pattern";
  BANTAM_ASSIGN_OR_RETURN(const int64_t window,
                          params.IntOr(kWindow, 0, kMaxContext, default_window));
  if (window == 0) return std::vector<int32_t>();
  std::vector<int32_t> windows(block_count, 0);
  const gguf::MetaValue* pattern =
      params.file().Find(absl::StrCat(params.architecture(), ".", kPattern));
  if (pattern != nullptr && gguf::TypeOf(*pattern) == gguf::MetaType::kArray) {
    BANTAM_ASSIGN_OR_RETURN(const std::vector<int64_t> local, Flags(params, kPattern, *pattern));
    if (static_cast<int64_t>(local.size()) < block_count) {
      return params.Error(kPattern, absl::StrFormat("has %d entries; expected one for each of the "
                                                    "%d layers",
                                                    local.size(), block_count));
    }
    for (int64_t layer = 0; layer < block_count; ++layer) {
      if (local[layer] != 0) windows[layer] = static_cast<int32_t>(window);
    }
    return windows;
  }
  BANTAM_ASSIGN_OR_RETURN(const int64_t period,
                          params.IntOr(kPattern, 0, kMaxDimension, default_period));
  for (int64_t layer = 0; layer < block_count; ++layer) {
    if (period == 0 || layer % period < period - 1) windows[layer] = static_cast<int32_t>(window);
  }
  return windows;
}

absl::Status AllowTensor(const gguf::File& file, absl::string_view name,
                         std::initializer_list<int64_t> shape) {
  const gguf::TensorInfo* tensor = file.FindTensor(name);
  if (tensor == nullptr) return absl::OkStatus();
  std::array<int64_t, 4> expected = {1, 1, 1, 1};
  std::copy(shape.begin(), shape.end(), expected.begin());
  if (tensor->shape == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: tensor %s has shape %s; expected %s", file.path(), name,
      ShapeText(tensor->shape.data(), tensor->n_dims), ShapeText(expected.data(), shape.size())));
}

absl::Status RequireTensor(const gguf::File& file, absl::string_view name,
                           std::initializer_list<int64_t> shape) {
  if (file.FindTensor(name) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": tensor ", name, " is missing"));
  }
  return AllowTensor(file, name, shape);
}

}  // namespace bantam::model
