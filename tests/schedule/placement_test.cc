// Groups, placements and what they are said to take.

#include "runtime/schedule/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/byte_size.h"
#include "tests/graph/random_graph.h"
#include "tests/schedule/cards.h"
#include "tests/schedule/shapes.h"
#include "tests/support/graph_eval.h"

namespace bantam::schedule {
namespace {

using ::bantam::testing::BuildShape;
using ::bantam::testing::BuildSteps;
using ::bantam::testing::Cpu;
using ::bantam::testing::Gpu;
using ::bantam::testing::ModelShape;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

const ModelShape kTiny{
    .name = "tiny", .layers = 2, .type = quant::Type::kQ8_0, .better = quant::Type::kQ8_0};
const ModelShape kTinyMoe{.name = "tiny MoE",
                          .layers = 2,
                          .experts = 4,
                          .experts_used = 2,
                          .tied = true,
                          .type = quant::Type::kQ8_0,
                          .better = quant::Type::kQ8_0};

std::vector<std::string> Names(const Grouping& grouping) {
  std::vector<std::string> names;
  for (const Group& group : grouping.groups) names.push_back(GroupName(group));
  return names;
}

TEST(Groups, DenseInOrderOfUse) {
  const auto grouping = FindGroups(BuildShape(kTiny, 3, 16));
  ASSERT_TRUE(grouping.ok()) << grouping.status();
  EXPECT_THAT(Names(*grouping),
              ElementsAre("embedding", "attention of layer 0", "KV of layer 0",
                          "feed-forward of layer 0", "attention of layer 1", "KV of layer 1",
                          "feed-forward of layer 1", "output head"));
}

TEST(Groups, ExpertsAreApartAndATiedTableIsInBoth) {
  const graph::Graph graph = BuildShape(kTinyMoe, 3, 16);
  const auto grouping = FindGroups(graph);
  ASSERT_TRUE(grouping.ok()) << grouping.status();
  EXPECT_THAT(
      Names(*grouping),
      ElementsAre("embedding", "attention of layer 0", "KV of layer 0", "feed-forward of layer 0",
                  "experts of layer 0", "attention of layer 1", "KV of layer 1",
                  "feed-forward of layer 1", "experts of layer 1", "output head"));
  EXPECT_EQ(grouping->of_node.front(), 0);
  EXPECT_EQ(grouping->of_node.back(), 9);
}

// What Split promises, for any devices of the groups.
void CheckPartition(const graph::Graph& source, const Partition& p, int devices) {
  std::vector<int> made_on(p.graph.values().size(), -1);
  std::set<std::pair<graph::ValueId, int>> crossed;
  size_t node = 0;
  int last_device = -1;
  for (size_t s = 0; s < p.segments.size(); ++s) {
    const Segment& segment = p.segments[s];
    // What the next segment reads may be brought before this one, to run beside it.
    const int next = s + 1 < p.segments.size() ? p.segments[s + 1].device : -1;
    bool is_beside = false;
    for (graph::NodeId n = segment.first_transfer; n < segment.first_node; ++n) {
      if (p.device_of_node[n] == segment.device) continue;
      ASSERT_EQ(p.device_of_node[n], next);
      is_beside = true;
    }
    EXPECT_TRUE(segment.device != last_device || is_beside) << "runs are maximal";
    last_device = segment.device;
    ASSERT_EQ(static_cast<size_t>(segment.first_transfer), node);
    ASSERT_LT(segment.first_node, segment.end_node);
    for (; node < static_cast<size_t>(segment.end_node); ++node) {
      const graph::Node& n = p.graph.nodes()[node];
      const bool is_transfer = static_cast<graph::NodeId>(node) < segment.first_node;
      ASSERT_EQ(n.op == graph::Op::kTransfer, is_transfer);
      const int device = p.device_of_node[node];
      ASSERT_TRUE(is_transfer || device == segment.device);
      made_on[n.output] = device;
      for (graph::ValueId id : n.inputs) {
        const graph::ValueId root = p.graph.RootOf(id);
        if (p.graph.value(root).storage != graph::Storage::kTemp) continue;
        ASSERT_EQ(made_on[root] != device, is_transfer) << node;
        if (is_transfer) {
          ASSERT_TRUE(p.graph.value(id).IsContiguous());
          ASSERT_TRUE(crossed.insert({id, device}).second) << "crosses twice";
        }
        ASSERT_GE(p.plans[made_on[root]].offsets[root], 0);
      }
    }
  }
  ASSERT_EQ(node, p.graph.nodes().size());
  ASSERT_EQ(p.graph.outputs(), source.outputs());
  ASSERT_EQ(static_cast<int>(p.plans.size()), devices);
}

TEST(Split, RandomPlacements) {
  std::mt19937 random(1);
  for (const ModelShape& shape : {kTiny, kTinyMoe}) {
    for (int64_t rows : {1, 3}) {
      const graph::Graph graph = BuildShape(shape, rows, 16);
      const auto grouping = FindGroups(graph);
      ASSERT_TRUE(grouping.ok());
      for (int i = 0; i < 100; ++i) {
        const int devices = 1 + static_cast<int>(random() % 3);
        std::vector<int> of_group, of_node;
        for (size_t g = 0; g < grouping->groups.size(); ++g) {
          of_group.push_back(static_cast<int>(random() % devices));
        }
        for (int g : grouping->of_node) of_node.push_back(of_group[g]);
        const std::vector<uint64_t> alignments(devices, 64);
        const auto partition = Split(graph, of_node, alignments);
        ASSERT_TRUE(partition.ok()) << partition.status();
        CheckPartition(graph, *partition, devices);
        if (devices == 1) {
          EXPECT_EQ(partition->segments.size(), 1);
          EXPECT_EQ(partition->plans[0].size, graph::PlanMemory(graph).size);
          EXPECT_EQ(partition->graph.nodes().size(), graph.nodes().size());
        }
      }
    }
  }
}

// Any node on any device: every output and state keeps its bits. (Nodes that touch a state stay
// together, as groups have it.)
TEST(Split, RandomGraphsComputeTheSame) {
  int transfers = 0, packed = 0;
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    const testing::RandomGraph made(seed);
    graph::Graph graph = made.graph();
    ASSERT_TRUE(graph::Infer(graph).ok());
    std::mt19937 random(seed);
    std::vector<int> devices;
    for (const graph::Node& node : graph.nodes()) {
      devices.push_back(static_cast<int>(random() % 3));
      for (graph::ValueId id : node.inputs) {
        if (graph.value(graph.RootOf(id)).storage == graph::Storage::kState) devices.back() = 0;
      }
    }
    const auto partition = Split(graph, devices, std::vector<uint64_t>(3, 64));
    ASSERT_TRUE(partition.ok()) << seed << partition.status();
    const auto before = testing::Evaluate(graph, made.inputs());
    const auto after = testing::Evaluate(partition->graph, made.inputs());
    ASSERT_TRUE(before.ok() && after.ok()) << after.status();
    for (graph::ValueId id : graph.outputs()) {
      const std::vector<double>&a = before->at(id).data, &b = after->at(id).data;
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) << "seed " << seed;
      }
    }
    for (const Segment& segment : partition->segments) {
      transfers += segment.first_node - segment.first_transfer;
    }
    packed += static_cast<int>(partition->graph.nodes().size() - graph.nodes().size());
  }
  packed -= transfers;
  EXPECT_GT(transfers, 5000);
  EXPECT_GT(packed, 10);
}

