#include "runtime/engine/embedding.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/status.h"

namespace bantam::engine {

absl::StatusOr<std::vector<float>> Embed(Session& session, std::span<const TokenId> tokens,
                                         model::Pooling pooling, bool normalize) {
  if (tokens.empty()) return absl::InvalidArgumentError("there is no text to embed");
  if (pooling == model::Pooling::kNone) pooling = session.model().config().pooling;
  if (pooling == model::Pooling::kNone) pooling = model::Pooling::kLast;
  BANTAM_RETURN_IF_ERROR(session.Truncate(0));
  const bool last = pooling == model::Pooling::kLast;
  BANTAM_RETURN_IF_ERROR(session.Decode(tokens, last ? LogitsMode::kLast : LogitsMode::kAll));
  const std::span<const float> first = session.Logits(0);
  std::vector<double> sum(first.begin(), first.end());
  if (pooling == model::Pooling::kMean) {
    const auto count = static_cast<int64_t>(tokens.size());
    for (int64_t row = 1; row < count; ++row) {
      const std::span<const float> state = session.Logits(row);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += state[i];
    }
    for (double& v : sum) v /= static_cast<double>(count);
  }
  double length = 1;
  if (normalize) {
    double squares = 0;
    for (double v : sum) squares += v * v;
    if (squares > 0) length = std::sqrt(squares);
  }
  std::vector<float> result(sum.size());
  std::transform(sum.begin(), sum.end(), result.begin(),
                 [&](double v) { return static_cast<float>(v / length); });
  return result;
}

}  // namespace bantam::engine
