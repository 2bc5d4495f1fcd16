// The Vulkan backend beyond the contract: decoding to the bit, tensors larger than a binding,
// failures of the driver, memory over many loads, the cache of pipelines. The backend is linked in,
// so that failures can be injected; the plug-in is left alone.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/device.h"
#include "backends/vulkan/gpu.h"
#include "backends/vulkan/hazards.h"
#include "backends/vulkan/settings.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam::vulkan {
namespace {

using graph::Op;
using graph::ValueId;
using quant::Type;
using ::testing::HasSubstr;

// Before any device is listed: no plug-ins, and the backend that is linked in.
const bool kRegistered = [] {
  setenv("BANTAM_PLUGIN_PATH", "", 1);
  device::RegisterBackend(NewBackend());
  return true;
}();

class Vulkan : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(kRegistered);
    auto device = device::OpenDevice("vulkan:0", {});
    // Everywhere the tests run there is a driver: third_party/install.sh brings one.
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }
  void TearDown() override {
    TheFaults().allocation_in = 0;
    TheFaults().submit_in = 0;
  }
  std::unique_ptr<device::Device> device_;
};

// A graph on a device, its values in buffers of their own.
class Compiled {
 public:
  absl::Status Make(device::Device& device, graph::Graph& graph) {
    BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
    const graph::MemoryPlan plan =
        graph::PlanMemory(graph, static_cast<int64_t>(device.limits().alignment));
    BANTAM_ASSIGN_OR_RETURN(temp_, device.Allocate(std::max<int64_t>(plan.size, 1)));
    std::vector<device::Binding> bindings(graph.values().size());
    buffers_.resize(bindings.size());
    for (size_t id = 0; id < bindings.size(); ++id) {
      const graph::Value& value = graph.values()[id];
      if (value.base != graph::kNone) continue;
      if (value.storage == graph::Storage::kTemp) {
        bindings[id] = {temp_.get(), static_cast<uint64_t>(plan.offsets[id])};
        continue;
      }
      const bool is_weight = value.storage == graph::Storage::kWeight;
      BANTAM_ASSIGN_OR_RETURN(buffers_[id], is_weight ? device.AllocateWeights(value.SpanBytes())
                                                      : device.Allocate(value.SpanBytes()));
      bindings[id] = {buffers_[id].get(), 0};
    }
    bindings_ = bindings;
    BANTAM_ASSIGN_OR_RETURN(stream_, device.NewStream());
    BANTAM_ASSIGN_OR_RETURN(executable_, device.Compile({graph, plan, bindings, {temp_.get(), 0}}));
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Set(ValueId id, const std::vector<T>& values) {
    return bindings_[id].buffer->Upload(bindings_[id].offset, std::as_bytes(std::span(values)));
  }
  std::string kernels() const { return executable_->Describe(); }
  absl::Status Run() {
    BANTAM_RETURN_IF_ERROR(executable_->Run(*stream_));
    return stream_->Synchronize();
  }
  std::vector<float> Get(ValueId id, size_t count) {
    std::vector<float> values(count);
    const absl::Status status = bindings_[id].buffer->Download(
        bindings_[id].offset, std::as_writable_bytes(std::span(values)));
    EXPECT_TRUE(status.ok()) << status;
    return values;
  }

 private:
  std::unique_ptr<device::Buffer> temp_;
  std::vector<std::unique_ptr<device::Buffer>> buffers_;
  std::vector<device::Binding> bindings_;
  std::unique_ptr<device::Stream> stream_;
  std::unique_ptr<device::Executable> executable_;
};

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
  setenv("BANTAM_VULKAN_TEST", settings, 1);
  auto device = device::OpenDevice("vulkan:0", {});
  EXPECT_TRUE(device.ok()) << device.status();
  unsetenv("BANTAM_VULKAN_TEST");
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

// 300 MiB, more than twice what the smallest drivers bind at a time.
TEST_F(Vulkan, AMatrixLargerThanABinding) {
  constexpr int64_t kWidth = 8192, kRows = 9600;
  static_assert(kWidth * kRows * sizeof(float) == 300 << 20);
  graph::Graph graph;
  const ValueId w = graph.AddWeight("w", Type::kF32, {kWidth, kRows, 1, 1});
  const ValueId x = graph.AddInput("x", Type::kF32, {kWidth, 1, 1, 1});
  const ValueId ids = graph.AddInput("ids", Type::kI32, {4, 1, 1, 1});
  const ValueId product = graph.Add(Op::kMatMul, {w, x}, "product", graph::MatMulAttrs{});
  const ValueId rows = graph.Add(Op::kGatherRows, {w, ids}, "rows");
  graph.AddOutput(product);
  graph.AddOutput(rows);
  Compiled compiled;
  absl::Status status = compiled.Make(*device_, graph);
  ASSERT_TRUE(status.ok()) << status;
  // Small whole numbers, so that every sum is exact: element (k, row) is (k * 7 + row * 3) % 17
  // - 8.
  auto weight = [](int64_t k, int64_t row) {
    return static_cast<float>((k * 7 + row * 3) % 17 - 8);
  };
  std::vector<float> pattern(kWidth + 17);
  for (int64_t k = 0; k < kWidth + 17; ++k) pattern[k] = weight(k, 0);
  std::vector<float> matrix(kWidth * kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    // Adding 3 to row * 3 is adding 15 to k, since 15 * 7 = 105 = 3 mod 17.
    std::memcpy(&matrix[row * kWidth], &pattern[row * 15 % 17], kWidth * sizeof(float));
  }
  std::vector<float> activations(kWidth);
  for (int64_t k = 0; k < kWidth; ++k) activations[k] = static_cast<float>(k % 5 - 2);
  ASSERT_TRUE(compiled.Set(w, matrix).ok());
  ASSERT_TRUE(compiled.Set(x, activations).ok());
  const std::vector<int32_t> wanted = {0, 4095, 4096, kRows - 1};
  ASSERT_TRUE(compiled.Set(ids, wanted).ok());
  status = compiled.Run();
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<float> found = compiled.Get(product, kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    if (row >= 17 && row % 101 != 0 && row < kRows - 17) {
      // A row has the numbers of the one 17 before.
      ASSERT_EQ(found[row], found[row - 17]) << row;
      continue;
    }
    double expected = 0;
    for (int64_t k = 0; k < kWidth; ++k) expected += double{weight(k, row)} * activations[k];
    ASSERT_EQ(found[row], expected) << row;
  }
  const std::vector<float> gathered = compiled.Get(rows, 4 * kWidth);
  for (size_t i = 0; i < wanted.size(); ++i) {
    for (int64_t k = 0; k < kWidth; ++k) {
      ASSERT_EQ(gathered[i * kWidth + k], weight(k, wanted[i])) << wanted[i];
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

TEST_F(Vulkan, AllocationFailuresAreStatuses) {
  TheFaults().allocation_in = 1;
  const auto failed = device_->Allocate(1000);
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kResourceExhausted) << failed.status();
  EXPECT_TRUE(device_->Allocate(1000).ok());
  // Every allocation of a load in turn.
  testing::TempDir folder;
  testing::WriteTinyLlama(folder.File("model.gguf"));
  int failures = 0;
  for (int fault = 1; fault < 100; ++fault) {
    TheFaults().allocation_in = fault;
    auto model = engine::Model::Load(folder.File("model.gguf"), {.device = "vulkan"});
    absl::Status status = model.status();
    if (model.ok()) {
      status = engine::Session::Create(*model, {.context = 64, .ubatch = 2}).status();
    }
    if (status.ok()) break;
    ++failures;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
  EXPECT_GE(failures, 4);  // weights, inputs, cache, intermediate values
}

// Weights larger than the GPU allocates in one piece: their rows, and their experts, lie across the
// borders of pieces.
TEST_F(Vulkan, AWeightLargerThanAnAllocation) {
  constexpr int64_t kWidth = 36, kRows = 50, kExperts = 7, kTokens = 20;
  std::mt19937 random(3);
  std::vector<float> weights(kWidth * kRows * kExperts), x(kWidth * kTokens);
  for (std::vector<float>* values : {&weights, &x}) {
    for (float& v : *values) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  }
  std::vector<int32_t> experts(2 * kTokens), rows(40);
  for (size_t i = 0; i < experts.size(); ++i) experts[i] = static_cast<int32_t>(i * i % 9) - 1;
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(9 * i) - 1;
  std::vector<std::vector<float>> found;
  for (const char* settings : {"", "allocation=20000", "allocation=20000,staging=1,transfer=1",
                               "allocation=16000", "allocation=16000,binding=4096,tile=1"}) {
    SCOPED_TRACE(settings);
    setenv("BANTAM_VULKAN_TEST", settings, 1);
    auto device = device::OpenDevice("vulkan:0", {});
    unsetenv("BANTAM_VULKAN_TEST");
    ASSERT_TRUE(device.ok()) << device.status();
    graph::Graph graph;
    const ValueId w = graph.AddWeight("w", Type::kF32, {kWidth, kRows, kExperts, 1});
    const ValueId flat = graph.AddWeight("flat", Type::kF32, {kWidth, kRows * kExperts, 1, 1});
    const ValueId input = graph.AddInput("x", Type::kF32, {kWidth, 1, kTokens, 1});
    const ValueId one = graph.AddInput("one", Type::kF32, {kWidth, 1, 1, 1});
    const ValueId ids = graph.AddInput("ids", Type::kI32, {2, kTokens, 1, 1});
    const ValueId wanted = graph.AddInput("wanted", Type::kI32, {40, 1, 1, 1});
    const ValueId outs[] = {graph.Add(Op::kMatMulExpert, {w, input, ids}, "experts"),
                            graph.Add(Op::kMatMul, {flat, one}, "product", graph::MatMulAttrs{}),
                            graph.Add(Op::kGatherRows, {flat, wanted}, "rows")};
    for (ValueId out : outs) graph.AddOutput(out);
    Compiled compiled;
    const absl::Status status = compiled.Make(**device, graph);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(compiled.Set(w, weights).ok() && compiled.Set(flat, weights).ok() &&
                compiled.Set(input, x).ok() && compiled.Set(ids, experts).ok() &&
                compiled.Set(wanted, rows).ok());
    ASSERT_TRUE(compiled.Set(one, std::vector<float>(x.begin(), x.begin() + kWidth)).ok());
    ASSERT_EQ(compiled.Get(w, weights.size()), weights);  // read back across pieces
    ASSERT_TRUE(compiled.Run().ok());
    std::vector<float>& all = found.emplace_back();
    const size_t counts[] = {kRows * 2 * kTokens, kRows * kExperts, kWidth * 40};
    for (int i = 0; i < 3; ++i) {
      const std::vector<float> values = compiled.Get(outs[i], counts[i]);
      all.insert(all.end(), values.begin(), values.end());
    }
    ASSERT_EQ(all.size(), found[0].size());
    for (size_t i = 0; i < all.size(); ++i) ASSERT_NEAR(all[i], found[0][i], 1e-5) << i;
  }
  // A whole model.
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path);
  std::vector<std::vector<float>> logits;
  for (const char* settings : {"", "allocation=40000"}) {
    setenv("BANTAM_VULKAN_TEST", settings, 1);
    auto model = engine::Model::Load(path, {.device = "vulkan"});
    unsetenv("BANTAM_VULKAN_TEST");
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 4});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE((*session)->Decode(std::vector<int32_t>{5, 200, 17}).ok());
    logits.emplace_back((*session)->Logits().begin(), (*session)->Logits().end());
  }
  EXPECT_EQ(logits[0], logits[1]);
}

// A cache of 2 MiB, larger than what the GPU allocates in one piece, and K or V of a layer larger
// than it binds at a time.
TEST_F(Vulkan, ACacheLargerThanAnAllocation) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path, {.layers = 4, .context = 2048});
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5};
  std::vector<std::vector<float>> logits;
  for (const char* settings :
       {"", "allocation=600000,binding=65536", "staging=1,transfer=1,allocation=600000"}) {
    setenv("BANTAM_VULKAN_TEST", settings, 1);
    auto model = engine::Model::Load(path, {.device = "vulkan"});
    unsetenv("BANTAM_VULKAN_TEST");
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.ubatch = 4, .kv_type = quant::Type::kF32});
    ASSERT_TRUE(session.ok()) << session.status();
    EXPECT_EQ((*session)->memory().kv_cache, 4 * 2 * 2 * 16 * 2048 * 4);
    for (int i = 0; i < 20; ++i) ASSERT_TRUE((*session)->Decode(prompt).ok());
    logits.emplace_back((*session)->Logits().begin(), (*session)->Logits().end());
  }
  for (size_t i = 0; i < logits[0].size(); ++i) {
    // Parts of the cache are summed apart.
    ASSERT_NEAR(logits[1][i], logits[0][i], 1e-5) << i;
    ASSERT_EQ(logits[2][i], logits[0][i]) << i;
  }
  setenv("BANTAM_VULKAN_TEST", "allocation=200000", 1);
  auto model = engine::Model::Load(path, {.device = "vulkan"});
  unsetenv("BANTAM_VULKAN_TEST");
  ASSERT_TRUE(model.ok()) << model.status();
  const absl::Status status =
      engine::Session::Create(*model, {.ubatch = 4, .kv_type = quant::Type::kF32}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a KV cache of 2048 tokens needs 2.00 MiB"));
}