TEST(Split, AStateOnTwoDevicesIsNamed) {
  const graph::Graph graph = BuildShape(kTiny, 1, 16);
  std::vector<int> devices(graph.nodes().size(), 0);
  for (size_t n = 0; n < devices.size(); ++n) {
    if (graph.nodes()[n].op == graph::Op::kAttention) devices[n] = 1;
  }
  const auto partition = Split(graph, devices, std::vector<uint64_t>{64, 64});
  EXPECT_EQ(partition.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(partition.status().message()), HasSubstr("blk.0.kv_cache.k"));
}

// All placements of the groups tried, each judged by Evaluate, which knows nothing of the solver.
TEST(Place, IsTheBestOfAllPlacements) {
  const ModelShape one{.name = "",
                       .layers = 1,
                       .embedding = 256,
                       .heads = 16,
                       .feed_forward = 1024,
                       .experts = 4,
                       .experts_used = 1,
                       .vocab = 1024,
                       .tied = true,
                       .type = quant::Type::kQ8_0,
                       .better = quant::Type::kQ8_0};
  const std::vector<graph::Graph> steps = BuildSteps(one, 64, 4);
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  const size_t groups = grouping->groups.size();
  for (const Prefer prefer : {Prefer::kGenerate, Prefer::kPrompt}) {
    for (const double mib : {0.0, 0.7, 1.6, 4.0}) {
      const std::vector<DeviceProfile> devices = {Gpu("a", mib / 1024, 4e11, 1e13),
                                                  Gpu("b", mib / 2048, 2e11, 4e12), Cpu()};
      const PlacementRequest request{.steps = steps, .prefer = prefer};
      double best = kImpossible;
      std::vector<int> device(groups, 0);
      for (bool done = false; !done;) {
        const auto placement = Evaluate(request, devices, device);
        ASSERT_TRUE(placement.ok());
        bool fits = true;
        for (size_t d = 0; d < devices.size(); ++d) {
          fits &= placement->memory[d].total() <= devices[d].capacity;
        }
        const double seconds =
            prefer == Prefer::kPrompt ? placement->prompt_seconds : placement->decode_seconds;
        if (fits) best = std::min(best, seconds);
        size_t i = 0;
        while (i < groups && ++device[i] == 3) device[i++] = 0;
        done = i == groups;
      }
      const auto chosen = Place(request, devices);
      ASSERT_TRUE(chosen.ok()) << chosen.status();
      const double seconds =
          prefer == Prefer::kPrompt ? chosen->prompt_seconds : chosen->decode_seconds;
      for (size_t d = 0; d < devices.size(); ++d) {
        EXPECT_LE(chosen->memory[d].total(), devices[d].capacity);
      }
      EXPECT_NEAR(seconds, best, 1e-9 * best) << mib;
    }
  }
}

