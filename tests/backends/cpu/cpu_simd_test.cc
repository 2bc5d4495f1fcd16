// What the device "cpu" promises beyond the device contract, with each instruction set this machine
// has: the same bits whatever the threads and the batch (or whether it is few rows or many), and
// that the choice of kernels can be made and read. That results are right is in tests/conformance.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "runtime/quant/encode.h"
#include "tests/backends/cpu/compiled.h"
#include "tests/support/allocation_counter.h"

namespace bantam::cpu {
namespace {

using conformance::Case;
using conformance::Op;
using conformance::Type;
using conformance::ValueId;
using ::testing::HasSubstr;
using ::testing::Not;

struct Set {
  const char* name;
  const char* isa;
};
// Of each processor's, the slowest first.
constexpr Set kVectorSets[] = {{"avx2", "AVX2+FMA"},           {"avxvnni", "AVX-VNNI"},
                               {"avx512vnni", "AVX-512 VNNI"}, {"amx", "AVX-512 AMX"},
                               {"neon", "NEON dotprod"},       {"neoni8mm", "NEON i8mm"}};

std::vector<std::string> InstructionSets() {
  std::vector<std::string> names = {"portable"};
  for (const Set& set : kVectorSets) {
    if (device::OpenDevice("cpu", {.cpu_isa = set.name}).ok()) names.push_back(set.name);
  }
  return names;
}

std::unique_ptr<device::Device> Open(const std::string& isa, int threads) {
  auto device = device::OpenDevice("cpu", {.threads = threads, .cpu_isa = isa});
  EXPECT_TRUE(device.ok()) << device.status();
  return device.ok() ? *std::move(device) : nullptr;
}

// Makes each 401st element of an input 40 times as large, as some of a model's activations are.
void AddOutliers(Case& c, ValueId input) {
  for (auto& [id, bytes] : c.data) {
    if (id != input) continue;
    std::vector<float> x(bytes.size() / sizeof(float));
    std::memcpy(x.data(), bytes.data(), bytes.size());
    for (size_t i = 7; i < x.size(); i += 401) x[i] *= 40;
    std::memcpy(bytes.data(), x.data(), bytes.size());
  }
}

// Rows `first` .. `first + n - 1` of 40 rows of x; all data is drawn for all of them.
Case MatMul(Type type, int64_t k, int64_t m, int64_t first, int64_t n) {
  Case c;
  const ValueId w = c.Weight(type, {k, m, 1, 1});
  const ValueId x = c.Input({k, 40, 1, 1});
  AddOutliers(c, x);
  const graph::Strides packed = graph::ContiguousStrides(Type::kF32, {k, 40, 1, 1});
  const ValueId rows = c.graph.Add(Op::kView, {x}, "rows",
                                   graph::ViewAttrs{{k, n, 1, 1}, packed, first * packed[1]});
  c.Output(Op::kMatMul, {w, rows}, graph::MatMulAttrs{});
  return c;
}

class EverySet : public ::testing::TestWithParam<std::string> {
 protected:
  // Whether more than 8 rows are computed with other bits than up to 8: on tiles, or in fixed
  // point.
  static bool ManyDiffer(Type type) {
    const bool is_plain = type == Type::kF16 || type == Type::kBF16;
    return GetParam() == "amx" || (is_plain && absl::StartsWith(GetParam(), "avx"));
  }
};

TEST_P(EverySet, ProductsDependOnTheirTwoRowsAlone) {
  auto one = Open(GetParam(), 1), three = Open(GetParam(), 3);
  for (Type type : conformance::kAllTypes) {
    SCOPED_TRACE(quant::Name(type));
    const int64_t block = quant::Traits(type).block_size;
    // Past one panel of 1024 elements, and past one block of 512 for the plain types.
    const int64_t k = block == 1 ? 1037 : (1024 / block + 1) * block, m = 37;
    Case whole = MatMul(type, k, m, 0, 40);
    const std::vector<float> expected = RunAndRead(*one, whole);
    ASSERT_EQ(expected.size(), 40 * m);
    EXPECT_EQ(RunAndRead(*three, whole), expected);
    // Up to 8 rows are computed in another way, mostly with the same bits.
    std::vector<float> few;
    for (int64_t first = 0; first < 40; first += 8) {
      Case part = MatMul(type, k, m, first, 8);
      const std::vector<float> found = RunAndRead(*one, part);
      few.insert(few.end(), found.begin(), found.end());
    }
    EXPECT_EQ(few != expected, ManyDiffer(type));
    for (const auto& [first, n] :
         {std::pair{7, 1}, {39, 1}, {3, 2}, {11, 7}, {5, 8}, {20, 19}, {3, 9}}) {
      Case part = MatMul(type, k, m, first, n);
      const std::vector<float> found = RunAndRead(*three, part);
      EXPECT_TRUE(
          std::equal(found.begin(), found.end(), (n <= 8 ? few : expected).begin() + first * m))
          << n << " rows from " << first;
    }
  }
}

// Products by experts of `n` tokens.
Case Experts(Type type, int64_t k, int64_t m, int32_t n) {
  constexpr int32_t kExperts = 3;
  Case c;
  const ValueId w = c.Weight(type, {k, m, kExperts, 1});
  const ValueId x = c.Input({k, 1, n, 1});
  AddOutliers(c, x);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < n; ++i) ids.insert(ids.end(), {i % kExperts, (i / 2 + 1) % kExperts});
  c.Output(Op::kMatMulExpert, {w, x, c.Ints({2, n, 1, 1}, ids)});
  return c;
}

Case Gather(Type type, int64_t k, int64_t m) {
  Case c;
  const auto last = static_cast<int32_t>(m - 1);
  c.Output(Op::kGatherRows,
           {c.Weight(type, {k, m, 1, 1}), c.Ints({5, 1, 1, 1}, {0, 17, -1, 31, last})});
  return c;
}

TEST_P(EverySet, RepackedWeightsGiveTheSameBits) {
  auto device = Open(GetParam(), 3);
  int repacked = 0;
  for (Type type : conformance::kAllTypes) {
    SCOPED_TRACE(quant::Name(type));
    const int64_t block = quant::Traits(type).block_size;
    const int64_t k = block == 1 ? 64 : (1024 / block + 1) * block;
    // Whole tiles of every set, and rows that are left over.
    for (const int64_t m : {32, 109}) {
      std::vector<Case> cases;
      for (const int64_t n : {1, 2, 3, 8, 40}) cases.push_back(MatMul(type, k, m, 0, n));
      for (const int32_t n : {1, 30}) cases.push_back(Experts(type, k, m, n));
      cases.push_back(Gather(type, k, m));
      for (Case& c : cases) {
        ASSERT_TRUE(graph::Infer(c.graph).ok());
        if (!device->Repacks(c.graph, c.data[0].first)) continue;
        ++repacked;
        const std::vector<float> found = RunAndRead(*device, c, /*repack=*/true);
        EXPECT_TRUE(std::any_of(found.begin(), found.end(), [](float v) { return v != 0; }));
        EXPECT_EQ(found, RunAndRead(*device, c)) << m;
      }
    }
  }
  const std::set<std::string> repacking = {"avx2", "avxvnni", "avx512vnni",
                                           "amx",  "neon",    "neoni8mm"};
  EXPECT_EQ(repacked, repacking.contains(GetParam()) ? 15 * 2 * 8 : 0);
}

// What reads a weight in another way than products and gather_rows keeps it from being repacked.
TEST_P(EverySet, OtherUsesOfAWeightKeepItAsItIs) {
  auto device = Open(GetParam(), 1);
  Case c = MatMul(Type::kQ8_0, 64, 64, 0, 1);
  const ValueId w = c.data[0].first;
  c.Output(Op::kDequantize, {w});
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  EXPECT_FALSE(device->Repacks(c.graph, w));
  Case part = MatMul(Type::kQ8_0, 64, 64, 0, 1);
  const graph::Strides strides = graph::ContiguousStrides(Type::kQ8_0, {64, 64, 1, 1});
  const ValueId view = part.graph.Add(Op::kView, {part.data[0].first}, "half",
                                      graph::ViewAttrs{{64, 32, 1, 1}, strides, 32 * strides[1]});
  part.Output(Op::kMatMul, {view, part.data[1].first}, graph::MatMulAttrs{});
  ASSERT_TRUE(graph::Infer(part.graph).ok());
  EXPECT_FALSE(device->Repacks(part.graph, part.data[0].first));
  // Were it repacked all the same, no program would read it wrongly.
  auto compiled = Compile(*device, part);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  const graph::Value& value = part.graph.value(part.data[0].first);
  if (!device
           ->Repack(value.type, value.shape, part.data[0].second,
                    compiled->bindings[part.data[0].first])
           .ok()) {
    GTEST_SKIP() << GetParam() << " does not repack";
  }
  EXPECT_FALSE(
      device->Compile({part.graph, compiled->plan, compiled->bindings, {compiled->temp.get(), 0}})
          .ok());
}

// Attention of queries `first` .. `first + n - 1` of a text whose keys and values are in the cache.
Case Attend(int64_t context, int64_t first, int64_t n) {
  constexpr int64_t kHeads = 6, kKvHeads = 2, kWidth = 24;
  Case c;
  const ValueId q = c.Input({kWidth, kHeads, context, 1});
  const graph::Strides packed = graph::ContiguousStrides(Type::kF32, {kWidth, kHeads, context, 1});
  const ValueId rows = c.graph.Add(
      Op::kView, {q}, "rows", graph::ViewAttrs{{kWidth, kHeads, n, 1}, packed, first * packed[2]});
  const ValueId k = c.Input({kWidth, kKvHeads, context, 1}, -1, 1, Type::kF16);
  const ValueId v = c.Input({kWidth, kKvHeads, context, 1}, -1, 1, Type::kF16);
  std::vector<int32_t> queries, cells;
  for (int64_t i = 0; i < context; ++i) cells.insert(cells.end(), {static_cast<int32_t>(i), 0});
  for (int64_t i = first; i < first + n; ++i) {
    queries.insert(queries.end(), {static_cast<int32_t>(i), 0});
  }
  c.Output(Op::kAttention,
           {rows, k, v, c.Ints({2, n, 1, 1}, queries), c.Ints({2, context, 1, 1}, cells),
            c.Ints({1, 1, 1, 1}, {static_cast<int32_t>(context)})},
           graph::AttentionAttrs{.scale = 0.25f});
  return c;
}

// A decoded query's cache is split over the workers, a prompt's is not.
TEST_P(EverySet, AttentionDoesNotDependOnHowTheCacheIsSplit) {
  constexpr int64_t kContext = 700, kRow = 6 * 24;
  auto one = Open(GetParam(), 1), five = Open(GetParam(), 5);
  Case whole = Attend(kContext, 0, kContext);
  const std::vector<float> expected = RunAndRead(*one, whole);
  ASSERT_EQ(expected.size(), kContext * kRow);
  EXPECT_EQ(RunAndRead(*five, whole), expected);
  for (const auto& [first, n] : {std::pair{699, 1}, {0, 1}, {255, 2}, {256, 1}, {600, 8}}) {
    Case part = Attend(kContext, first, n);
    for (device::Device* device : {one.get(), five.get()}) {
      const std::vector<float> found = RunAndRead(*device, part);
      EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin() + first * kRow))
          << n << " queries from " << first;
    }
  }
}

