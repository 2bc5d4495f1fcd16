// The CUDA backend on the emulator beyond the conformance suite: what its shapes do not reach,
// failures of the driver, memory, whole models.

#include <fstream>

#include "runtime/engine/engine.h"
#include "runtime/graph/passes.h"
#include "tests/backends/cuda/fixture.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace bantam::cuda {
namespace {

TEST_F(Cuda, DecodesTheGoldenBlocksToTheBit) {
  std::ifstream in(std::string(BANTAM_GOLDEN_DIR) + "/quant/types.txt");
  std::string name, rest;
  int types = 0;
  for (uint32_t id; in >> name >> id && std::getline(in, rest); ++types) {
    SCOPED_TRACE(name);
    const auto blocks = testing::ReadGolden<std::byte>("quant/" + name + ".blocks");
    const auto expected = testing::ReadGolden<float>("quant/" + name + ".f32");
    Case c;
    const auto n = static_cast<int64_t>(expected.size());
    const ValueId x = c.graph.AddInput("x", static_cast<Type>(id), {n, 1, 1, 1});
    c.data.emplace_back(x, blocks);
    const ValueId out = c.Output(Op::kDequantize, {x});
    ASSERT_TRUE(graph::Infer(c.graph).ok());
    Runner runner(kDevice, c);
    ASSERT_TRUE(runner.Run().ok());
    const std::vector<float> found = runner.Read(out);
    for (size_t i = 0; i < found.size(); ++i) {
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(found[i])) << i;
      } else {
        ASSERT_EQ(std::memcmp(&found[i], &expected[i], sizeof(float)), 0)
            << i << " is " << found[i] << ", expected " << expected[i];
      }
    }
  }
  EXPECT_EQ(types, 33);
}

// Enough columns for experts to be done in tiles, of which one is full and one has a few columns.
TEST_F(Cuda, ExpertsInTiles) {
  for (Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ2_K, Type::kQ8_0, Type::kIQ2_XS}) {
    for (int64_t rows : {1, 3}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", rows));
      constexpr int64_t kTopK = 3, kTokens = 60, kExperts = 5;
      Case c;
      std::vector<int32_t> ids(kTopK * kTokens);
      for (size_t i = 0; i < ids.size(); ++i) {
        ids[i] = i % 2 == 0 ? 3 : std::array<int32_t, 6>{0, -1, 1, 5, 0, 2}[i / 2 % 6];
      }
      const ValueId w = c.Weight(type, {512, 70, kExperts, 1});
      c.Output(Op::kMatMulExpert,
               {w, c.Input({512, rows, kTokens, 1}), c.Ints({kTopK, kTokens, 1, 1}, ids)});
      Runner runner(kDevice, c);
      runner.Check(conformance::kQuantizedMatMul);
      EXPECT_THAT(runner.executable().Describe(), ::testing::HasSubstr("matmul experts"));
    }
  }
}

// Tiles that are not full in rows, columns or k, more than one along each.
TEST_F(Cuda, TilesOfEveryTypeInEveryDirection) {
  for (Type type : conformance::kAllTypes) {
    SCOPED_TRACE(quant::Name(type));
    const int64_t k = quant::Traits(type).block_size == 1 ? 131 : 768;
    Case c;
    const ValueId w = c.Weight(type, {k, 130, 1, 1});
    c.Output(Op::kMatMul, {w, c.Input({k, 70, 1, 1})}, graph::MatMulAttrs{});
    Check(kDevice, c,
          quant::Traits(type).is_quantized ? conformance::kQuantizedMatMul
                                           : conformance::kPlainMatMul);
  }
}

