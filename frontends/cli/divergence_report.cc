#include "frontends/cli/divergence_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bantam::cli {
namespace {

using eval::Estimate;

struct Fraction {
  double value;
  const char* name;
  const char* key;
};
constexpr Fraction kFractions[] = {
    {0.999, "99.9 %", "p99.9"}, {0.99, "99 %", "p99"},      {0.95, "95 %", "p95"},
    {0.90, "90 %", "p90"},      {0.50, "median", "median"}, {0.10, "10 %", "p10"},
    {0.05, "5 %", "p5"},        {0.01, "1 %", "p1"},        {0.001, "0.1 %", "p0.1"},
};

std::string Line(absl::string_view name, const Estimate& e, int digits,
                 absl::string_view unit = "") {
  return absl::StrFormat("  %-24s %12.*f +/- %.*f%s\n", name, digits, e.value, digits, e.error,
                         unit);
}

std::string Line(absl::string_view name, double value, int digits, absl::string_view unit = "") {
  return absl::StrFormat("  %-24s %12.*f%s\n", name, digits, value, unit);
}

Estimate Percent(const Estimate& e) { return {100 * e.value, 100 * e.error}; }

nlohmann::ordered_json Json(const Estimate& e) {
  return {{"value", e.value}, {"standard_error", e.error}};
}

}  // namespace

std::string DivergenceReport(const eval::DivergenceResult& result) {
  const eval::DivergenceSummary s = result.divergence.Summarize();
  std::string text = "perplexity\n";
  absl::StrAppend(&text, Line("of this model", s.perplexity, 4),
                  Line("of the base", s.base_perplexity, 4), Line("difference", s.difference, 4),
                  Line("ratio", s.ratio, 6), Line("ln of the ratio", s.log_ratio, 6),
                  Line("correlation of ln p", 100 * s.correlation, 3, " %"));
  absl::StrAppend(&text, "KL divergence from the base, nats per token\n", Line("mean", s.kl, 6),
                  Line("largest", s.kl_max, 6));
  for (const Fraction& f : kFractions) {
    absl::StrAppend(&text, Line(f.name, result.divergence.KlPercentile(f.value), 6));
  }
  absl::StrAppend(&text, Line("smallest", s.kl_min, 6));
  absl::StrAppend(&text, "probability of the token that came, less that by the base\n",
                  Line("mean", Percent(s.delta_p), 3, " %"),
                  Line("root mean square", Percent(s.delta_p_rms), 3, " %"));
  for (const Fraction& f : kFractions) {
    absl::StrAppend(&text,
                    Line(f.name, 100 * result.divergence.DeltaPPercentile(f.value), 3, " %"));
  }
  absl::StrAppend(&text, "most likely token\n", Line("the same", Percent(s.same_top), 3, " %"));
  return text;
}

nlohmann::ordered_json DivergenceJson(const eval::Divergence& divergence) {
  const eval::DivergenceSummary s = divergence.Summarize();
  nlohmann::ordered_json kl = Json(s.kl), delta_p = Json(s.delta_p);
  kl["max"] = s.kl_max;
  kl["min"] = s.kl_min;
  for (const Fraction& f : kFractions) {
    kl[f.key] = divergence.KlPercentile(f.value);
    delta_p[f.key] = divergence.DeltaPPercentile(f.value);
  }
  return {{"base_perplexity", Json(s.base_perplexity)},
          {"perplexity_difference", Json(s.difference)},
          {"perplexity_ratio", Json(s.ratio)},
          {"log_perplexity_ratio", Json(s.log_ratio)},
          {"nll_correlation", s.correlation},
          {"kl_divergence", kl},
          {"delta_p", delta_p},
          {"delta_p_rms", Json(s.delta_p_rms)},
          {"same_top_token", Json(s.same_top)}};
}

}  // namespace bantam::cli