TEST_P(EverySet, RunAllocatesNothing) {
  auto device = Open(GetParam(), 2);
  Case product = MatMul(Type::kQ4_K, 512, 100, 0, 40), attention = Attend(700, 698, 2);
  for (Case* c : {&product, &attention}) {
    auto compiled = Compile(*device, *c);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    const int64_t before = testing::allocation_count.load();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(compiled->executable->Run(*compiled->stream).ok());
    EXPECT_EQ(testing::allocation_count.load(), before);
  }
}

TEST_P(EverySet, ProfilesWhatItRuns) {
  auto device = Open(GetParam(), 2);
  Case c = MatMul(Type::kQ4_K, 512, 100, 0, 4);
  auto compiled = Compile(*device, c);
  ASSERT_TRUE(compiled.ok()) << compiled.status();
  EXPECT_TRUE(compiled->executable->Profile().empty());
  for (int start = 0; start < 2; ++start) {  // starting again starts at 0
    ASSERT_TRUE(compiled->executable->StartProfile().ok());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(compiled->executable->Run(*compiled->stream).ok());
  }
  const std::vector<device::KernelTime> profile = compiled->executable->Profile();
  ASSERT_EQ(profile.size(), 1);
  EXPECT_THAT(profile[0].kernel, HasSubstr("matmul Q4_K 512x100"));
  EXPECT_EQ(profile[0].runs, 3);
  EXPECT_GT(profile[0].seconds, 0);
  EXPECT_EQ(profile[0].weight_bytes, 3 * 100 * quant::RowBytes(Type::kQ4_K, 512));
}

