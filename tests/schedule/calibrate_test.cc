// Groups that are measured, and what follows from it.

#include "runtime/schedule/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "runtime/device/registry.h"
#include "runtime/schedule/placement.h"
#include "tests/schedule/shapes.h"
#include "tests/support/tiny_model.h"

namespace bantam::schedule {
namespace {

using ::bantam::testing::BuildShape;
using ::bantam::testing::ModelShape;

const ModelShape kDense{.layers = 3, .type = quant::Type::kQ8_0, .better = quant::Type::kQ8_0};
const ModelShape kMoe{.layers = 2,
                      .experts = 8,
                      .experts_used = 2,
                      .tied = true,
                      .type = quant::Type::kQ8_0,
                      .better = quant::Type::kQ8_0};
constexpr int64_t kDepth = 48;

absl::Status CalibrateOne(device::Device& device, std::span<const graph::Graph> steps,
                          const std::string& folder, DeviceProfile& profile) {
  Calibration one{&device, &profile};
  Calibrate({&one, 1}, steps, kDepth, folder);
  return one.status;
}

TEST(Calibrate, EveryGroupOfEveryStepIsMeasuredOnceAndKept) {
  for (const char* name : {"cpu", "reference"}) {
    for (const ModelShape& shape : {kDense, kMoe}) {
      const testing::TempDir folder;
      const auto device = device::OpenDevice(name, {.threads = 1});
      ASSERT_TRUE(device.ok());
      const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 64), BuildShape(shape, 8, 64)};
      DeviceProfile profile;
      ASSERT_TRUE(CalibrateOne(**device, steps, folder.path(), profile).ok());
      std::set<std::string> keys;
      for (const graph::Graph& step : steps) {
        const auto grouping = FindGroups(step);
        ASSERT_TRUE(grouping.ok());
        const int64_t rows = &step == &steps[0] ? 1 : 8;
        for (int g = 0; g < static_cast<int>(grouping->groups.size()); ++g) {
          const std::string key = GroupKey(step, *grouping, g, DepthInStep(kDepth, rows));
          ASSERT_EQ(profile.measured.count(key), 1) << GroupName(grouping->groups[g]);
          EXPECT_GT(profile.measured[key], 0);
          EXPECT_LT(profile.measured[key], 10);
          keys.insert(key);
        }
      }
      // Layers share what is the same, and nothing else was measured.
      EXPECT_EQ(keys.size(), profile.measured.size());
      EXPECT_LT(keys.size(), 2 * (shape.layers * 3 + 2));
      DeviceProfile again;
      ASSERT_TRUE(CalibrateOne(**device, steps, folder.path(), again).ok());
      EXPECT_EQ(again.measured, profile.measured);
      // A figure that is none is measured again.
      const std::string file = folder.File("devices.json");
      std::string text((std::istreambuf_iterator<char>(std::ifstream(file).rdbuf())), {});
      const size_t at = text.find(*keys.begin());
      ASSERT_NE(at, std::string::npos);
      text.insert(text.find(": ", at) + 2, "-");
      std::ofstream(file) << text;
      DeviceProfile third;
      ASSERT_TRUE(CalibrateOne(**device, steps, folder.path(), third).ok());
      EXPECT_GT(third.measured[*keys.begin()], 0);
    }
  }
}

// Cells that hold nothing are not read: the size of the cache changes nothing, what is in it does.
TEST(Calibrate, KeysTellWhatTakesTime) {
  const graph::Graph small = BuildShape(kDense, 1, 64), large = BuildShape(kDense, 1, 4096);
  const auto grouping = FindGroups(small);
  ASSERT_TRUE(grouping.ok());
  const int kv = grouping->Find({Part::kKv, 0}), attention = grouping->Find({Part::kAttention, 0});
  EXPECT_EQ(GroupKey(small, *grouping, kv, 64), GroupKey(large, *grouping, kv, 64));
  EXPECT_NE(GroupKey(small, *grouping, kv, 32), GroupKey(small, *grouping, kv, 64));
  EXPECT_EQ(GroupKey(small, *grouping, attention, 32), GroupKey(small, *grouping, attention, 64));
  EXPECT_EQ(GroupKey(small, *grouping, kv, 64),
            GroupKey(small, *grouping, grouping->Find({Part::kKv, 1}), 64));
  EXPECT_NE(GroupKey(small, *grouping, kv, 64), GroupKey(small, *grouping, attention, 64));
  ModelShape wider = kDense;
  wider.feed_forward *= 2;
  const int ff = grouping->Find({Part::kFeedForward, 0});
  EXPECT_NE(GroupKey(small, *grouping, ff, 64),
            GroupKey(BuildShape(wider, 1, 64), *grouping, ff, 64));
}

