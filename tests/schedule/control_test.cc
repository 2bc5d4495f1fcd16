// What users ask for, and measured speeds.

#include "runtime/schedule/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "runtime/device/registry.h"
#include "runtime/schedule/measure.h"
#include "runtime/schedule/placement.h"
#include "tests/schedule/shapes.h"
#include "tests/support/tiny_model.h"

namespace bantam::schedule {
namespace {

using ::bantam::testing::BuildShape;
using ::bantam::testing::ModelShape;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<DeviceProfile> Devices() {
  std::vector<DeviceProfile> devices(3);
  devices[0].name = "vulkan:0";
  devices[1].name = "vulkan:1";
  devices[2].name = "cpu";
  return devices;
}

const ModelShape kShape{.name = "",
                        .layers = 12,
                        .experts = 4,
                        .experts_used = 2,
                        .type = quant::Type::kQ8_0,
                        .better = quant::Type::kQ8_0};

class ControlTest : public ::testing::Test {
 protected:
  ControlTest() : graph_(BuildShape(kShape, 1, 16)), grouping_(*FindGroups(graph_)) {}

  // "01-" for a group that may be on devices 0 and 1; joined by layer for one part.
  std::string Where(const Control& control, Part part, std::vector<DeviceProfile> devices) {
    const auto allowed = AllowedDevices(control, graph_, grouping_, devices);
    if (!allowed.ok()) return std::string(allowed.status().message());
    std::string text;
    for (size_t g = 0; g < grouping_.groups.size(); ++g) {
      if (grouping_.groups[g].part != part) continue;
      if (!text.empty()) text += " ";
      for (size_t d = 0; d < devices.size(); ++d) {
        if ((*allowed)[g][d]) text += static_cast<char>('0' + d);
      }
    }
    return text;
  }
  std::string Where(const Control& control, Part part) { return Where(control, part, Devices()); }

