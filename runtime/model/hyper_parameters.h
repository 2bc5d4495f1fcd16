// Reading an architecture's hyper-parameters and checking its tensors.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/graph/graph.h"
#include "runtime/model/architecture.h"

namespace bantam::model {

// Keys are given without the architecture's prefix: "block_count" reads "llama.block_count".
// Values are checked against the range a model can sensibly have, so that sizes computed from them
// cannot overflow.
class HyperParameters {
 public:
  explicit HyperParameters(const gguf::File& file);

  absl::StatusOr<int64_t> Int(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> IntOr(absl::string_view key, int64_t min, int64_t max,
                                int64_t fallback) const;
  // A number for each layer, 1 to `max`: from an array, or the same for all. kUnimplemented for a
  // layer with 0.
  absl::StatusOr<std::vector<int64_t>> IntsByLayer(absl::string_view key, int64_t block_count,
                                                   int64_t max) const;
  // kUnimplemented unless all layers have the same number.
  absl::Status RequireUniform(absl::string_view key, const std::vector<int64_t>& values) const;
  // Finite numbers only.
  absl::StatusOr<float> Float(absl::string_view key) const;
  absl::StatusOr<float> FloatOr(absl::string_view key, float fallback) const;
  absl::StatusOr<std::string> StringOr(absl::string_view key, absl::string_view fallback) const;
  bool Has(absl::string_view key) const;
  bool IsArray(absl::string_view key) const;

  // kInvalidArgument: "<file>: <full key>: <message>".
  absl::Status Error(absl::string_view key, absl::string_view message) const;

  const gguf::File& file() const { return file_; }
  const std::string& architecture() const { return architecture_; }

 private:
  std::string FullKey(absl::string_view key) const;

  const gguf::File& file_;
  std::string architecture_;
};

// Reads what every transformer has.
absl::StatusOr<Config> ReadConfig(const HyperParameters& params);

// attention.layer_norm_rms_epsilon or attention.layer_norm_epsilon.
absl::StatusOr<graph::NormAttrs> ReadNorm(const HyperParameters& params, graph::NormKind kind);

// Config::windows, from attention.sliding_window (0: no layer has one) and
// attention.sliding_window_pattern: either a period, whose last layer sees everything, or whether
// each layer has a window.
absl::StatusOr<std::vector<int32_t>> ReadWindows(const HyperParameters& params, int64_t block_count,
                                                 int64_t default_window, int64_t default_period);

// rope.scaling.original_context_length: what the model saw before it was trained on longer texts.
absl::StatusOr<int64_t> ReadOriginalContext(const HyperParameters& params);

// The rotation of Q and K, with linear, YaRN or LongRoPE scaling; the factors of the last are
// tensors. `head_length` is the default for rope.dimension_count.
absl::StatusOr<graph::RopeAttrs> ReadRope(const HyperParameters& params, graph::RopeLayout layout,
                                          int64_t head_length);

// kInvalidArgument when the tensor is missing, or present with another shape; types are free.
absl::Status RequireTensor(const gguf::File& file, absl::string_view name,
                           std::initializer_list<int64_t> shape);
// The same, but a missing tensor is fine.
absl::Status AllowTensor(const gguf::File& file, absl::string_view name,
                         std::initializer_list<int64_t> shape);

}  // namespace bantam::model
