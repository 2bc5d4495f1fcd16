// File recipes by the names people know (Q4_K_M, IQ3_XS, ...): which tensor gets which type.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/quant/type.h"

namespace bantam::quantize {

struct Recipe {
  absl::string_view name;
  uint32_t file_type;  // general.file_type
  quant::Type base;    // of tensors without a rule of their own
};

// From the fewest bits to the most.
std::span<const Recipe> Recipes();
// Case is ignored; Q3_K, Q4_K and Q5_K mean the _M mixes. kNotFound names the ones there are.
absl::StatusOr<Recipe> FindRecipe(absl::string_view name);

struct Overrides {
  // Patterns (ECMAScript, searched for anywhere in the name) and the types of tensors that match;
  // the first that matches counts.
  std::vector<std::pair<std::string, quant::Type>> tensor_types;
  std::optional<quant::Type> output;           // output.weight, or token_embd.weight where shared
  std::optional<quant::Type> token_embedding;  // token_embd.weight
  bool pure = false;                           // the recipe's base type everywhere
};

struct Choice {
  quant::Type type = quant::Type::kF32;
  // The type asked for, where rows do not fill its blocks and `type` took its place.
  std::optional<quant::Type> instead_of;
};

// The types of source.tensors() in order. Tensors that are not to be quantized (norms, biases,
// routers, ...) keep theirs.
absl::StatusOr<std::vector<Choice>> ChooseTypes(const gguf::File& source, const Recipe& recipe,
                                                const Overrides& overrides, bool has_importance);

// Whether a recipe may change the tensor: a matrix of weights that is large and no norm, router,
// position table or the like.
bool IsQuantizable(const gguf::TensorInfo& tensor);

// `type`, or where rows of `columns` do not fill its blocks the type that people expect instead.
quant::Type TypeThatFits(quant::Type type, int64_t columns);

}  // namespace bantam::quantize