// With two steps at a time a prompt takes what the busiest device does: within a tenth of the best
// of all placements, and better than what one step by itself would have.
TEST(Place, PromptsOfTwoStepsAtATime) {
  ModelShape shape{.name = "", .layers = 2, .embedding = 256, .feed_forward = 1024, .vocab = 1024};
  shape.type = shape.better = quant::Type::kQ8_0;
  const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 64), BuildShape(shape, 16, 64)};
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  const size_t groups = grouping->groups.size();
  std::mt19937 random(11);
  double worst = 0, gained = 0;
  for (int i = 0; i < 24; ++i) {
    const auto draw = [&](double least, double most) {
      return least * std::pow(most / least, static_cast<double>(random() % 1000) / 999);
    };
    std::vector<DeviceProfile> devices = {Gpu("gpu", draw(0.5, 5) / 1024, 4e11, 1e12), Cpu()};
    devices[0].node_seconds = draw(1e-8, 1e-6);
    devices[0].transfer_seconds = draw(1e-7, 1e-5);
    // Some hosts are nearly as fast: then both should be busy.
    devices[1].operations = draw(2e11, 1e12);
    devices[1].bandwidth = draw(4e10, 4e11);
    PlacementRequest request{.steps = steps, .prefer = Prefer::kPrompt, .two_in_flight = true};
    const auto chosen = Place(request, devices);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    double best = kImpossible, alone = kImpossible, of_alone = kImpossible;
    for (size_t set = 0; set < size_t{1} << groups; ++set) {
      std::vector<int> device(groups);
      for (size_t g = 0; g < groups; ++g) device[g] = static_cast<int>(set >> g & 1);
      const auto placement = Evaluate(request, devices, device);
      ASSERT_TRUE(placement.ok());
      if (placement->memory[0].total() > devices[0].capacity) continue;
      best = std::min(best, placement->prompt_seconds);
      if (placement->prompt_alone >= alone) continue;
      alone = placement->prompt_alone;
      of_alone = placement->prompt_seconds;
    }
    EXPECT_LE(chosen->memory[0].total(), devices[0].capacity);
    EXPECT_GE(chosen->prompt_seconds, best * (1 - 1e-9));
    worst = std::max(worst, chosen->prompt_seconds / best - 1);
    gained = std::max(gained, of_alone / chosen->prompt_seconds - 1);
  }
  std::printf("at most %.1f %% from the best; up to %.0f %% faster than by single steps\n",
              100 * worst, 100 * gained);
  EXPECT_LE(worst, 0.12);
  EXPECT_GE(gained, 0.1);
}

