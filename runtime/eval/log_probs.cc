#include "runtime/eval/log_probs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/eval/perplexity.h"

namespace bantam::eval {
namespace {

using tokenizer::TokenId;

struct RowHeader {
  float target_nll;
  uint32_t top;
  float cut;   // distances up to here are coded in 16 bits
  float step;  // between the 8-bit codes of larger ones
  uint32_t head_count;
};
static_assert(sizeof(RowHeader) == 20);

constexpr uint8_t kHead = 0;
constexpr int kTailCodes = 254;  // 1 to 254
constexpr uint8_t kImpossible = 255;
constexpr float kHeadCodes = 65535;
constexpr double kTailMass = 0.005;
// Beyond the cut by this much a token is as good as impossible: e^-24 of the tail's probability.
constexpr float kTailRange = 24;
// The cut is found among multiples of 1/32, up to 32.
constexpr int kBinsPerNat = 32;
constexpr int kBins = 32 * kBinsPerNat;

float FindCut(std::span<const float> logits, float peak) {
  std::array<double, kBins> mass{};
  double sum = 0;
  for (float logit : logits) {
    const float distance = peak - logit;
    const double p = std::exp(-distance);
    sum += p;
    if (distance < kBins / kBinsPerNat) mass[static_cast<int>(distance * kBinsPerNat)] += p;
  }
  double left = sum;
  int bin = 0;
  while (bin < kBins && left > kTailMass * sum) left -= mass[bin++];
  return static_cast<float>(std::max(bin, 1)) / kBinsPerNat;
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("a row of log-probabilities ", what));
}

}  // namespace

absl::Status EncodeLogProbs(std::span<const float> logits, TokenId target, std::string& out) {
  const auto top = std::max_element(logits.begin(), logits.end());
  const float peak = *top;
  if (!std::isfinite(peak)) {
    return absl::DataLossError(absl::StrCat("the largest logit is ", peak));
  }
  RowHeader header{};
  header.target_nll = static_cast<float>(NegativeLogLikelihood(logits, target));
  header.top = static_cast<uint32_t>(top - logits.begin());
  header.cut = FindCut(logits, peak);
  float farthest = header.cut;
  for (float logit : logits) {
    if (std::isfinite(logit)) farthest = std::max(farthest, peak - logit);
  }
  header.step = std::min(farthest - header.cut, kTailRange) / (kTailCodes - 1);

  const size_t start = out.size();
  out.resize(start + sizeof(header) + logits.size());
  std::string heads;
  const float to_head = kHeadCodes / header.cut;
  const float to_tail = header.step > 0 ? 1 / header.step : 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float distance = peak - logits[i];
    uint8_t code = kHead;
    if (distance <= header.cut) {
      const auto fine = static_cast<uint16_t>(std::min(std::round(distance * to_head), kHeadCodes));
      heads.append(reinterpret_cast<const char*>(&fine), sizeof(fine));
      ++header.head_count;
    } else if (std::isinf(distance)) {
      code = kImpossible;
    } else {
      const float steps = std::round((distance - header.cut) * to_tail);
      code = static_cast<uint8_t>(1 + std::min(steps, float{kTailCodes - 1}));
    }
    out[start + sizeof(header) + i] = static_cast<char>(code);
  }
  std::memcpy(out.data() + start, &header, sizeof(header));
  out += heads;
  return absl::OkStatus();
}

absl::StatusOr<size_t> EncodedBytes(std::span<const std::byte> bytes, int64_t vocab) {
  RowHeader header;
  if (bytes.size() < sizeof(header)) return Damaged("is cut off");
  std::memcpy(&header, bytes.data(), sizeof(header));
  const uint64_t size = sizeof(header) + static_cast<uint64_t>(vocab) +
                        uint64_t{header.head_count} * sizeof(uint16_t);
  if (size > bytes.size()) return Damaged("is cut off");
  return size;
}

absl::StatusOr<LogProbs> DecodeLogProbs(std::span<const std::byte> bytes,
                                        std::span<float> distances) {
  BANTAM_ASSIGN_OR_RETURN(const size_t size,
                          EncodedBytes(bytes, static_cast<int64_t>(distances.size())));
  RowHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.top >= distances.size() || !(header.cut >= 0) || !(header.step >= 0) ||
      std::isinf(header.cut) || std::isinf(header.step)) {
    return Damaged("has values out of range");
  }
  const std::byte* codes = bytes.data() + sizeof(header);
  const std::byte* head = codes + distances.size();
  const std::byte* end = bytes.data() + size;
  const float from_head = header.cut / kHeadCodes;
  for (size_t i = 0; i < distances.size(); ++i) {
    const auto code = static_cast<uint8_t>(codes[i]);
    if (code == kHead) {
      if (head == end) return Damaged("lists too few 16-bit codes");
      uint16_t fine;
      std::memcpy(&fine, head, sizeof(fine));
      head += sizeof(fine);
      distances[i] = static_cast<float>(fine) * from_head;
    } else if (code == kImpossible) {
      distances[i] = INFINITY;
    } else {
      distances[i] = header.cut + header.step * static_cast<float>(code - 1);
    }
  }
  if (head != end) return Damaged("lists too many 16-bit codes");
  return LogProbs{header.target_nll, static_cast<TokenId>(header.top)};
}

}  // namespace bantam::eval
