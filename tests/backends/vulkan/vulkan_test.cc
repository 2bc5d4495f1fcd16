// The Vulkan backend beyond the contract: decoding to the bit, integer products, a lost device, the
// cache of pipelines.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/vulkan/gpu.h"
#include "backends/vulkan/hazards.h"
#include "runtime/engine/engine.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
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
      } else if (std::abs(expected[i]) < 1.2e-38f) {
        // Shaders may flush subnormal results to zero.
        ASSERT_LE(std::abs(found[i] - expected[i]), 1.2e-38f) << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
            << i << " is " << found[i] << ", expected " << expected[i];
      }
    }
  }
  EXPECT_EQ(types, 33);
}

// A product of every type of operand with 40 columns; its dispatches, too.
struct Product {
  std::vector<float> values;
  std::string kernels;
};

Product Multiply(const char* settings, Type type, const std::vector<std::byte>& weight,
                 const std::vector<float>& x, int64_t k, int64_t m) {
  auto device = OpenWith(settings);
  EXPECT_TRUE(device.ok()) << device.status();
  const auto n = static_cast<int64_t>(x.size()) / k;
  graph::Graph graph;
  const ValueId w = graph.AddWeight("w", type, {k, m, 1, 1});
  const ValueId input = graph.AddInput("x", Type::kF32, {k, n, 1, 1});
  const ValueId out = graph.Add(Op::kMatMul, {w, input}, "out", graph::MatMulAttrs{});
  graph.AddOutput(out);
  Compiled compiled;
  const absl::Status status = compiled.Make(**device, graph);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(compiled.Set(w, weight).ok() && compiled.Set(input, x).ok() && compiled.Run().ok());
  return {compiled.Get(out, m * n), compiled.kernels()};
}

// Two planes of int8 keep activations nearly whole, those beside large ones too.
TEST_F(Vulkan, IntegerDotProductsAreAsGoodAsF32) {
  constexpr int64_t kWidth = 512, kRows = 70, kColumns = 40;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(kWidth * kColumns), w(kWidth * kRows);
  for (float& v : w) v = 0.02f * normal(random);
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i % 509 == 0 ? 100.0f : 1.0f);
  for (Type type : {Type::kQ4_1, Type::kQ4_K, Type::kQ6_K, Type::kQ8_0}) {
    SCOPED_TRACE(quant::Name(type));
    const auto row_bytes = static_cast<size_t>(quant::RowBytes(type, kWidth));
    std::vector<std::byte> weight(row_bytes * kRows);
    for (int64_t row = 0; row < kRows; ++row) {
      ASSERT_TRUE(quant::EncodeRow(type, &w[row * kWidth], &weight[row * row_bytes], kWidth).ok());
    }
    const Product exact = Multiply("dot=0", type, weight, x, kWidth, kRows);
    const Product found = Multiply("dot=1", type, weight, x, kWidth, kRows);
    EXPECT_THAT(exact.kernels, ::testing::Not(HasSubstr("int8")));
    EXPECT_THAT(found.kernels, HasSubstr(absl::StrCat("matmul int8 ", quant::Name(type))));
    EXPECT_THAT(found.kernels, HasSubstr("quantize: 1 dispatch\n"));
    double difference = 0, square = 0;
    for (size_t i = 0; i < found.values.size(); ++i) {
      difference += std::pow(double{found.values[i]} - exact.values[i], 2);
      square += std::pow(double{exact.values[i]}, 2);
    }
    std::printf("%s: %.1e of the result\n", std::string(quant::Name(type)).c_str(),
                std::sqrt(difference / square));
    // With one plane it would be 1e-2: activations as large as 300 beside those of 1.
    EXPECT_LT(std::sqrt(difference / square), 1e-4);
    EXPECT_GT(difference, 0);
    // What is no number stays none, in its column alone.
    std::vector<float> broken = x;
    broken[3 * kWidth + 100] = NAN;
    broken[5 * kWidth + 7] = INFINITY;
    const Product nan = Multiply("dot=1", type, weight, broken, kWidth, kRows);
    for (size_t i = 0; i < nan.values.size(); ++i) {
      const bool is_broken = i / kRows == 3 || i / kRows == 5;
      ASSERT_EQ(std::isfinite(nan.values[i]), !is_broken) << i;
      if (!is_broken) {
        ASSERT_EQ(nan.values[i], found.values[i]) << i;
      }
    }
  }
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

// A GPU that is lost is opened anew by the next load; what was made before says so and no more.
TEST_F(Vulkan, ALostDeviceIsAStatusAndTheNextLoadWorks) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path);
  const std::vector<int32_t> prompt = {1, 2, 3};
  std::vector<float> expected;
  for (int round = 0; round < 3; ++round) {
    auto model = engine::Model::Load(path, {.device = "vulkan"});
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 4});
    ASSERT_TRUE(session.ok()) << session.status();
    absl::Status status = (*session)->Decode(prompt);
    ASSERT_TRUE(status.ok()) << status;
    const auto logits = (*session)->Logits();
    if (expected.empty()) expected.assign(logits.begin(), logits.end());
    EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), expected);
    TheFaults().submit_in = 1;
    for (int call = 0; call < 2; ++call) {
      status = (*session)->Decode(prompt);
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("lost"));
    }
    EXPECT_FALSE(engine::Session::Create(*model, {.context = 64}).ok());
  }
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

// What `bantam devices -v` says is what is used.
TEST_F(Vulkan, EveryAbilityHasALine) {
  auto instance = Instance::Get();
  ASSERT_TRUE(instance.ok());
  auto lines = [&](const Settings& settings) {
    const auto traits = QueryTraits(**instance, (*instance)->gpus()[0], settings);
    EXPECT_TRUE(traits.ok()) << traits.status();
    return absl::StrJoin(Features(*traits), "\n");
  };
  Settings settings;
  const std::string usual = lines(settings);
  for (const char* ability :
       {"subgroup operations", "integer dot product", "8-bit and 16-bit storage", "f16 arithmetic",
        "int8 arithmetic", "timeline semaphores", "memory budget", "buffer device address",
        "cooperative matrix", "limits: "}) {
    EXPECT_THAT(usual, HasSubstr(ability));
  }
  settings.small_storage = settings.subgroups = false;
  settings.integer_dot = settings.transfer_queue = settings.staging = true;
  const std::string others = lines(settings);
  EXPECT_THAT(others, HasSubstr("subgroup operations: not used"));
  EXPECT_THAT(others, HasSubstr("8-bit and 16-bit storage: not used"));
  EXPECT_THAT(others, HasSubstr("integer dot product: used"));
  EXPECT_THAT(others, HasSubstr("transfer queue: used"));
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
