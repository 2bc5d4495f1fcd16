// The codebooks of the IQ types as these kernels look them up: the packed 16 bits of each point
// (runtime/quant/codebooks.h) in two tables of bytes, computed once when the library is loaded.
#pragma once

#include <array>
#include <cstdint>

namespace bantam::cpu::avx512 {

template <int kPoints>
struct alignas(64) Codebook {
  std::array<uint8_t, kPoints> low, high;
};

extern const Codebook<256> kCodesIQ2_XXS;
extern const Codebook<512> kCodesIQ2_XS;
extern const Codebook<1024> kCodesIQ2_S;
extern const Codebook<256> kCodesIQ3_XXS;
extern const Codebook<512> kCodesIQ3_S;
extern const Codebook<2048> kCodesIQ1;
// All eight signs, from seven.
struct alignas(64) SignTable {
  std::array<uint8_t, 128> signs;
};
extern const SignTable kSigns;

}  // namespace bantam::cpu::avx512
