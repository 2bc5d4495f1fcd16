// The types of weights as templates: the blocks of runtime/quant, and one struct for each plain
// type with the same members as far as single elements go.
#pragma once

#include <type_traits>

#include "backends/cuda/kernels/simt.h"
#include "runtime/quant/blocks.h"

namespace bantam::cuda {

template <quant::Type kT, typename T>
struct Plain {
  static constexpr quant::Type kType = kT;
  static constexpr int kElements = 1;
  T value;

  BANTAM_DEVICE float Get() const {
    if constexpr (kT == quant::Type::kF16) {
      return quant::HalfToFloat(value);
    } else if constexpr (kT == quant::Type::kBF16) {
      return quant::BFloat16ToFloat(value);
    } else {
      return static_cast<float>(value);
    }
  }
};
using PlainTypes =
    quant::BlockList<Plain<quant::Type::kF32, float>, Plain<quant::Type::kF16, uint16_t>,
                     Plain<quant::Type::kBF16, uint16_t>, Plain<quant::Type::kF64, double>,
                     Plain<quant::Type::kI8, int8_t>, Plain<quant::Type::kI16, int16_t>,
                     Plain<quant::Type::kI32, int32_t>, Plain<quant::Type::kI64, int64_t>>;

template <typename Source>
inline constexpr bool kIsPlain = Source::kElements == 1;

// Element `i` of a row.
template <typename Source>
BANTAM_DEVICE float ElementAt(const unsigned char* row, int i) {
  const auto* source = reinterpret_cast<const Source*>(row);
  if constexpr (kIsPlain<Source>) {
    return source[i].Get();
  } else {
    return quant::DecodeElement(source[i / Source::kElements], i % Source::kElements);
  }
}

// Calls f(std::type_identity<Source>) for the type, if it is one of `Sources`.
template <typename Sources, typename F>
void ForType(quant::Type type, F&& f) {
  Sources::ForEach([&]<typename Source>(std::type_identity<Source> identity) {
    if (Source::kType == type) f(identity);
  });
}

}  // namespace bantam::cuda
