// Experts of a layer on two devices: the graph, the choice, and what is known of their use.

#include "runtime/schedule/hot_experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/byte_size.h"
#include "runtime/schedule/expert_use.h"
#include "runtime/schedule/placement.h"
#include "tests/schedule/cards.h"
#include "tests/schedule/shapes.h"
#include "tests/support/graph_eval.h"
#include "tests/support/tiny_model.h"

namespace bantam::schedule {
namespace {

using ::bantam::testing::BuildShape;
using ::bantam::testing::Cpu;
using ::bantam::testing::Gpu;
using ::bantam::testing::ModelShape;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Types that can be sliced by expert as numbers.
ModelShape Mixture(int layers, int64_t experts, int64_t used) {
  return {.name = "mixture",
          .layers = layers,
          .experts = experts,
          .experts_used = used,
          .type = quant::Type::kF32,
          .better = quant::Type::kF32};
}

// How much experts are used falls off as 1 / rank to the power of `steepness`; in random order.
ExpertUse RandomUse(int layers, int64_t experts, double steepness, std::mt19937& random) {
  ExpertUse use;
  for (int l = 0; l < layers; ++l) {
    std::vector<double>& counts = use.counts.emplace_back();
    for (int64_t e = 0; e < experts; ++e) {
      counts.push_back(1000 * std::pow(static_cast<double>(e + 1), -steepness));
    }
    std::shuffle(counts.begin(), counts.end(), random);
  }
  return use;
}

std::vector<int32_t> RandomExperts(int64_t count, std::mt19937& random) {
  std::vector<int32_t> experts(count);
  for (size_t e = 0; e < experts.size(); ++e) experts[e] = static_cast<int32_t>(e);
  std::shuffle(experts.begin(), experts.end(), random);
  experts.resize(1 + random() % (experts.size() - 1));
  return experts;
}

// In double precision nothing but the order of the sum is left to differ.
TEST(SplitExperts, RandomHotSetsComputeTheSame) {
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    const int64_t count = 2 + static_cast<int64_t>(random() % 6);
    const ModelShape shape = Mixture(3, count, 1 + static_cast<int64_t>(random() % count));
    const graph::Graph whole = BuildShape(shape, 1 + static_cast<int64_t>(random() % 4), 16);
    std::vector<HotExperts> hot;
    for (int l = 0; l < 3; ++l) {
      if (random() % 4 == 0) continue;
      hot.push_back({l, 0, RandomExperts(count, random), static_cast<int32_t>(count), 0});
      hot.back().cold_apart = random() % 2 == 0;
    }
    const auto split = SplitExperts(whole, hot);
    ASSERT_TRUE(split.ok()) << split.status();
    testing::Tensors inputs, of_split;
    for (size_t v = 0; v < whole.values().size(); ++v) {
      const auto id = static_cast<graph::ValueId>(v);
      const graph::Value& value = whole.value(id);
      if (value.base != graph::kNone || value.storage == graph::Storage::kTemp) continue;
      inputs[id] = testing::RandomTensor(value.type, value.shape, random,
                                         value.type == quant::Type::kI32 ? 0 : -1, 2);
    }
    for (size_t v = 0; v < split->values().size(); ++v) {
      const auto id = static_cast<graph::ValueId>(v);
      const graph::Value& value = split->value(id);
      if (v < whole.values().size()) {
        if (inputs.count(id) > 0) of_split[id] = inputs[id];
        continue;
      }
      if (value.storage != graph::Storage::kWeight) continue;
      testing::Tensor tensor{value.type, value.shape, {}};
      for (const HotExperts& layer : hot) {
        for (const bool is_hot : {false, true}) {
          if (value.name != SlotsName(layer.layer, is_hot)) continue;
          for (const int32_t slot : Slots(layer, is_hot)) tensor.data.push_back(slot);
        }
        for (const auto& [from, data] : inputs) {
          const std::string& name = whole.value(from).name;
          const bool is_hot = SideName(name, true) == value.name;
          const bool is_cold = layer.cold_apart && SideName(name, false) == value.name;
          if ((!is_hot && !is_cold) ||
              !absl::StartsWith(name, absl::StrCat("blk.", layer.layer, "."))) {
            continue;
          }
          const size_t one = data.data.size() / count;
          for (int32_t e = 0; e < layer.count; ++e) {
            const auto at = std::find(layer.experts.begin(), layer.experts.end(), e);
            const int32_t expert = is_hot && e < std::ssize(layer.experts) ? layer.experts[e] : e;
            if (is_hot ? e >= std::ssize(layer.experts) : at != layer.experts.end()) continue;
            tensor.data.insert(tensor.data.end(), data.data.begin() + expert * one,
                               data.data.begin() + (expert + 1) * one);
          }
        }
      }
      ASSERT_EQ(static_cast<int64_t>(tensor.data.size()), graph::ElementCount(value.shape))
          << value.name;
      of_split[id] = tensor;
    }
    const auto expected = testing::Evaluate(whole, inputs);
    const auto found = testing::Evaluate(*split, of_split);
    ASSERT_TRUE(expected.ok() && found.ok()) << found.status();
    ASSERT_EQ(split->outputs(), whole.outputs());
    const std::vector<double>& a = expected->at(whole.outputs()[0]).data;
    const std::vector<double>& b = found->at(split->outputs()[0]).data;
    for (size_t k = 0; k < a.size(); ++k) ASSERT_NEAR(b[k], a[k], 1e-9 * (1 + std::abs(a[k])));
    // Hot experts, and what is added to the sum of all, are a group of their own.
    const auto grouping = FindGroups(*split);
    ASSERT_TRUE(grouping.ok());
    for (const HotExperts& layer : hot) {
      const int g = grouping->Find({Part::kHotExperts, layer.layer});
      ASSERT_GE(g, 0);
      const graph::ValueId both = split->Find(absl::StrCat("blk.", layer.layer, ".hot_and_cold"));
      EXPECT_EQ(grouping->of_node[split->value(both).producer], g);
    }
  }
}

TEST(SplitExperts, AModelWithoutExpertsIsRefused) {
  const graph::Graph dense = BuildShape(Mixture(2, 0, 0), 1, 16);
  const HotExperts hot{0, 0, {1}, 4, 0};
  EXPECT_EQ(SplitExperts(dense, {&hot, 1}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_TRUE(SplitExperts(dense, {}).ok());
}

TEST(ExpertUse, RanksAndShares) {
  const ExpertUse use{{{}, {3, 0, 7, 3, 7}}};
  EXPECT_THAT(use.Ranked(1), ElementsAre(2, 4, 0, 3, 1));
  EXPECT_THAT(use.Ranked(0), IsEmpty());
  EXPECT_THAT(use.Ranked(2), IsEmpty());
  const int32_t experts[] = {2, 0};
  EXPECT_DOUBLE_EQ(use.Share(1, experts), 0.5);
  EXPECT_DOUBLE_EQ(use.Share(0, {}), 0);
  EXPECT_FALSE(use.empty());
  EXPECT_TRUE((ExpertUse{{{0, 0}}}).empty());
}

TEST(ExpertUse, IsKeptAndAddsUp) {
  const testing::TempDir dir;
  EXPECT_TRUE(ReadExpertUse(dir.path(), "a").empty());
  AddExpertUse(dir.path(), "a", {{{}, {1, 2}}});
  AddExpertUse(dir.path(), "a", {{{}, {1, 0}, {5, 5}}});
  AddExpertUse(dir.path(), "b", {{{4}}});
  EXPECT_THAT(ReadExpertUse(dir.path(), "a").counts,
              ElementsAre(IsEmpty(), ElementsAre(2, 2), ElementsAre(5, 5)));
  // A lot is halved by what follows.
  AddExpertUse(dir.path(), "c", {{{1e7, 0}}});
  AddExpertUse(dir.path(), "c", {{{0, 10}}});
  EXPECT_THAT(ReadExpertUse(dir.path(), "c").counts, ElementsAre(ElementsAre(5e6, 10)));
  for (const char* damaged :
       {"", "{", "{\"version\":1,\"counts\":[[1,-2]]}", "[1]", "{\"version\":2,\"counts\":[[1]]}",
        "{\"version\":1,\"counts\":[3]}", "{\"version\":1,\"counts\":[[\"x\"]]}"}) {
    std::ofstream(dir.File("experts/a.json")) << damaged;
    EXPECT_TRUE(ReadExpertUse(dir.path(), "a").empty()) << damaged;
  }
  AddExpertUse("", "a", {{{1}}});  // nowhere
  EXPECT_TRUE(ReadExpertUse("", "a").empty());
}

// For models so small that a usual card's fixed times would be all that counts.
DeviceProfile SmallCard(double mib) {
  DeviceProfile card = Gpu("card", mib / 1024, 4e11, 1e13);
  card.node_seconds /= 10;
  card.transfer_seconds /= 10;
  return card;
}

bool Fits(const Placement& placement, const std::vector<DeviceProfile>& devices) {
  for (size_t d = 0; d < devices.size(); ++d) {
    if (placement.memory[d].total() > devices[d].capacity) return false;
  }
  return true;
}

// Every device of every group, and every number of hot experts of each layer, judged by what
// knows nothing of the solver.
TEST(PlaceHot, IsTheBestOfAll) {
  ModelShape shape = Mixture(2, 6, 2);
  shape.embedding = 256;
  shape.heads = 16;
  shape.feed_forward = 512;
  shape.type = shape.better = quant::Type::kQ8_0;
  shape.tied = true;
  const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 64), BuildShape(shape, 4, 64)};
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  std::mt19937 random(5);
  int split = 0, tried = 0;
  for (const Prefer prefer : {Prefer::kGenerate, Prefer::kPrompt}) {
    for (const double mib : {0.3, 1.0, 2.0, 3.5}) {
      const ExpertUse use = RandomUse(2, 6, 0.3 * static_cast<double>(1 + random() % 5), random);
      const std::vector<DeviceProfile> devices = {SmallCard(mib), Cpu()};
      PlacementRequest request{.steps = steps, .prefer = prefer, .expert_use = &use};
      // Attention and KV go together, so that there are not too many.
      const size_t groups = grouping->groups.size();
      std::vector<int> free;
      for (size_t g = 0; g < groups; ++g) {
        const Part part = grouping->groups[g].part;
        if (part != Part::kKv && part != Part::kExperts) free.push_back(static_cast<int>(g));
      }
      double best = kImpossible;
      for (size_t set = 0; set < size_t{1} << free.size(); ++set) {
        std::vector<int> device(groups, 1);
        for (size_t i = 0; i < free.size(); ++i) device[free[i]] = (set >> i & 1) != 0 ? 0 : 1;
        for (size_t g = 0; g < groups; ++g) {
          const Group& group = grouping->groups[g];
          if (group.part != Part::kKv) continue;
          device[g] = device[grouping->Find({Part::kAttention, group.layer})];
        }
        for (int a = 0; a <= 6; ++a) {
          for (int b = 0; b <= 6; ++b) {
            std::vector<HotExperts> hot;
            for (const auto& [layer, count] : {std::pair{0, a}, {1, b}}) {
              device[grouping->Find({Part::kExperts, layer})] = count == 6 ? 0 : 1;
              if (count == 0 || count == 6) continue;
              const std::vector<int32_t> ranked = use.Ranked(layer);
              hot.push_back({layer, 0, {ranked.begin(), ranked.begin() + count}, 6, 0});
            }
            const auto placement = hot.empty() ? Evaluate(request, devices, device)
                                               : EvaluateSplit(request, devices, device, hot);
            ASSERT_TRUE(placement.ok()) << placement.status();
            ++tried;
            if (!Fits(*placement, devices)) continue;
            best = std::min(best, prefer == Prefer::kPrompt ? placement->prompt_seconds
                                                            : placement->decode_seconds);
          }
        }
      }
      request.allowed.assign(groups, {true, true});
      const auto chosen = Place(request, devices);
      ASSERT_TRUE(chosen.ok()) << chosen.status();
      EXPECT_TRUE(Fits(*chosen, devices));
      const double seconds =
          prefer == Prefer::kPrompt ? chosen->prompt_seconds : chosen->decode_seconds;
      EXPECT_LE(seconds, best * (1 + 1e-9)) << mib << " MiB, " << chosen->hot.size() << " split";
      split += !chosen->hot.empty();
    }
  }
  EXPECT_GE(split, 4);
  EXPECT_GT(tried, 10'000);
}

TEST(PlaceHot, WhatTheUserPlacedIsNotSplit) {
  const ModelShape shape = Mixture(2, 8, 2);
  const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 64), BuildShape(shape, 4, 64)};
  const auto grouping = FindGroups(steps[0]);
  ASSERT_TRUE(grouping.ok());
  std::mt19937 random(1);
  const ExpertUse use = RandomUse(2, 8, 1, random);
  PlacementRequest request{.steps = steps, .expert_use = &use};
  std::vector<DeviceProfile> devices = {SmallCard(0.65), Cpu()};
  // Values of this size would take longer to move than anything else.
  devices[0].transfer_seconds = devices[0].node_seconds = 0;
  const auto free = Place(request, devices);
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_EQ(free->hot.size(), 2);
  for (const HotExperts& hot : free->hot) {
    EXPECT_GT(hot.share, static_cast<double>(hot.experts.size()) / 8);
    EXPECT_DOUBLE_EQ(hot.share, use.Share(hot.layer, hot.experts));
  }
  request.allowed.assign(grouping->groups.size(), {true, true});
  request.allowed[grouping->Find({Part::kExperts, 0})] = {false, true};
  const auto placed = Place(request, devices);
  ASSERT_TRUE(placed.ok());
  ASSERT_EQ(placed->hot.size(), 1);
  EXPECT_EQ(placed->hot[0].layer, 1);
  EXPECT_EQ(placed->DeviceOf({Part::kExperts, 0}), 1);
  // Without knowing the use, or where it is that of another model, experts stay together.
  request.expert_use = nullptr;
  EXPECT_THAT(Place(request, devices)->hot, IsEmpty());
  const ExpertUse other = RandomUse(2, 7, 1, random);
  request.expert_use = &other;
  EXPECT_THAT(Place(request, devices)->hot, IsEmpty());
}