// A number that is none makes every result that depends on it none, in a run of int8 too.
TEST_P(EverySet, NanAndInfinityReachTheResult) {
  auto device = Open(GetParam(), 1);
  for (Type type : {Type::kQ4_1, Type::kQ6_K, Type::kF16}) {
    for (float bad : {NAN, INFINITY, -INFINITY}) {
      for (int64_t n : {1, 20}) {
        Case c = MatMul(type, 512, 3, 0, n);
        auto& x = c.data[1].second;
        std::memcpy(x.data() + 100 * sizeof(float), &bad, sizeof(bad));
        const std::vector<float> found = RunAndRead(*device, c);
        for (int64_t i = 0; i < static_cast<int64_t>(found.size()); ++i) {
          EXPECT_EQ(std::isfinite(found[i]), i >= 3) << quant::Name(type) << " " << bad << " " << i;
        }
      }
    }
  }
}

// Integer sums fit what they are kept in where all numbers are as large as they get and every
// activation has the sign of its weight.
TEST_P(EverySet, TheLargestSumsFit) {
  constexpr int64_t kLength = 512, kRows = 32, kColumns = 40;
  auto device = Open(GetParam(), 1);
  const double tolerance = GetParam() == "amx" ? 1e-2 : 1e-5;  // amx: weights are bf16
  for (const Type type : conformance::kAllTypes) {
    if (quant::Traits(type).block_size == 1) continue;
    SCOPED_TRACE(quant::Name(type));
    Case c;
    const ValueId w = c.Weight(type, {kLength, kRows, 1, 1}),
                  x = c.Input({kLength, kColumns, 1, 1});
    c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
    std::vector<std::byte>& weights = c.data[0].second;
    std::vector<float> decoded(kRows * kLength), activations(kColumns * kLength);
    for (int64_t r = 0; r < kRows; ++r) {
      // Rows of one sign, of signs in turn by one and by two elements, then of any.
      std::vector<float> row(kLength);
      for (int64_t i = 0; i < kLength; ++i) {
        const bool minus = r < 2   ? r == 1
                           : r < 4 ? i >> (r - 2) & 1
                                   : (i + 1) * (r + 7) * 2654435761u >> 20 & 1;
        row[i] = minus ? -1.0f : 1.0f;
      }
      std::byte* const to = weights.data() + r * quant::RowBytes(type, kLength);
      ASSERT_TRUE(quant::QuantizeRow(type, row.data(), nullptr, to, kLength).ok());
      quant::DecodeRow(type, to, &decoded[r * kLength], kLength);
    }
    for (size_t i = 0; i < activations.size(); ++i) {
      activations[i] = decoded[i % decoded.size()] < 0 ? -1.0f : 1.0f;
    }
    std::memcpy(c.data[1].second.data(), activations.data(), activations.size() * sizeof(float));
    for (const bool repack : {false, true}) {
      const std::vector<float> found = RunAndRead(*device, c, repack);
      ASSERT_EQ(found.size(), kColumns * kRows);
      for (int64_t i = 0; i < kColumns * kRows; ++i) {
        double expected = 0, size = 0;
        for (int64_t j = 0; j < kLength; ++j) {
          const double weight = decoded[i % kRows * kLength + j];
          expected += weight * activations[i / kRows * kLength + j];
          size += std::abs(weight);
        }
        ASSERT_NEAR(found[i], expected, tolerance * size) << i << (repack ? ", repacked" : "");
      }
    }
  }
}