// Both planes of x are 16 bits of it; one, where it is chosen for prompts, is 8.
TEST_F(Cuda, PlanesOfInt8) {
  constexpr conformance::Tolerance kTwoPlanes = {0, 1e-9}, kOnePlane = {0, 1e-4};
  for (Type type : {Type::kQ4_K, Type::kQ6_K, Type::kQ8_0, Type::kQ2_K, Type::kIQ4_XS}) {
    for (int64_t columns : {1, 7, 70}) {
      for (const char* planes : {"2", "1"}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", columns, " columns, planes ", planes));
        Case c;
        const ValueId w = c.Weight(type, {1280, 66, 1, 1});
        const ValueId x = c.Input({1280, columns, 1, 1});
        c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
        setenv("BANTAM_CUDA_PLANES", planes, 1);
        const bool both = columns <= 8 || *planes == '2';
        Check(kDevice, c, both ? kTwoPlanes : kOnePlane);
        unsetenv("BANTAM_CUDA_PLANES");
      }
    }
  }
  setenv("BANTAM_CUDA_PLANES", "3", 1);
  Case c;
  c.Output(Op::kScale, {c.Input({4, 1, 1, 1})}, graph::ScaleAttrs{});
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  EXPECT_EQ(Runner(kDevice, c).Run().code(), absl::StatusCode::kInvalidArgument);
  unsetenv("BANTAM_CUDA_PLANES");
}

// On tensor cores; columns that f16 could not hold as they are, and one of zeros. BF16 takes x in
// two planes.
TEST_F(Cuda, HalvesOfAnySize) {
  for (Type type : {Type::kF16, Type::kBF16}) {
    for (double limit : {1e-6, 1.0, 1e6}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", limit));
      Case c;
      const ValueId w = c.Weight(type, {136, 130, 1, 1});
      const ValueId x = c.Input({136, 70, 1, 1}, -limit, limit);
      std::memset(c.data[1].second.data(), 0, 136 * sizeof(float));
      c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
      Runner runner(kDevice, c);
      runner.Check({0, type == Type::kF16 ? 1e-6 : 1e-9});
      EXPECT_THAT(runner.executable().Describe(), ::testing::HasSubstr("halve: 1 launch\n"));
    }
  }
}

TEST_F(Cuda, ColumnsAreRoundedOnceForProductsThatShareThem) {
  Case c;
  const ValueId x = c.Input({256, 3, 1, 1});
  for (int i = 0; i < 3; ++i) {
    c.Output(Op::kMatMul, {c.Weight(Type::kQ4_K, {256, 16, 1, 1}), x}, graph::MatMulAttrs{});
  }
  Runner runner(kDevice, c);
  runner.Check(conformance::kQuantizedMatMul);
  EXPECT_THAT(runner.executable().Describe(), ::testing::HasSubstr("quantize: 1 launch\n"));
}

