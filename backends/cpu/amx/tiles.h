// The eight tile registers, as the kernels use them: all of 16 rows of 64 bytes.
//
// The instructions are written out: GCC 12's intrinsics do not tell the compiler that a
// configuration is 64 bytes, nor that loads read memory, and stores to either are lost.
//
// Between Configure and Release nothing else that uses tiles may run on this thread.
#pragma once

#include <cstdint>

#include "backends/cpu/amx/isa.h"

BANTAM_AMX_BEGIN

namespace bantam::cpu::amx {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileBytes = 1024;

// As LDTILECFG reads it.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64);

// About a hundred cycles each: once for a stretch of tasks.
inline void Configure() {
  static constexpr TileConfiguration kConfiguration;
  asm volatile("ldtilecfg %0" : : "m"(kConfiguration) : "memory");
}
inline void Release() { asm volatile("tilerelease" : : : "memory"); }

template <int kTile>
inline void Zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
// Rows are `stride` bytes apart.
template <int kTile>
inline void Load(const void* rows, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
}
// Of what is too much for the first-level cache: a hint not to keep it there.
template <int kTile>
inline void LoadStream(const void* rows, int64_t stride) {
  asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
}
template <int kTile>
inline void Store(void* rows, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(rows), "r"(stride) : "memory");
}
// kSum[i][j] += sum over p < 16 of kA[i][2p] kB[p][2j] + kA[i][2p + 1] kB[p][2j + 1], of bf16.
template <int kSum, int kA, int kB>
inline void AddDots() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
}
// The same of four bytes in place of two numbers, unsigned ones of kA and signed ones of kB.
template <int kSum, int kA, int kB>
inline void AddByteDots() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
}

}  // namespace bantam::cpu::amx

BANTAM_AMX_END