// An eighth of the runs of 32 elements may have outliers before the others' rounding shows.
TEST_P(EverySet, OutliersAreRoundedAsFinelyAsTheRest) {
  auto device = Open(GetParam(), 2), exact = Open("portable", 2);
  for (Type type : {Type::kQ8_0, Type::kQ4_K, Type::kQ6_K}) {
    for (const int64_t n : {1, 40}) {
      Case c = MatMul(type, 1024, 33, 0, n), same = MatMul(type, 1024, 33, 0, n);
      const std::vector<float> found = RunAndRead(*device, c), expected = RunAndRead(*exact, same);
      ASSERT_EQ(found.size(), expected.size());
      double error = 0, size = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        error += std::pow(double{found[i]} - expected[i], 2);
        size += std::pow(double{expected[i]}, 2);
      }
      EXPECT_LE(error, 2e-5 * size) << quant::Name(type) << ", " << n << " columns";
    }
  }
}

// Magnitudes at the ends of the range of f32 are quantized without overflow.
TEST_P(EverySet, ExtremeActivations) {
  auto device = Open(GetParam(), 1);
  for (float magnitude : {0.0f, 1e-45f, 1e-38f, 1e-30f, 1e34f}) {
    Case c;
    const ValueId w = c.Weight(Type::kQ8_0, {32, 1, 1, 1});
    std::vector<std::byte> bytes(32 * sizeof(float));
    for (int i = 0; i < 32; ++i) {
      const float x = i == 5 ? magnitude : 0.0f;
      std::memcpy(bytes.data() + i * sizeof(float), &x, sizeof(x));
    }
    const ValueId x = c.graph.AddInput("x", Type::kF32, {32, 1, 1, 1});
    c.data.emplace_back(x, bytes);
    c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
    std::vector<float> weights(32);
    quant::DecodeRow(Type::kQ8_0, c.data[0].second.data(), weights.data(), 32);
    const double expected = double{magnitude} * weights[5];
    // The one element is the largest of its run, so it is represented but for f32 rounding.
    EXPECT_NEAR(RunAndRead(*device, c)[0], expected, 1e-6 * std::abs(expected) + 1e-34);
  }
}

