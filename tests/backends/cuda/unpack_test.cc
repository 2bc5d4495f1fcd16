// What CUDA kernels make of blocks, and the emulator they are tested on.

#define BANTAM_CUDA_EMULATED
#include "backends/cuda/kernels/unpack.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/cuda_emulator/emulator.h"

namespace bantam::cuda {
namespace {

TEST(CudaUnpack, GivesTheQuantsOfEveryType) {
  std::mt19937 random(1);
  quant::AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    SCOPED_TRACE(quant::Name(Block::kType));
    for (int round = 0; round < 200; ++round) {
      Block block;
      std::vector<uint8_t> bytes(sizeof(Block));
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      std::memcpy(&block, bytes.data(), sizeof(Block));
      for (int run = 0; run < Block::kElements / kRun; ++run) {
        int q[kRunWords];
        Unpack(block, run, q);
        for (int i = 0; i < kRun; ++i) {
          const int element = kRun * run + i;
          const int found = static_cast<int8_t>(q[i / 4] >> 8 * (i % 4));
          const int expected =
              quant::Quant(block, element / Block::kGroup, element % Block::kGroup);
          ASSERT_EQ(found, static_cast<int8_t>(expected)) << "element " << element;
        }
      }
    }
  });
}

// A run, or each half of it where kHalves says so, has one scale and one offset.
TEST(CudaUnpack, KnowsWhichHalvesShareAScale) {
  std::mt19937 random(2);
  quant::AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    SCOPED_TRACE(quant::Name(Block::kType));
    bool differ = false;
    for (int round = 0; round < 50; ++round) {
      Block block;
      std::vector<uint8_t> bytes(sizeof(Block));
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      std::memcpy(&block, bytes.data(), sizeof(Block));
      auto same = [](float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; };
      for (int run = 0; run < Block::kElements / kRun; ++run) {
        for (int i = 0; i < kRun; ++i) {
          const int group = (kRun * run + i) / Block::kGroup;
          const int half = kHalves<Block> == 1 ? 0 : i / (kRun / 2);
          const int found = GroupOf<Block>(run, half);
          ASSERT_TRUE(same(block.Scale(group), block.Scale(found))) << run << " " << i;
          if constexpr (quant::HasOffset<Block>) {
            ASSERT_TRUE(same(block.Offset(group), block.Offset(found))) << run << " " << i;
          }
        }
        differ |= !same(block.Scale(GroupOf<Block>(run, 0)), block.Scale(GroupOf<Block>(run, 1)));
      }
    }
    EXPECT_EQ(differ, kHalves<Block> == 2);
  });
}

// The emulator is to find what would hang or race on a GPU.

void RunBlock(int threads, const std::function<void()>& kernel) {
  emulator::Run({1, 1}, threads, 1024, kernel);
}

TEST(CudaEmulator, ShufflesAndBarriers) {
  std::vector<int> found(64), order;
  RunBlock(64, [&] {
    auto* shared = reinterpret_cast<int*>(SharedMemory());
    EXPECT_EQ(shared[ThreadX()], -1);  // not zero: nobody promised that
    SyncThreads();
    shared[ThreadX()] = ThreadX();
    EXPECT_TRUE(SyncThreadsOr(ThreadX() == 63));
    EXPECT_FALSE(SyncThreadsOr(false));
    found[ThreadX()] = ShuffleXor(shared[63 - ThreadX()], 1);
  });
  for (int i = 0; i < 64; ++i) EXPECT_EQ(found[i], 63 - (i ^ 1));
}

TEST(CudaEmulator, CopiesArriveWhenTheyAreWaitedFor) {
  alignas(16) int from[4] = {1, 2, 3, 4};
  RunBlock(32, [&] {
    auto* to = reinterpret_cast<int*>(SharedMemory()) + 4 * ThreadX();
    CopyAsync16(to, from);
    CopyCommit();
    CopyCommit();
    CopyWait<2>();
    EXPECT_EQ(to[3], -1);
    CopyWait<1>();
    EXPECT_EQ(to[3], 4);
  });
}

TEST(CudaEmulator, TensorCoresMultiply) {
  // A(i, k) = i - k, B(k, j) = k + j: rows and columns that fragments would mix up show.
  int sums[kWarp][4];
  RunBlock(32, [&] {
    const int g = ThreadX() / 4, t = ThreadX() % 4;
    int a[4], b[2], c[4] = {1000, 1000, 1000, 1000};
    auto pack = [](auto element) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) word |= (static_cast<uint32_t>(element(i)) & 0xFFu) << 8 * i;
      return static_cast<int>(word);
    };
    for (int i = 0; i < 4; ++i) {
      const int row = g + 8 * (i % 2), k = 4 * t + 16 * (i / 2);
      a[i] = pack([&](int j) { return row - (k + j); });
    }
    for (int i = 0; i < 2; ++i) b[i] = pack([&](int j) { return 4 * t + 16 * i + j + g; });
    MmaInt8K32(c, a, b);
    std::memcpy(sums[ThreadX()], c, sizeof(c));
  });
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      int expected = 1000;
      for (int k = 0; k < 32; ++k) expected += (row - k) * (k + column);
      EXPECT_EQ(sums[lane][i], expected) << lane << " " << i;
    }
  }
}

TEST(CudaEmulatorDeathTest, FindsWhatWouldHang) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RunBlock(64,
                        [] {
                          if (ThreadX() < 32) SyncThreads();
                        }),
               "barrier");
  EXPECT_DEATH(RunBlock(32,
                        [] {
                          if (ThreadX() % 2 == 0) ShuffleXor(1, 2);
                        }),
               "warp operation");
  EXPECT_DEATH(RunBlock(32, [] { ThreadX() == 3 ? SyncWarp() : void(ShuffleXor(1, 2)); }),
               "another warp operation");
  EXPECT_DEATH(RunBlock(32,
                        [] {
                          if (ThreadX() == 0) return SyncThreads();
                          SyncWarp();
                        }),
               "not reached by all");
}

}  // namespace
}  // namespace bantam::cuda
