// That the emulator carries out AMX instructions as Intel's manual says, and that it is what the
// kernels of the set "amx" run on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#if defined(__x86_64__)

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "backends/cpu/amx/kernels.h"
#include "backends/cpu/amx/tiles.h"
#include "tests/amx/decode.h"
#include "tests/amx/emulator.h"
#include "tests/backends/cpu/compiled.h"

namespace bantam::amx_emulator {
namespace {

using cpu::amx::TileConfiguration;

class AmxEmulator : public ::testing::Test {
 protected:
  void SetUp() override {
    Executed();  // so that the library is linked
    if (!cpu::amx::Kernels().runs_here()) {
      GTEST_SKIP() << "this processor lacks the AVX-512 of the set amx";
    }
  }
};

struct alignas(64) TileBytes {
  std::array<std::array<uint8_t, 64>, 16> row = {};
};

TileBytes Random(uint32_t seed) {
  std::mt19937 random(seed);
  TileBytes tile;
  for (auto& row : tile.row) {
    for (uint8_t& byte : row) byte = static_cast<uint8_t>(random());
  }
  return tile;
}
bool operator==(const TileBytes& a, const TileBytes& b) { return a.row == b.row; }

void ConfigureAs(const TileConfiguration& configuration) {
  asm volatile("ldtilecfg %0" : : "m"(configuration) : "memory");
}
template <int kTile>
TileBytes Read() {
  TileBytes tile;
  cpu::amx::Store<kTile>(&tile, 64);
  return tile;
}

TEST_F(AmxEmulator, AddressesOfAllForms) {
  // Rows 192 bytes apart, from byte 512 on.
  std::vector<uint8_t> memory(8192);
  const TileBytes tile = Random(1);
  for (int r = 0; r < 16; ++r) std::memcpy(&memory[512 + 192 * r], tile.row[r].data(), 64);
  const uint8_t* base = memory.data() + 512;
  cpu::amx::Configure();
  auto check = [&](const char* form) {
    EXPECT_TRUE(Read<3>() == tile) << form;
    cpu::amx::Zero<3>();
    EXPECT_TRUE(Read<3>() == TileBytes()) << form;
  };
  const int64_t stride = 192;
  asm volatile("tileloadd (%0,%1,1), %%tmm3" : : "a"(base), "b"(stride) : "memory");
  check("base");
  asm volatile("tileloadd (%0,%1,4), %%tmm3" : : "S"(base), "D"(stride / 4) : "memory");
  check("scale");
  asm volatile("tileloadd -100(%0,%1,2), %%tmm3" : : "c"(base + 100), "d"(stride / 2) : "memory");
  check("displacement of 8 bits");
  asm volatile("tileloaddt1 3000(%0,%1,8), %%tmm3"
               :
               : "c"(base - 3000), "d"(stride / 8)
               : "memory");
  check("displacement of 32 bits");
  asm volatile("mov %0, %%r13\n mov %1, %%r12\n tileloadd (%%r13,%%r12,1), %%tmm3"
               :
               : "r"(base), "r"(stride)
               : "memory", "r12", "r13");
  check("r13 and r12");
  asm volatile("mov %0, %%r8\n mov %1, %%r15\n tileloadd 64(%%r8,%%r15,1), %%tmm3"
               :
               : "r"(base - 64), "r"(stride)
               : "memory", "r8", "r15");
  check("r8 and r15");
  // Without an index all rows are the same.
  TileBytes same;
  for (auto& row : same.row) row = tile.row[0];
  asm volatile("tileloadd (%0), %%tmm3" : : "r"(base) : "memory");
  EXPECT_TRUE(Read<3>() == same);
  TileConfiguration configuration;
  asm volatile("sttilecfg %0" : "=m"(configuration));
  const TileConfiguration full;
  EXPECT_EQ(std::memcmp(&configuration, &full, sizeof(full)), 0);
  cpu::amx::Release();
  asm volatile("sttilecfg %0" : "=m"(configuration));
  EXPECT_EQ(configuration.palette, 0);
}

// Addresses that a test can't have memory at, and what is left to others.
TEST(AmxDecoder, FormsWithoutABaseAndOtherInstructions) {
  std::array<uint64_t, 16> registers = {};
  registers[0] = 0x1000;  // rax
  registers[3] = 0x30;    // rbx
  registers[14] = 7;
  // tileloadd 0x12345678(,%r14,2), %tmm3
  const uint8_t no_base[] = {0xC4, 0xA2, 0x7B, 0x4B, 0x1C, 0x75, 0x78, 0x56, 0x34, 0x12};
  auto found = Decode(no_base, registers);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->op, Op::kLoad);
  EXPECT_EQ(found->tile, 3);
  EXPECT_EQ(found->length, 10);
  EXPECT_EQ(found->address, 0x12345678);
  EXPECT_EQ(found->stride, 14);
  // ldtilecfg 0x10(%rax,%rbx,4)
  const uint8_t indexed[] = {0xC4, 0xE2, 0x78, 0x49, 0x44, 0x98, 0x10};
  found = Decode(indexed, registers);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->op, Op::kLoadConfig);
  EXPECT_EQ(found->address, 0x10D0);
  EXPECT_EQ(found->length, 7);
  // vpdpbusd %ymm1, %ymm2, %ymm3 (AVX-VNNI), tdpbf16ps with the sums among the factors, ud2
  const uint8_t vnni[] = {0xC4, 0xE2, 0x6D, 0x50, 0xD9}, same[] = {0xC4, 0xE2, 0x72, 0x5C, 0xCA};
  const uint8_t undefined[] = {0x0F, 0x0B, 0, 0, 0};
  EXPECT_FALSE(Decode(vnni, registers));
  EXPECT_FALSE(Decode(same, registers));
  EXPECT_FALSE(Decode(undefined, registers));
}