// Described machines; how steep use is differs from model to model, and text to text.
TEST(PlaceHot, WhatItGains) {
  struct Machine {
    const char* name;
    std::vector<DeviceProfile> devices;
  };
  const Machine machines[] = {
      {"laptop 4 GiB", {Gpu("card", 4, 1.9e11, 8e12), Cpu()}},
      {"desktop 12 GiB", {Gpu("card", 12, 3.6e11, 2.5e13), Cpu()}},
      {"two cards 4+8 GiB",
       {Gpu("card", 4, 2.7e11, 1.5e13), Gpu("card", 8, 3.6e11, 2.5e13), Cpu()}},
  };
  const ModelShape& shape = testing::kMoe30B;
  const std::vector<graph::Graph> steps = {BuildShape(shape, 1, 8192),
                                           BuildShape(shape, 512, 8192)};
  std::mt19937 random(1);
  for (const Machine& machine : machines) {
    double before = 0;
    for (const double steepness : {0.0, 0.3, 0.6, 1.0}) {
      const ExpertUse use = RandomUse(shape.layers, shape.experts, steepness, random);
      PlacementRequest request{.steps = steps};
      if (steepness > 0) request.expert_use = &use;
      const auto start = std::chrono::steady_clock::now();
      const auto placement = Place(request, machine.devices);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      ASSERT_TRUE(placement.ok()) << placement.status();
      EXPECT_TRUE(Fits(*placement, machine.devices));
      int64_t hot = 0;
      double share = 0;
      for (const HotExperts& layer : placement->hot) {
        hot += std::ssize(layer.experts);
        share += layer.share;
      }
      std::printf(
          "%-18s use falls as rank^-%.1f: %5.1f tok/s, prompt %6.1f; %lld experts of %zu "
          "layers are hot, %.0f %% of their use; free %s; solved in %.0f ms\n",
          machine.name, steepness, 1 / placement->decode_seconds, 512 / placement->prompt_seconds,
          static_cast<long long>(hot), placement->hot.size(),
          placement->hot.empty() ? 0 : 100 * share / placement->hot.size(),
          FormatByteSize(machine.devices[0].capacity - placement->memory[0].total()).c_str(),
          took.count() * 1000);
      EXPECT_GE(1 / placement->decode_seconds, before * (1 - 1e-9));
      before = 1 / placement->decode_seconds;
    }
  }
}

}  // namespace
}  // namespace bantam::schedule
