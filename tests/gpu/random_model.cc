// Writes a Llama of 8B or 1B shape with random weights, for run.sh to measure speed on where there
// is neither a network nor Python.
//
//   gpu_random_model OUT.gguf [8b|1b|tiny] [TYPE]
//
// TYPE: Q4_K_M, the usual mixture of Q4_K and Q6_K, or a type of tensors for all matrices. The
// embedding is the output matrix too, of Q6_K beside smaller types. Text of such a model is noise.

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/gguf/writer.h"
#include "tests/gpu/shapes.h"

namespace bantam {
namespace {

using quant::Type;

absl::Status Write(const std::string& path, const std::string& size, const std::string& mixture) {
  BANTAM_ASSIGN_OR_RETURN(const gpu::ModelShape s, gpu::ShapeOf(size));
  BANTAM_ASSIGN_OR_RETURN(const gpu::Mixture types, gpu::MixtureOf(mixture));
  gguf::Writer writer;
  const auto count = [](int64_t n) { return static_cast<uint32_t>(n); };
  writer.Set("general.architecture", "llama");
  const std::string name = absl::StrCat("random ", size, " ", mixture);
  writer.Set("general.name", name);
  writer.Set("llama.block_count", count(s.layers));
  writer.Set("llama.context_length", count(8192));
  writer.Set("llama.embedding_length", count(s.width));
  writer.Set("llama.feed_forward_length", count(s.feed_forward));
  writer.Set("llama.attention.head_count", count(s.heads));
  writer.Set("llama.attention.head_count_kv", count(s.kv_heads));
  writer.Set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.Set("llama.rope.freq_base", 500000.0f);
  writer.Set("llama.rope.dimension_count", count(s.head_dim));
  // A vocabulary of nonsense, as byte-level BPE wants it.
  std::vector<std::string> names;
  for (int64_t i = 0; i < s.vocabulary; ++i) names.push_back(absl::StrCat("t", i));
  const std::vector<int32_t> kinds(names.size(), 1);
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", "llama-bpe");
  writer.SetStrings("tokenizer.ggml.tokens", {names.begin(), names.end()});
  writer.SetInts("tokenizer.ggml.token_type", kinds);
  writer.SetStrings("tokenizer.ggml.merges", {"t 0"});
  writer.Set("tokenizer.ggml.bos_token_id", uint32_t{0});
  writer.Set("tokenizer.ggml.eos_token_id", uint32_t{1});

  const auto add = [&](const std::string& tensor, Type type, int64_t k, int64_t m) {
    const std::vector<int64_t> shape = m > 0 ? std::vector{k, m} : std::vector{k};
    const uint64_t bytes =
        static_cast<uint64_t>(quant::RowBytes(type, k)) * std::max<int64_t>(m, 1);
    return writer.AddTensorInPieces(absl::StrCat(tensor, ".weight"), type, shape,
                                    [type, bytes](gguf::Writer::Sink write) -> absl::Status {
                                      return gpu::ForPattern(type, bytes, write);
                                    });
  };
  BANTAM_RETURN_IF_ERROR(add("token_embd", types.output, s.width, s.vocabulary));
  BANTAM_RETURN_IF_ERROR(add("output_norm", Type::kF32, s.width, 0));
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const Type finer = types.Finer(layer, s.layers);
    const struct {
      const char* name;
      Type type;
      int64_t k, m;
    } tensors[] = {{"attn_norm", Type::kF32, s.width, 0},
                   {"attn_q", types.usual, s.width, s.heads * s.head_dim},
                   {"attn_k", types.usual, s.width, s.kv_heads * s.head_dim},
                   {"attn_v", finer, s.width, s.kv_heads * s.head_dim},
                   {"attn_output", types.usual, s.heads * s.head_dim, s.width},
                   {"ffn_norm", Type::kF32, s.width, 0},
                   {"ffn_gate", types.usual, s.width, s.feed_forward},
                   {"ffn_up", types.usual, s.width, s.feed_forward},
                   {"ffn_down", finer, s.feed_forward, s.width}};
    for (const auto& t : tensors) {
      BANTAM_RETURN_IF_ERROR(add(absl::StrCat("blk.", layer, ".", t.name), t.type, t.k, t.m));
    }
  }
  return writer.Write(path);
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Write(
      argc > 1 ? argv[1] : "random.gguf", argc > 2 ? argv[2] : "8b", argc > 3 ? argv[3] : "Q4_K_M");
  if (status.ok()) return 0;
  std::fprintf(stderr, "random_model: %s\n", std::string(status.message()).c_str());
  return 1;
}
