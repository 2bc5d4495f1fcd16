#include "runtime/eval/imatrix.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "runtime/base/status.h"

namespace bantam::eval {

using engine::LogitsMode;
using tokenizer::TokenId;

namespace {

constexpr int kMostLayers = 1 << 16;

}  // namespace

quant::Importance ImportanceOf(const Imatrix& imatrix) {
  quant::Importance importance;
  for (const auto& [name, entry] : imatrix.entries) {
    std::vector<float>& weights = importance.weights[name];
    const size_t columns = static_cast<size_t>(entry.columns());
    for (size_t i = 0; i < entry.sums.size(); ++i) {
      const int64_t count = entry.counts[i / columns];
      weights.push_back(count > 0 ? static_cast<float>(entry.sums[i] / static_cast<double>(count))
                                  : 1.0f);
    }
  }
  return importance;
}

absl::StatusOr<schedule::ExpertUse> ExpertUseOf(const Imatrix& imatrix) {
  schedule::ExpertUse use;
  bool differs = false;
  for (const auto& [name, entry] : imatrix.entries) {
    absl::string_view rest = name;
    int layer = -1;
    if (entry.counts.size() < 2 || !absl::ConsumePrefix(&rest, "blk.") ||
        !absl::ConsumeSuffix(&rest, ".ffn_down_exps.weight") || !absl::SimpleAtoi(rest, &layer) ||
        layer < 0 || layer > kMostLayers) {
      continue;
    }
    if (layer >= std::ssize(use.counts)) use.counts.resize(layer + 1);
    use.counts[layer].assign(entry.counts.begin(), entry.counts.end());
    differs |= std::any_of(entry.counts.begin(), entry.counts.end(),
                           [&](int64_t count) { return count != entry.counts[0]; });
  }
  if (differs) return use;
  return absl::InvalidArgumentError(
      use.counts.empty()
          ? "this importance matrix says nothing of experts"
          : "this importance matrix does not say how often each expert was used: its form, of "
            "before 2025, cannot");
}

absl::StatusOr<Imatrix> CollectImatrix(engine::Session& session, const Windows& windows,
                                       const ImatrixOptions& options,
                                       absl::FunctionRef<bool(int64_t windows)> progress) {
  Imatrix imatrix;
  imatrix.chunk_size = windows.size;
  const gguf::File& file = session.model().file();
  auto add = [&](std::span<const std::string> weights, int64_t expert, std::span<const float> row) {
    for (const std::string& name : weights) {
      if (!options.output && !absl::StartsWith(name, "blk.")) continue;
      ImatrixEntry& entry = imatrix.entries[name];
      if (entry.counts.empty()) {
        const gguf::TensorInfo* tensor = file.FindTensor(name);
        const int64_t matrices = tensor == nullptr ? 1 : tensor->shape[2] * tensor->shape[3];
        entry.counts.resize(matrices);
        entry.sums.resize(matrices * row.size());
      }
      if (expert >= static_cast<int64_t>(entry.counts.size())) continue;
      ++entry.counts[expert];
      double* sums = entry.sums.data() + expert * row.size();
      for (size_t i = 0; i < row.size(); ++i) sums[i] += double{row[i]} * row[i];
    }
  };
  while (imatrix.chunks < windows.count) {
    std::span<const TokenId> rest = windows.window(imatrix.chunks);
    BANTAM_RETURN_IF_ERROR(session.Truncate(0));
    while (!rest.empty()) {
      const size_t count = std::min<size_t>(session.ubatch(), rest.size());
      BANTAM_RETURN_IF_ERROR(session.Decode(rest.first(count), LogitsMode::kAll));
      BANTAM_RETURN_IF_ERROR(session.ObserveMatMuls(add));
      rest = rest.subspan(count);
    }
    ++imatrix.chunks;
    if (!progress(imatrix.chunks)) break;
  }
  for (const auto& [name, entry] : imatrix.entries) {
    for (double sum : entry.sums) {
      if (!std::isfinite(sum)) {
        return absl::DataLossError(
            absl::StrCat("the activations that ", name, " is multiplied by are not finite"));
      }
    }
  }
  return imatrix;
}

}  // namespace bantam::eval
