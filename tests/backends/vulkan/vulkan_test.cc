// The Vulkan backend beyond the contract: decoding to the bit, a lost device, the cache of
// pipelines.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "backends/vulkan/gpu.h"
#include "backends/vulkan/hazards.h"
#include "runtime/engine/engine.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"
#include "tests/backends/vulkan/support.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam::vulkan {
namespace {

using ::testing::HasSubstr;

TEST_F(Vulkan, DecodesTheGoldenBlocksToTheBit) {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/quant/types.txt");
  std::string name, rest;
  int types = 0;
  for (uint32_t id; in >> name >> id && std::getline(in, rest); ++types) {
    SCOPED_TRACE(name);
    const auto type = static_cast<Type>(id);
    const auto blocks = testing::ReadGolden<uint8_t>("quant/" + name + ".blocks");
    const auto expected = testing::ReadGolden<float>("quant/" + name + ".f32");
    graph::Graph graph;
    const auto n = static_cast<int64_t>(expected.size());
    const ValueId x = graph.AddInput("x", type, {n, 1, 1, 1});
    const ValueId out = graph.Add(Op::kDequantize, {x}, "out");
    graph.AddOutput(out);
    Compiled compiled;
    ASSERT_TRUE(compiled.Make(*device_, graph).ok());
    ASSERT_TRUE(compiled.Set(x, blocks).ok());
    ASSERT_TRUE(compiled.Run().ok());
    const std::vector<float> found = compiled.Get(out, expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(found[i])) << i << " is " << found[i];
      } else if (std::abs(expected[i]) < 12 * 1.2e-38f) {
        // Shaders may flush what is subnormal to zero: results, and scales, of which MXFP4 has 12.
        ASSERT_TRUE(found[i] == 0 || std::abs(found[i] - expected[i]) <= 1.2e-38f) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
            << i << " is " << found[i] << ", expected " << expected[i];
      }
    }
  }
  EXPECT_EQ(types, 33);
}

// What is written to a quantized cache is within half a step of each block.
TEST_F(Vulkan, QuantizedCaches) {
  constexpr int64_t kWidth = 96, kHeads = 3, kContext = 7, kBlock = 32;
  std::mt19937 random(5);
  for (auto [type, steps] : {std::pair{Type::kQ8_0, 127.0}, {Type::kQ4_0, 8.0}}) {
    SCOPED_TRACE(quant::Name(type));
    graph::Graph graph;
    const ValueId cache = graph.AddState("cache", type, {kWidth, kHeads, kContext, 1});
    const ValueId x = graph.AddInput("x", Type::kF32, {kWidth, kHeads, 3, 1});
    const ValueId slots = graph.AddInput("slots", Type::kI32, {3, 1, 1, 1});
    const ValueId written = graph.Add(Op::kKvWrite, {cache, x, slots}, "written");
    const ValueId out = graph.Add(Op::kDequantize, {written}, "out");
    graph.AddOutput(out);
    Compiled compiled;
    ASSERT_TRUE(compiled.Make(*device_, graph).ok());
    std::vector<float> values(kWidth * kHeads * 3);
    for (float& v : values) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    ASSERT_TRUE(compiled.Set(x, values).ok());
    ASSERT_TRUE(compiled.Set(slots, std::vector<int32_t>{5, -1, 2}).ok());
    ASSERT_TRUE(compiled.Run().ok());
    const std::vector<float> found = compiled.Get(out, kWidth * kHeads * kContext);
    for (int64_t slot = 0; slot < kContext; ++slot) {
      const int64_t row = slot == 5 ? 0 : slot == 2 ? 2 : -1;
      for (int64_t i = 0; i < kWidth * kHeads; i += kBlock) {
        float peak = 0;
        for (int64_t j = i; row >= 0 && j < i + kBlock; ++j) {
          peak = std::max(peak, std::abs(values[row * kWidth * kHeads + j]));
        }
        for (int64_t j = i; j < i + kBlock; ++j) {
          const float expected = row < 0 ? 0 : values[row * kWidth * kHeads + j];
          // Q4_0 goes from -8 to 7 steps: its far end is off by one. The scale is rounded to f16.
          const double tolerance = peak / steps * (type == Type::kQ4_0 ? 1.01 : 0.51) + peak * 1e-3;
          ASSERT_NEAR(found[slot * kWidth * kHeads + j], expected, tolerance) << slot << " " << j;
        }
      }
    }
  }
}

