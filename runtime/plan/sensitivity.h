// How much each tensor's rounding costs: what a choice of types is predicted to do to a model.
//
// The output of one matrix multiplication is off by d = (W' - W) x, whose expected square, summed
// over the outputs, is sum_rc E[x_c^2] (W'_rc - W_rc)^2 as far as the columns' errors are
// independent: the importance-weighted error. The divergence of the whole model grows with it, for
// small errors in proportion, by a factor that depends on where in the model the tensor is: its
// gain, measured by rounding that tensor alone. Divergences of single tensors add up, to first
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/windows.h"
#include "runtime/gguf/file.h"
#include "runtime/quant/importance.h"
#include "runtime/quant/type.h"

namespace bantam::plan {

// Encodes one row of n elements under the weights (nullptr: all equal), as quant::QuantizeRow.
using EncodeFn = std::function<absl::Status(quant::Type type, const float* src,
                                            const float* weights, void* dst, int64_t n)>;

// The weighted error of the whole tensor in that type, from about `sample_rows` rows spread evenly;
// 0: all. `weights` as Importance holds them, or empty. The tensor's rows fill the type's blocks.
absl::StatusOr<double> WeightedError(const gguf::TensorInfo& tensor, quant::Type type,
                                     std::span<const float> weights, const EncodeFn& encode,
                                     ThreadPool& pool, int64_t sample_rows = 0);

// The same for a type that holds nothing but zeros: what the tensor puts out.
absl::StatusOr<double> Energy(const gguf::TensorInfo& tensor, std::span<const float> weights,
                              ThreadPool& pool, int64_t sample_rows = 0);

struct Gain {
  const gguf::TensorInfo* tensor = nullptr;
  double divergence = 0;  // mean KL, nats per token, with this tensor alone in the probe type
  double error = 0;       // its weighted error there
  double energy = 0;      // what its weighted error would be if it were rounded to nothing
  // Divergence per weighted error.
  double value() const { return error > 0 ? divergence / error : 0; }
  // Divergence per share of the energy.
  double sensitivity() const { return value() * energy; }
};

struct GainOptions {
  // The type each tensor is rounded to: coarse enough to be seen above the arithmetic's own noise.
  std::function<quant::Type(const gguf::TensorInfo&)> probe;
  // Where importance lacks a tensor all columns count alike.
  const quant::Importance* importance = nullptr;
};

// Measures the gains of `tensors` on the windows of a text. The model was loaded with
// writable_weights and is afterwards as it was; the tensors are of type F32, F16 or BF16.
// `progress` is called after each tensor and ends it early by returning false, which is kAborted.
absl::StatusOr<std::vector<Gain>> MeasureGains(std::shared_ptr<engine::Model> model,
                                               const eval::Windows& windows,
                                               std::span<const gguf::TensorInfo* const> tensors,
                                               const GainOptions& options, const EncodeFn& encode,
                                               engine::Session& session, ThreadPool& pool,
                                               absl::FunctionRef<bool(int64_t done)> progress);

}  // namespace bantam::plan