// A layer as models have it. Where Q, K and V are products of their own, the memory plan may put
// what one step writes where a step before it reads: then they must not be one launch.
TEST_F(Cuda, StepsInARowAreOneLaunch) {
  for (int64_t n : {1, 5, 20}) {
    for (auto [cache, optimizes] :
         {std::pair{Type::kF16, true}, {Type::kQ8_0, true}, {Type::kF16, false}}) {
      SCOPED_TRACE(absl::StrCat(n, " tokens, ", quant::Name(cache), " optimizes ", optimizes));
      constexpr int64_t kWidth = 256, kHeads = 10, kHeadsKv = 5, kHeadDim = 64, kContext = 30;
      Case c;
      std::vector<int32_t> positions, cells;
      for (int32_t i = 0; i < kContext; ++i) cells.insert(cells.end(), {i, 0});
      for (int32_t i = 0; i < n; ++i) positions.push_back(i);
      const ValueId at = c.Ints({n, 1, 1, 1}, positions);
      auto matmul = [&](Type type, int64_t m, ValueId x, int64_t k) {
        return c.graph.Add(Op::kMatMul, {c.Weight(type, {k, m, 1, 1}), x}, "y",
                           graph::MatMulAttrs{});
      };
      auto norm = [&](ValueId x) {
        return c.graph.Add(Op::kNorm, {x, c.Weight(Type::kF32, {kWidth, 1, 1, 1})}, "norm",
                           graph::NormAttrs{});
      };
      auto heads = [&](ValueId x, int64_t count) {
        return c.graph.Add(Op::kReshape, {x}, "heads",
                           graph::ReshapeAttrs{{kHeadDim, count, n, 1}});
      };
      auto turn = [&](ValueId x) {
        return c.graph.Add(Op::kRope, {x, at}, "turned", graph::RopeAttrs{.n_dims = 48});
      };
      auto write = [&](ValueId x) {
        return c.graph.Add(Op::kKvWrite, {c.State(cache, {kHeadDim, kHeadsKv, kContext, 1}), x, at},
                           "written");
      };
      const ValueId first = c.Input({kWidth, n, 1, 1});
      ValueId x = c.graph.Add(Op::kBinary, {first, c.Input({kWidth, n, 1, 1})}, "sum",
                              graph::BinaryAttrs{});
      ValueId y = norm(x);
      ValueId q = heads(matmul(Type::kQ4_K, kHeads * kHeadDim, y, kWidth), kHeads);
      ValueId k = heads(matmul(Type::kQ4_K, kHeadsKv * kHeadDim, y, kWidth), kHeadsKv);
      ValueId v = heads(matmul(Type::kQ6_K, kHeadsKv * kHeadDim, y, kWidth), kHeadsKv);
      q = turn(q);
      k = turn(k);
      k = write(k);
      v = write(v);
      std::vector<int32_t> queries;
      for (int32_t i = 0; i < n; ++i) queries.insert(queries.end(), {i, 0});
      y = c.graph.Add(Op::kAttention,
                      {q, k, v, c.Ints({2, n, 1, 1}, queries), c.Ints({2, kContext, 1, 1}, cells),
                       c.Ints({1, 1, 1, 1}, {static_cast<int32_t>(n)})},
                      "attention", graph::AttentionAttrs{.scale = 0.0002f});
      y = c.graph.Add(Op::kReshape, {y}, "flat", graph::ReshapeAttrs{{kHeads * kHeadDim, n, 1, 1}});
      y = c.graph.Add(Op::kScale, {matmul(Type::kQ8_0, kWidth, y, kHeads * kHeadDim)}, "scaled",
                      graph::ScaleAttrs{0.001f, 0});
      x = c.graph.Add(Op::kBinary, {x, y}, "sum", graph::BinaryAttrs{});
      y = norm(x);
      y = c.graph.Add(Op::kGated,
                      {matmul(Type::kQ4_K, 512, y, kWidth), matmul(Type::kQ4_K, 512, y, kWidth)},
                      "gated", graph::ActivationAttrs{});
      std::vector<ValueId> outputs = {
          c.Output(Op::kBinary, {x, matmul(Type::kQ6_K, kWidth, y, 512)}, graph::BinaryAttrs{})};
      for (ValueId written : {k, v}) outputs.push_back(c.Output(Op::kDequantize, {written}));
      const absl::Status inferred = graph::Infer(c.graph);
      ASSERT_TRUE(inferred.ok()) << inferred;
      if (optimizes) {
        auto optimized = graph::Optimize(c.graph);
        ASSERT_TRUE(optimized.ok()) << optimized.status();
        c.graph = *optimized;
      }
      Runner reference("reference", c), runner(kDevice, c);
      for (Runner* each : {&reference, &runner}) {
        const absl::Status ran = each->Run();
        ASSERT_TRUE(ran.ok()) << ran;
      }
      for (ValueId output : outputs) {
        EXPECT_LE(Error(reference.Read(output), runner.Read(output)),
                  cache == Type::kF16 ? 1e-6 : 1e-4);
      }
      if (!optimizes) continue;
      EXPECT_EQ(TheFaults().side_by_side, 2u);  // V is of another type than Q and K
      const std::string kernels = runner.executable().Describe();
      const std::string product = n > 8 ? "matmul " : "matvec ";
      for (const std::string& line :
           {std::string("add, norm, quantize: 2 launches\n"),
            absl::StrCat("rope interleaved, kv_write ", quant::Name(cache), ": 1 launch\n"),
            std::string("gated silu, quantize: 1 launch\n"),
            absl::StrCat(n == 1 ? "attention " : "cuda-emulated ",
                         n == 1 ? absl::StrCat(quant::Name(cache), ", ") : "",
                         "quantize: 1 launch\n"),
            absl::StrCat(product, "Q4_K: 2 launches\n"),
            absl::StrCat(product, "Q6_K: 2 launches\n")}) {
        EXPECT_THAT(kernels, ::testing::HasSubstr(line));
      }
    }
  }
}

