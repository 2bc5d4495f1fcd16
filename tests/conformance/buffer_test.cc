// Memory, streams and events of every device, and which devices are missing.

#include "tests/conformance/harness.h"

namespace bantam::conformance {
namespace {

class DeviceContract : public ::testing::TestWithParam<std::string> {
 protected:
  device::Device& device() { return *OpenedDevice(GetParam()); }
};

std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

TEST_P(DeviceContract, DescribesItself) {
  EXPECT_EQ(device().name(), GetParam());
  EXPECT_FALSE(device().description().empty());
  EXPECT_EQ(device().description().find('\n'), std::string::npos);
  const device::MemoryInfo memory = device().memory();
  EXPECT_GT(memory.total, 0);
  EXPECT_LE(memory.free, memory.total);
  const uint64_t alignment = device().limits().alignment;
  EXPECT_GE(alignment, 4);
  EXPECT_EQ(alignment & (alignment - 1), 0);
}

TEST_P(DeviceContract, BuffersStartAsZerosAndKeepWhatIsWritten) {
  auto buffer = device().Allocate(1000);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_EQ((*buffer)->size(), 1000);
  std::vector<std::byte> read(1000, std::byte{9});
  ASSERT_TRUE((*buffer)->Download(0, read).ok());
  EXPECT_EQ(read, std::vector<std::byte>(1000));
  const std::vector<std::byte> written = Pattern(333);
  ASSERT_TRUE((*buffer)->Upload(667, written).ok());
  std::vector<std::byte> back(333);
  ASSERT_TRUE((*buffer)->Download(667, back).ok());
  EXPECT_EQ(back, written);
  if (!(*buffer)->host().empty()) {
    EXPECT_EQ((*buffer)->host().size(), 1000);
    EXPECT_EQ((*buffer)->host()[667], written[0]);
  }
}

TEST_P(DeviceContract, CopiesPastTheEndAreRefused) {
  auto buffer = device().Allocate(64);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  std::vector<std::byte> bytes = Pattern(65);
  const std::span<std::byte> all(bytes);
  for (uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{65}, UINT64_MAX, UINT64_MAX - 10}) {
    SCOPED_TRACE(offset);
    EXPECT_EQ((*buffer)->Upload(offset, all).code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ((*buffer)->Download(offset, all).code(), absl::StatusCode::kOutOfRange);
  }
  EXPECT_TRUE((*buffer)->Upload(64, all.first(0)).ok());
  EXPECT_TRUE((*buffer)->Download(64, all.first(0)).ok());
  EXPECT_FALSE((*buffer)->Upload(65, all.first(0)).ok());
}

TEST_P(DeviceContract, OutOfMemoryIsAStatus) {
  for (uint64_t bytes : {UINT64_MAX, uint64_t{1} << 62, uint64_t{1} << 46}) {
    auto buffer = device().Allocate(bytes);
    ASSERT_FALSE(buffer.ok()) << bytes;
    EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted) << buffer.status();
  }
  EXPECT_TRUE(device().Allocate(4096).ok());  // and the device goes on
}

TEST_P(DeviceContract, WrappedMemoryIsReadInPlace) {
  std::vector<std::byte> bytes = Pattern(100);
  auto buffer = device().WrapHost(bytes);
  if (absl::IsUnimplemented(buffer.status())) GTEST_SKIP() << buffer.status();
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  std::vector<std::byte> back(100);
  ASSERT_TRUE((*buffer)->Download(0, back).ok());
  EXPECT_EQ(back, bytes);
  EXPECT_FALSE((*buffer)->Upload(0, back).ok());
}

TEST_P(DeviceContract, LoadWeightNeedsItsRoom) {
  const Shape shape = {32, 2, 1, 1};
  const uint64_t packed = device().PackedBytes(Type::kQ8_0, shape);
  auto buffer = device().Allocate(packed - 1);
  ASSERT_TRUE(buffer.ok());
  const std::vector<std::byte> data(68);
  EXPECT_FALSE(device().LoadWeight(Type::kQ8_0, shape, data, {buffer->get(), 0}).ok());
  auto roomy = device().Allocate(packed);
  ASSERT_TRUE(roomy.ok());
  EXPECT_TRUE(device().LoadWeight(Type::kQ8_0, shape, data, {roomy->get(), 0}).ok());
  const std::span<const std::byte> all(data);
  EXPECT_FALSE(device().LoadWeight(Type::kQ8_0, shape, all.first(67), {roomy->get(), 0}).ok());
}

TEST_P(DeviceContract, StreamsAndEvents) {
  auto first = device().NewStream();
  auto second = device().NewStream();
  ASSERT_TRUE(first.ok() && second.ok());
  auto event = (*first)->Record();
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_TRUE((*second)->WaitFor(**event).ok());
  EXPECT_TRUE((*second)->Synchronize().ok());
  EXPECT_TRUE((*event)->Wait().ok());
}

TEST_P(DeviceContract, ExecutablesStateScratchAndKernels) {
  Case c;
  c.Output(Op::kMatMul, {c.Weight(Type::kQ4_K, {256, 8, 1, 1}), c.Input({256, 3, 1, 1})},
           graph::MatMulAttrs{});
  Runner runner(GetParam(), c);
  runner.Check(kQuantizedMatMul);
  if (IsSkipped() || HasFatalFailure()) return;
  EXPECT_NE(runner.executable().Describe().find("Q4_K"), std::string::npos)
      << runner.executable().Describe();
}

TEST_P(DeviceContract, UnboundValuesAreRefused) {
  Case c;
  const ValueId x = c.graph.AddInput("forgotten", Type::kF32, {8, 1, 1, 1});
  c.Output(Op::kScale, {x}, graph::ScaleAttrs{});
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  const absl::Status status = Runner(GetParam(), c).Run();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("forgotten"), absl::string_view::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceContract, ::testing::ValuesIn(DeviceNames()),
                         DeviceTestName);

// So that a run says what it did not cover.
class KnownBackend : public ::testing::TestWithParam<std::string> {};

TEST_P(KnownBackend, IsTested) {
  const device::DeviceList list = device::ListDevices({});
  for (const auto& device : list.devices) {
    if (device->name().substr(0, device->name().find(':')) == GetParam()) return;
  }
  std::string why = absl::StrJoin(list.problems, "; ");
  if (why.empty()) {
    why = absl::StrCat("no device, or no plug-in in ", device::DefaultPluginFolder());
  }
  if (GetParam() == "cpu" || GetParam() == "reference") FAIL() << why;
  GTEST_SKIP() << GetParam() << " was not tested: " << why;
}

INSTANTIATE_TEST_SUITE_P(Backends, KnownBackend,
                         ::testing::Values("cpu", "reference", "cuda", "vulkan"), DeviceTestName);

}  // namespace
}  // namespace bantam::conformance