  graph::Graph graph_;
  Grouping grouping_;
};

TEST_F(ControlTest, GpuLayers) {
  EXPECT_EQ(Where({}, Part::kEmbedding), "012");
  EXPECT_EQ(Where({.gpu_layers = "0"}, Part::kOutput), "2");
  EXPECT_EQ(Where({.gpu_layers = "all"}, Part::kOutput), "01");
  EXPECT_EQ(Where({.gpu_layers = "3"}, Part::kOutput), "012");
  for (const Part part : {Part::kAttention, Part::kKv, Part::kFeedForward, Part::kExperts}) {
    EXPECT_EQ(Where({.gpu_layers = "3"}, part), "2 2 2 2 2 2 2 2 2 01 01 01");
    EXPECT_EQ(Where({.gpu_layers = "99"}, part), "01 01 01 01 01 01 01 01 01 01 01 01");
  }
}

TEST_F(ControlTest, RulesOverrideLayers) {
  const Control control{
      .gpu_layers = "2", .place = {R"(blk\.1[01]\.ffn_.*_exps=cpu)"}, .kv_device = "vulkan:1"};
  EXPECT_EQ(Where(control, Part::kExperts), "2 2 2 2 2 2 2 2 2 2 2 2");
  EXPECT_EQ(Where(control, Part::kFeedForward), "2 2 2 2 2 2 2 2 2 2 01 01");
  EXPECT_EQ(Where(control, Part::kKv), "1 1 1 1 1 1 1 1 1 1 1 1");
  EXPECT_EQ(Where({.place = {R"(^blk\.3\.=vulkan:1)"}}, Part::kKv),
            "012 012 012 1 012 012 012 012 012 012 012 012");
}

TEST_F(ControlTest, WhatCannotBeIsOneClearLine) {
  const std::pair<Control, const char*> cases[] = {
      {{.gpu_layers = "many"}, "'many' is neither a number of layers, auto nor all"},
      {{.gpu_layers = "-1"}, "neither"},
      {{.place = {"ffn"}}, "expected REGEX=DEVICE"},
      {{.place = {"=cpu"}}, "expected REGEX=DEVICE"},
      {{.place = {"ffn("}}, "expected REGEX=DEVICE"},
      {{.place = {"ffn(=cpu"}}, "--place 'ffn(=cpu': missing closing parenthesis at character 5"},
      {{.place = {"ffn=cuda:0"}}, "device 'cuda:0' is not used; used are vulkan:0, vulkan:1, cpu"},
      {{.place = {"fnn=cpu"}}, "--place 'fnn=cpu' matches no tensor of the model"},
      {{.place = {"ffn_norm=cpu", "ffn_gate_inp=vulkan:0"}},
       "feed-forward of layer 0 cannot be on two devices: --place 'ffn_norm=cpu' puts it on cpu, "
       "--place 'ffn_gate_inp=vulkan:0' on vulkan:0"},
      {{.place = {"kv_cache=cpu"}, .kv_device = "vulkan:0"}, "KV of layer 0 cannot be on two"},
      {{.kv_device = "gpu"}, "--kv-device: device 'gpu' is not used"},
  };
  for (const auto& [control, expected] : cases) {
    const std::string message = Where(control, Part::kKv);
    EXPECT_THAT(message, HasSubstr(expected));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
  }
  EXPECT_THAT(Where({.gpu_layers = "1"}, Part::kKv, {Devices()[2]}), HasSubstr("only device cpu"));
}

TEST(Caps, OfOneDeviceAndOfAll) {
  std::vector<DeviceProfile> devices = Devices();
  ASSERT_TRUE(ApplyCaps({.vram = {"6GiB", "vulkan:1=1GiB", "cpu=8GiB"}}, devices).ok());
  EXPECT_EQ(devices[0].capacity, uint64_t{6} << 30);
  EXPECT_EQ(devices[1].capacity, uint64_t{1} << 30);
  EXPECT_EQ(devices[2].capacity, uint64_t{8} << 30);
  // A cap never raises what there is.
  ASSERT_TRUE(ApplyCaps({.vram = {"7GiB"}}, devices).ok());
  EXPECT_EQ(devices[0].capacity, uint64_t{6} << 30);
  EXPECT_FALSE(ApplyCaps({.vram = {"cuda=1GiB"}}, devices).ok());
  EXPECT_FALSE(ApplyCaps({.vram = {"1GiB"}}, std::span(devices).first(1)).ok());
  for (const char* text : {"much", "=1GiB", "cpu=", "cpu=x"}) {
    EXPECT_FALSE(CheckControl({.vram = {text}}).ok()) << text;
  }
  EXPECT_TRUE(CheckControl({.vram = {"1.5g"}, .place = {"a=b=c"}}).ok());
}

TEST(Measure, IsSensibleAndKept) {
  const testing::TempDir folder;
  const auto device = device::OpenDevice("cpu", {.threads = 1});
  ASSERT_TRUE(device.ok());
  const std::string file = folder.File("devices.json");
  std::ofstream(file) << "{ this is no JSON";
  const auto first = ProfileDevice(**device, quant::Type::kQ4_0, folder.path());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->name, "cpu");
  EXPECT_EQ(first->capacity, kUnlimited);
  // Between a slow emulator and any machine there is.
  EXPECT_GT(first->bandwidth, 1e6);
  EXPECT_LT(first->bandwidth, 1e13);
  EXPECT_GT(first->operations, 1e6);
  EXPECT_GE(first->node_seconds, 0);
  EXPECT_TRUE(first->is_processor);
  EXPECT_GE(first->transfer_seconds, 0);
  EXPECT_EQ(first->transfer_bandwidth, kImpossible);
  // Two measurements are never the same to the last bit: the second comes from the file.
  const auto second = ProfileDevice(**device, quant::Type::kQ4_0, folder.path());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->bandwidth, first->bandwidth);
  EXPECT_EQ(second->operations, first->operations);
  EXPECT_EQ(second->transfer_bandwidth, kImpossible);
  // An entry that makes no sense is measured again.
  std::string text((std::istreambuf_iterator<char>(std::ifstream(file).rdbuf())), {});
  const size_t at = text.find("\"bandwidth\": ");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 13, "-");
  std::ofstream(file) << text;
  const auto third = ProfileDevice(**device, quant::Type::kQ4_0, folder.path());
  ASSERT_TRUE(third.ok());
  EXPECT_GT(third->bandwidth, 0);
  // No folder, no cache.
  EXPECT_TRUE(ProfileDevice(**device, quant::Type::kQ4_0, "/proc/no/such").ok());
}

}  // namespace
}  // namespace bantam::schedule