// Described machines; the host of the last computes as fast as a laptop's card.
TEST(Place, PreferringPrompts) {
  for (const ModelShape& shape : {testing::kDense8B, testing::kMoe30B}) {
    for (const double operations : {5e11, 4e12}) {
      std::vector<DeviceProfile> devices = {Gpu("gpu", 4, 1.9e11, 8e12), Cpu()};
      devices[1].operations = operations;
      const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 4096),
                                               BuildShape(shape, 512, 4096)};
      PlacementRequest request{.steps = steps, .two_in_flight = true};
      const auto generate = Place(request, devices);
      request.prefer = Prefer::kPrompt;
      const auto start = std::chrono::steady_clock::now();
      const auto prompt = Place(request, devices);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      ASSERT_TRUE(generate.ok() && prompt.ok()) << prompt.status();
      std::printf(
          "%s, host of %.0g operations/s: prompt %.0f tok/s, preferred %.0f; generate %.1f, "
          "%.1f; solved in %.0f ms\n",
          shape.name.c_str(), operations, 512 / generate->prompt_seconds,
          512 / prompt->prompt_seconds, 1 / generate->decode_seconds, 1 / prompt->decode_seconds,
          took.count() * 1000);
      EXPECT_LE(prompt->prompt_seconds, generate->prompt_seconds);
      EXPECT_LE(prompt->memory[0].total(), devices[0].capacity);
    }
  }
}

TEST(Place, PreferringMemoryLoadsNothingTwice) {
  ModelShape shape = kTiny;
  shape.tied = true;
  shape.vocab = 4096;
  const std::vector<graph::Graph> steps = BuildSteps(shape, 64, 4);
  std::vector<DeviceProfile> devices = {Gpu("gpu", 1, 4e11, 1e13), Cpu()};
  devices[0].node_seconds = devices[0].transfer_seconds = 0;
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  // The embedding may not go to the GPU, so that a head there needs a copy.
  PlacementRequest request{.steps = steps};
  request.allowed.assign(grouping->groups.size(), {true, true});
  request.allowed[0][0] = false;
  const auto fast = Place(request, devices);
  request.prefer = Prefer::kMemory;
  const auto small = Place(request, devices);
  ASSERT_TRUE(fast.ok() && small.ok());
  EXPECT_EQ(fast->device.back(), 0);
  EXPECT_EQ(small->device.back(), 1);
  EXPECT_LT(small->memory[0].weights + small->memory[1].weights,
            fast->memory[0].weights + fast->memory[1].weights);
  EXPECT_LE(fast->decode_seconds, small->decode_seconds);
}

