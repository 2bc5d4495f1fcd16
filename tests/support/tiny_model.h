// Complete little models with random weights, for tests.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/quant/type.h"

namespace bantam::testing {

struct TinyLlamaOptions {
  std::string architecture = "llama";
  int64_t layers = 2;
  int64_t embedding = 64;  // a multiple of 32, so that block types fit
  int64_t heads = 4;
  int64_t heads_kv = 2;
  int64_t feed_forward = 96;
  int64_t experts = 0;  // in place of one feed-forward network
  int64_t experts_used = 2;
  int64_t context = 256;
  quant::Type weight_type = quant::Type::kF32;  // a type quant::EncodeRow can write
  bool tied = true;                             // no output.weight
  bool biases = false;
  std::string rope_scaling;   // "", "linear" or "yarn", by a factor of 4
  bool freq_factors = false;  // rope_freqs.weight, as Llama 3 has
  bool chat_template = true;  // ChatML
  std::string nan_tensor;     // this tensor is filled with NaN (F32 only)
  uint64_t seed = 1;
};

// Writes a GGUF file with a byte-level BPE vocabulary of 256 bytes, a few merges and the tokens
// <|endoftext|>, <|im_start|>, <|im_end|>. Fails the test when it cannot.
void WriteTinyLlama(const std::string& path, const TinyLlamaOptions& options = {});

// A fresh folder that the test's end removes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The path of a model that tests/models/fetch.sh provides, or "" when it is not there:
// $BANTAM_MODELS, else ${XDG_CACHE_HOME:-~/.cache}/bantam/models.
std::string FetchedModel(const std::string& file_name);
inline constexpr char kGemma3[] = "gemma-3-270m.Q4_K_M.gguf";
inline constexpr char kSmolLm2[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

}  // namespace bantam::testing
