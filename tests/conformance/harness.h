// The conformance suite: every op x type x shape on every device there is, against an interpreter
// in double precision. A new backend is done when it passes unchanged. Data reaches a device only
// through its buffers and LoadWeight.
//
// The measure is the normalised mean squared error, sum (found - expected)^2 / sum expected^2.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"
#include "tests/support/graph_eval.h"

namespace bantam::conformance {

using graph::Op;
using graph::Shape;
using graph::Storage;
using graph::ValueId;
using quant::Type;
using testing::Tensor;
using testing::Tensors;

// What an op may be off by. The reference computes in f32, whose rounding (2^-24) over sums of a
// few thousand terms stays below 1e-12 of the squared norm. Other devices may round activations to
// 16 or 8 bits where their kernels say so: 2^-11 / sqrt 3 relative to each term is 8e-8 squared,
// 8 bits to a block of 32 uniform values is 1.5e-5.
struct Tolerance {
  double reference;
  double other;
};
inline constexpr Tolerance kExact = {0, 0};
inline constexpr Tolerance kElementwise = {1e-12, 1e-6};
inline constexpr Tolerance kPlainMatMul = {1e-12, 1e-6};
inline constexpr Tolerance kQuantizedMatMul = {1e-12, 1e-4};
inline constexpr Tolerance kAttentionTolerance = {1e-11, 1e-5};

struct Leniency {
  // What the square of an output is expected to be. One output alone may come out near 0 by
  // cancellation, and its error must not be held against that.
  double typical_square = 0;
  // Even the reference need not support this.
  bool optional = false;
};

inline constexpr Type kAllTypes[] = {
    Type::kF32,   Type::kF16,     Type::kBF16,  Type::kF64,    Type::kI8,      Type::kI16,
    Type::kI32,   Type::kI64,     Type::kQ4_0,  Type::kQ4_1,   Type::kQ5_0,    Type::kQ5_1,
    Type::kQ8_0,  Type::kQ8_1,    Type::kQ2_K,  Type::kQ3_K,   Type::kQ4_K,    Type::kQ5_K,
    Type::kQ6_K,  Type::kQ8_K,    Type::kIQ1_S, Type::kIQ1_M,  Type::kIQ2_XXS, Type::kIQ2_XS,
    Type::kIQ2_S, Type::kIQ3_XXS, Type::kIQ3_S, Type::kIQ4_NL, Type::kIQ4_XS,  Type::kTQ1_0,
    Type::kTQ2_0, Type::kMXFP4,   Type::kNVFP4};

// "cpu:avx2" is the device "cpu" with the kernels of that name.
inline absl::StatusOr<std::unique_ptr<device::Device>> OpenByName(const std::string& name) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(name, absl::MaxSplits(':', 1));
  if (parts.first != "cpu") return device::OpenDevice(name, {});
  return device::OpenDevice("cpu", {.cpu_isa = parts.second});
}

inline std::vector<std::string> DeviceNames() {
  std::vector<std::string> names;
  for (const auto& device : device::ListDevices({}).devices) names.push_back(device->name());
  return names;
}

// The devices there are, and "cpu" again with each set of kernels that is not its fastest. Which
// sets this processor lacks is told by backends_cpu.cpu_simd.
inline std::vector<std::string> DevicesAndSets() {
  std::vector<std::string> names = DeviceNames();
  const auto fastest = OpenByName("cpu");
  for (const char* name :
       {"cpu:avx2", "cpu:avxvnni", "cpu:avx512vnni", "cpu:amx", "cpu:neon", "cpu:neoni8mm"}) {
    const auto device = OpenByName(name);
    if (device.ok() && (*device)->description() != (*fastest)->description()) names.push_back(name);
  }
  return names;
}

// "vulkan:0" is no test name.
inline std::string TestName(absl::string_view device) {
  return absl::StrReplaceAll(device, {{":", "_"}, {"-", "_"}});
}
inline std::string DeviceTestName(const ::testing::TestParamInfo<std::string>& info) {
  return TestName(info.param);
}
using DeviceAndType = std::tuple<std::string, Type>;
inline std::string DeviceAndTypeTestName(const ::testing::TestParamInfo<DeviceAndType>& info) {
  return absl::StrCat(TestName(std::get<0>(info.param)), "_", quant::Name(std::get<1>(info.param)));
}

