// The levels of the types of four bits, as tables that are looked up in a register.
#pragma once

#include <cstdint>

namespace bantam::cpu::simd {

inline constexpr int8_t kLevelsIQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
// The doubled E2M1, plus the bias of 16.
inline constexpr int8_t kLevelsE2M1[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                           16, 15, 14, 13, 12, 10, 8,  4};

}  // namespace bantam::cpu::simd
