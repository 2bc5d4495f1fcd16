// Heads that are normalised before they are turned, as Qwen 3 and Gemma 3 have it: one launch with
// the rotation and the cache, and only where that is safe.

#include "tests/backends/cuda/fixture.h"

namespace bantam::cuda {
namespace {

// Heads of Q and of K, from one product as they are where Q, K and V are joined, or from two.
struct Shape {
  int64_t head_dim, turned, heads, kv_heads, tokens;
};
struct Heads {
  ValueId q, k, v, q_normed, q_turned, k_written, v_written;
};

Heads AddHeads(Case& c, const Shape& s, Type cache, graph::NormAttrs norm, bool joined) {
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < s.tokens; ++i) positions.push_back(3 * i + 1);
  const ValueId at = c.Ints({s.tokens, 1, 1, 1}, positions);
  Heads made;
  if (joined) {
    const int64_t total = s.head_dim * (s.heads + 2 * s.kv_heads);
    const ValueId all = c.Input({total, s.tokens, 1, 1});
    const auto slice = [&](int64_t first, int64_t heads) {
      constexpr int64_t kBytes = sizeof(float);
      const graph::Strides strides = {kBytes, s.head_dim * kBytes, total * kBytes,
                                      total * s.tokens * kBytes};
      return c.graph.Add(
          Op::kView, {all}, "slice",
          graph::ViewAttrs{{s.head_dim, heads, s.tokens, 1}, strides, first * s.head_dim * kBytes});
    };
    made.q = slice(0, s.heads);
    made.k = slice(s.heads, s.kv_heads);
    made.v = slice(s.heads + s.kv_heads, s.kv_heads);
  } else {
    made.q = c.Input({s.head_dim, s.heads, s.tokens, 1});
    made.k = c.Input({s.head_dim, s.kv_heads, s.tokens, 1});
    made.v = c.Input({s.head_dim, s.kv_heads, s.tokens, 1});
  }
  const auto turn = [&](ValueId x, ValueId& normed) {
    normed = x =
        c.graph.Add(Op::kNorm, {x, c.Weight(Type::kF32, {s.head_dim, 1, 1, 1})}, "norm", norm);
    return c.graph.Add(Op::kRope, {x, at}, "turned",
                       graph::RopeAttrs{.layout = graph::RopeLayout::kNeox,
                                        .n_dims = static_cast<int32_t>(s.turned)});
  };
  const auto write = [&](ValueId x) {
    return c.graph.Add(Op::kKvWrite, {c.State(cache, {s.head_dim, s.kv_heads, 90, 1}), x, at},
                       "written");
  };
  ValueId k_normed;
  made.q_turned = turn(made.q, made.q_normed);
  made.k_written = write(turn(made.k, k_normed));
  made.v_written = write(made.v);
  c.Output(Op::kScale, {made.q_turned}, graph::ScaleAttrs{1, 0});
  for (ValueId written : {made.k_written, made.v_written}) c.Output(Op::kDequantize, {written});
  return made;
}

// Launches of a kernel.
int Launches(const std::string& kernels, const std::string& kernel) {
  const std::string line = absl::StrCat("cuda-emulated ", kernel, ": ");
  const size_t at = kernels.find(line);
  return at == std::string::npos ? 0 : std::atoi(kernels.c_str() + at + line.size());
}

std::string CheckAgainstReference(Case& c) {
  EXPECT_TRUE(graph::Infer(c.graph).ok());
  Runner reference("reference", c), runner(kDevice, c);
  EXPECT_TRUE(reference.Run().ok() && runner.Run().ok());
  for (ValueId id : c.graph.outputs()) {
    EXPECT_LE(Error(reference.Read(id), runner.Read(id)), 1e-12) << id;
  }
  return runner.executable().Describe();
}

TEST_F(Cuda, HeadNormsAreOneLaunchWithTheRotation) {
  // Of more heads than a block takes, heads of no whole warp, and heads that are turned in part.
  const Shape shapes[] = {{128, 128, 16, 8, 1}, {96, 64, 10, 3, 5}, {40, 40, 1, 1, 21}};
  for (const Shape& shape : shapes) {
    for (bool joined : {false, true}) {
      SCOPED_TRACE(absl::StrCat(shape.head_dim, " x ", shape.heads, " joined ", joined));
      for (bool others_read : {false, true}) {
        Case c;
        const Heads made = AddHeads(c, shape, Type::kF32, {.epsilon = 1e-3f}, joined);
        // Then what is normalised is a result, too.
        if (others_read) c.Output(Op::kScale, {made.q_normed}, graph::ScaleAttrs{2, 0});
        const std::string kernels = CheckAgainstReference(c);
        EXPECT_EQ(Launches(kernels, "norm, rope neox, kv_write F32"), 1);
        EXPECT_EQ(Launches(kernels, "norm, rope neox"), 0);
        EXPECT_EQ(Launches(kernels, "norm"), 0);
      }
    }
  }
}

// What the kernel for heads does not do is left to the one for rows.
TEST_F(Cuda, OtherHeadNormsAreLaunchesOfTheirOwn) {
  Case c;
  AddHeads(c, {64, 64, 4, 2, 3}, Type::kF32, {.kind = graph::NormKind::kLayer}, false);
  EXPECT_EQ(Launches(CheckAgainstReference(c), "norm"), 2);
}

// Rotations in a row that are not of as many tokens have nothing to do with each other.
TEST_F(Cuda, RotationsOfOtherTokensAreLaunchesOfTheirOwn) {
  Case c;
  const auto turned = [&](int64_t tokens) {
    std::vector<int32_t> positions(static_cast<size_t>(tokens), 5);
    return c.graph.Add(Op::kRope,
                       {c.Input({64, 2, tokens, 1}), c.Ints({tokens, 1, 1, 1}, positions)},
                       "turned", graph::RopeAttrs{.n_dims = 64});
  };
  const ValueId q = turned(3), k = turned(5);
  const ValueId written = c.graph.Add(
      Op::kKvWrite, {c.State(Type::kF32, {64, 2, 7, 1}), k, c.Ints({5, 1, 1, 1}, {1, 2, 3, 4, 5})},
      "written");
  c.Output(Op::kScale, {q}, graph::ScaleAttrs{1, 0});
  c.Output(Op::kDequantize, {written});
  const std::string kernels = CheckAgainstReference(c);
  EXPECT_EQ(Launches(kernels, "rope interleaved"), 1);
  EXPECT_EQ(Launches(kernels, "rope interleaved, kv_write F32"), 1);
}

// Wherever a memory plan puts results over what is read no more, the numbers stay the same.
TEST_F(Cuda, HeadNormsInAnyMemory) {
  const Shape shape = {32, 32, 12, 9, 4};
  const auto of_heads = [&](int64_t heads) { return shape.head_dim * heads * shape.tokens * 4; };
  Case c;
  const Heads made = AddHeads(c, shape, Type::kF16, {}, false);
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  Runner reference("reference", c);
  ASSERT_TRUE(reference.Run().ok());
  device::Device& device = *conformance::OpenedDevice(kDevice);
  const graph::MemoryPlan plan = graph::PlanMemory(c.graph, 256);
  // The steps in order are Q's norm and rotation, then K's. Q lies at 0, its norm at 24 heads, K at
  // 60.
  struct Places {
    int64_t q_turned, k_norm, k_turned;
    int alone, turns;  // launches of norms, and of norms that are turned but not written
  };
  const Places all[] = {
      {of_heads(12), of_heads(36), of_heads(80), 0, 0},  // nothing shared
      {0, of_heads(36), of_heads(60), 0, 0},             // where x was
      {of_heads(12), of_heads(24), of_heads(80), 0, 0},  // K's norm over Q's
      {of_heads(12), 0, of_heads(80), 0, 0},             // K's norm over Q
      {of_heads(12), of_heads(36), of_heads(24), 0, 0},  // K turned over Q's norm
      {of_heads(12), of_heads(36), 0, 0, 1},             // K turned over Q
      {128, of_heads(36), of_heads(80), 1, 0},           // a part of where x was
      {of_heads(12), of_heads(36), of_heads(60) + 256, 1, 1},
      {of_heads(3), of_heads(36), of_heads(68), 2, 0},
  };
  for (const Places& places : all) {
    SCOPED_TRACE(&places - all);
    constexpr int64_t kBytes = 1 << 20;
    auto memory = device.Allocate(kBytes), outside = device.Allocate(kBytes);
    ASSERT_TRUE(memory.ok() && outside.ok());
    std::vector<device::Binding> bindings(c.graph.values().size());
    uint64_t used = 0;
    for (const auto& [id, data] : c.data) {
      bindings[id] = {outside->get(), used};
      used += (data.size() + 255) / 256 * 256;
    }
    bindings[made.q] = {memory->get(), 0};
    bindings[made.k] = {memory->get(), static_cast<uint64_t>(of_heads(60))};
    for (const auto& [id, data] : c.data) {
      ASSERT_TRUE(bindings[id].buffer->Upload(bindings[id].offset, data).ok());
    }
    graph::MemoryPlan crowded = plan;
    crowded.size = kBytes;
    const int64_t planned[] = {of_heads(24), places.q_turned, places.k_norm, places.k_turned};
    int64_t count = 0, free = of_heads(100);
    for (const graph::Node& node : c.graph.nodes()) {
      int64_t& offset = crowded.offsets[node.output];
      if (offset < 0) continue;  // a cache
      if (count < 4) {
        offset = planned[count++];
      } else {
        offset = free;
        free += c.graph.value(node.output).SpanBytes();
      }
    }
    ASSERT_LE(free, kBytes);
    auto executable = device.Compile({c.graph, crowded, bindings, {memory->get(), 0}});
    ASSERT_TRUE(executable.ok()) << executable.status();
    auto stream = device.NewStream();
    ASSERT_TRUE((*executable)->Run(**stream).ok() && (*stream)->Synchronize().ok());
    for (ValueId id : c.graph.outputs()) {
      const std::vector<float> expected = reference.Read(id);
      std::vector<float> found(expected.size());
      ASSERT_TRUE((*memory)
                      ->Download(static_cast<uint64_t>(crowded.offsets[id]),
                                 std::as_writable_bytes(std::span(found)))
                      .ok());
      EXPECT_LE(Error(expected, found), 1e-6) << c.graph.value(id).name << id;
    }
    const std::string kernels = (*executable)->Describe();
    EXPECT_EQ(Launches(kernels, "norm"), places.alone) << kernels;
    EXPECT_EQ(Launches(kernels, "norm, rope neox"), places.turns) << kernels;
  }
}

}  // namespace
}  // namespace bantam::cuda
