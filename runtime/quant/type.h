// The element types of tensors, as GGUF numbers them, and their block sizes.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace bantam::quant {

// The values are the type ids stored in GGUF files; the gaps are ids that were withdrawn.
enum class Type : uint8_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
};
inline constexpr int kTypeIdLimit = 41;  // every valid id is below this

// A row of n elements is stored as n / block_size blocks of block_bytes each.
struct TypeTraits {
  absl::string_view name;  // as in GGUF tools: "Q4_K"
  int32_t block_size;      // elements per block; 1 for plain types
  int32_t block_bytes;
  bool is_quantized;  // block-compressed: needs decoding before arithmetic
};

// True when `id`, read from a file, is a type this library knows.
bool IsValidType(uint32_t id);

// `type` must be valid.
const TypeTraits& Traits(Type type);
inline absl::string_view Name(Type type) { return Traits(type).name; }

// Finds a type by its name, ignoring case.
std::optional<Type> TypeFromName(absl::string_view name);

// Bytes of a row of `n` elements; n must be a multiple of the block size.
inline int64_t RowBytes(Type type, int64_t n) {
  const TypeTraits& traits = Traits(type);
  return n / traits.block_size * traits.block_bytes;
}

}  // namespace bantam::quant
