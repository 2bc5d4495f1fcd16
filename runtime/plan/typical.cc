#include "runtime/plan/typical.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bantam::plan {
namespace {

// Published shapes of models that are typical for their size.
struct Shape {
  const char* name;
  double weights, active;
  int64_t layers, embedding, heads, heads_kv, head_length, feed_forward, vocab, context;
  bool tied = false;  // one table for embedding and output head
  int64_t experts = 0, experts_used = 0;
};
constexpr Shape kShapes[] = {
    {"SmolLM2 135M", 0.135e9, 0, 30, 576, 9, 3, 64, 1536, 49152, 8192, true},
    {"SmolLM2 360M", 0.362e9, 0, 32, 960, 15, 5, 64, 2560, 49152, 8192, true},
    {"Llama 3.2 1B", 1.24e9, 0, 16, 2048, 32, 8, 64, 8192, 128256, 131072, true},
    {"Llama 3.2 3B", 3.21e9, 0, 28, 3072, 24, 8, 128, 8192, 128256, 131072, true},
    {"Llama 3.1 8B", 8.03e9, 0, 32, 4096, 32, 8, 128, 14336, 128256, 131072},
    {"Qwen2.5 14B", 14.8e9, 0, 48, 5120, 40, 8, 128, 13824, 152064, 131072},
    {"Qwen2.5 32B", 32.8e9, 0, 64, 5120, 40, 8, 128, 27648, 152064, 131072},
    {"Llama 3.1 70B", 70.6e9, 0, 80, 8192, 64, 8, 128, 28672, 128256, 131072},
    {"Llama 3.1 405B", 405e9, 0, 126, 16384, 128, 8, 128, 53248, 128256, 131072},
    {"Qwen3 30B-A3B", 30.5e9, 3.3e9, 48, 2048, 32, 4, 128, 768, 151936, 40960, false, 128, 8},
    {"Mixtral 8x7B", 46.7e9, 12.9e9, 32, 4096, 32, 8, 128, 14336, 32000, 32768, false, 8, 2},
    {"Qwen3 235B-A22B", 235e9, 22e9, 94, 4096, 64, 4, 128, 1536, 151936, 40960, false, 128, 8},
};

std::optional<double> ParseCount(absl::string_view text) {
  if (text.size() < 2) return std::nullopt;
  const char unit = absl::ascii_toupper(text.back());
  const double scale = unit == 'B' ? 1e9 : unit == 'M' ? 1e6 : 0;
  double number = 0;
  text.remove_suffix(1);
  const bool digits = std::all_of(text.begin(), text.end(),
                                  [](char c) { return absl::ascii_isdigit(c) || c == '.'; });
  if (scale == 0 || !digits || !absl::SimpleAtod(text, &number)) return std::nullopt;
  return number * scale;
}

// How far a size is from a shape's: by how many times more or less.
double Distance(const Shape& shape, const ModelSize& size) {
  double distance = std::abs(std::log(shape.weights / size.weights));
  if (size.active > 0) distance += std::abs(std::log(shape.active / size.active));
  return distance;
}

class Describer {
 public:
  Describer(const Shape& shape, int64_t layers, TypicalModel& model)
      : shape_(shape), layers_(layers), model_(model) {
    model_.names.reserve(static_cast<size_t>(layers) * 16 + 32);
  }

  void Describe() {
    const Shape& s = shape_;
    Set("general.architecture", absl::string_view("llama"));
    Set("general.name", absl::string_view(model_.name));
    const auto set = [&](absl::string_view key, int64_t value) {
      Set(absl::StrCat("llama.", key), static_cast<uint32_t>(value));
    };
    set("context_length", s.context);
    set("embedding_length", s.embedding);
    set("block_count", layers_);
    set("feed_forward_length", s.feed_forward);
    set("attention.head_count", s.heads);
    set("attention.head_count_kv", s.heads_kv);
    set("attention.key_length", s.head_length);
    set("attention.value_length", s.head_length);
    set("rope.dimension_count", s.head_length);
    Set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    Set("llama.rope.freq_base", 5e5f);
    if (s.experts > 0) {
      set("expert_count", s.experts);
      set("expert_used_count", s.experts_used);
    }
    Matrix("token_embd", s.embedding, s.vocab);
    for (int64_t l = 0; l < layers_; ++l) Layer(absl::StrCat("blk.", l, "."));
    Norm("output_norm");
    if (!s.tied) Matrix("output", s.embedding, s.vocab);
    model_.file = gguf::File::Describe(model_.name, std::move(metadata_), std::move(tensors_));
  }