// A block of random bits with scales of ordinary size.
template <typename Block>
Block RandomBlock(std::mt19937& random) {
  Block block;
  auto* bytes = reinterpret_cast<uint8_t*>(&block);
  for (size_t i = 0; i < sizeof(Block); ++i) bytes[i] = static_cast<uint8_t>(random());
  auto scale = [&random] { return (0.25f + random() % 256 / 256.0f) / 8.0f; };
  auto half = [&scale] { return quant::FloatToHalf(scale()); };
  if constexpr (std::is_same_v<Block, quant::BlockIQ1_M>) {
    const uint16_t d = half();  // four bits in each of the scales
    for (int i = 0; i < 4; ++i) {
      block.scales[i] = static_cast<uint16_t>((block.scales[i] & 0x0FFF) | (d >> 4 * i & 15) << 12);
    }
  } else if constexpr (std::is_same_v<Block, quant::BlockMXFP4>) {
    block.e = static_cast<uint8_t>(124 + random() % 5);
  } else if constexpr (std::is_same_v<Block, quant::BlockNVFP4>) {
    for (uint8_t& d : block.d) d = static_cast<uint8_t>(0x28 + random() % 32);
  } else if constexpr (std::is_same_v<Block, quant::BlockQ8_K>) {
    block.d = scale();
  } else {
    block.d = half();
    if constexpr (requires { block.m; }) block.m = half();
    if constexpr (requires { block.s; }) block.s = half();
    if constexpr (requires { block.dmin; }) block.dmin = half();
  }
  return block;
}

inline std::vector<std::byte> RandomBytes(Type type, const Shape& shape, std::mt19937& random,
                                          double low, double high) {
  if (!quant::Traits(type).is_quantized) {
    return testing::EncodeTensor(testing::RandomTensor(type, shape, random, low, high));
  }
  std::vector<std::byte> bytes(quant::RowBytes(type, shape[0]) * graph::RowCount(shape));
  quant::AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    if (Block::kType != type) return;
    for (size_t at = 0; at < bytes.size(); at += sizeof(Block)) {
      const Block block = RandomBlock<Block>(random);
      std::memcpy(bytes.data() + at, &block, sizeof(Block));
    }
  });
  return bytes;
}

// A graph with data for everything it reads.
struct Case {
  graph::Graph graph;
  std::vector<std::pair<ValueId, std::vector<std::byte>>> data;
  std::mt19937 random{20240501};

  ValueId Fill(ValueId id, double low, double high) {
    const graph::Value& value = graph.value(id);
    data.emplace_back(id, RandomBytes(value.type, value.shape, random, low, high));
    return id;
  }
  // Integers are drawn from -8 .. 7.
  ValueId Weight(Type type, const Shape& shape) {
    const bool integer =
        type == Type::kI8 || type == Type::kI16 || type == Type::kI32 || type == Type::kI64;
    const double limit = integer ? 8 : 1;
    return Fill(graph.AddWeight(absl::StrCat("w", data.size()), type, shape), -limit, limit);
  }
  ValueId Input(const Shape& shape, double low = -1, double high = 1, Type type = Type::kF32) {
    return Fill(graph.AddInput(absl::StrCat("x", data.size()), type, shape), low, high);
  }
  ValueId State(Type type, const Shape& shape) {
    return Fill(graph.AddState(absl::StrCat("s", data.size()), type, shape), -1, 1);
  }
  ValueId Ints(const Shape& shape, const std::vector<int32_t>& values) {
    const ValueId id = graph.AddInput(absl::StrCat("i", data.size()), Type::kI32, shape);
    std::vector<std::byte> bytes(values.size() * sizeof(int32_t));
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    EXPECT_EQ(static_cast<int64_t>(values.size()), graph::ElementCount(shape));
    data.emplace_back(id, std::move(bytes));
    return id;
  }
  // An f32 input of `shape` with gaps between its rows and matrices, as a view into a larger one.
  ValueId Gapped(const Shape& shape, double low = -1, double high = 1) {
    const Shape larger = {shape[0] + 3, shape[1] + 1, shape[2] + 2, shape[3]};
    const graph::Strides strides = graph::ContiguousStrides(Type::kF32, larger);
    const int64_t offset = strides[2] + strides[1] + strides[0];
    return graph.Add(Op::kView, {Input(larger, low, high)}, "gapped",
                     graph::ViewAttrs{shape, strides, offset});
  }
  ValueId Activations(bool gapped, const Shape& shape, double low = -1, double high = 1) {
    return gapped ? Gapped(shape, low, high) : Input(shape, low, high);
  }
  double MeanSquare(ValueId id) const {
    for (const auto& [at, bytes] : data) {
      if (at != id || bytes.empty()) continue;
      const graph::Value& value = graph.value(id);
      double sum = 0;
      const Tensor tensor = testing::DecodeTensor(value.type, value.shape, bytes);
      for (double x : tensor.data) sum += x * x;
      return sum / static_cast<double>(tensor.data.size());
    }
    return 0;
  }
  ValueId Output(Op op, std::vector<ValueId> inputs, graph::Attrs attrs = {}) {
    const ValueId id = graph.Add(op, std::move(inputs), "out", std::move(attrs));
    graph.AddOutput(id);
    return id;
  }
};

