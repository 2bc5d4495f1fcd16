// What converting each architecture takes: a table of names. Adding one is adding a row.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/convert/json_file.h"
#include "runtime/gguf/writer.h"

namespace bantam::convert {

// The same tensor in a checkpoint and in GGUF; # stands for the layer. Both without ".weight" or
// ".bias", which carry over.
struct TensorName {
  absl::string_view source, target;
};

struct ArchitectureRow {
  absl::string_view names;                  // of config.json's "architectures", separated by spaces
  absl::string_view target;                 // general.architecture
  std::span<const TensorName> extra_names;  // besides those that all share
  // The rows of Q and K go from halves (Hugging Face) to neighbours (GGUF),
  // RopeLayout::kInterleaved.
  bool interleave_rope = false;
};

// By config.json's "architectures"; kUnimplemented lists those known.
absl::StatusOr<const ArchitectureRow*> FindArchitecture(const JsonFile& config);

// "blk.3.attn_q.weight"; nothing for a tensor that no GGUF file has a place for.
std::optional<std::string> TargetName(const ArchitectureRow& row, absl::string_view source);
// Tensors that hold nothing a model needs: buffers that old versions saved.
bool IsIgnored(absl::string_view source);

struct HyperParameters {
  int64_t heads = 0;
  int64_t heads_kv = 0;
  int64_t layers = 0;
  bool tied = false;  // the output head is the embedding table
  // Llama 3.1's factors by which frequencies are divided; empty without.
  std::vector<float> rope_factors;
};

// Puts the architecture's metadata. kInvalidArgument names the key that is missing or makes no
// sense, kUnimplemented a kind of rope scaling that cannot be written.
absl::StatusOr<HyperParameters> WriteHyperParameters(const JsonFile& config,
                                                     const ArchitectureRow& row,
                                                     gguf::Writer& writer);

}  // namespace bantam::convert