// What was measured goes before speeds, in the choice and in what is predicted.
TEST(Calibrate, PlacementsGoByWhatWasMeasured) {
  const std::vector<graph::Graph> steps = {BuildShape(kDense, 1, 64), BuildShape(kDense, 8, 64)};
  std::vector<DeviceProfile> devices(2);
  devices[0].bandwidth = devices[0].operations = 1e15;
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  const auto before = Place({.steps = steps, .depth = kDepth}, devices);
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->device, std::vector<int>(grouping->groups.size(), 0));
  for (int g = 0; g < static_cast<int>(grouping->groups.size()); ++g) {
    if (grouping->groups[g].part != Part::kFeedForward) continue;
    devices[0].measured[GroupKey(steps[0], *grouping, g, kDepth)] = 1;
    devices[1].measured[GroupKey(steps[0], *grouping, g, kDepth)] = 0.25;
  }
  const auto after = Place({.steps = steps, .depth = kDepth}, devices);
  ASSERT_TRUE(after.ok());
  for (size_t g = 0; g < grouping->groups.size(); ++g) {
    EXPECT_EQ(after->device[g], grouping->groups[g].part == Part::kFeedForward) << g;
  }
  EXPECT_NEAR(after->decode_seconds, 3 * 0.25, 0.01);
}

// Two steps at a time: as fast as the busier device, but where both are the same processor.
TEST(Overlap, ThePromptTakesWhatTheBusierDeviceTakes) {
  const std::vector<graph::Graph> steps = {BuildShape(kDense, 1, 64), BuildShape(kDense, 8, 64)};
  const auto grouping = FindGroups(steps[1]);
  ASSERT_TRUE(grouping.ok());
  std::vector<DeviceProfile> devices(2);
  const int64_t depth = DepthInStep(kDepth, 8);
  std::vector<int> device;
  for (int g = 0; g < static_cast<int>(grouping->groups.size()); ++g) {
    const Group& group = grouping->groups[g];
    device.push_back(group.layer == 0 ? 0 : 1);
    const bool counts = group.part == Part::kFeedForward;
    devices[0].measured[GroupKey(steps[1], *grouping, g, depth)] = counts ? 3 : 0;
    devices[1].measured[GroupKey(steps[1], *grouping, g, depth)] = counts ? 1 : 0;
  }
  PlacementRequest request{.steps = steps, .depth = kDepth};
  EXPECT_NEAR(Evaluate(request, devices, device)->prompt_seconds, 3 + 1 + 1, 1e-6);
  request.two_in_flight = true;
  EXPECT_NEAR(Evaluate(request, devices, device)->prompt_seconds, 3, 1e-6);
  devices[0].is_processor = true;
  EXPECT_NEAR(Evaluate(request, devices, device)->prompt_seconds, 3, 1e-6);
  devices[1].is_processor = true;
  EXPECT_NEAR(Evaluate(request, devices, device)->prompt_seconds, 5, 1e-6);
  // A step goes from device to device and there are only two of them.
  devices[1].is_processor = false;
  for (auto& [key, seconds] : devices[0].measured) seconds = seconds > 0 ? 1 : 0;
  devices[0].transfer_seconds = 10;
  EXPECT_GT(Evaluate(request, devices, device)->prompt_seconds, 5);
}

}  // namespace
}  // namespace bantam::schedule
