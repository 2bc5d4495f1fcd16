// How much a model suffers from what rounding does to each tensor: measured, measured in part, or
// typical.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "runtime/gguf/file.h"
#include "runtime/plan/sensitivity.h"

namespace bantam::plan {

// By tensor name: divergence for each share of what the tensor puts out that becomes error, small
// shares taken for granted. In nats per token.
using Sensitivities = absl::flat_hash_map<std::string, double>;

// What comparable tensors of small models were measured to have.
Sensitivities TypicalSensitivities(const gguf::File& file);

// The changeable tensors of about `layers` layers (0: all), the first and the last among them and
// the others evenly between, and those outside the layers.
std::vector<const gguf::TensorInfo*> TensorsToMeasure(const gguf::File& file, int64_t layers);

// Of every changeable tensor: what was measured, and where a layer was not, what lies between the
// nearest measured ones for the tensor of the same kind.
Sensitivities SpreadSensitivities(const gguf::File& file, std::span<const Gain> measured);

// As a JSON object of numbers by tensor name. Reading checks that every changeable tensor of `file`
// has one that is not negative.
absl::Status SaveSensitivities(const Sensitivities& sensitivities, const std::string& path);
absl::StatusOr<Sensitivities> ReadSensitivities(const std::string& path, const gguf::File& file);

}  // namespace bantam::plan
