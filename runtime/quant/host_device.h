// What lets one inline function serve the host and a GPU kernel.
#pragma once

#include <cstring>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define BANTAM_HOST_DEVICE __host__ __device__
#else
#define BANTAM_HOST_DEVICE
#endif

#if defined(__BYTE_ORDER__)
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "blocks are read in place, and GGUF is little-endian");
#endif

namespace bantam::quant {

// std::bit_cast, which CUDA device code may not call.
template <typename To, typename From>
BANTAM_HOST_DEVICE inline To BitCast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace bantam::quant
