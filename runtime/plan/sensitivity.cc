#include "runtime/plan/sensitivity.h"

#include <algorithm>
#include <cmath>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/eval/divergence.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"

namespace bantam::plan {
namespace {

using engine::LogitsMode;
using tokenizer::TokenId;

int64_t Rows(const gguf::TensorInfo& tensor) { return tensor.elements() / tensor.shape[0]; }

// The weights of a row's columns: an expert's rows follow each other.
const float* RowWeights(const gguf::TensorInfo& tensor, std::span<const float> weights,
                        int64_t row) {
  if (weights.empty()) return nullptr;
  const auto columns = static_cast<size_t>(tensor.shape[0]);
  const int64_t matrix = row / tensor.shape[1];
  return weights.data() + (weights.size() > columns ? matrix * columns : 0);
}

// One row decoded, then rounded by way of `type`.
struct RowRounder {
  const gguf::TensorInfo& tensor;
  quant::Type type;
  std::span<const float> weights;
  const EncodeFn& encode;
  std::vector<float> exact, rounded;
  std::vector<std::byte> blocks;

  absl::Status Round(int64_t row) {
    const int64_t n = tensor.shape[0];
    exact.resize(n);
    rounded.resize(n);
    blocks.resize(quant::RowBytes(type, n));
    const int64_t row_bytes = quant::RowBytes(tensor.type, n);
    quant::DecodeRow(tensor.type, tensor.data.data() + row * row_bytes, exact.data(), n);
    BANTAM_RETURN_IF_ERROR(
        Annotate(encode(type, exact.data(), RowWeights(tensor, weights, row), blocks.data(), n),
                 absl::StrCat(tensor.name, " row ", row)));
    quant::DecodeRow(type, blocks.data(), rounded.data(), n);
    return absl::OkStatus();
  }
};

absl::Status CheckWeights(const gguf::TensorInfo& tensor, std::span<const float> weights) {
  const auto columns = static_cast<size_t>(tensor.shape[0]);
  const size_t all = columns * tensor.shape[2] * tensor.shape[3];
  if (weights.empty() || weights.size() == columns || weights.size() == all) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(tensor.name, ": the importance has ",
                                                 weights.size(), " values; expected ", all));
}

std::span<const float> Find(const quant::Importance* importance, absl::string_view name) {
  if (importance == nullptr) return {};
  const auto found = importance->weights.find(name);
  if (found == importance->weights.end()) return {};
  return found->second;
}

}  // namespace

absl::StatusOr<double> WeightedError(const gguf::TensorInfo& tensor, quant::Type type,
                                     std::span<const float> weights, const EncodeFn& encode,
                                     ThreadPool& pool, int64_t sample_rows) {
  BANTAM_RETURN_IF_ERROR(CheckWeights(tensor, weights));
  const int64_t rows = Rows(tensor);
  const int64_t taken = sample_rows > 0 ? std::min(sample_rows, rows) : rows;
  std::vector<double> errors(taken);
  std::vector<absl::Status> statuses(taken);
  pool.ParallelFor(taken, 4, [&](int64_t begin, int64_t end, int /*worker*/) {
    RowRounder rounder{tensor, type, weights, encode, {}, {}, {}};
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i * rows / taken;
      statuses[i] = rounder.Round(row);
      if (!statuses[i].ok()) continue;
      const float* row_weights = RowWeights(tensor, weights, row);
      for (int64_t c = 0; c < tensor.shape[0]; ++c) {
        const double d = double{rounder.rounded[c]} - rounder.exact[c];
        errors[i] += (row_weights == nullptr ? 1.0 : row_weights[c]) * d * d;
      }
    }
  });
  double sum = 0;
  for (int64_t i = 0; i < taken; ++i) {
    BANTAM_RETURN_IF_ERROR(statuses[i]);
    sum += errors[i];
  }
  return sum * static_cast<double>(rows) / static_cast<double>(taken);
}

absl::StatusOr<double> Energy(const gguf::TensorInfo& tensor, std::span<const float> weights,
                              ThreadPool& pool, int64_t sample_rows) {
  const EncodeFn to_nothing = [](quant::Type type, const float*, const float*, void* dst,
                                 int64_t n) {
    const std::vector<float> zeros(n, 0.0f);
    return quant::EncodeRow(type, zeros.data(), dst, n);
  };
  return WeightedError(tensor, quant::Type::kF32, weights, to_nothing, pool, sample_rows);
}

