// backends/cuda/kernels/simt.h on the emulator.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>

#include "runtime/quant/float16.h"
#include "tests/cuda_emulator/emulator.h"

#define BANTAM_KERNEL(threads, blocks) void
#define BANTAM_DEVICE inline
#define BANTAM_UNROLL
#define BANTAM_UNROLL_4
#define BANTAM_UNROLL_8
#define BANTAM_NO_UNROLL

namespace bantam::cuda {

inline constexpr int kWarp = 32;

inline int ThreadX() { return emulator::place.thread; }
inline int BlockX() { return emulator::place.block_x; }
inline int BlockY() { return emulator::place.block_y; }
inline int GridX() { return emulator::place.grid_x; }
inline unsigned char* SharedMemory() { return emulator::SharedMemory(); }
inline void SyncThreads() { emulator::Barrier(false); }
inline bool SyncThreadsOr(bool any) { return emulator::Barrier(any); }

template <typename Given, typename Gotten, typename Compute>
Gotten WarpOperation(const char* name, const Given& given, int argument, Compute) {
  static_assert(sizeof(Given) <= emulator::kGiven && sizeof(Gotten) <= emulator::kGotten);
  Gotten gotten;
  emulator::WarpOperation(
      name, &given, sizeof(given), &gotten, sizeof(gotten),
      [](const unsigned char* from, unsigned char* to, int arg) {
        std::array<Given, kWarp> givens;
        std::array<Gotten, kWarp> gottens{};
        for (int i = 0; i < kWarp; ++i) {
          std::memcpy(&givens[i], from + i * emulator::kGiven, sizeof(Given));
        }
        Compute{}(givens, gottens, arg);
        for (int i = 0; i < kWarp; ++i) {
          std::memcpy(to + i * emulator::kGotten, &gottens[i], sizeof(Gotten));
        }
      },
      argument);
  return gotten;
}

inline void SyncWarp() {
  WarpOperation<int, int>("sync", 0, 0, [](const auto&, auto&, int) {});
}

template <typename T>
T ShuffleXor(T value, int mask) {
  return WarpOperation<T, T>("shuffle", value, mask, [](const auto& from, auto& to, int m) {
    for (int i = 0; i < kWarp; ++i) to[i] = from[i ^ m];
  });
}

inline int Dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
  }
  return sum;
}

inline uint32_t PickBytes(uint32_t a, uint32_t b, uint32_t selection) {
  if ((selection & 0x8888u) != 0) emulator::Die("picks a sign, which no kernel means to");
  const uint64_t both = a | static_cast<uint64_t>(b) << 32;
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(both >> 8 * (selection >> 4 * i & 7) & 0xFF) << 8 * i;
  }
  return word;
}

struct Int8Fragments {
  int c[4], a[4], b[2];
  int halves;  // 16 elements each
};
struct IntSums {
  int c[4];
};

inline IntSums MmaInt8(const Int8Fragments& given) {
  return WarpOperation<Int8Fragments, IntSums>(
      "mma int8", given, 0, [](const auto& from, auto& to, int) {
        int8_t a[16][32] = {}, b[8][32] = {};
        for (int lane = 0; lane < kWarp; ++lane) {
          const int g = lane / 4, t = lane % 4;
          for (int h = 0; h < from[0].halves; ++h) {
            std::memcpy(&a[g][16 * h + 4 * t], &from[lane].a[2 * h], 4);
            std::memcpy(&a[g + 8][16 * h + 4 * t], &from[lane].a[2 * h + 1], 4);
            std::memcpy(&b[g][16 * h + 4 * t], &from[lane].b[h], 4);
          }
        }
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < 4; ++i) {
            const int8_t* row = a[lane / 4 + 8 * (i / 2)];
            const int8_t* column = b[2 * (lane % 4) + i % 2];
            int sum = 0;
            for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
            to[lane].c[i] = from[lane].c[i] + sum;
          }
        }
      });
}
inline void MmaInt8K16(int (&c)[4], int a0, int a1, int b) {
  const IntSums sums = MmaInt8({{c[0], c[1], c[2], c[3]}, {a0, a1}, {b}, 1});
  std::memcpy(c, sums.c, sizeof(c));
}
inline void MmaInt8K32(int (&c)[4], const int (&a)[4], const int (&b)[2]) {
  const IntSums sums =
      MmaInt8({{c[0], c[1], c[2], c[3]}, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}, 2});
  std::memcpy(c, sums.c, sizeof(c));
}