TEST_F(Cuda, NotANumberIsSeenInTheProduct) {
  for (int64_t columns : {2, 20}) {
    for (float bad : {NAN, INFINITY}) {
      Case c;
      const ValueId x = c.Input({256, columns, 1, 1});
      std::memcpy(c.data[0].second.data() + 40 * sizeof(float), &bad, sizeof(bad));
      const ValueId w = c.Weight(Type::kQ8_0, {256, 9, 1, 1});
      const ValueId out = c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
      ASSERT_TRUE(graph::Infer(c.graph).ok());
      Runner runner(kDevice, c);
      ASSERT_TRUE(runner.Run().ok());
      const std::vector<float> found = runner.Read(out);
      for (int i = 0; i < 9; ++i) {
        EXPECT_FALSE(std::isfinite(found[i])) << i;
        EXPECT_TRUE(std::isfinite(found[9 + i])) << i;
      }
    }
  }
}

// The blocks that the reference writes, but for a quant at a tie.
TEST_F(Cuda, QuantizedCachesAreThoseOfTheReference) {
  for (Type type : {Type::kQ8_0, Type::kQ4_0}) {
    SCOPED_TRACE(quant::Name(type));
    Case c;
    const ValueId cache = c.graph.AddState("cache", type, {96, 3, 7, 1});
    c.data.emplace_back(cache, std::vector<std::byte>(quant::RowBytes(type, 96) * 21));
    const ValueId x = c.Input({96, 3, 4, 1});
    const float nan = NAN;
    std::memcpy(c.data.back().second.data() + 100 * sizeof(float), &nan, sizeof(nan));
    const ValueId written =
        c.graph.Add(Op::kKvWrite, {cache, x, c.Ints({4, 1, 1, 1}, {5, -1, 2, 2})}, "written");
    const ValueId out = c.Output(Op::kDequantize, {written});
    ASSERT_TRUE(graph::Infer(c.graph).ok());
    std::vector<float> found[2];
    for (int i = 0; i < 2; ++i) {
      Runner runner(i == 0 ? "reference" : kDevice, c);
      const absl::Status ran = runner.Run();
      ASSERT_TRUE(ran.ok()) << ran;
      found[i] = runner.Read(out);
    }
    for (size_t i = 0; i < found[0].size(); ++i) {
      ASSERT_EQ(std::isnan(found[0][i]), std::isnan(found[1][i])) << i;
      if (std::isnan(found[0][i])) continue;
      ASSERT_FLOAT_EQ(found[0][i], found[1][i]) << i;
    }
  }
}

TEST_F(Cuda, ProfilesNameKernelsAndCountWeights) {
  Case c;
  c.Output(Op::kMatMul, {c.Weight(Type::kQ4_K, {256, 8, 1, 1}), c.Input({256, 1, 1, 1})},
           graph::MatMulAttrs{});
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  Runner runner(kDevice, c);
  ASSERT_TRUE(runner.Run().ok());
  ASSERT_TRUE(runner.executable().StartProfile().ok());
  auto stream = conformance::OpenedDevice(kDevice)->NewStream();
  ASSERT_TRUE(stream.ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(runner.executable().Run(**stream).ok());
  const auto times = runner.executable().Profile();
  ASSERT_EQ(times.size(), 2u);
  EXPECT_EQ(times[1].kernel, "matvec Q4_K");
  EXPECT_EQ(times[1].runs, 2);
  EXPECT_EQ(times[1].weight_bytes, 2u * 8 * 144);
  EXPECT_GT(times[1].seconds, 0);
}

TEST_F(Cuda, AllocationFailuresAreStatuses) {
  const uint64_t before = emulator::AllocatedBytes();
  testing::CheckThatAllocationFailuresAreStatuses(kFaulty);
  EXPECT_EQ(emulator::AllocatedBytes(), before);
}

TEST_F(Cuda, MemoryIsCountedExactly) {
  auto device = Open();
  ASSERT_TRUE(device.ok());
  const device::MemoryInfo before = (*device)->memory();
  {
    auto buffer = (*device)->Allocate(64 << 20);
    ASSERT_TRUE(buffer.ok());
    EXPECT_LE((*device)->memory().free, before.free - (64 << 20));
  }
  EXPECT_EQ((*device)->memory().free, before.free);
}

// A large upload goes through the ring of pinned pieces several times.
TEST_F(Cuda, LargeCopiesKeepEveryByte) {
  auto device = Open();
  ASSERT_TRUE(device.ok());
  std::vector<std::byte> data((37 << 20) + 5);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 + (i >> 20));
  auto buffer = (*device)->Allocate(data.size() + 3);
  ASSERT_TRUE(buffer.ok());
  ASSERT_TRUE((*buffer)->Upload(3, data).ok());
  std::vector<std::byte> back(data.size());
  ASSERT_TRUE((*buffer)->Download(3, back).ok());
  EXPECT_EQ(back, data);
}

