#include "tests/support/tiny_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <limits>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/gguf/writer.h"
#include "runtime/quant/encode.h"

namespace bantam::testing {
namespace {

constexpr char kChatMl[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";

std::string Utf8(uint32_t code) {
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// GPT-2's printable stand-ins for the 256 bytes.
std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens;
  uint32_t next = 256;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    tokens.push_back(Utf8(printable ? b : next++));
  }
  return tokens;
}

class TinyModel {
 public:
  explicit TinyModel(const TinyLlamaOptions& options) : o_(options), random_(options.seed) {}

  void Write(const std::string& path) {
    Metadata();
    const int64_t head = o_.embedding / o_.heads;
    const int64_t d = o_.embedding;
    const int64_t kv = head * o_.heads_kv;
    Matrix("token_embd.weight", d, vocab_size_, 1.0f);
    for (int64_t i = 0; i < o_.layers; ++i) {
      const std::string p = absl::StrCat("blk.", i, ".");
      Vector(p + "attn_norm.weight", d, 1.0f);
      Linear(p + "attn_q", d, d);
      Linear(p + "attn_k", d, kv);
      Linear(p + "attn_v", d, kv);
      Linear(p + "attn_output", d, d);
      Vector(p + "ffn_norm.weight", d, 1.0f);
      const char* suffix = o_.experts > 0 ? "_exps" : "";
      const int64_t experts = std::max<int64_t>(o_.experts, 1);
      if (o_.experts > 0) Matrix(p + "ffn_gate_inp.weight", d, o_.experts, 1.0f);
      Linear(absl::StrCat(p, "ffn_gate", suffix), d, o_.feed_forward, experts);
      Linear(absl::StrCat(p, "ffn_up", suffix), d, o_.feed_forward, experts);
      Linear(absl::StrCat(p, "ffn_down", suffix), o_.feed_forward, d, experts);
    }
    Vector("output_norm.weight", d, 1.0f);
    if (!o_.tied) Matrix("output.weight", d, vocab_size_, 1.0f);
    if (o_.freq_factors) Vector("rope_freqs.weight", head / 2, 4.0f);
    const absl::Status written = writer_.Write(path);
    ASSERT_TRUE(written.ok()) << written;
  }

