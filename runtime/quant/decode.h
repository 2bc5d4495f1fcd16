// Rows of any tensor type to f32 and back, on the host. See blocks.h for the layouts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/quant/type.h"

namespace bantam::quant {

// Decodes `n` elements (a multiple of the type's block size) at `src` to `dst`. Every type is
// supported; integers and F64 are converted, to nearest. `src` needs no alignment.
using DecodeFn = void (*)(const void* src, float* dst, int64_t n);
DecodeFn Decoder(Type type);
inline void DecodeRow(Type type, const void* src, float* dst, int64_t n) {
  Decoder(type)(src, dst, n);
}

}  // namespace bantam::quant