// Whole pages of it are copied as they lie, what is around them through the ring.
TEST_F(Cuda, RegisteredMemoryIsNotStaged) {
  auto device = Open();
  ASSERT_TRUE(device.ok());
  std::vector<std::byte> data(100'000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 + (i >> 10));
  auto buffer = (*device)->Allocate(data.size());
  ASSERT_TRUE(buffer.ok());
  const auto upload = [&] {
    TheFaults().registered_bytes = 0;
    ASSERT_TRUE((*buffer)->Upload(0, data).ok());
    std::vector<std::byte> back(data.size());
    ASSERT_TRUE((*buffer)->Download(0, back).ok());
    ASSERT_EQ(back, data);
    ASSERT_TRUE((*buffer)->Upload(0, std::vector<std::byte>(data.size())).ok());
  };
  {
    const auto part = std::span(data).subspan(9'000, 80'000);
    auto registration = (*device)->RegisterHost(part);
    ASSERT_TRUE(registration.ok()) << registration.status();
    upload();
    EXPECT_GE(TheFaults().registered_bytes, 80'000u - 2 * 4096);
    EXPECT_LE(TheFaults().registered_bytes, 80'000u);
    for (auto again : {part, std::span(data), std::span(data).subspan(50'000, 9'000)}) {
      EXPECT_EQ((*device)->RegisterHost(again).status().code(), absl::StatusCode::kAlreadyExists);
    }
  }
  upload();
  EXPECT_EQ(TheFaults().registered_bytes, 0u);
  EXPECT_TRUE((*device)->RegisterHost(data).ok());
  EXPECT_TRUE((*device)->RegisterHost(std::span(data).first(5)).ok());  // no page
}

TEST_F(Cuda, BuffersOfTwoGpusAreCopiedWithoutTheHost) {
  setenv("BANTAM_CUDA_EMULATED_DEVICES", "2", 1);
  auto first = Open();
  auto second = device::OpenDevice("cuda-emulated:1", {});
  unsetenv("BANTAM_CUDA_EMULATED_DEVICES");
  ASSERT_TRUE(first.ok() && second.ok()) << second.status();
  std::vector<std::byte> data(1000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  auto from = (*first)->Allocate(data.size());
  auto to = (*second)->Allocate(600);
  ASSERT_TRUE(from.ok() && to.ok());
  ASSERT_TRUE((*from)->Upload(0, data).ok());
  TheFaults().peer_bytes = 0;
  ASSERT_TRUE((*to)->CopyFrom(100, **from, 300, 500).ok());
  EXPECT_EQ(TheFaults().peer_bytes, 500u);
  std::vector<std::byte> back(500);
  ASSERT_TRUE((*to)->Download(100, back).ok());
  EXPECT_TRUE(std::equal(back.begin(), back.end(), data.begin() + 300));
  EXPECT_EQ((*to)->CopyFrom(200, **from, 0, 500).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*to)->CopyFrom(0, **from, 600, 500).code(), absl::StatusCode::kOutOfRange);
  auto reference = device::OpenDevice("reference", {});
  ASSERT_TRUE(reference.ok());
  auto host = (*reference)->Allocate(100);
  ASSERT_TRUE(host.ok());
  EXPECT_EQ((*to)->CopyFrom(0, **host, 0, 100).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ((*host)->CopyFrom(0, **to, 0, 100).code(), absl::StatusCode::kUnimplemented);
}

// Gate and up of experts, but not what they have in common with the rest.
TEST_F(Cuda, LaunchesThatDoNotMeetAreSideBySide) {
  for (bool chained : {false, true}) {
    SCOPED_TRACE(chained);
    Case c;
    const ValueId x = c.Input({256, 1, 2, 1});
    const ValueId ids = c.Ints({2, 2, 1, 1}, {0, 2, 1, 0});
    const ValueId gate =
        c.graph.Add(Op::kMatMulExpert, {c.Weight(Type::kQ4_K, {256, 256, 3, 1}), x, ids}, "gate");
    const ValueId up =
        c.graph.Add(Op::kMatMulExpert,
                    {c.Weight(Type::kQ4_K, {256, 256, 3, 1}), chained ? gate : x, ids}, "up");
    c.Output(Op::kGated, {gate, up}, graph::ActivationAttrs{});
    Check(kDevice, c, conformance::kQuantizedMatMul);
    EXPECT_EQ(TheFaults().side_by_side, chained ? 1u : 2u);
  }
}

// A model in halves: the values between them go from one to the other.
TEST_F(Cuda, AModelOnTwoGpus) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  testing::WriteTinyLlama(path, {.weight_type = Type::kQ8_0});
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5};
  std::vector<float> logits[2];
  setenv("BANTAM_CUDA_EMULATED_DEVICES", "2", 1);
  for (int i = 0; i < 2; ++i) {
    engine::LoadOptions options;
    options.device = i == 0 ? "reference" : "cuda-emulated:0,cuda-emulated:1,reference";
    if (i == 1) {
      options.control.place = {"blk\\.0\\.=cuda-emulated:0", "blk\\.1\\.=cuda-emulated:1"};
      options.profiles.resize(3);
      for (int d = 0; d < 2; ++d) {
        options.profiles[d].bandwidth = 1e12;
        options.profiles[d].operations = 1e14;
        options.profiles[d].transfer_bandwidth = 1e11;
      }
    }
    auto model = engine::Model::Load(path, options);
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 4});
    ASSERT_TRUE(session.ok()) << session.status();
    TheFaults().peer_bytes = 0;
    ASSERT_TRUE((*session)->Decode(prompt).ok());
    logits[i].assign((*session)->Logits().begin(), (*session)->Logits().end());
    EXPECT_EQ(TheFaults().peer_bytes > 0, i == 1);
  }
  unsetenv("BANTAM_CUDA_EMULATED_DEVICES");
  EXPECT_LE(Error(logits[0], logits[1]), 1e-6);
}