// Devices are opened once for a test program.
inline device::Device* OpenedDevice(const std::string& name) {
  static auto* opened = new std::map<std::string, std::unique_ptr<device::Device>>;
  auto& device = (*opened)[name];
  if (device == nullptr) {
    auto found = OpenByName(name);
    EXPECT_TRUE(found.ok()) << found.status();
    if (found.ok()) device = *std::move(found);
  }
  return device.get();
}

// One case on one device.
class Runner {
 public:
  Runner(const std::string& device_name, Case& c)
      : device_(*OpenedDevice(device_name)), is_reference_(device_name == "reference"), case_(c) {}

  // Runs and compares every output and state.
  void Check(const Tolerance& tolerance, const Leniency& leniency = {}) {
    const absl::Status inferred = graph::Infer(case_.graph);
    ASSERT_TRUE(inferred.ok()) << inferred;
    for (const graph::Node& node : case_.graph.nodes()) {
      if (device_.Supports(case_.graph, node)) continue;
      ASSERT_TRUE(leniency.optional || !is_reference_) << graph::OpName(node.op);
      GTEST_SKIP() << device_.name() << " does not support this " << graph::OpName(node.op);
    }
    Tensors inputs;
    for (const auto& [id, bytes] : case_.data) {
      const graph::Value& value = case_.graph.value(id);
      inputs[id] = Decode(value, bytes);
    }
    auto expected = testing::Evaluate(case_.graph, inputs);
    ASSERT_TRUE(expected.ok()) << expected.status();
    const double limit = is_reference_ ? tolerance.reference : tolerance.other;
    for (const bool repack : {false, true}) {
      if (repack && !RepacksAny()) continue;
      const absl::Status ran = Run(repack);
      ASSERT_TRUE(ran.ok()) << ran;
      for (ValueId id : case_.graph.outputs()) {
        Compare(id, expected->at(id), limit, leniency.typical_square);
      }
      for (const auto& [id, bytes] : case_.data) {
        if (case_.graph.value(id).storage == Storage::kState) Compare(id, expected->at(id), 0, 0);
      }
    }
  }

  // Allocates, loads, compiles and runs once; with `repack` the weights that the device repacks
  // are.
  absl::Status Run(bool repack = false) {
    const graph::Graph& g = case_.graph;
    const auto alignment = device_.limits().alignment;
    const graph::MemoryPlan plan = graph::PlanMemory(g, static_cast<int64_t>(alignment));
    bindings_.assign(g.values().size(), {});
    uint64_t size = 0;
    for (const auto& [id, bytes] : case_.data) {
      const graph::Value& value = g.value(id);
      size = (size + alignment - 1) / alignment * alignment;
      bindings_[id].offset = size;
      size += value.storage == Storage::kWeight ? device_.PackedBytes(value.type, value.shape)
                                                : bytes.size();
    }
    BANTAM_ASSIGN_OR_RETURN(buffer_, device_.Allocate(std::max<uint64_t>(size, 1)));
    // What the kernels need besides is beside the intermediate values, and no more than predicted.
    BANTAM_ASSIGN_OR_RETURN(scratch_, device_.PredictScratch({g, plan}));
    const uint64_t planned =
        (static_cast<uint64_t>(plan.size) + alignment - 1) / alignment * alignment;
    BANTAM_ASSIGN_OR_RETURN(temp_,
                            device_.Allocate(std::max<uint64_t>(planned + scratch_.shared, 1)));
    for (const auto& [id, bytes] : case_.data) {
      const graph::Value& value = g.value(id);
      device::Binding& binding = bindings_[id];
      binding.buffer = buffer_.get();
      if (repack && Repacks(id)) {
        BANTAM_RETURN_IF_ERROR(device_.Repack(value.type, value.shape, bytes, binding));
        continue;
      }
      BANTAM_RETURN_IF_ERROR(value.storage == Storage::kWeight
                                 ? device_.LoadWeight(value.type, value.shape, bytes, binding)
                                 : buffer_->Upload(binding.offset, bytes));
    }
    for (size_t id = 0; id < bindings_.size(); ++id) {
      if (id < plan.offsets.size() && plan.offsets[id] >= 0) {
        bindings_[id] = {temp_.get(), static_cast<uint64_t>(plan.offsets[id])};
      }
    }
    BANTAM_ASSIGN_OR_RETURN(auto stream, device_.NewStream());
    device::CompileArgs args{g, plan, bindings_, {temp_.get(), 0}};
    if (has_own_scratch_) {
      BANTAM_ASSIGN_OR_RETURN(const auto other, device_.Compile(args));
      own_scratch_bytes_ = other->scratch_bytes();
    }
    args.scratch = {temp_.get(), planned};
    args.scratch_bytes = scratch_.shared;
    BANTAM_ASSIGN_OR_RETURN(executable_, device_.Compile(args));
    BANTAM_RETURN_IF_ERROR(executable_->Run(*stream));
    return stream->Synchronize();
  }

