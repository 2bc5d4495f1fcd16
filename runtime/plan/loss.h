// What a recipe is expected to cost before anything is measured.
#pragma once

#include "absl/strings/string_view.h"

namespace bantam::plan {

// Mean KL divergence from the unrounded model, nats per token, that a model of so many weights has
// when a recipe made it with so many bits for each. An estimate, good to about a factor of two:
// models of one size differ by as much. bantam perplexity --kl-base measures it.
double ExpectedDivergence(absl::string_view recipe, double bits_per_weight, double weights);

// "none", "very small", "small", "noticeable", "large" or "severe", for people.
absl::string_view DescribeDivergence(double divergence);

}  // namespace bantam::plan