TEST(Place, WhatCannotFitIsSaid) {
  const std::vector<graph::Graph> steps = BuildSteps(kTiny, 64, 4);
  const auto placement =
      Place({.steps = steps}, std::vector<DeviceProfile>{Gpu("gpu", 1e-5, 1e11, 1e12)});
  EXPECT_EQ(placement.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(placement.status().message()), HasSubstr("do not fit"));
}

// Bytes of weights and KV cache that are not on the last device.
uint64_t Useful(const Placement& placement) {
  uint64_t bytes = 0;
  for (size_t d = 0; d + 1 < placement.memory.size(); ++d) {
    bytes += placement.memory[d].weights + placement.memory[d].kv_cache;
  }
  return bytes;
}

// As many whole layers as fit in 90 % of each GPU, in order, the last layers and then the head on
// the last GPU: what is done without knowing sizes exactly.
Placement WholeLayers(const PlacementRequest& request, const std::vector<DeviceProfile>& devices,
                      int layers) {
  const auto grouping = FindGroups(request.steps[0]);
  const int host = static_cast<int>(devices.size()) - 1;
  std::vector<int> of_layer(layers + 1, host);  // the head is the last
  const auto evaluate = [&] {
    std::vector<int> device;
    for (const Group& group : grouping->groups) {
      const int layer = group.part == Part::kOutput ? layers : group.layer;
      device.push_back(layer < 0 ? host : of_layer[layer]);
    }
    return *Evaluate(request, devices, device);
  };
  Placement placement = evaluate();
  int next = layers;
  for (int d = host - 1; d >= 0; --d) {
    for (; next >= 0; --next) {
      of_layer[next] = d;
      Placement more = evaluate();
      if (static_cast<double>(more.memory[d].total()) >
          0.9 * static_cast<double>(devices[d].capacity)) {
        of_layer[next] = host;
        break;
      }
      placement = std::move(more);
    }
  }
  return placement;
}

TEST(Place, SimulatedMachinesHoldMoreThanWithWholeLayers) {
  struct Machine {
    const char* name;
    std::vector<DeviceProfile> devices;
  };
  const Machine machines[] = {
      {"laptop 4 GiB", {Gpu("gpu", 4, 1.9e11, 8e12), Cpu()}},
      {"desktop 12 GiB", {Gpu("gpu", 12, 3.6e11, 2.5e13), Cpu()}},
      {"two cards 8+16 GiB",
       {Gpu("gpu:0", 8, 2.7e11, 1.5e13), Gpu("gpu:1", 16, 5e11, 3e13), Cpu()}},
  };
  std::printf("%-20s %-10s %12s %12s %8s %10s %10s %8s\n", "machine", "model", "by layer",
              "by group", "more", "tok/s", "tok/s", "solved");
  for (const Machine& machine : machines) {
    for (const ModelShape& shape : {testing::kDense8B, testing::kDense14B, testing::kMoe30B}) {
      // The extremes are enough: intermediate values of smaller steps are smaller.
      const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 8192),
                                               BuildShape(shape, 512, 8192)};
      const PlacementRequest request{.steps = steps};
      const auto start = std::chrono::steady_clock::now();
      const auto ours = Place(request, machine.devices);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      ASSERT_TRUE(ours.ok()) << ours.status();
      const Placement theirs = WholeLayers(request, machine.devices, shape.layers);
      std::printf("%-20s %-10s %12s %12s %7.1f%% %10.1f %10.1f %6.0f ms\n", machine.name,
                  shape.name.c_str(), FormatByteSize(Useful(theirs)).c_str(),
                  FormatByteSize(Useful(*ours)).c_str(),
                  100.0 * Useful(*ours) / Useful(theirs) - 100, 1 / theirs.decode_seconds,
                  1 / ours->decode_seconds, took.count() * 1000);
      for (size_t d = 0; d < machine.devices.size(); ++d) {
        EXPECT_LE(ours->memory[d].total(), machine.devices[d].capacity);
      }
      EXPECT_GE(Useful(*ours), Useful(theirs));
      EXPECT_LE(ours->decode_seconds, theirs.decode_seconds);
    }
  }
}

