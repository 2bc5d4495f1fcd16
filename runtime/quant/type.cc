#include "runtime/quant/type.h"

#include <array>

#include "absl/strings/match.h"

namespace bantam::quant {
namespace {

constexpr std::array<TypeTraits, kTypeIdLimit> MakeTable() {
  std::array<TypeTraits, kTypeIdLimit> table{};
  auto set = [&table](Type type, TypeTraits traits) { table[static_cast<size_t>(type)] = traits; };
  set(Type::kF32, {"F32", 1, 4, false});
  set(Type::kF16, {"F16", 1, 2, false});
  set(Type::kBF16, {"BF16", 1, 2, false});
  set(Type::kF64, {"F64", 1, 8, false});
  set(Type::kI8, {"I8", 1, 1, false});
  set(Type::kI16, {"I16", 1, 2, false});
  set(Type::kI32, {"I32", 1, 4, false});
  set(Type::kI64, {"I64", 1, 8, false});
  set(Type::kQ4_0, {"Q4_0", 32, 18, true});
  set(Type::kQ4_1, {"Q4_1", 32, 20, true});
  set(Type::kQ5_0, {"Q5_0", 32, 22, true});
  set(Type::kQ5_1, {"Q5_1", 32, 24, true});
  set(Type::kQ8_0, {"Q8_0", 32, 34, true});
  set(Type::kQ8_1, {"Q8_1", 32, 36, true});
  set(Type::kQ2_K, {"Q2_K", 256, 84, true});
  set(Type::kQ3_K, {"Q3_K", 256, 110, true});
  set(Type::kQ4_K, {"Q4_K", 256, 144, true});
  set(Type::kQ5_K, {"Q5_K", 256, 176, true});
  set(Type::kQ6_K, {"Q6_K", 256, 210, true});
  set(Type::kQ8_K, {"Q8_K", 256, 292, true});
  set(Type::kIQ2_XXS, {"IQ2_XXS", 256, 66, true});
  set(Type::kIQ2_XS, {"IQ2_XS", 256, 74, true});
  set(Type::kIQ2_S, {"IQ2_S", 256, 82, true});
  set(Type::kIQ3_XXS, {"IQ3_XXS", 256, 98, true});
  set(Type::kIQ3_S, {"IQ3_S", 256, 110, true});
  set(Type::kIQ1_S, {"IQ1_S", 256, 50, true});
  set(Type::kIQ1_M, {"IQ1_M", 256, 56, true});
  set(Type::kIQ4_NL, {"IQ4_NL", 32, 18, true});
  set(Type::kIQ4_XS, {"IQ4_XS", 256, 136, true});
  set(Type::kTQ1_0, {"TQ1_0", 256, 54, true});
  set(Type::kTQ2_0, {"TQ2_0", 256, 66, true});
  set(Type::kMXFP4, {"MXFP4", 32, 17, true});
  set(Type::kNVFP4, {"NVFP4", 64, 36, true});
  return table;
}

constexpr std::array<TypeTraits, kTypeIdLimit> kTable = MakeTable();

}  // namespace

bool IsValidType(uint32_t id) { return id < kTypeIdLimit && kTable[id].block_size != 0; }

const TypeTraits& Traits(Type type) { return kTable[static_cast<size_t>(type)]; }

std::optional<Type> TypeFromName(absl::string_view name) {
  for (uint32_t id = 0; id < kTypeIdLimit; ++id) {
    if (IsValidType(id) && absl::EqualsIgnoreCase(kTable[id].name, name)) {
      return static_cast<Type>(id);
    }
  }
  return std::nullopt;
}

}  // namespace bantam::quant