// Uploads have a queue of their own (here the same one in another role), and may run beside a
// program; what they wrote is seen by the next.
TEST_F(Vulkan, UploadsBesidePrograms) {
  setenv("BANTAM_VULKAN_TEST", "staging=1,transfer=1", 1);
  auto device = device::OpenDevice("vulkan:0", {});
  unsetenv("BANTAM_VULKAN_TEST");
  ASSERT_TRUE(device.ok()) << device.status();
  // Larger than both halves of the staging memory.
  constexpr int64_t kWidth = 5 << 20;
  graph::Graph graph;
  const ValueId x = graph.AddInput("x", Type::kF32, {kWidth, 1, 1, 1});
  const ValueId out = graph.Add(Op::kScale, {x}, "out", graph::ScaleAttrs{2, 1});
  graph.AddOutput(out);
  Compiled compiled;
  ASSERT_TRUE(compiled.Make(**device, graph).ok());
  auto other = (*device)->Allocate(kWidth * sizeof(float));
  ASSERT_TRUE(other.ok());
  std::vector<float> values(kWidth), read(kWidth);
  for (int round = 0; round < 3; ++round) {
    for (int64_t i = 0; i < kWidth; ++i) values[i] = static_cast<float>(i % 1001 + round);
    ASSERT_TRUE(compiled.Set(x, values).ok());
    absl::Status uploaded;
    std::thread thread([&] { uploaded = (*other)->Upload(0, std::as_bytes(std::span(values))); });
    const absl::Status ran = compiled.Run();
    thread.join();
    ASSERT_TRUE(ran.ok() && uploaded.ok());
    const std::vector<float> found = compiled.Get(out, kWidth);
    ASSERT_TRUE((*other)->Download(0, std::as_writable_bytes(std::span(read))).ok());
    EXPECT_EQ(read, values);
    for (int64_t i = 0; i < kWidth; ++i) ASSERT_EQ(found[i], 2 * values[i] + 1) << i;
  }
}

