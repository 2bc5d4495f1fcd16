#include "runtime/plan/budget.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/gguf/layout.h"
#include "runtime/plan/knapsack.h"
#include "runtime/plan/sensitivities.h"
#include "runtime/plan/sensitivity.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
#include "runtime/quantize/recipe.h"

namespace bantam::plan {
namespace {

using quant::Type;

// Without MXFP4: what its scales, powers of two, do to a model is more than their error tells.
constexpr Type kCandidates[] = {Type::kQ2_K,   Type::kIQ3_XXS, Type::kQ3_K, Type::kIQ3_S,
                                Type::kIQ4_XS, Type::kIQ4_NL,  Type::kQ4_0, Type::kQ4_K,
                                Type::kQ4_1,   Type::kQ5_0,    Type::kQ5_K, Type::kQ5_1,
                                Type::kQ6_K,   Type::kQ8_0,    Type::kF16};

bool Fits(Type type, const gguf::TensorInfo& tensor) {
  return tensor.shape[0] % quant::Traits(type).block_size == 0;
}

std::span<const float> WeightsOf(const BudgetOptions& options, absl::string_view name) {
  if (options.importance == nullptr) return {};
  const auto found = options.importance->weights.find(name);
  if (found == options.importance->weights.end()) return {};
  return found->second;
}

absl::Status Encode(Type type, const float* src, const float* weights, void* dst, int64_t n) {
  return quant::QuantizeRow(type, src, weights, dst, n);
}

}  // namespace

std::vector<const gguf::TensorInfo*> ChangeableTensors(const gguf::File& file) {
  std::vector<const gguf::TensorInfo*> tensors;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (quantize::IsQuantizable(tensor)) tensors.push_back(&tensor);
  }
  return tensors;
}

Type ProbeType(const gguf::TensorInfo& tensor) {
  for (Type type : {Type::kQ3_K, Type::kQ4_0}) {
    if (Fits(type, tensor)) return type;
  }
  return tensor.type;
}

absl::StatusOr<BudgetChoice> ChooseWithinBudget(
    const gguf::File& file, uint64_t budget, const BudgetOptions& options, ThreadPool& pool,
    absl::FunctionRef<bool(int64_t done, int64_t of)> progress) {
  BudgetChoice choice;
  std::vector<std::vector<Option>> groups;
  std::vector<std::vector<Type>> types;
  std::vector<size_t> indices;  // of the groups' tensors
  uint64_t kept = 0;
  Sensitivities typical = TypicalSensitivities(file);
  const auto changeable = static_cast<int64_t>(ChangeableTensors(file).size());
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const gguf::TensorInfo& tensor = file.tensors()[i];
    choice.types.push_back(tensor.type);
    if (!quantize::IsQuantizable(tensor)) {
      kept += tensor.data.size();
      continue;
    }
    if (quant::Traits(tensor.type).is_quantized) {
      return absl::FailedPreconditionError(
          absl::StrFormat("%s: tensor %s is %s already; a size is chosen from an F16, BF16 or F32 "
                          "model",
                          file.path(), tensor.name, quant::Name(tensor.type)));
    }
    const std::span<const float> weights = WeightsOf(options, tensor.name);
    BANTAM_ASSIGN_OR_RETURN(const double energy,
                            Energy(tensor, weights, pool, options.sample_rows));
    const auto found = options.sensitivities.find(tensor.name);
    const double sensitivity =
        found == options.sensitivities.end() ? typical[tensor.name] : found->second;
    const double gain = energy > 0 ? sensitivity / energy : 0;
    groups.emplace_back();
    types.emplace_back();
    indices.push_back(i);
    const auto add = [&](Type type, double cost) -> absl::Status {
      BANTAM_ASSIGN_OR_RETURN(const uint64_t bytes, gguf::TensorBytes(type, tensor.shape));
      groups.back().push_back({bytes, cost});
      types.back().push_back(type);
      return absl::OkStatus();
    };
    BANTAM_RETURN_IF_ERROR(add(tensor.type, 0));
    for (Type type : kCandidates) {
      if (!Fits(type, tensor) || type == tensor.type) continue;
      if (quant::RowBytes(type, tensor.shape[0]) > quant::RowBytes(tensor.type, tensor.shape[0])) {
        continue;
      }
      BANTAM_ASSIGN_OR_RETURN(const double error, WeightedError(tensor, type, weights, Encode, pool,
                                                                options.sample_rows));
      BANTAM_RETURN_IF_ERROR(add(type, gain * error));
    }
    if (!progress(static_cast<int64_t>(groups.size()), changeable)) {
      return absl::AbortedError("stopped");
    }
  }
  const absl::StatusOr<Selection> selection =
      budget < kept ? absl::ResourceExhaustedError("") : Select(groups, budget - kept);
  if (absl::IsResourceExhausted(selection.status())) {
    uint64_t least = kept;
    for (const std::vector<Option>& options_of : groups) {
      least += std::min_element(options_of.begin(), options_of.end(), [](auto& a, auto& b) {
                 return a.bytes < b.bytes;
               })->bytes;
    }
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: %s are too few for the tensors; the smallest types take %s",
                        file.path(), FormatByteSize(budget), FormatByteSize(least)));
  }
  BANTAM_RETURN_IF_ERROR(selection.status());
  for (size_t g = 0; g < groups.size(); ++g) {
    choice.types[indices[g]] = types[g][selection->choice[g]];
  }
  choice.bytes = kept + selection->bytes;
  choice.cost = selection->cost;
  choice.bound = selection->bound;
  return choice;
}

}  // namespace bantam::plan