TEST_F(AmxEmulator, PartsOfTilesAreZeroPastTheirEnd) {
  TileConfiguration configuration;
  configuration.rows[2] = 5;
  configuration.row_bytes[2] = 12;
  ConfigureAs(configuration);
  const TileBytes bytes = Random(2);
  cpu::amx::Load<2>(&bytes, 64);
  TileBytes found = Random(3);
  const TileBytes before = found;
  cpu::amx::Store<2>(&found, 64);
  for (int r = 0; r < 16; ++r) {
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(found.row[r][i], r < 5 && i < 12 ? bytes.row[r][i] : before.row[r][i]);
    }
  }
  cpu::amx::Release();
}

float FromBf16(const TileBytes& tile, int row, int i) {
  float x = 0;
  std::memcpy(reinterpret_cast<char*>(&x) + 2, &tile.row[row][2 * i], 2);
  return x;
}
// Numbers of ordinary size.
TileBytes RandomBf16(uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-2, 2);
  TileBytes tile;
  for (auto& row : tile.row) {
    for (int i = 0; i < 32; ++i) {
      const float x = uniform(random);
      std::memcpy(&row[2 * i], reinterpret_cast<const char*>(&x) + 2, 2);
    }
  }
  return tile;
}
template <typename T>
T At(const TileBytes& tile, int row, int i) {
  T x;
  std::memcpy(&x, &tile.row[row][sizeof(T) * i], sizeof(T));
  return x;
}