 private:
  absl::string_view Keep(std::string text) {
    // Reserved for: what was handed out must not move.
    return model_.names.emplace_back(std::move(text));
  }
  void Set(std::string key, gguf::MetaValue value) {
    metadata_.push_back({Keep(std::move(key)), std::move(value)});
  }
  void Tensor(absl::string_view name, quant::Type type, std::array<int64_t, 4> shape) {
    gguf::TensorInfo& tensor = tensors_.emplace_back();
    tensor.name = Keep(absl::StrCat(name, ".weight"));
    tensor.type = type;
    tensor.shape = shape;
    tensor.n_dims = shape[2] > 1 ? 3 : shape[1] > 1 ? 2 : 1;
  }
  void Matrix(absl::string_view name, int64_t in, int64_t out, int64_t count = 1) {
    Tensor(name, quant::Type::kF16, {in, out, count, 1});
  }
  void Norm(absl::string_view name) {
    Tensor(name, quant::Type::kF32, {shape_.embedding, 1, 1, 1});
  }
  void Layer(const std::string& prefix) {
    const Shape& s = shape_;
    const int64_t d = s.embedding, q = s.heads * s.head_length, kv = s.heads_kv * s.head_length;
    Norm(prefix + "attn_norm");
    Matrix(prefix + "attn_q", d, q);
    Matrix(prefix + "attn_k", d, kv);
    Matrix(prefix + "attn_v", d, kv);
    Matrix(prefix + "attn_output", q, d);
    Norm(prefix + "ffn_norm");
    const char* suffix = s.experts > 0 ? "_exps" : "";
    const int64_t count = std::max<int64_t>(s.experts, 1);
    if (s.experts > 0) Tensor(prefix + "ffn_gate_inp", quant::Type::kF32, {d, s.experts, 1, 1});
    Matrix(absl::StrCat(prefix, "ffn_gate", suffix), d, s.feed_forward, count);
    Matrix(absl::StrCat(prefix, "ffn_up", suffix), d, s.feed_forward, count);
    Matrix(absl::StrCat(prefix, "ffn_down", suffix), s.feed_forward, d, count);
  }

  const Shape& shape_;
  const int64_t layers_;
  TypicalModel& model_;
  std::vector<gguf::KeyValue> metadata_;
  std::vector<gguf::TensorInfo> tensors_;
};

}  // namespace

std::optional<ModelSize> ParseSize(absl::string_view text) {
  const size_t dash = text.find('-');
  const auto weights = ParseCount(text.substr(0, dash));
  if (!weights.has_value()) return std::nullopt;
  if (dash == absl::string_view::npos) return ModelSize{*weights, 0};
  absl::string_view rest = text.substr(dash + 1);
  if (rest.empty() || absl::ascii_toupper(rest.front()) != 'A') return std::nullopt;
  const auto active = ParseCount(rest.substr(1));
  if (!active.has_value() || !(*active > 0 && *active <= *weights)) return std::nullopt;
  return ModelSize{*weights, *active};
}

absl::StatusOr<std::unique_ptr<TypicalModel>> Typical(const ModelSize& size) {
  if (!(size.weights >= 1e6 && size.weights <= 1e13)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a model of %g weights; expected 1M to 10000B", size.weights));
  }
  const Shape* shape = nullptr;
  for (const Shape& candidate : kShapes) {
    if ((candidate.active > 0) != (size.active > 0)) continue;
    if (shape == nullptr || Distance(candidate, size) < Distance(*shape, size)) shape = &candidate;
  }
  const double tables =
      static_cast<double>(shape->embedding * shape->vocab * (shape->tied ? 1 : 2));
  const double per_layer = (shape->weights - tables) / static_cast<double>(shape->layers);
  // Names of sizes are rounded: 30B means 30.5.
  const bool is_close = std::abs(size.weights / shape->weights - 1) < 0.08;
  const int64_t layers =
      is_close ? shape->layers
               : std::clamp<int64_t>(std::llround((size.weights - tables) / per_layer), 1, 4096);
  auto model = std::make_unique<TypicalModel>();
  model->shape = shape->name;
  model->name = absl::StrCat(
      shape->name, layers == shape->layers ? "" : absl::StrCat(" with ", layers, " layers"));
  Describer(*shape, layers, *model).Describe();
  return model;
}

}  // namespace bantam::plan
