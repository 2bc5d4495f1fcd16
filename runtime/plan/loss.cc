#include "runtime/plan/loss.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace bantam::plan {
namespace {

// Llama 3 8B, as the README of llama.cpp's perplexity tool publishes it (2024): bits per weight of
// the file and mean KL divergence, from the most bits to the fewest. With an importance matrix
// where there is no figure without.
struct Published {
  absl::string_view recipe;
  double bits, divergence;
  bool on_curve;  // k-quants and Q8_0, what other recipes are compared with by their bits
};
constexpr Published kLlama3[] = {
    {"Q8_0", 8.51, 0.001355, true},     {"Q6_K", 6.57, 0.005452, true},
    {"Q5_1", 6.04, 0.018045, false},    {"Q5_K_M", 5.70, 0.010762, true},
    {"Q5_K_S", 5.57, 0.016595, false},  {"Q5_0", 5.57, 0.022239, false},
    {"Q4_1", 5.11, 0.071683, false},    {"Q4_K_M", 4.90, 0.031273, true},
    {"Q4_K_S", 4.67, 0.043136, false},  {"IQ4_NL", 4.65, 0.035742, false},
    {"Q4_0", 4.64, 0.071940, false},    {"IQ4_XS", 4.43, 0.036334, false},
    {"Q3_K_L", 4.31, 0.087176, false},  {"Q3_K_M", 4.00, 0.101913, true},
    {"IQ3_M", 3.78, 0.102534, false},   {"IQ3_S", 3.66, 0.111278, false},
    {"Q3_K_S", 3.65, 0.228217, false},  {"IQ3_XS", 3.51, 0.138693, false},
    {"IQ3_XXS", 3.26, 0.183625, false}, {"Q2_K", 3.17, 0.445132, true},
    {"Q2_K_S", 3.17, 0.403360, false},  {"IQ2_M", 2.93, 0.325989, false},
    {"IQ2_S", 2.74, 0.439197, false},   {"IQ2_XS", 2.60, 0.546290, false},
    {"IQ2_XXS", 2.40, 0.812022, false}, {"IQ1_M", 2.15, 1.393084, true},
    {"IQ1_S", 2.01, 2.254554, true},
};
constexpr double kWeights = 8.03e9;

// Smaller models lose more. Between 8B and SmolLM2 135M, measured here
// (runtime/quantize/README.md), about four times as much at three bits: the cube root of the
// weights.
constexpr double kExponent = 1.0 / 3;

// Straight lines between the logarithms.
double AtBits(double bits) {
  const Published* above = nullptr;
  for (const Published& point : kLlama3) {
    if (!point.on_curve) continue;
    if (bits >= point.bits) {
      if (above == nullptr) {  // halves for each bit
        return point.divergence * std::exp2(point.bits - bits);
      }
      const double share = (bits - point.bits) / (above->bits - point.bits);
      return std::exp((1 - share) * std::log(point.divergence) +
                      share * std::log(above->divergence));
    }
    above = &point;
  }
  return above->divergence;
}

}  // namespace

double ExpectedDivergence(absl::string_view recipe, double bits_per_weight, double weights) {
  if (recipe == "F32" || recipe == "F16" || recipe == "BF16") return 0;
  double divergence = AtBits(bits_per_weight);
  for (const Published& point : kLlama3) {
    // More bits than the recipe's name stands for are those of tensors that fell back to others.
    if (point.recipe == recipe) {
      divergence = bits_per_weight < 1.1 * point.bits ? point.divergence
                                                      : std::min(point.divergence, divergence);
    }
  }
  const double size = std::clamp(weights, 1e7, 1e12);
  return divergence * std::pow(kWeights / size, kExponent);
}

absl::string_view DescribeDivergence(double divergence) {
  return divergence <= 0     ? "none"
         : divergence < 0.01 ? "very small"
         : divergence < 0.05 ? "small"
         : divergence < 0.15 ? "noticeable"
         : divergence < 0.5  ? "large"
                             : "severe";
}

}  // namespace bantam::plan