TEST_F(AmxEmulator, DotsOfBf16) {
  const TileBytes a = RandomBf16(4), b = RandomBf16(5);
  cpu::amx::Configure();
  cpu::amx::Load<4>(&a, 64);
  cpu::amx::Load<6>(&b, 64);
  cpu::amx::Zero<1>();
  cpu::amx::AddDots<1, 4, 6>();
  cpu::amx::AddDots<1, 4, 6>();
  const TileBytes sums = Read<1>();
  cpu::amx::Release();
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      double expected = 0;
      for (int p = 0; p < 16; ++p) {
        for (int odd = 0; odd < 2; ++odd) {
          expected += 2.0 * FromBf16(a, m, 2 * p + odd) * FromBf16(b, p, 2 * n + odd);
        }
      }
      EXPECT_NEAR(At<float>(sums, m, n), expected, 2e-5) << m << " " << n;  // of terms up to 8
    }
  }
}

// One column of a small product: what is summed first, and what becomes of denormal numbers.
TEST_F(AmxEmulator, OrderOfSumsOfBf16) {
  auto product = [](const std::array<float, 4>& a, const std::array<float, 4>& b, float c) {
    TileBytes left, right, sum;
    for (int i = 0; i < 4; ++i) {
      std::memcpy(&left.row[0][2 * i], reinterpret_cast<const char*>(&a[i]) + 2, 2);
      std::memcpy(&right.row[i / 2][i % 2 * 2], reinterpret_cast<const char*>(&b[i]) + 2, 2);
    }
    std::memcpy(&sum.row[0][0], &c, sizeof(c));
    cpu::amx::Configure();
    cpu::amx::Load<0>(&sum, 64);
    cpu::amx::Load<4>(&left, 64);
    cpu::amx::Load<5>(&right, 64);
    cpu::amx::AddDots<0, 4, 5>();
    const float found = At<float>(Read<0>(), 0, 0);
    cpu::amx::Release();
    return found;
  };
  constexpr float kBig = 0x1p30f;
  // Even elements by themselves: 2^30 and -2^30 cancel before the odd ones and the sum come in.
  EXPECT_EQ(product({kBig, 3, -kBig, 5}, {1, 1, 1, 1}, 0.5f), 8.5f);
  // In order: 1 is lost beside 2^30.
  EXPECT_EQ(product({1, 0, kBig, 0}, {1, 0, 1, 0}, -kBig), 0.0f);
  EXPECT_EQ(product({0x1p-127f, 0, 0, 0}, {0x1p100f, 0, 0, 0}, 0), 0.0f);
  EXPECT_EQ(product({0x1p-100f, 0, 0, 0}, {0x1p-30f, 0, 0, 0}, 0), 0.0f);
  EXPECT_EQ(product({0x1p-100f, 0, 0, 0}, {0x1p-20f, 0, 0, 0}, 0), 0x1p-120f);
  EXPECT_TRUE(std::isnan(product({INFINITY, 0, -INFINITY, 0}, {1, 0, 1, 0}, 0)));
}

template <typename A, typename B>
void CheckBytes(const TileBytes& sums, const TileBytes& a, const TileBytes& b, const char* name) {
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      int32_t expected = 0;
      for (int p = 0; p < 16; ++p) {
        for (int i = 0; i < 4; ++i) expected += At<A>(a, m, 4 * p + i) * At<B>(b, p, 4 * n + i);
      }
      ASSERT_EQ(At<int32_t>(sums, m, n), expected) << name << " " << m << " " << n;
    }
  }
}

TEST_F(AmxEmulator, DotsOfBytes) {
  const TileBytes a = Random(6), b = Random(7);
  cpu::amx::Configure();
  cpu::amx::Load<6>(&a, 64);
  cpu::amx::Load<7>(&b, 64);
  asm volatile("tdpbssd %tmm7, %tmm6, %tmm0");
  asm volatile("tdpbsud %tmm7, %tmm6, %tmm1");
  cpu::amx::AddByteDots<2, 6, 7>();
  asm volatile("tdpbuud %tmm7, %tmm6, %tmm3");
  const TileBytes ss = Read<0>(), su = Read<1>(), us = Read<2>(), uu = Read<3>();
  cpu::amx::Release();
  CheckBytes<int8_t, int8_t>(ss, a, b, "tdpbssd");
  CheckBytes<int8_t, uint8_t>(su, a, b, "tdpbsud");
  CheckBytes<uint8_t, int8_t>(us, a, b, "tdpbusd");
  CheckBytes<uint8_t, uint8_t>(uu, a, b, "tdpbuud");
}