  // The elements of a value after Run.
  std::vector<float> Read(ValueId id) {
    const graph::Value& value = case_.graph.value(id);
    const device::Binding& root = bindings_[case_.graph.RootOf(id)];
    std::vector<float> elements(graph::ElementCount(value.shape));
    std::vector<std::byte> row(quant::RowBytes(value.type, value.shape[0]));
    for (int64_t r = 0; r < graph::RowCount(value.shape) && !row.empty(); ++r) {
      const int64_t i1 = r % value.shape[1];
      const int64_t i2 = r / value.shape[1] % value.shape[2];
      const int64_t i3 = r / value.shape[1] / value.shape[2];
      const int64_t at =
          value.byte_offset + i1 * value.strides[1] + i2 * value.strides[2] + i3 * value.strides[3];
      const absl::Status status = root.buffer->Download(root.offset + at, row);
      EXPECT_TRUE(status.ok()) << status;
      quant::DecodeRow(value.type, row.data(), elements.data() + r * value.shape[0],
                       value.shape[0]);
    }
    return elements;
  }

  device::Executable& executable() { return *executable_; }

  // Has Check compile another executable, which brings its own scratch.
  void CompileWithOwnScratch() { has_own_scratch_ = true; }
  // Bytes that it has more than the one that was given scratch, and what was given.
  std::pair<uint64_t, uint64_t> ScratchFoundAndPredicted() const {
    return {own_scratch_bytes_ - executable_->scratch_bytes(), scratch_.shared};
  }

 private:
  bool Repacks(ValueId id) const {
    return case_.graph.value(id).storage == Storage::kWeight && device_.Repacks(case_.graph, id);
  }
  bool RepacksAny() const {
    return std::any_of(case_.data.begin(), case_.data.end(),
                       [this](const auto& data) { return Repacks(data.first); });
  }

  // Through double, not f32, which does not hold every i32.
  static Tensor Decode(const graph::Value& value, const std::vector<std::byte>& bytes) {
    if (value.type != Type::kI32) return testing::DecodeTensor(value.type, value.shape, bytes);
    Tensor tensor{value.type, value.shape, {}};
    for (size_t at = 0; at < bytes.size(); at += sizeof(int32_t)) {
      int32_t number;
      std::memcpy(&number, bytes.data() + at, sizeof(number));
      tensor.data.push_back(number);
    }
    return tensor;
  }

  void Compare(ValueId id, const Tensor& expected, double limit, double typical_square) {
    const std::vector<float> found = Read(id);
    ASSERT_EQ(found.size(), expected.data.size());
    double error = 0, norm = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_TRUE(std::isfinite(found[i])) << "element " << i << " is " << found[i];
      error += (found[i] - expected.data[i]) * (found[i] - expected.data[i]);
      norm += expected.data[i] * expected.data[i];
    }
    norm = std::max(norm, typical_square * static_cast<double>(found.size()));
    EXPECT_LE(error, limit * norm)
        << "normalised error " << error / norm << " of '" << case_.graph.value(id).name << "'";
  }

  device::Scratch scratch_;
  bool has_own_scratch_ = false;
  uint64_t own_scratch_bytes_ = 0;
  device::Device& device_;
  const bool is_reference_;
  Case& case_;
  std::vector<device::Binding> bindings_;
  std::unique_ptr<device::Buffer> buffer_, temp_;
  std::unique_ptr<device::Executable> executable_;
};

inline void Check(const std::string& device, Case& c, const Tolerance& tolerance,
                  const Leniency& leniency = {}) {
  Runner(device, c).Check(tolerance, leniency);
}

}  // namespace bantam::conformance