// Their squares are 0 or infinite in f32.
TEST_P(EverySet, RowsOfTinyAndHugeActivations) {
  auto device = Open(GetParam(), 1), exact = Open("portable", 1);
  for (const float magnitude : {1e-38f, 1e-30f, 1e-23f, 1e-22f, 1e30f}) {
    Case c = MatMul(Type::kQ8_0, 1024, 3, 0, 1);
    for (auto& [id, bytes] : c.data) {
      if (c.graph.value(id).storage != graph::Storage::kInput) continue;
      for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
        float x;
        std::memcpy(&x, &bytes[i], sizeof(x));
        x *= magnitude;
        std::memcpy(&bytes[i], &x, sizeof(x));
      }
    }
    Case same = c;
    const std::vector<float> found = RunAndRead(*device, c), expected = RunAndRead(*exact, same);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i], expected[i], 20 * magnitude + 1e-35) << magnitude;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, EverySet, ::testing::ValuesIn(InstructionSets()),
                         [](const auto& info) { return info.param; });

TEST(CpuDevice, SaysWhatItRuns) {
  EXPECT_THAT(Open("portable", 2)->description(), HasSubstr(", portable, 2 threads"));
  Case c = MatMul(Type::kQ4_K, 256, 3, 0, 1);
  auto portable = Compile(*Open("portable", 1), c);
  ASSERT_TRUE(portable.ok());
  EXPECT_EQ(portable->executable->Describe(), "reference matmul Q4_K: 1 node\n");
}

