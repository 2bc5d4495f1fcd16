// What the reference backend promises beyond the device contract: the same bits whatever the
// threads and the batch, no allocation while running, and refusal of bindings it cannot use.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "backends/cpu/host_buffer.h"
#include "backends/cpu/host_info.h"
#include "tests/backends/cpu/compiled.h"
#include "tests/support/allocation_counter.h"

namespace bantam::cpu {
namespace {

using conformance::Case;
using conformance::Op;
using conformance::Type;
using conformance::ValueId;
using ::testing::HasSubstr;

std::unique_ptr<device::Device> Open(int threads) {
  auto device = device::OpenDevice("reference", {.threads = threads});
  EXPECT_TRUE(device.ok()) << device.status();
  return device.ok() ? *std::move(device) : nullptr;
}

// A layer of a transformer over rows `first` .. `first + n - 1` of a text of `context` tokens whose
// keys and values are in the cache. All data is drawn for the whole text, whatever the rows.
Case Layer(int64_t context, int64_t first, int64_t n) {
  constexpr int64_t kWidth = 96, kHeads = 6, kHeadDim = 16, kKvHeads = 2, kExperts = 4;
  Case c;
  auto matmul = [&c](ValueId w, ValueId x, const char* name) {
    return c.graph.Add(Op::kMatMul, {w, x}, name, graph::MatMulAttrs{});
  };
  const ValueId text = c.Input({kWidth, context, 1, 1});
  const graph::Strides packed = graph::ContiguousStrides(Type::kF32, {kWidth, context, 1, 1});
  const ValueId x = c.graph.Add(Op::kView, {text}, "rows",
                                graph::ViewAttrs{{kWidth, n, 1, 1}, packed, first * packed[1]});
  const ValueId k = c.Input({kHeadDim, kKvHeads, context, 1}, -1, 1, Type::kF16);
  const ValueId v = c.Input({kHeadDim, kKvHeads, context, 1}, -1, 1, Type::kF16);
  std::vector<int32_t> queries, cells, positions, experts;
  for (int64_t i = 0; i < context; ++i) cells.insert(cells.end(), {static_cast<int32_t>(i), 0});
  for (int64_t i = first; i < first + n; ++i) {
    const auto position = static_cast<int32_t>(i);
    queries.insert(queries.end(), {position, 0});
    positions.push_back(position);
    experts.insert(experts.end(), {position % 4, (position / 4) % 4});
  }
  const ValueId normed = c.graph.Add(Op::kNorm, {x, c.Weight(Type::kF32, {kWidth, 1, 1, 1})},
                                     "norm", graph::NormAttrs{});
  const ValueId q = matmul(c.Weight(Type::kQ4_0, {kWidth, kWidth, 1, 1}), normed, "q");
  const ValueId heads =
      c.graph.Add(Op::kReshape, {q}, "heads", graph::ReshapeAttrs{{kHeadDim, kHeads, n, 1}});
  const ValueId rotated = c.graph.Add(Op::kRope, {heads, c.Ints({n, 1, 1, 1}, positions)}, "rope",
                                      graph::RopeAttrs{.n_dims = kHeadDim});
  const ValueId attended =
      c.graph.Add(Op::kAttention,
                  {rotated, k, v, c.Ints({2, n, 1, 1}, queries), c.Ints({2, context, 1, 1}, cells),
                   c.Ints({1, 1, 1, 1}, {static_cast<int32_t>(context)})},
                  "attention", graph::AttentionAttrs{.scale = 0.25f});
  const ValueId joined =
      c.graph.Add(Op::kReshape, {attended}, "joined", graph::ReshapeAttrs{{kWidth, n, 1, 1}});
  const ValueId mixed = matmul(c.Weight(Type::kF16, {kWidth, 1030, 1, 1}), joined, "mixed");
  const ValueId up = c.graph.Add(
      Op::kMatMulExpert,
      {c.Weight(Type::kF32, {1030, 50, kExperts, 1}),
       c.graph.Add(Op::kReshape, {mixed}, "for_experts", graph::ReshapeAttrs{{1030, 1, n, 1}}),
       c.Ints({2, n, 1, 1}, experts)},
      "experts");
  c.Output(Op::kSoftmax, {up}, graph::SoftmaxAttrs{});
  return c;
}

TEST(Reference, ThreadCountDoesNotChangeABit) {
  Case c = Layer(150, 0, 150);
  const std::vector<float> expected = RunAndRead(*Open(1), c);
  ASSERT_FALSE(expected.empty());
  for (int threads : {2, 3, 8}) {
    EXPECT_EQ(RunAndRead(*Open(threads), c), expected) << threads << " threads";
  }
}

TEST(Reference, RowsDoNotDependOnTheirBatch) {
  auto device = Open(2);
  Case whole = Layer(150, 0, 150);
  const std::vector<float> expected = RunAndRead(*device, whole);
  const int64_t row = 100;  // 50 outputs for each of two experts
  ASSERT_EQ(expected.size(), 150 * row);
  for (const auto& [first, n] : {std::pair{0, 1}, {149, 1}, {64, 2}, {70, 3}, {5, 70}}) {
    Case part = Layer(150, first, n);
    const std::vector<float> found = RunAndRead(*device, part);
    ASSERT_EQ(found.size(), n * row);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin() + first * row))
        << n << " rows from " << first;
  }
}

