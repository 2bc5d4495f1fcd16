// The codebooks of the IQ types as the kernels look them up: points spelled out, a byte for each
// element, computed once when the library is loaded.
#pragma once

#include <array>
#include <cstdint>

namespace bantam::cpu::simd {

extern const std::array<uint64_t, 256> kPointsIQ2_XXS;
extern const std::array<uint64_t, 512> kPointsIQ2_XS;
extern const std::array<uint64_t, 1024> kPointsIQ2_S;
extern const std::array<uint32_t, 256> kPointsIQ3_XXS;
extern const std::array<uint32_t, 512> kPointsIQ3_S;
// -1, 0, 1 in eighths, shifted by an eighth up, plus 9: 2, 10, 18. Shifted down they are less by 2.
extern const std::array<uint64_t, 2048> kPointsIQ1;

}  // namespace bantam::cpu::simd
