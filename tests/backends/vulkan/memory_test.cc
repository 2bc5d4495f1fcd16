// Memory on Vulkan: what is larger than the GPU binds or allocates at a time, uploads, running out,
// and many loads.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "runtime/engine/engine.h"
#include "tests/backends/vulkan/support.h"
#include "tests/support/tiny_model.h"

namespace bantam::vulkan {
namespace {

using ::testing::HasSubstr;

// 300 MiB, more than twice what the smallest drivers bind at a time: cut, or read at an address.
class VulkanMatrix : public Vulkan, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(, VulkanMatrix, ::testing::Values("address=0", "address=1"));

TEST_P(VulkanMatrix, LargerThanABinding) {
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
  auto device = OpenWith(GetParam());
  ASSERT_TRUE(device.ok()) << device.status();
  Compiled compiled;
  absl::Status status = compiled.Make(**device, graph);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(compiled.kernels(), HasSubstr(absl::string_view(GetParam()) == "address=1"
                                                ? "matvec F32: 1 dispatch\n"
                                                : "matvec F32: 3 dispatches\n"));
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

TEST_F(Vulkan, AllocationFailuresAreStatuses) {
  TheFaults().allocation_in = 1;
  const auto failed = device_->Allocate(1000);
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kResourceExhausted) << failed.status();
  EXPECT_TRUE(device_->Allocate(1000).ok());
  testing::CheckThatAllocationFailuresAreStatuses(kFaulty);
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
  for (const char* settings :
       {"", "allocation=20000", "allocation=20000,staging=1,transfer=1", "allocation=16000",
        "allocation=16000,binding=4096,tile=1", "allocation=16000,binding=4096,tile=1,address=0",
        "binding=4096", "binding=4096,address=0"}) {
    SCOPED_TRACE(settings);
    auto device = OpenWith(settings);
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
    auto model =
        WithSettings(settings, [&] { return engine::Model::Load(path, {.device = "vulkan"}); });
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
    auto model =
        WithSettings(settings, [&] { return engine::Model::Load(path, {.device = "vulkan"}); });
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
  auto model = WithSettings("allocation=200000",
                            [&] { return engine::Model::Load(path, {.device = "vulkan"}); });
  ASSERT_TRUE(model.ok()) << model.status();
  const absl::Status status =
      engine::Session::Create(*model, {.ubatch = 4, .kv_type = quant::Type::kF32}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a KV cache of 2048 tokens needs 2.00 MiB"));
}

// Uploads have a queue of their own (here the same one in another role), and may run beside a
// program; what they wrote is seen by the next.
TEST_F(Vulkan, UploadsBesidePrograms) {
  auto device = OpenWith("staging=1,transfer=1");
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

// By our own count: a driver's budget changes with whatever else the machine does.
TEST_F(Vulkan, MemoryIsCountedExactly) {
  const auto device = OpenWith("budget=0");
  ASSERT_TRUE(device.ok()) << device.status();
  const device::MemoryInfo before = (*device)->memory();
  {
    auto buffer = (*device)->Allocate(64 << 20);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ((*device)->memory().free, before.free - (64 << 20));
  }
  EXPECT_EQ((*device)->memory().free, before.free);
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
  const auto counting = OpenWith("budget=0");
  ASSERT_TRUE(counting.ok()) << counting.status();
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
      free = (*counting)->memory().free;
    }
  }
  EXPECT_EQ((*counting)->memory().free, free);
  // lavapipe itself keeps 2.6 KiB a load, on its queue's thread; 800 loads that each kept 4 KiB
  // more would be 5 MiB.
  EXPECT_LT(ResidentBytes(), settled + (4 << 20));
}

}  // namespace
}  // namespace bantam::vulkan