struct HalfFragments {
  float c[4];
  uint32_t a[4], b[2];
};
struct FloatSums {
  float c[4];
};
template <float (*kToFloat)(uint16_t)>
void MmaOf16(const char* name, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  HalfFragments given;
  std::memcpy(given.c, c, sizeof(c));
  std::memcpy(given.a, a, sizeof(a));
  std::memcpy(given.b, b, sizeof(b));
  const auto sums =
      WarpOperation<HalfFragments, FloatSums>(name, given, 0, [](const auto& from, auto& to, int) {
        float m[16][16], n[8][16];
        auto set = [](float* at, uint32_t pair) {
          at[0] = kToFloat(static_cast<uint16_t>(pair));
          at[1] = kToFloat(static_cast<uint16_t>(pair >> 16));
        };
        for (int lane = 0; lane < kWarp; ++lane) {
          const int g = lane / 4, t = lane % 4;
          for (int h = 0; h < 2; ++h) {
            set(&m[g][8 * h + 2 * t], from[lane].a[2 * h]);
            set(&m[g + 8][8 * h + 2 * t], from[lane].a[2 * h + 1]);
            set(&n[g][8 * h + 2 * t], from[lane].b[h]);
          }
        }
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < 4; ++i) {
            const float* row = m[lane / 4 + 8 * (i / 2)];
            const float* column = n[2 * (lane % 4) + i % 2];
            float sum = from[lane].c[i];
            for (int k = 0; k < 16; ++k) sum += row[k] * column[k];
            to[lane].c[i] = sum;
          }
        }
      });
  std::memcpy(c, sums.c, sizeof(c));
}

inline void MmaHalf(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MmaOf16<quant::HalfToFloat>("mma half", c, a, b);
}
inline void MmaBFloat16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MmaOf16<quant::BFloat16ToFloat>("mma bfloat16", c, a, b);
}

inline uint32_t PackHalves(float low, float high) {
  return quant::FloatToHalf(low) | static_cast<uint32_t>(quant::FloatToHalf(high)) << 16;
}
struct Words {
  uint32_t w[4];
};
inline void LoadTransposed(uint32_t (&b)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulator::Die("loads a row that is not aligned");
  const auto words = WarpOperation<const void*, Words>(
      "load transposed", row, 0, [](const auto& rows, auto& to, int) {
        for (int lane = 0; lane < kWarp; ++lane) {
          for (int i = 0; i < 4; ++i) {
            uint16_t pair[2];
            for (int j = 0; j < 2; ++j) {
              const void* from = rows[8 * i + 2 * (lane % 4) + j];
              std::memcpy(&pair[j], static_cast<const uint16_t*>(from) + lane / 4, 2);
            }
            to[lane].w[i] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
          }
        }
      });
  std::memcpy(b, words.w, sizeof(b));
}

inline void CopyAsync16(void* shared, const void* global) {
  emulator::CopyAsync(shared, global, 16);
}
inline void CopyCommit() { emulator::CopyCommit(); }
template <int kPending>
void CopyWait() {
  emulator::CopyWait(kPending);
}

inline int AtomicAdd(int* at, int value) {
  const int before = *at;
  *at += value;
  return before;
}
inline int RoundToInt(float x) {
  return std::isfinite(x) ? static_cast<int>(std::nearbyint(x)) : 0;
}
inline float BitsToFloat(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline void SineCosineOfHalfTurns(float x, float& sine, float& cosine) {
  sine = static_cast<float>(std::sin(x * std::numbers::pi));
  cosine = static_cast<float>(std::cos(x * std::numbers::pi));
}

template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), Grid grid, int threads, int shared_bytes, Stream stream,
            const Args&... args) {
  emulator::Submit(grid, threads, shared_bytes, stream, [=] { kernel(args...); });
}

}  // namespace bantam::cuda