TEST(CpuDevice, ChoosesTheFastestSet) {
  EXPECT_EQ(Open("", 2)->description(), Open(InstructionSets().back(), 2)->description());
}

TEST(CpuDevice, PortableHasNoProbe) {
  const auto portable = Open("portable", 2)->MeasureSpeed();
  EXPECT_EQ(portable.status().code(), absl::StatusCode::kUnimplemented);
}

// Each set by its name, also those that are not the fastest here.
class VectorSet : public ::testing::TestWithParam<Set> {
 protected:
  void SetUp() override {
    const absl::Status status = device::OpenDevice("cpu", {.cpu_isa = GetParam().name}).status();
    if (!status.ok()) GTEST_SKIP() << status.message();
  }
};

TEST_P(VectorSet, SaysWhatItRuns) {
  const std::string name = GetParam().name;
  EXPECT_THAT(Open(name, 1)->description(),
              HasSubstr(absl::StrCat(", ", GetParam().isa, ", 1 thread")));
  const std::pair<Type, const char*> kernels[] = {
      {Type::kQ4_K, "Q4_K"}, {Type::kF64, "F64 decoded to F32"}, {Type::kTQ1_0, "TQ1_0"}};
  for (const auto& [type, text] : kernels) {
    // A row by itself waits for memory: tiles would gain nothing.
    const std::pair<int64_t, std::string> rows[] = {{1, name == "amx" ? "avx512vnni" : name},
                                                    {9, name}};
    for (const auto& [n, origin] : rows) {
      Case c = MatMul(type, 256, 3, 0, n);
      auto compiled = Compile(*Open(name, 1), c);
      ASSERT_TRUE(compiled.ok());
      EXPECT_EQ(compiled->executable->Describe(),
                absl::StrCat(origin, " matmul ", text, ": 1 node\n"));
    }
  }
}

TEST_P(VectorSet, MeasuresItsSpeed) {
  const auto speed = Open(GetParam().name, 2)->MeasureSpeed();
  ASSERT_TRUE(speed.ok()) << speed.status();
  // In a second, on any processor, under any sanitizer.
  EXPECT_GT(speed->read_bytes, 1e6);
  EXPECT_GT(speed->int8_ops, 1e6);
}

INSTANTIATE_TEST_SUITE_P(Sets, VectorSet, ::testing::ValuesIn(kVectorSets),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CpuDevice, UnknownInstructionSetsAreRefusedWithTheChoice) {
  for (const char* name : {"avx512", "AVX2", "NEON", "x"}) {
    const absl::Status status = device::OpenDevice("cpu", {.cpu_isa = name}).status();
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("no instruction set '", name, "'")));
    EXPECT_THAT(std::string(status.message()), HasSubstr("there is: portable"));
  }
}

TEST(CpuDevice, TheReferenceIsApart) {
  auto device = device::OpenDevice("reference", {.cpu_isa = "avx2"});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->name(), "reference");
  Case c = MatMul(Type::kQ4_K, 256, 3, 0, 1);
  auto compiled = Compile(**device, c);
  ASSERT_TRUE(compiled.ok());
  EXPECT_THAT(compiled->executable->Describe(), Not(HasSubstr("avx2")));
}

}  // namespace
}  // namespace bantam::cpu