namespace {

// What the model predicts for the scored tokens, as it was and with one tensor changed.
class Probe {
 public:
  Probe(engine::Session& session, const eval::Windows& windows)
      : session_(session), windows_(windows) {}

  absl::Status ReadBase() {
    return ForEachRow([this](std::span<const float> logits) {
      const float peak = *std::max_element(logits.begin(), logits.end());
      for (float logit : logits) distances_.push_back(peak - logit);
    });
  }

  // Mean divergence of what the model predicts now.
  absl::StatusOr<double> Divergence() {
    double sum = 0;
    int64_t row = 0;
    BANTAM_RETURN_IF_ERROR(ForEachRow([&](std::span<const float> logits) {
      const auto base = std::span<const float>(distances_).subspan(row * logits.size());
      sum += eval::KlDivergence(base.first(logits.size()), logits);
      ++row;
    }));
    return sum / static_cast<double>(row);
  }

 private:
  absl::Status ForEachRow(absl::FunctionRef<void(std::span<const float>)> row) {
    for (int64_t i = 0; i < windows_.count; ++i) {
      BANTAM_RETURN_IF_ERROR(
          eval::ScoreWindow(session_, windows_, i, [&](std::span<const TokenId> targets) {
            for (size_t k = 0; k < targets.size(); ++k) row(session_.Logits(k));
            return absl::OkStatus();
          }));
    }
    return absl::OkStatus();
  }

  engine::Session& session_;
  const eval::Windows& windows_;
  std::vector<float> distances_;
};

// The whole tensor rounded by way of `type`, in its own type.
absl::StatusOr<std::vector<std::byte>> Rounded(const gguf::TensorInfo& tensor, quant::Type type,
                                               std::span<const float> weights,
                                               const EncodeFn& encode, ThreadPool& pool) {
  std::vector<std::byte> out(tensor.data.size());
  const int64_t rows = Rows(tensor), row_bytes = quant::RowBytes(tensor.type, tensor.shape[0]);
  std::vector<absl::Status> statuses(rows);
  pool.ParallelFor(rows, 4, [&](int64_t begin, int64_t end, int /*worker*/) {
    RowRounder rounder{tensor, type, weights, encode, {}, {}, {}};
    for (int64_t row = begin; row < end; ++row) {
      statuses[row] = rounder.Round(row);
      if (!statuses[row].ok()) continue;
      statuses[row] = quant::EncodeRow(tensor.type, rounder.rounded.data(),
                                       out.data() + row * row_bytes, tensor.shape[0]);
    }
  });
  for (const absl::Status& status : statuses) BANTAM_RETURN_IF_ERROR(status);
  return out;
}

}  // namespace

absl::StatusOr<std::vector<Gain>> MeasureGains(std::shared_ptr<engine::Model> model,
                                               const eval::Windows& windows,
                                               std::span<const gguf::TensorInfo* const> tensors,
                                               const GainOptions& options, const EncodeFn& encode,
                                               engine::Session& session, ThreadPool& pool,
                                               absl::FunctionRef<bool(int64_t done)> progress) {
  Probe probe(session, windows);
  BANTAM_RETURN_IF_ERROR(probe.ReadBase());
  std::vector<Gain> gains;
  for (const gguf::TensorInfo* tensor : tensors) {
    Gain gain;
    gain.tensor = tensor;
    const quant::Type type = options.probe(*tensor);
    const std::span<const float> weights = Find(options.importance, tensor->name);
    BANTAM_ASSIGN_OR_RETURN(gain.error, WeightedError(*tensor, type, weights, encode, pool));
    BANTAM_ASSIGN_OR_RETURN(gain.energy, Energy(*tensor, weights, pool));
    BANTAM_ASSIGN_OR_RETURN(const auto rounded, Rounded(*tensor, type, weights, encode, pool));
    BANTAM_RETURN_IF_ERROR(model->Overwrite(tensor->name, rounded));
    const absl::StatusOr<double> divergence = probe.Divergence();
    BANTAM_RETURN_IF_ERROR(model->Overwrite(tensor->name, tensor->data));
    BANTAM_RETURN_IF_ERROR(divergence.status());
    gain.divergence = std::max(*divergence, 0.0);
    gains.push_back(gain);
    if (!progress(static_cast<int64_t>(gains.size()))) return absl::AbortedError("stopped");
  }
  return gains;
}

}  // namespace bantam::plan