TEST_F(Cuda, ALostDeviceIsAStatusAndTheNextLoadWorks) {
  // Devices that other tests of this program opened would keep the lost GPU alive.
  device::Device& opened = *conformance::OpenedDevice(kDevice);
  testing::CheckThatALostGpuIsAStatus(kFaulty, [&] { EXPECT_FALSE(opened.NewStream().ok()); });
}

// Prompts in tiles and single tokens, quantized caches too.
TEST_F(Cuda, WholeModelsAgreeWithTheReference) {
  testing::TempDir folder;
  const std::string path = folder.File("model.gguf");
  for (Type type : {Type::kF32, Type::kF16, Type::kQ8_0}) {
    testing::WriteTinyLlama(path, {.weight_type = type});
    std::vector<std::vector<float>> logits;
    for (const char* device : {"reference", kDevice}) {
      auto model = engine::Model::Load(path, {.device = device});
      ASSERT_TRUE(model.ok()) << model.status();
      auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 16});
      ASSERT_TRUE(session.ok()) << session.status();
      std::vector<int32_t> prompt(21);
      for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 13 % 200);
      ASSERT_TRUE((*session)->Decode(prompt).ok());
      for (int32_t token : {7, 8}) ASSERT_TRUE((*session)->Decode({&token, 1}).ok());
      logits.emplace_back((*session)->Logits().begin(), (*session)->Logits().end());
    }
    EXPECT_LE(Error(logits[0], logits[1]), 1e-6) << quant::Name(type);
  }
}

}  // namespace
}  // namespace bantam::cuda