 private:
  void Metadata() {
    const std::string& a = o_.architecture;
    Set("general.architecture", absl::string_view(Keep(a)));
    Set("general.name", absl::string_view("tiny"));
    const std::pair<const char*, int64_t> numbers[] = {
        {".block_count", o_.layers},
        {".context_length", o_.context},
        {".embedding_length", o_.embedding},
        {".feed_forward_length", o_.feed_forward},
        {".attention.head_count", o_.heads},
        {".attention.head_count_kv", o_.heads_kv},
        {".rope.dimension_count", o_.embedding / o_.heads},
    };
    for (const auto& [key, value] : numbers) Set(a + key, static_cast<uint32_t>(value));
    if (o_.experts > 0) {
      Set(a + ".expert_count", static_cast<uint32_t>(o_.experts));
      Set(a + ".expert_used_count", static_cast<uint32_t>(o_.experts_used));
    }
    Set(a + ".attention.layer_norm_rms_epsilon", 1e-5f);
    Set(a + ".rope.freq_base", 10000.0f);
    if (!o_.rope_scaling.empty()) {
      Set(a + ".rope.scaling.type", absl::string_view(Keep(o_.rope_scaling)));
      Set(a + ".rope.scaling.factor", 4.0f);
      Set(a + ".rope.scaling.original_context_length", static_cast<uint32_t>(o_.context / 4));
    }
    std::vector<absl::string_view> tokens, merges;
    for (const std::string& token : ByteTokens()) tokens.push_back(Keep(token));
    const std::pair<const char*, const char*> pairs[] = {
        {"t", "h"}, {"th", "e"}, {"i", "n"}, {"Ġ", "the"}, {"a", "n"}};
    for (const auto& [left, right] : pairs) {
      merges.push_back(Keep(absl::StrCat(left, " ", right)));
      tokens.push_back(Keep(absl::StrCat(left, right)));
    }
    std::vector<int32_t> kinds(tokens.size(), 1);
    const int32_t first_special = static_cast<int32_t>(tokens.size());
    for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
      tokens.push_back(special);
      kinds.push_back(3);
    }
    vocab_size_ = static_cast<int64_t>(tokens.size());
    Set("tokenizer.ggml.model", absl::string_view("gpt2"));
    Set("tokenizer.ggml.pre", absl::string_view("gpt-2"));
    writer_.SetStrings("tokenizer.ggml.tokens", std::move(tokens));
    ints_.push_back(std::move(kinds));
    writer_.SetInts("tokenizer.ggml.token_type", ints_.back());
    writer_.SetStrings("tokenizer.ggml.merges", std::move(merges));
    Set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(first_special));
    Set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(first_special + 2));
    Set("tokenizer.ggml.add_bos_token", false);
    if (o_.chat_template) Set("tokenizer.chat_template", absl::string_view(kChatMl));
  }

  void Set(const std::string& key, gguf::MetaValue value) {
    writer_.Set(Keep(key), std::move(value));
  }

  void Linear(const std::string& name, int64_t in, int64_t out, int64_t experts = 1) {
    Matrix(name + ".weight", in, out, 1.0f / std::sqrt(static_cast<float>(in)), experts);
    if (o_.biases) Vector(name + ".bias", out, 0.0f);
  }

  // Values around `center`, always F32.
  void Vector(const std::string& name, int64_t n, float center) {
    std::vector<float> values(n);
    for (float& v : values) v = center + 0.1f * Normal();
    AddTensor(name, quant::Type::kF32, {n}, values);
  }

  void Matrix(const std::string& name, int64_t in, int64_t out, float scale, int64_t experts = 1) {
    std::vector<float> values(in * out * experts);
    for (float& v : values) v = scale * Normal();
    std::vector<int64_t> shape = {in, out};
    if (experts > 1) shape.push_back(experts);
    AddTensor(name, o_.weight_type, shape, values);
  }

  void AddTensor(const std::string& name, quant::Type type, std::vector<int64_t> shape,
                 std::vector<float>& values) {
    if (name == o_.nan_tensor) {
      values.assign(values.size(), std::numeric_limits<float>::quiet_NaN());
    }
    const int64_t rows = static_cast<int64_t>(values.size()) / shape[0];
    const int64_t row_bytes = quant::RowBytes(type, shape[0]);
    data_.emplace_back(row_bytes * rows);
    for (int64_t r = 0; r < rows; ++r) {
      const absl::Status encoded = quant::EncodeRow(type, values.data() + r * shape[0],
                                                    data_.back().data() + r * row_bytes, shape[0]);
      ASSERT_TRUE(encoded.ok()) << encoded;
    }
    const absl::Status added =
        writer_.AddTensor(Keep(name), type, shape, std::span<const std::byte>(data_.back()));
    ASSERT_TRUE(added.ok()) << added;
  }

  float Normal() {
    // Sum of uniforms: the same on every standard library, unlike std::normal_distribution.
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(random_() >> 40) / 16777216.0f;
    return sum - 6.0f;
  }

  const std::string& Keep(std::string text) { return strings_.emplace_back(std::move(text)); }

  TinyLlamaOptions o_;
  std::mt19937_64 random_;
  gguf::Writer writer_;
  std::deque<std::string> strings_;
  std::deque<std::vector<int32_t>> ints_;
  std::deque<std::vector<std::byte>> data_;
  int64_t vocab_size_ = 0;
};

}  // namespace

void WriteTinyLlama(const std::string& path, const TinyLlamaOptions& options) {
  TinyModel(options).Write(path);
}

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "bantam_test_XXXXXX").string();
  const char* made = mkdtemp(pattern.data());
  EXPECT_NE(made, nullptr);
  if (made != nullptr) path_ = made;
}

TempDir::~TempDir() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

std::string FetchedModel(const std::string& file_name) {
  std::filesystem::path folder;
  if (const char* models = std::getenv("BANTAM_MODELS")) {
    folder = models;
  } else if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache) {
    folder = std::filesystem::path(cache) / "bantam/models";
  } else if (const char* home = std::getenv("HOME")) {
    folder = std::filesystem::path(home) / ".cache/bantam/models";
  }
  const std::filesystem::path file = folder / file_name;
  std::error_code ignored;
  return std::filesystem::exists(file, ignored) ? file.string() : "";
}

}  // namespace bantam::testing