TEST_F(Vulkan, ALostDeviceIsAStatusAndTheNextLoadWorks) {
  testing::CheckThatALostGpuIsAStatus(kFaulty);
}

TEST_F(Vulkan, ThePipelineCacheOnDiskMayBeAnything) {
  testing::TempDir folder;
  setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
  auto instance = Instance::Get();
  ASSERT_TRUE(instance.ok());
  auto gpu = Gpu::Open(**instance, (*instance)->gpus()[0], {});
  ASSERT_TRUE(gpu.ok()) << gpu.status();
  PipelineKey key;
  key.shader = Shader::kSoftmax;
  key.bindings = 2;
  key.constants = {64};
  std::string path;
  auto make = [&] {
    Pipelines pipelines((*gpu)->vk(), (*gpu)->device(), "a driver");
    path = pipelines.cache_path();
    const auto pipeline = pipelines.Get(key);
    EXPECT_TRUE(pipeline.ok()) << pipeline.status();
    pipelines.Save();
  };
  make();
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  EXPECT_THAT(path, HasSubstr(folder.path()));
  ASSERT_GE(whole.size(), 32u);
  std::string flipped = whole;
  flipped.back() ^= 1;
  for (const std::string& damaged :
       {std::string(), std::string("nonsense"), whole.substr(0, whole.size() - 1), flipped,
        whole + "more", std::string(1000, '\xff')}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    make();
    std::ifstream again(path, std::ios::binary);
    EXPECT_EQ(std::string((std::istreambuf_iterator<char>(again)), {}).size(), whole.size());
  }
  unsetenv("XDG_CACHE_HOME");
}

TEST(VulkanHazards, OnlyWhatTouchesTheSameBytesWaits) {
  auto dispatch = [](std::initializer_list<Bound> bounds) {
    Dispatch d;
    for (const Bound& bound : bounds) d.bindings[d.key.bindings++] = bound;
    return d;
  };
  const Bound a{nullptr, Own::kNone, 0, 64, true}, b{nullptr, Own::kNone, 64, 128, true};
  auto read = [](Bound bound) {
    bound.written = false;
    return bound;
  };
  Hazards hazards;
  EXPECT_FALSE(hazards.Add(dispatch({a})));
  EXPECT_FALSE(hazards.Add(dispatch({b})));        // beside it
  EXPECT_TRUE(hazards.Add(dispatch({read(a)})));   // read after write
  EXPECT_FALSE(hazards.Add(dispatch({read(b)})));  // the barrier was for all
  EXPECT_FALSE(hazards.Add(dispatch({read(a)})));  // two readers
  EXPECT_TRUE(hazards.Add(dispatch({a})));         // write after read
  EXPECT_TRUE(hazards.Add(dispatch({a})));         // write after write
  EXPECT_FALSE(hazards.Add(dispatch({{nullptr, Own::kScratch, 0, 64, true}})));  // other memory
  Dispatch reaching = dispatch({b});
  reaching.key.by_address = true;
  reaching.reached = read(a);
  EXPECT_TRUE(hazards.Add(reaching));       // what is read at an address, too
  EXPECT_TRUE(hazards.Add(dispatch({a})));  // and written after that
}

TEST(VulkanSettings, NamesWhatItDoesNotKnow) {
  setenv("BANTAM_VULKAN_TEST", "binding=65536,staging=1", 1);
  const auto settings = SettingsFromEnvironment();
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->binding_limit, 65536);
  EXPECT_TRUE(settings->staging);
  for (const char* wrong : {"speed=1", "binding", "binding=x"}) {
    setenv("BANTAM_VULKAN_TEST", wrong, 1);
    EXPECT_THAT(std::string(SettingsFromEnvironment().status().message()), HasSubstr(wrong));
  }
  unsetenv("BANTAM_VULKAN_TEST");
}

}  // namespace
}  // namespace bantam::vulkan