TEST_F(AmxEmulator, ThreadsHaveTilesOfTheirOwn) {
  const TileBytes mine = Random(8), others = Random(9);
  cpu::amx::Configure();
  cpu::amx::Load<5>(&mine, 64);
  std::thread([&] {
    cpu::amx::Configure();
    cpu::amx::Load<5>(&others, 64);
    EXPECT_TRUE(Read<5>() == others);
    cpu::amx::Release();
  }).join();
  EXPECT_TRUE(Read<5>() == mine);
  cpu::amx::Release();
}

TEST_F(AmxEmulator, WhatProcessorsRefuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto by_signal = ::testing::KilledBySignal(SIGILL);
  EXPECT_EXIT(asm volatile("ud2"), by_signal, "");
  EXPECT_EXIT(cpu::amx::Zero<0>(), by_signal, "");  // tiles are not configured
  EXPECT_EXIT(
      {
        TileConfiguration configuration;
        configuration.rows[7] = 15;
        ConfigureAs(configuration);
        asm volatile("tdpbf16ps %tmm7, %tmm6, %tmm0");
      },
      by_signal, "");
}

// The kernels run on it, and use tiles as they are meant to.
TEST_F(AmxEmulator, CountsTheInstructionsOfAProduct) {
  const int64_t before = Executed();
  cpu::amx::Configure();
  cpu::amx::Release();
  if (Executed() == before) GTEST_SKIP() << "this processor carries them out itself";
  EXPECT_EQ(Executed(), before + 2);

  EXPECT_EQ(cpu::amx::Int8Dots(3), 3 * 6 * 2 * 16 * 16 * 64);
  EXPECT_EQ(Executed(), before + 2 + 2 + 3 * 6);

  using conformance::Case;
  auto count = [](quant::Type type, int64_t k, int64_t m, int64_t n) {
    auto device = device::OpenDevice("cpu", {.threads = 1, .cpu_isa = "amx"});
    EXPECT_TRUE(device.ok()) << device.status();
    if (!device.ok()) return int64_t{0};
    Case c;
    const graph::ValueId w = c.Weight(type, {k, m, 1, 1});
    c.Output(graph::Op::kMatMul, {w, c.Input({k, n, 1, 1})}, graph::MatMulAttrs{});
    const int64_t start = Executed();
    cpu::RunAndRead(**device, c);
    return Executed() - start;
  };
  using quant::Type;
  constexpr int64_t kScope = 2;  // of a task
  constexpr int64_t kSums = 8;   // zeroed or loaded, and stored
  // A step of 32 elements of 32 columns and 32 weight rows: four loads, four products.
  EXPECT_EQ(count(Type::kQ8_0, 64, 32, 32), kScope + kSums + 2 * 8);
  EXPECT_EQ(count(Type::kQ4_K, 512, 32, 32), kScope + 2 * kSums + 16 * 8);
  // Two terms of the columns, and of the weights.
  EXPECT_EQ(count(Type::kBF16, 32, 32, 32), kScope + kSums + 6 + 8);
  EXPECT_EQ(count(Type::kF16, 32, 32, 32), kScope + kSums + 8 + 12);
  // A tile of columns alone; panels begun count as whole.
  EXPECT_EQ(count(Type::kQ8_0, 32, 32, 9), kScope + kSums / 2 + 3 + 2);
  EXPECT_EQ(count(Type::kQ8_0, 32, 33, 32), 2 * (kScope + kSums + 8));
  EXPECT_EQ(count(Type::kQ8_0, 32, 32, 8), 0);
}

}  // namespace
}  // namespace bantam::amx_emulator

#endif
