// Passes, plans and inference over random graphs, and inference over graphs that were damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/graph/dump.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/graph/passes.h"
#include "tests/graph/check_plan.h"
#include "tests/graph/random_graph.h"
#include "tests/support/graph_eval.h"

namespace bantam::graph {
namespace {

using ::bantam::testing::CheckPlan;
using ::bantam::testing::Evaluate;
using ::bantam::testing::RandomGraph;
using ::bantam::testing::Tensor;
using ::bantam::testing::Tensors;

constexpr int kGraphs = 2000;

using Pass = absl::StatusOr<Graph> (*)(const Graph&);
struct NamedPass {
  const char* name;
  Pass run;
};
const NamedPass kPasses[] = {{"RemoveDeadNodes", RemoveDeadNodes},
                             {"FoldViews", FoldViews},
                             {"FuseNormScale", FuseNormScale},
                             {"FuseBiasActivation", FuseBiasActivation},
                             {"FuseParallelMatMuls", FuseParallelMatMuls},
                             {"Optimize", Optimize}};

// Bit for bit: the passes move work about and change no arithmetic.
bool Same(const Tensor& a, const Tensor& b) {
  if (a.type != b.type || a.shape != b.shape || a.data.size() != b.data.size()) return false;
  for (size_t i = 0; i < a.data.size(); ++i) {
    if (a.data[i] != b.data[i] && !(std::isnan(a.data[i]) && std::isnan(b.data[i]))) return false;
  }
  return true;
}

std::vector<Tensor> Results(const Graph& graph, const Tensors& inputs) {
  const auto values = Evaluate(graph, inputs);
  EXPECT_TRUE(values.ok()) << values.status();
  std::vector<Tensor> results;
  if (!values.ok()) return results;
  for (ValueId id : graph.outputs()) results.push_back(values->at(id));
  for (ValueId id = 0; id < static_cast<ValueId>(graph.values().size()); ++id) {
    const auto state = values->find(id);
    if (graph.value(id).storage == Storage::kState && state != values->end()) {
      results.push_back(state->second);
    }
  }
  return results;
}

TEST(RandomGraphs, PassesKeepEveryOutputAndState) {
  int changed[std::size(kPasses)] = {};
  for (uint32_t seed = 0; seed < kGraphs; ++seed) {
    const RandomGraph random(seed);
    Graph graph = random.graph();
    ASSERT_TRUE(Infer(graph).ok()) << seed << ": " << Infer(graph) << "\n" << Dump(graph);
    const std::vector<Tensor> before = Results(graph, random.inputs());
    for (size_t p = 0; p < std::size(kPasses); ++p) {
      const auto after = kPasses[p].run(graph);
      ASSERT_TRUE(after.ok()) << seed << " " << kPasses[p].name << after.status();
      ASSERT_EQ(after->outputs(), graph.outputs());
      for (ValueId id : graph.outputs()) {
        ASSERT_EQ(after->value(id).strides, graph.value(id).strides);
      }
      const std::vector<Tensor> results = Results(*after, random.inputs());
      ASSERT_EQ(results.size(), before.size());
      for (size_t i = 0; i < results.size(); ++i) {
        ASSERT_TRUE(Same(before[i], results[i]))
            << "seed " << seed << ", " << kPasses[p].name << ", result " << i << "\n"
            << Dump(graph) << "\n"
            << Dump(*after);
      }
      changed[p] += Dump(*after) != Dump(graph);
      // A second run finds nothing left to do.
      const auto again = kPasses[p].run(*after);
      ASSERT_TRUE(again.ok());
      if (kPasses[p].run != static_cast<Pass>(Optimize)) {
        ASSERT_EQ(Dump(*again), Dump(*after)) << seed << " " << kPasses[p].name;
      }
    }
  }
  // The graphs must give each pass something to do, or the test shows nothing.
  for (size_t p = 0; p < std::size(kPasses); ++p) EXPECT_GT(changed[p], 100) << kPasses[p].name;
}

TEST(RandomGraphs, InferAndDumpAreStable) {
  for (uint32_t seed = 0; seed < kGraphs; ++seed) {
    Graph graph = RandomGraph(seed).graph();
    ASSERT_TRUE(Infer(graph).ok());
    const std::string text = Dump(graph);
    ASSERT_TRUE(Infer(graph).ok());
    ASSERT_EQ(Dump(graph), text);
    Graph other = RandomGraph(seed).graph();
    ASSERT_TRUE(Infer(other).ok());
    ASSERT_EQ(Dump(other), text);
  }
}

TEST(RandomGraphs, PlansAreSoundAndTight) {
  int64_t total_size = 0, total_bound = 0;
  for (uint32_t seed = 0; seed < kGraphs; ++seed) {
    Graph graph = RandomGraph(seed).graph();
    ASSERT_TRUE(Infer(graph).ok());
    for (const bool optimized : {false, true}) {
      if (optimized) graph = *Optimize(graph);
      const MemoryPlan plan = PlanMemory(graph, 16);
      const auto bound = CheckPlan(graph, plan, 16);
      ASSERT_TRUE(bound.ok()) << seed << ": " << bound.status() << "\n" << Dump(graph);
      total_size += plan.size;
      total_bound += *bound;
    }
  }
  // All of them together within 1 % of what no plan can beat.
  EXPECT_LE(total_size, total_bound * 101 / 100);
}

// Changes one thing in a graph, of any kind.
void Damage(Graph& graph, std::mt19937& random) {
  const auto draw = [&](size_t limit) { return limit == 0 ? 0 : random() % limit; };
  const auto number = [&]() -> int64_t {
    constexpr int64_t kNumbers[] = {0,
                                    1,
                                    -1,
                                    2,
                                    3,
                                    7,
                                    31,
                                    32,
                                    64,
                                    1 << 20,
                                    int64_t{1} << 31,
                                    int64_t{1} << 40,
                                    int64_t{1} << 56,
                                    int64_t{1} << 62,
                                    std::numeric_limits<int64_t>::max(),
                                    std::numeric_limits<int64_t>::min()};
    return kNumbers[draw(std::size(kNumbers))];
  };
  const auto real = [&]() -> float {
    constexpr float kNumbers[] = {0, 1, -1, 1e-30f, 1e30f, NAN, INFINITY, -INFINITY, 0.5f};
    return kNumbers[draw(std::size(kNumbers))];
  };
  const auto byte = [&] { return static_cast<uint8_t>(draw(2) == 0 ? draw(20) : draw(256)); };
  Value& value = graph.value(static_cast<ValueId>(draw(graph.values().size())));
  Node& node = graph.nodes()[draw(graph.nodes().size())];
  const auto id = [&] {
    return static_cast<ValueId>(draw(8) == 0 ? number() : draw(graph.values().size()));
  };
  switch (draw(14)) {
    case 0:
      value.shape[draw(4)] = number();
      value.strides = ContiguousStrides(value.type, value.shape);
      return;
    case 1:
      value.strides[draw(4)] = number();
      return;
    case 2:
      value.type = static_cast<quant::Type>(byte());
      return;
    case 3:
      value.storage = static_cast<Storage>(draw(2) == 0 ? draw(4) : byte());
      return;
    case 4:
      value.base = static_cast<ValueId>(number());
      value.byte_offset = number();
      value.producer = static_cast<NodeId>(number());
      return;
    case 5:
      node.op = static_cast<Op>(byte());
      return;
    case 6:
      node.output = id();
      return;
    case 7:
      node.inputs.resize(draw(6), 0);
      return;
    case 8:
    case 9:
      if (!node.inputs.empty()) node.inputs[draw(node.inputs.size())] = id();
      return;
    case 10:
      graph.outputs().push_back(id());
      return;
    case 11:
      std::swap(graph.nodes()[draw(graph.nodes().size())], node);
      return;
    case 12:
      node.attrs = graph.nodes()[draw(graph.nodes().size())].attrs;
      return;
    case 13:
      break;
  }
  if (auto* a = std::get_if<MatMulAttrs>(&node.attrs)) {
    *a = {static_cast<int32_t>(number()), draw(2) == 0, static_cast<Activation>(byte())};
  } else if (auto* a = std::get_if<NormAttrs>(&node.attrs)) {
    *a = {static_cast<NormKind>(byte()), real()};
  } else if (auto* a = std::get_if<RopeAttrs>(&node.attrs)) {
    float* const fields[] = {&a->theta_base,  &a->freq_scale, &a->ext_factor,
                             &a->attn_factor, &a->beta_fast,  &a->beta_slow};
    *fields[draw(std::size(fields))] = real();
    if (draw(2) == 0) a->layout = static_cast<RopeLayout>(byte());
    if (draw(2) == 0) a->n_dims = static_cast<int32_t>(number());
    if (draw(2) == 0) a->original_context = static_cast<int32_t>(number());
  } else if (auto* a = std::get_if<AttentionAttrs>(&node.attrs)) {
    *a = {real(), draw(2) == 0, static_cast<int32_t>(number()), real()};
  } else if (auto* a = std::get_if<ActivationAttrs>(&node.attrs)) {
    *a = {static_cast<Activation>(byte()), real(), real()};
  } else if (auto* a = std::get_if<BinaryAttrs>(&node.attrs)) {
    a->op = static_cast<BinaryOp>(byte());
  } else if (auto* a = std::get_if<ScaleAttrs>(&node.attrs)) {
    *a = {real(), real()};
  } else if (auto* a = std::get_if<SoftmaxAttrs>(&node.attrs)) {
    a->scale = real();
  } else if (auto* a = std::get_if<TopKAttrs>(&node.attrs)) {
    a->k = static_cast<int32_t>(number());
  } else if (auto* a = std::get_if<ReshapeAttrs>(&node.attrs)) {
    a->shape[draw(4)] = number();
  } else if (auto* a = std::get_if<ViewAttrs>(&node.attrs)) {
    switch (draw(3)) {
      case 0:
        a->shape[draw(4)] = number();
        break;
      case 1:
        a->strides[draw(4)] = number();
        break;
      case 2:
        a->byte_offset = number();
        break;
    }
  } else if (auto* a = std::get_if<TransferAttrs>(&node.attrs)) {
    a->device = static_cast<int32_t>(number());
  }
}

// What matters most is what the sanitizers say: no damage crashes anything, whether it is noticed
// or not. What Infer accepts, the rest must handle.
TEST(DamagedGraphs, AreRefusedOrHandled) {
  int refused = 0, accepted = 0;
  for (uint32_t seed = 0; seed < 20000; ++seed) {
    std::mt19937 random(seed);
    Graph graph = RandomGraph(seed % 500).graph();
    if (seed % 3 != 0) {
      ASSERT_TRUE(Infer(graph).ok());
    }
    const int changes = 1 + random() % 3;
    for (int i = 0; i < changes; ++i) {
      // A value's own type must be one there is before its strides can be computed.
      if (std::any_of(graph.values().begin(), graph.values().end(), [](const Value& v) {
            return !quant::IsValidType(static_cast<uint32_t>(v.type));
          })) {
        break;
      }
      Damage(graph, random);
    }
    EXPECT_FALSE(Dump(graph).empty());
    const absl::Status status = Infer(graph);
    EXPECT_FALSE(Dump(graph).empty());
    if (!status.ok()) {
      ++refused;
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      ASSERT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
      continue;
    }
    ++accepted;
    const std::string text = Dump(graph);
    ASSERT_TRUE(Infer(graph).ok());
    ASSERT_EQ(Dump(graph), text);
    for (const NamedPass& pass : kPasses) {
      const auto after = pass.run(graph);
      // Only the sum of sizes near the limit can be too much.
      if (!after.ok()) {
        ASSERT_THAT(after.status().message(), ::testing::HasSubstr("too large"))
            << pass.name << "\n"
            << text;
        continue;
      }
      PlanMemory(*after);
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace bantam::graph
