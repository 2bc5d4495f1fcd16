// What converting each architecture takes: a table of names and keys. Adding one is adding a row.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/convert/json_file.h"
#include "runtime/gguf/writer.h"

namespace bantam::convert {

// The same tensor in a checkpoint and in GGUF; # stands for the layer, % for the expert. Both
// without ".weight" or ".bias", which carry over. Two targets, apart by a '|', take a half each of
// the rows, of every matrix of a stack.
struct TensorName {
  absl::string_view source, target;
  bool bare = false;  // there without ".weight"
};

// The same hyper-parameter in config.json and, behind "<architecture>.", in GGUF.
struct KeyName {
  absl::string_view source, target;
  enum Kind { kInt, kFloat } kind = kInt;
  bool required = true;
};

// A key of config.json that must have this value, where it has any: what no model here computes.
struct Expected {
  absl::string_view source;
  double value = 0;  // of a bool 0 or 1; of a list its length
};

// A key of config.json under another name than most files have.
struct Alias {
  absl::string_view there, usual;
};

struct ArchitectureRow {
  absl::string_view names;                  // of config.json's "architectures", separated by spaces
  absl::string_view target;                 // general.architecture
  std::span<const TensorName> extra_names;  // besides those that all share, and before them
  std::span<const KeyName> extra_keys;
  std::span<const Expected> expected;
  // The rows of Q and K go from halves (Hugging Face) to neighbours (GGUF),
  // RopeLayout::kInterleaved.
  bool interleave_rope = false;
  bool norms_less_one = false;  // the checkpoint has norm weights less 1, GGUF has them whole
  bool tied = false;            // where config.json does not say
  bool layer_norm = false;
  bool fused_experts = false;     // see fused_experts.h
  bool windows_by_layer = false;  // some layers see only a window; config.json may say which
  // For embeddings: all tokens see each other, there is no output, and the vocabulary is
  // WordPiece's.
  bool encoder = false;
  bool rotates = true;       // has rotary positions
  absl::string_view prefix;  // that names of tensors may have in front
  std::span<const Alias> aliases;
};

// By config.json's "architectures"; kUnimplemented lists those known.
absl::StatusOr<const ArchitectureRow*> FindArchitecture(const JsonFile& config);

struct Target {
  std::string name;        // "blk.3.attn_q.weight"
  std::string other_half;  // the name that the second half of the rows gets; "": all are one
  int64_t expert = -1;
};
// Nothing for a tensor that no GGUF file has a place for.
std::optional<Target> TargetOf(const ArchitectureRow& row, absl::string_view source);
// Tensors that hold nothing a model needs: buffers that old versions saved.
bool IsIgnored(absl::string_view source);

struct HyperParameters {
  int64_t heads = 0;
  int64_t heads_kv = 0;
  int64_t layers = 0;
  int64_t experts = 0;
  bool tied = false;  // the output head is the embedding table
  // Llama 3.1's factors by which frequencies are divided; empty without.
  std::vector<float> rope_factors;
  // The same of LongRoPE, for long and for short contexts.
  std::vector<float> rope_long, rope_short;
  // For each layer 1 where it sees only a window, to be written as kWindowPattern; empty where a
  // period, which is written already, says it.
  std::vector<int32_t> windowed;
};
inline constexpr absl::string_view kWindowPattern = "attention.sliding_window_pattern";

// Puts the architecture's metadata. kInvalidArgument names the key that is missing or makes no
// sense, kUnimplemented a kind of rope scaling or a setting that cannot be written.
absl::StatusOr<HyperParameters> WriteHyperParameters(const JsonFile& config,
                                                     const ArchitectureRow& row,
                                                     gguf::Writer& writer);

}  // namespace bantam::convert
