// A type for each tensor, such that the file keeps to a size and the model loses the least.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/gguf/file.h"
#include "runtime/quant/importance.h"
#include "runtime/quant/type.h"

namespace bantam::plan {

struct BudgetOptions {
  const quant::Importance* importance = nullptr;  // tensors may be missing: all columns alike
  // By tensor name, as sensitivities.h has them: divergence for each share of what the tensor puts
  // out. Where one is missing, the typical.
  absl::flat_hash_map<std::string, double> sensitivities;
  int64_t sample_rows = 128;  // of each tensor, for its errors; 0: all
};

struct BudgetChoice {
  std::vector<quant::Type> types;  // of file.tensors()
  uint64_t bytes = 0;              // of the tensors' data
  // The sum of predicted divergences, and what no choice within the budget goes below.
  double cost = 0, bound = 0;
};

// The tensors that a recipe may change, in the order of the file.
std::vector<const gguf::TensorInfo*> ChangeableTensors(const gguf::File& file);

// What tensors are rounded to when their gains are measured: about 3 to 4 bits.
quant::Type ProbeType(const gguf::TensorInfo& tensor);

// The changeable tensors' types are chosen among those whose blocks fit their rows and that take no
// more than the source's; the others stay. `budget` is bytes of all tensors' data. `progress` is
// called after each tensor's errors are known and ends it early by returning false, kAborted.
// kResourceExhausted says what the smallest choice takes; kFailedPrecondition names a tensor that
// is quantized already.
absl::StatusOr<BudgetChoice> ChooseWithinBudget(
    const gguf::File& file, uint64_t budget, const BudgetOptions& options, ThreadPool& pool,
    absl::FunctionRef<bool(int64_t done, int64_t of)> progress);

}  // namespace bantam::plan
