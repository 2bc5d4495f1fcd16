// Finding backends and devices; the plug-ins are built by CMakeLists.txt beside this file.

#include "runtime/device/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"

namespace bantam::device {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::vector<std::string> Names(const DeviceList& list) {
  std::vector<std::string> names;
  for (const auto& device : list.devices) names.push_back(device->name());
  return names;
}

// The default folder is read once for a process, so it is set before any test.
const bool kFolderIsSet = setenv("BANTAM_PLUGIN_PATH", BANTAM_TEST_PLUGINS, 1) == 0;

TEST(Registry, ListsGpusBeforeCpusAndEveryProblemInOneLine) {
  ASSERT_TRUE(kFolderIsSet);
  // Twice: plug-ins are opened once, what was wrong with them is said each time.
  for (int round = 0; round < 2; ++round) {
    const DeviceList list = ListDevices({});
    EXPECT_THAT(Names(list), ElementsAre("fake:1", "fake:0", "cpu", "reference"));
    EXPECT_THAT(
        list.problems,
        UnorderedElementsAre(
            ContainsRegex(
                absl::StrCat("bantam_backend_wrong_abi.so: built for plug-in ABI 999, but "
                             "this Bantam has ABI ",
                             kPluginAbi)),
            ContainsRegex("bantam_backend_no_symbols.so: not a Bantam plug-in: it lacks the symbol "
                          "bantam_plugin_abi"),
            HasSubstr("bantam_backend_text.so: "), "broken: the driver does not answer"));
    for (const std::string& problem : list.problems) {
      EXPECT_THAT(problem, Not(HasSubstr("\n")));
      EXPECT_THAT(problem, Not(HasSubstr("other_name")));
    }
  }
}

struct Card : Device {
  Card(std::string card_name, std::string card_id)
      : card_name(std::move(card_name)), card_id(std::move(card_id)) {}
  std::string name() const override { return card_name; }
  std::string hardware_id() const override { return card_id; }
  std::string description() const override { return ""; }
  Kind kind() const override { return Kind::kDiscreteGpu; }
  MemoryInfo memory() const override { return {}; }
  Limits limits() const override { return {}; }
  bool Supports(const graph::Graph&, const graph::Node&) const override { return false; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t) override { return Nothing(); }
  absl::StatusOr<std::unique_ptr<Buffer>> WrapHost(std::span<const std::byte>) override {
    return Nothing();
  }
  uint64_t PackedBytes(quant::Type, const graph::Shape&) const override { return 0; }
  absl::Status LoadWeight(quant::Type, const graph::Shape&, std::span<const std::byte>,
                          const Binding&) override {
    return Nothing();
  }
  absl::StatusOr<std::unique_ptr<Executable>> Compile(const CompileArgs&) override {
    return Nothing();
  }
  absl::StatusOr<std::unique_ptr<Stream>> NewStream() override { return Nothing(); }
  static absl::Status Nothing() { return absl::UnimplementedError(""); }

  const std::string card_name, card_id;
};

TEST(Registry, ACardOfTwoBackendsIsOneDevice) {
  std::vector<std::unique_ptr<Device>> devices;
  for (const auto& [name, id] :
       std::vector<std::pair<const char*, const char*>>{{"cuda:0", "a"},
                                                        {"cuda:1", "b"},
                                                        {"vulkan:0", "c"},
                                                        {"vulkan:1", "b"},
                                                        {"vulkan:2", "a"},
                                                        {"cpu", ""},
                                                        {"reference", ""}}) {
    devices.push_back(std::make_unique<Card>(name, id));
  }
  DeviceList list;
  list.devices = Distinct(std::move(devices));
  EXPECT_THAT(Names(list), ElementsAre("cuda:0", "cuda:1", "vulkan:0", "cpu", "reference"));
}

TEST(Registry, OpensByDeviceNameBackendNameAndAuto) {
  const std::pair<const char*, const char*> cases[] = {
      {"cpu", "cpu"},       {"reference", "reference"}, {"fake:0", "fake:0"},
      {"fake:1", "fake:1"}, {"fake", "fake:1"},         {"auto", "fake:1"}};
  for (const auto& [asked, expected] : cases) {
    auto device = OpenDevice(asked, {});
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->name(), expected) << asked;
  }
}

TEST(Registry, UnknownNamesListWhatThereIs) {
  for (const char* name : {"gpu", "fake:2", "cpu:0", "", "broken", "CPU"}) {
    const absl::Status status = OpenDevice(name, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("no device '", name,
                                       "'; there is: fake:1, fake:0, cpu, reference")));
    EXPECT_THAT(std::string(status.message()), HasSubstr("the driver does not answer"));
  }
}

TEST(Registry, BadThreadCountsAreNamed) {
  for (int threads : {-1, 1000000}) {
    const absl::Status status = OpenDevice("cpu", {.threads = threads}).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("cpu: threads is ", threads)));
  }
}

TEST(Registry, LoadsEachPluginOnce) {
  ListDevices({});
  EXPECT_THAT(LoadPlugins(BANTAM_TEST_PLUGINS), IsEmpty());
  EXPECT_THAT(LoadPlugins(absl::StrCat(BANTAM_TEST_PLUGINS, "/../plugins/")), IsEmpty());
}

TEST(Registry, FoldersThatAreMissingOrNone) {
  EXPECT_THAT(LoadPlugins("/no/such/folder"), IsEmpty());
  EXPECT_THAT(LoadPlugins(""), IsEmpty());
  EXPECT_THAT(LoadPlugins("/proc/self/status"),
              ElementsAre(HasSubstr("/proc/self/status: cannot look for plug-ins: ")));
}

TEST(Registry, ASecondBackendOfANameIsAProblem) {
  class Second : public Backend {
    std::string name() const override { return "cpu"; }
    absl::StatusOr<std::vector<std::unique_ptr<Device>>> Enumerate(const BackendOptions&) override {
      return absl::InternalError("the second must not be asked");
    }
  };
  RegisterBackend(std::make_unique<Second>());
  const DeviceList list = ListDevices({});
  EXPECT_THAT(Names(list), ElementsAre("fake:1", "fake:0", "cpu", "reference"));
  EXPECT_THAT(list.problems, ::testing::Contains(HasSubstr("cpu: a backend of this name")));
}

TEST(Registry, ManyThreadsMayAskAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] { EXPECT_EQ(ListDevices({}).devices.size(), 4); });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Registry, DefaultFolder) {
  EXPECT_EQ(DefaultPluginFolder(), BANTAM_TEST_PLUGINS);
  unsetenv("BANTAM_PLUGIN_PATH");
  EXPECT_EQ(DefaultPluginFolder(), absl::StrCat(BANTAM_TEST_LIBRARY_FOLDER, "/bantam"));
  setenv("BANTAM_PLUGIN_PATH", BANTAM_TEST_PLUGINS, 1);
}

TEST(KindName, IsForPeople) {
  EXPECT_EQ(KindName(Kind::kCpu), "CPU");
  EXPECT_EQ(KindName(Kind::kIntegratedGpu), "integrated GPU");
  EXPECT_EQ(KindName(Kind::kDiscreteGpu), "discrete GPU");
}

}  // namespace
}  // namespace bantam::device