// Described machines: what a card has no room for is brought to it for prompts where the link is
// faster than the host, in memory that is counted, and otherwise not.
TEST(Stream, TheCostModelDecides) {
  struct Case {
    const char* name;
    double link;             // bytes per second
    double host_operations;  // per second
    bool streams;
  };
  const Case cases[] = {{"a laptop", 1.2e10, 5e11, true},
                        {"a slow link", 3e8, 5e11, false},
                        {"a host faster than the card", 1.2e10, 1e14, false}};
  for (const ModelShape& shape : {testing::kDense8B, testing::kMoe30B}) {
    const std::vector<graph::Graph> steps = {
        BuildShape(shape, 1, 4096), BuildShape(shape, 64, 4096), BuildShape(shape, 512, 4096)};
    for (const Case& c : cases) {
      SCOPED_TRACE(absl::StrCat(shape.name, ", ", c.name));
      std::vector<DeviceProfile> devices = {Gpu("gpu", 4, 1.9e11, 8e12), Cpu()};
      devices[0].transfer_bandwidth = c.link;
      devices[1].operations = c.host_operations;
      PlacementRequest request{.steps = steps, .two_in_flight = true};
      const auto without = Place(request, devices);
      request.may_stream = true;
      const auto with = Place(request, devices);
      ASSERT_TRUE(with.ok() && without.ok()) << with.status();
      EXPECT_LE(with->memory[0].total(), devices[0].capacity);
      std::printf(
          "%s, %s: prompt %.0f tok/s, with streaming %.0f; generate %.1f, %.1f; from %d rows; "
          "%s for weights\n",
          shape.name.c_str(), c.name, 512 / without->prompt_seconds, 512 / with->prompt_seconds,
          1 / without->decode_seconds, 1 / with->decode_seconds,
          static_cast<int>(with->streaming.rows), FormatByteSize(with->memory[0].streamed).c_str());
      const auto turn = [](const Placement& placement) {
        return placement.prompt_seconds / 512 + placement.decode_seconds / 2;
      };
      EXPECT_LE(turn(*with), turn(*without));
      // A mixture's router is little to bring, and read faster by the card than by any host.
      if (shape.experts > 0 && c.host_operations > 1e13) continue;
      EXPECT_EQ(with->streaming.rows > 0, c.streams);
      EXPECT_EQ(with->memory[0].streamed > 0, c.streams);
      if (!c.streams) {
        EXPECT_EQ(with->device, without->device);
        EXPECT_EQ(with->prompt_seconds, without->prompt_seconds);
        continue;
      }
      EXPECT_LT(with->prompt_seconds, 0.8 * without->prompt_seconds);
      EXPECT_LT(with->decode_seconds, 1.1 * without->decode_seconds);
      // What the user keeps away from the card stays away.
      request.allowed.assign(with->groups.size(), {true, true});
      for (size_t g = 0; g < with->groups.size(); ++g) {
        if (with->device[g] == 1) request.allowed[g][0] = false;
      }
      EXPECT_EQ(Place(request, devices)->streaming.rows, 0);
    }
  }
}