TEST_F(Vulkan, MemoryIsCountedExactly) {
  const device::MemoryInfo before = device_->memory();
  {
    auto buffer = device_->Allocate(64 << 20);
    ASSERT_TRUE(buffer.ok());
    EXPECT_LE(device_->memory().free, before.free - (64 << 20));
  }
  EXPECT_EQ(device_->memory().free, before.free);
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

uint64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * 4096;
}

TEST_F(Vulkan, AThousandLoadsLeaveMemoryFlat) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps freed memory";
#endif
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path, {.layers = 1, .embedding = 32, .heads = 2, .heads_kv = 1});
  uint64_t settled = 0, free = 0;
  for (int cycle = 0; cycle < 1000; ++cycle) {
    auto model = engine::Model::Load(path, {.device = "vulkan"});
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.context = 16, .ubatch = 1});
    ASSERT_TRUE(session.ok()) << session.status();
    const int32_t token = 1;
    ASSERT_TRUE((*session)->Decode({&token, 1}).ok());
    session->reset();
    model->reset();
    if (cycle == 199) {
      settled = ResidentBytes();
      free = device_->memory().free;
    }
  }
  EXPECT_EQ(device_->memory().free, free);
  // lavapipe itself keeps 2.6 KiB a load, on its queue's thread; 800 loads that each kept 4 KiB
  // more would be 5 MiB.
  EXPECT_LT(ResidentBytes(), settled + (4 << 20));
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