TEST(Reference, RunAllocatesNothing) {
  auto device = Open(2);
  Case c = Layer(150, 0, 150);
  auto compiled = Compile(*device, c);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const int64_t before = bantam::testing::allocation_count.load();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(compiled->executable->Run(*compiled->stream).ok());
  EXPECT_EQ(bantam::testing::allocation_count.load(), before);
}

TEST(Reference, ThreadsMayRunExecutablesOfOneDevice) {
  auto device = Open(2);
  Case c = Layer(150, 0, 150);
  const std::vector<float> expected = RunAndRead(*device, c);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Case own = Layer(150, 0, 150);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(RunAndRead(*device, own), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Reference, DescribesKernelsAndCountsScratch) {
  auto one = Open(1), three = Open(3);
  Case c = Layer(20, 0, 20);
  auto with_one = Compile(*one, c);
  auto with_three = Compile(*three, c);
  ASSERT_TRUE(with_one.ok() && with_three.ok());
  const std::string text = with_one->executable->Describe();
  for (const char* line :
       {"reference rms_norm weight: 1 node\n", "reference matmul Q4_0: 1 node\n",
        "reference matmul F16: 1 node\n", "reference attention K F16 V F16: 1 node\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  // The largest need of a worker here is that of the experts: a tile of 12 x 512 floats and 40 row
  // numbers, in whole cache lines.
  EXPECT_EQ(with_three->executable->scratch_bytes() - with_one->executable->scratch_bytes(),
            2 * (12 * 512 * 4 + 40 * 4 + 32));
}

// out = w x with one 32-element row, w bound as the test says.
struct OneRow {
  Case c;
  ValueId w;
  explicit OneRow(Type type) {
    w = c.Weight(type, {32, 1, 1, 1});
    c.Output(Op::kMatMul, {w, c.Input({32, 1, 1, 1})}, graph::MatMulAttrs{});
  }
};

TEST(Reference, BlocksMayLieAtAnyAddressAndPlainTypesMustBeAligned) {
  auto device = Open(1);
  std::vector<std::byte> file(256);
  for (const auto& [type, offset, ok] : {std::tuple{Type::kQ4_0, 1, true},
                                         {Type::kMXFP4, 3, true},
                                         {Type::kF32, 32, true},
                                         {Type::kF32, 2, false},
                                         {Type::kF16, 2, true},
                                         {Type::kF16, 1, false}}) {
    OneRow one(type);
    auto compiled = Compile(*device, one.c);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    std::memcpy(file.data() + offset, one.c.data[0].second.data(), one.c.data[0].second.size());
    auto wrapped = device->WrapHost(file);
    ASSERT_TRUE(wrapped.ok());
    compiled->bindings[one.w] = {wrapped->get(), static_cast<uint64_t>(offset)};
    const std::vector<float> expected = RunAndRead(*device, one.c);
    auto executable = device->Compile(
        {one.c.graph, compiled->plan, compiled->bindings, {compiled->temp.get(), 0}});
    ASSERT_EQ(executable.ok(), ok) << quant::Name(type) << " at " << offset;
    if (!ok) {
      EXPECT_THAT(std::string(executable.status().message()), HasSubstr("not aligned"));
      continue;
    }
    ASSERT_TRUE((*executable)->Run(*compiled->stream).ok());
    float found = 0;
    std::memcpy(&found,
                compiled->temp->host().data() + compiled->plan.offsets[one.c.graph.outputs()[0]],
                sizeof(found));
    EXPECT_EQ(found, expected[0]);
  }
}

TEST(Reference, RefusesBindingsThatDoNotFit) {
  auto device = Open(1);
  OneRow one(Type::kF32);
  auto compiled = Compile(*device, one.c);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  auto compile = [&](const graph::MemoryPlan& plan, const device::Binding& weight,
                     const device::Binding& temp) {
    std::vector<device::Binding> bindings = compiled->bindings;
    bindings[one.w] = weight;
    return device->Compile({one.c.graph, plan, bindings, temp}).status();
  };
  const device::Binding good = compiled->bindings[one.w];
  const device::Binding temp = {compiled->temp.get(), 0};
  ASSERT_TRUE(compile(compiled->plan, good, temp).ok());
  EXPECT_FALSE(compile(compiled->plan, {}, temp).ok());
  EXPECT_FALSE(compile(compiled->plan, {good.buffer, good.buffer->size() - 124}, temp).ok());
  EXPECT_FALSE(compile(compiled->plan, {good.buffer, UINT64_MAX - 3}, temp).ok());
  EXPECT_FALSE(compile(compiled->plan, good, {}).ok());
  EXPECT_FALSE(compile(compiled->plan, good, {temp.buffer, temp.buffer->size()}).ok());
  EXPECT_FALSE(compile({}, good, temp).ok());
  graph::MemoryPlan outside = compiled->plan;
  outside.offsets[one.c.graph.outputs()[0]] = outside.size;
  EXPECT_FALSE(compile(outside, good, temp).ok());
  EXPECT_FALSE(
      device->Compile({one.c.graph, compiled->plan, std::span<const device::Binding>(), temp})
          .ok());
}

TEST(Reference, RefusesWhatIsNotInferredOrNotConsistent) {
  auto device = Open(1);
  OneRow one(Type::kF32);
  auto compiled = Compile(*device, one.c);
  ASSERT_TRUE(compiled.ok());
  one.c.graph.value(one.w).shape = {33, 1, 1, 1};
  const absl::Status status =
      device->Compile({one.c.graph, compiled->plan, compiled->bindings, {compiled->temp.get(), 0}})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST(Reference, RefusesToWriteReadOnlyMemory) {
  auto device = Open(1);
  Case c;
  const ValueId cache = c.State(Type::kF32, {4, 1, 2, 1});
  c.graph.Add(Op::kKvWrite, {cache, c.Input({4, 1, 1, 1}), c.Ints({1, 1, 1, 1}, {0})}, "written");
  auto compiled = Compile(*device, c);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  alignas(64) const std::byte constant[32] = {};
  auto wrapped = device->WrapHost(constant);
  compiled->bindings[cache] = {wrapped->get(), 0};
  const absl::Status status =
      device->Compile({c.graph, compiled->plan, compiled->bindings, {compiled->temp.get(), 0}})
          .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("read-only"));
}

TEST(Reference, CacheOfAnotherTypeIsRefusedByName) {
  Case c;
  const ValueId cache = c.State(Type::kQ5_0, {32, 1, 2, 1});
  c.graph.Add(Op::kKvWrite, {cache, c.Input({32, 1, 1, 1}), c.Ints({1, 1, 1, 1}, {0})}, "written");
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  auto device = Open(1);
  EXPECT_FALSE(device->Supports(c.graph, c.graph.nodes()[0]));
  const absl::Status status = Compile(*device, c).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Q5_0"));
}

// Exit code 0 when a device of 8 threads fails as it should for a user who may start none.
[[noreturn]] void CompileWithoutThreads() {
  // A limit does not bind root.
  if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
  const rlimit none = {0, 0};
  if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(3);
  auto device = Open(8);
  OneRow one(Type::kF32);
  const absl::Status status = Compile(*device, one.c).status();
  const bool named = absl::StrContains(status.message(), "cannot start 8 threads");
  _exit(absl::IsResourceExhausted(status) && named ? 0 : 1);
}

TEST(Reference, ThreadsThatCannotBeStartedAreAStatus) {
  EXPECT_EXIT(CompileWithoutThreads(), ::testing::ExitedWithCode(0), "");
}

TEST(HostBuffer, UntouchedPagesCostNothing) {
  auto resident_pages = [] {
    std::ifstream in("/proc/self/statm");
    int64_t size = 0, resident = 0;
    in >> size >> resident;
    return resident;
  };
  const int64_t before = resident_pages();
  auto buffer = HostBuffer::Allocate(uint64_t{256} << 20);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_LT(resident_pages() - before, 256);  // of 65536
}

TEST(HostInfo, IsPlausible) {
  const device::MemoryInfo memory = HostMemory();
  EXPECT_GT(memory.total, uint64_t{16} << 20);
  EXPECT_LE(memory.free, memory.total);
  EXPECT_GT(memory.free, 0);
  EXPECT_FALSE(CpuModelName().empty());
  EXPECT_THAT(Open(3)->description(), HasSubstr(", 3 threads"));
  EXPECT_THAT(Open(1)->description(), HasSubstr(", 1 thread"));
}

}  // namespace
}  // namespace bantam::cpu