// All sets of groups tried: what is chosen to be streamed is within a few hundredths of the best.
TEST(Stream, IsNearTheBestOfAllChoices) {
  ModelShape shape{.name = "", .layers = 3, .embedding = 256, .feed_forward = 1024, .vocab = 1024};
  shape.type = shape.better = quant::Type::kQ8_0;
  const std::vector<graph::Graph> steps = BuildSteps(shape, 64, 16);
  std::mt19937 random(3);
  int streamed = 0;
  for (int i = 0; i < 40; ++i) {
    const auto draw = [&](double least, double most) {
      return least * std::pow(most / least, static_cast<double>(random() % 1000) / 999);
    };
    std::vector<DeviceProfile> devices = {Gpu("gpu", draw(1, 3) / 1024, 4e11, 1e13), Cpu()};
    devices[0].node_seconds = draw(1e-8, 1e-6);
    devices[0].transfer_seconds = draw(1e-7, 1e-5);
    devices[0].transfer_bandwidth = draw(1e9, 1e11);
    devices[1].operations = draw(1e10, 1e12);
    const PlacementRequest request{.steps = steps, .may_stream = true};
    const auto chosen = Place(request, devices);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    if (chosen->streaming.rows == 0) continue;
    ++streamed;
    std::vector<size_t> candidates;
    for (size_t g = 0; g < chosen->groups.size(); ++g) {
      const Part part = chosen->groups[g].part;
      if (chosen->device[g] == 1 && (part == Part::kAttention || part == Part::kFeedForward)) {
        candidates.push_back(g);
      }
    }
    ASSERT_LE(candidates.size(), 6);
    double best = chosen->prompt_seconds;
    for (size_t set = 1; set < size_t{1} << candidates.size(); ++set) {
      Streaming streaming{.device = 0, .rows = 16};
      streaming.is_streamed.assign(chosen->groups.size(), false);
      for (size_t c = 0; c < candidates.size(); ++c) {
        streaming.is_streamed[candidates[c]] = (set >> c & 1) != 0;
      }
      const auto other = Evaluate(request, devices, chosen->device, streaming);
      ASSERT_TRUE(other.ok());
      best = std::min(best, other->prompt_seconds);
    }
    EXPECT_LE(chosen->prompt_seconds, 1.1 * best) << i;
  }
  EXPECT_GE(streamed, 10);
}

// Units: what is read in a row, cut so that none is larger than the largest matrix.
TEST(Stream, UnitsAreCutAtMatrices) {
  const graph::Graph graph = BuildShape(kTiny, 3, 16);
  const auto grouping = FindGroups(graph);
  ASSERT_TRUE(grouping.ok());
  const std::vector<int> device(grouping->groups.size(), 1);
  Streaming streaming{.device = 0, .rows = 3};
  for (const Group& group : grouping->groups) {
    streaming.is_streamed.push_back(group.part == Part::kAttention ||
                                    group.part == Part::kFeedForward);
  }
  const NodePlaces places = PlaceNodes(graph, *grouping, device, streaming);
  const auto partition = Split(graph, places.device, std::vector<uint64_t>{256, 64}, places.unit);
  ASSERT_TRUE(partition.ok());
  DeviceProfile card;
  card.alignment = 256;
  uint64_t largest = 0;
  std::set<graph::ValueId> brought;
  for (const graph::Node& node : graph.nodes()) {
    uint64_t bytes = 0;
    for (graph::ValueId id : node.inputs) {
      if (graph.value(id).storage == graph::Storage::kWeight) {
        bytes += (graph.value(id).SpanBytes() + 255) / 256 * 256;
      }
    }
    largest = std::max(largest, bytes);
  }
  for (const Segment& segment : partition->segments) {
    EXPECT_EQ(segment.unit >= 0, segment.device == 0);
    const WeightLayout layout = LayOutUnit(partition->graph, segment, card);
    EXPECT_LE(layout.size, largest + 512);  // a norm's weights may come along
    for (const auto& place : layout.places) EXPECT_TRUE(brought.insert(place.weight).second);
  }
  // Every matrix of both layers (q, k, v, output, gate, up, down) and their two norms.
  EXPECT_EQ(brought.size(), 2 * 9);
  // A smaller step goes where the weights are.
  const graph::Graph one = BuildShape(kTiny, 1, 16);
  EXPECT_EQ(PlaceNodes(one, *FindGroups(one), device, streaming).unit,
            std::vector<int>(one.nodes().size(), -1));
}

}  // namespace
}  // namespace bantam::schedule
