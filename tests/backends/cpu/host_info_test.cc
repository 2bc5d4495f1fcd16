// What the backend reads of the machine.

#include "backends/cpu/host_info.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runtime/base/thread_pool.h"

namespace bantam::cpu {
namespace {

class Topology : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
  }
  void Describe(int processor, const std::string& siblings) {
    const auto folder = root_ / ("cpu" + std::to_string(processor)) / "topology";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "thread_siblings_list") << siblings << "\n";
  }
  std::filesystem::path root_;
};

TEST_F(Topology, HardwareThreadsOfACoreCountOnce) {
  // Two cores of two threads, and one efficient core of one.
  Describe(0, "0,2");
  Describe(2, "0,2");
  Describe(1, "1,3");
  Describe(3, "1,3");
  Describe(4, "4");
  EXPECT_EQ(CountCores({0, 1, 2, 3, 4}, root_), 3);
  EXPECT_EQ(CountCores({0, 2}, root_), 1);
  EXPECT_EQ(CountCores({2, 3}, root_), 2);
  EXPECT_EQ(CountCores({}, root_), 0);
}

TEST_F(Topology, ProcessorsThatAreNotDescribedAreCores) {
  Describe(0, "0-1");
  Describe(1, "0-1");
  EXPECT_EQ(CountCores({0, 1, 7, 8}, root_), 3);
}

TEST(HostInfo, UsableCoresAreNotMoreThanProcessors) {
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), ThreadPool::DefaultSize());
}

}  // namespace
}  // namespace bantam::cpu
