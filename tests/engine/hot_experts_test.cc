// Models whose experts are on two devices: the same text, the memory that was predicted; and the
// counting of which experts are used.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/imatrix.h"
#include "tests/engine/split_fixture.h"
#include "tests/support/logits.h"

namespace bantam {
namespace {

using ::bantam::testing::capped_memory;
using ::bantam::testing::CappedMemory;
using ::bantam::testing::GoldenModel;
using engine::LoadOptions;
using engine::LogitsMode;
using engine::Model;
using engine::Session;
using schedule::ExpertUse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kMixtures[] = {"mixtral", "qwen2moe", "qwen3moe", "gpt_oss", "granitemoe"};

class HotExpertsTest : public testing::SplitFixture {
 protected:
  // A link that takes no time.
  LoadOptions Options(const std::string& device) {
    LoadOptions options =
        OptionsFor(device, {.context = 64, .ubatch = 16, .kv_type = quant::Type::kF32});
    options.profiles[0].transfer_bandwidth = 1e15;
    options.profiles[1].bandwidth = 1e9;
    options.profiles[1].operations = 1e10;
    return options;
  }

  // The logits after a prompt in steps of several sizes, and after each of some tokens.
  using Logits = std::vector<std::vector<float>>;
  static Logits Run(Session& session) {
    Logits logits;
    std::vector<int32_t> prompt(37);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 37 + 11) % 256;
    EXPECT_TRUE(session.Decode(prompt).ok());
    for (int32_t i = 0; i < 6; ++i) {
      logits.emplace_back(session.Logits().begin(), session.Logits().end());
      const int32_t next = i * 29 + 3;
      EXPECT_TRUE(session.Decode({&next, 1}).ok());
    }
    return logits;
  }
};

// Random uses and caps, so that any set of experts is hot, and the rest of the model is anywhere.
// Both devices are the reference, so that nothing but the order of the sums over experts differs:
// roundings of 2^-24 each.
TEST_F(HotExpertsTest, RandomHotSetsGiveTheSameLogits) {
  std::mt19937 random(3);
  int split = 0, some = 0;
  double furthest = 0;
  for (const char* name : kMixtures) {
    const std::string path = GoldenModel(name);
    auto alone = Open(path, Options("reference"));
    ASSERT_NE(alone, nullptr);
    const Logits expected = Run(*alone);
    capped_memory = CappedMemory();
    auto whole = Open(path, Options("capped,reference"));
    ASSERT_NE(whole, nullptr);
    const uint64_t all = capped_memory.peak;
    whole.reset();
    for (int i = 0; i < 24; ++i) {
      SCOPED_TRACE(absl::StrCat(name, " ", i));
      LoadOptions options = Options("capped,reference");
      options.expert_use = RandomUse(path, random);
      options.expected.stream_weights = random() % 2 == 0;
      capped_memory = CappedMemory();
      capped_memory.cap = all * (15 + random() % 85) / 100;
      const uint64_t cap = capped_memory.cap;
      auto session = Open(path, options);
      ASSERT_NE(session, nullptr);
      const schedule::Placement& placement = session->model().placement();
      const auto allocated = session->device_memory();
      EXPECT_EQ(capped_memory.peak, placement.memory[0].total());
      EXPECT_EQ(allocated[0].weights, placement.memory[0].weights);
      EXPECT_EQ(allocated[0].compute, placement.memory[0].compute);
      EXPECT_EQ(allocated[1].compute, placement.memory[1].compute);
      EXPECT_LE(capped_memory.peak, cap);
      const Logits found = Run(*session);
      for (size_t t = 0; t < expected.size(); ++t) {
        furthest = std::max(furthest, testing::NormalizedError(found[t], expected[t]));
      }
      split += !placement.hot.empty();
      for (const schedule::HotExperts& hot : placement.hot) {
        some += hot.experts.size() > 1;
        EXPECT_DOUBLE_EQ(hot.share, options.expert_use->Share(hot.layer, hot.experts));
      }
    }
  }
  std::printf("%d of 120 placements split experts; logits differ by %.2g at most\n", split,
              furthest);
  EXPECT_LT(furthest, 1e-5);
  EXPECT_GE(split, 50);
  EXPECT_GE(some, 25);
  EXPECT_THAT(notices_, IsEmpty());
}

// A host that copies weights, to repack them, copies no hot experts; one that uses them as they lie
// in the file copies none. The text is that of the host alone, also where the cold ones come to the
// card for prompts.
TEST_F(HotExpertsTest, EachSideHoldsItsOwn) {
  const std::string path = dir_.File("mixture.gguf");
  testing::WriteTinyLlama(path, {.layers = 3,
                                 .feed_forward = 128,
                                 .experts = 8,
                                 .weight_type = quant::Type::kQ8_0,
                                 .tied = false});
  const auto file = gguf::File::Open(path);
  ASSERT_TRUE(file.ok());
  std::mt19937 random(7);
  LoadOptions options = Options("capped,cpu");
  options.expert_use = RandomUse(path, random);
  LoadOptions alone = options;
  alone.device = "cpu";
  auto host = Open(path, alone);
  ASSERT_NE(host, nullptr);
  const Logits expected = Run(*host);
  const bool repacks = host->model().weights()[0].allocated_bytes() > 0;
  std::map<std::pair<bool, uint64_t>, Logits> repacked;
  int split = 0, streamed = 0;
  for (const bool repack : {true, false}) {
    for (const bool streams : {false, true}) {
      for (uint64_t cap = 150'000; cap < 700'000; cap += 40'000) {
        SCOPED_TRACE(absl::StrCat(repack, " ", streams, " ", cap));
        capped_memory = CappedMemory();
        capped_memory.cap = cap;
        options.repack = repack;
        options.expected.stream_weights = streams;
        auto session = Open(path, options);
        ASSERT_NE(session, nullptr);
        const Model& model = session->model();
        const schedule::Placement& placement = model.placement();
        if (placement.hot.empty()) continue;
        ++split;
        streamed += placement.streaming.rows > 0;
        const engine::DeviceWeights& weights = model.weights()[1];
        EXPECT_EQ(capped_memory.peak, placement.memory[0].total());
        EXPECT_NEAR(static_cast<double>(weights.bytes()),
                    static_cast<double>(placement.memory[1].weights), 0.02 * weights.bytes());
        for (const schedule::HotExperts& hot : placement.hot) {
          EXPECT_EQ(hot.cold_apart, repack && repacks);
          const std::string name = absl::StrCat("blk.", hot.layer, ".ffn_up_exps.weight");
          const std::string cold = schedule::SideName(name, /*hot=*/false);
          EXPECT_EQ(weights.Find(name) != nullptr, !hot.cold_apart);
          EXPECT_EQ(weights.Find(cold) != nullptr, hot.cold_apart);
          EXPECT_EQ(weights.Find(schedule::SideName(name, /*hot=*/true)), nullptr);
          if (!hot.cold_apart) continue;
          const engine::MadeWeights::Entry* entry = model.made_weights().Find(cold);
          ASSERT_NE(entry, nullptr);
          const auto cold_share = static_cast<double>(8 - hot.experts.size()) / 8;
          const auto whole = static_cast<double>((*file)->FindTensor(name)->data.size());
          EXPECT_EQ(static_cast<double>(entry->Joined().size()), cold_share * whole);
        }
        if (!repack) {
          EXPECT_LT(weights.allocated_bytes(), weights.bytes() / 10);
        }
        // The host rounds activations to 8 bits, which in this model of random weights changes
        // logits by about this much whatever is on the card; the wrong experts would by far more.
        const Logits found = Run(*session);
        const auto [before, is_first] = repacked.try_emplace({streams, cap}, found);
        for (size_t t = 0; t < expected.size(); ++t) {
          ASSERT_LT(testing::NormalizedError(found[t], expected[t]), 0.05);
          // Apart or in the file, they compute the same.
          ASSERT_LT(testing::NormalizedError(found[t], before->second[t]), streams ? 0.05 : 1e-6);
        }
      }
    }
  }
  std::printf("%d placements split experts, %d with weights that come\n", split, streamed);
  EXPECT_GE(split, 20);
  EXPECT_GE(streamed, 4);
}

// While the card computes a layer's hot experts, the host computes the cold ones; what one reads is
// not written by the other, so that every bit is the same.
TEST_F(HotExpertsTest, BothSidesAtTheSameTime) {
  const std::string path = GoldenModel("qwen3moe");
  std::mt19937 random(4);
  LoadOptions options = Options("capped,reference");
  options.expert_use = RandomUse(path, random);
  options.expected.pipeline = options.expected.stream_weights = false;
  Logits expected;
  for (const bool runs_apart : {false, true}) {
    engine::Trace trace;
    options.expected.trace = &trace;
    capped_memory = CappedMemory();
    capped_memory.cap = 150'000;
    capped_memory.runs_apart = runs_apart;
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    const size_t layers = session->model().placement().hot.size();
    ASSERT_GE(layers, 1);
    const Logits found = Run(*session);
    if (!runs_apart) expected = found;
    EXPECT_EQ(found, expected);
    std::map<int64_t, size_t> beside;  // by step
    const std::vector<engine::Trace::Span> spans = trace.spans();
    for (const auto& card : spans) {
      beside[card.step];
      for (const auto& host : spans) {
        const bool is_next = host.step == card.step && host.segment == card.segment + 1;
        if (!is_next || card.is_transfer || host.is_transfer) continue;
        if (card.device != 0 || host.device != 1) continue;
        beside[card.step] += card.begin < host.begin && host.begin < card.end;
      }
    }
    EXPECT_GE(beside.size(), 7);
    for (const auto& [step, count] : beside) EXPECT_GE(count, layers) << step;
  }
}

// What a session counts is what the products were given, told by another way.
TEST_F(HotExpertsTest, CountsWhatIsUsed) {
  std::vector<int32_t> tokens(48);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * i * 7 + 5) % 256;
  for (const char* name : kMixtures) {
    SCOPED_TRACE(name);
    const std::string path = GoldenModel(name);
    const std::string key = schedule::ExpertUseKey(**gguf::File::Open(path));
    LoadOptions options = Options("reference");
    options.expected.expert_use_folder = dir_.path();
    for (const char* device : {"reference", "capped"}) {
      SCOPED_TRACE(device);
      const ExpertUse before = schedule::ReadExpertUse(dir_.path(), key);
      EXPECT_EQ(before.empty(), std::string(device) == "reference");
      options.device = device;
      auto session = Open(path, options);
      ASSERT_NE(session, nullptr);
      // Of padded steps only what is text; where the ids are far away, every step of 16 tokens.
      ASSERT_TRUE(session->Decode(std::span(tokens).first(32), LogitsMode::kLast).ok());
      ASSERT_TRUE(session->Decode(std::span(tokens).subspan(32), LogitsMode::kAll).ok());
      session.reset();
      const ExpertUse use = schedule::ReadExpertUse(dir_.path(), key);
      options.expected.expert_use_folder = "";
      options.expected.keep_matmul_inputs = true;
      auto observed = Open(path, options);
      ASSERT_NE(observed, nullptr);
      ExpertUse expected = before;
      for (size_t begin : {0, 16, 32}) {
        ASSERT_TRUE(observed->Decode(std::span(tokens).subspan(begin, 16), LogitsMode::kAll).ok());
        const auto add = [&](std::span<const std::string> weights, int64_t expert,
                             std::span<const float>) {
          for (size_t l = 0; l < use.counts.size(); ++l) {
            if (weights[0] != absl::StrCat("blk.", l, ".ffn_down_exps.weight")) continue;
            // All of the last layer but the rows wanted are left out.
            const bool is_last = l + 1 == use.counts.size();
            if (is_last && begin < 32) continue;
            expected.Add({std::vector<std::vector<double>>(l + 1)});
            expected.counts[l].resize(use.counts[l].size());
            expected.counts[l][expert] += 1;
          }
        };
        ASSERT_TRUE(observed->ObserveMatMuls(add).ok());
      }
      options.expected.keep_matmul_inputs = false;
      options.expected.expert_use_folder = dir_.path();
      ASSERT_EQ(use.counts.size(), expected.counts.size());
      for (size_t l = 0; l + 1 < use.counts.size(); ++l) {
        EXPECT_EQ(use.counts[l], expected.counts[l]) << l;
      }
      // Of the last layer two rows more, of which no products were observed.
      double more = 0;
      for (size_t e = 0; e < use.counts.back().size(); ++e) {
        const double difference = use.counts.back()[e] - expected.counts.back()[e];
        EXPECT_GE(difference, 0);
        more += difference;
      }
      const auto used = observed->model().file().GetInt(
          absl::StrCat(observed->model().config().architecture, ".expert_used_count"));
      ASSERT_TRUE(used.ok()) << used.status();
      EXPECT_EQ(more, static_cast<double>(2 * *used));
    }
  }
}

// From one run to the next: the first counts, the second uses it.
TEST_F(HotExpertsTest, TheNextRunKnows) {
  const std::string path = GoldenModel("qwen3moe");
  LoadOptions options = Options("capped,reference");
  options.expected.expert_use_folder = options.expert_use_folder = dir_.path();
  capped_memory.cap = 0;
  auto whole = Open(path, options);
  ASSERT_NE(whole, nullptr);
  EXPECT_TRUE(whole->model().expert_use().empty());
  const Logits expected = Run(*whole);
  whole.reset();
  int split = 0;
  for (int percent = 20; percent < 100; percent += 10) {
    capped_memory = CappedMemory();
    capped_memory.cap = 2000 * percent;
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    EXPECT_FALSE(session->model().expert_use().empty());
    split += !session->model().placement().hot.empty();
    const Logits found = Run(*session);
    EXPECT_LT(testing::NormalizedError(found.back(), expected.back()), 1e-5);
  }
  EXPECT_GE(split, 2);
}

// A device that has less memory than it said gets fewer experts, and the user a line.
TEST_F(HotExpertsTest, ARefusalMovesExperts) {
  const std::string path = GoldenModel("qwen3moe");
  std::mt19937 random(4);
  LoadOptions options = Options("capped,reference");
  options.expert_use = RandomUse(path, random);
  auto whole = Open(path, options);
  ASSERT_NE(whole, nullptr);
  const uint64_t all = capped_memory.peak;
  const Logits expected = Run(*whole);
  whole.reset();
  for (const int fail_at : {0, 1}) {
    capped_memory = CappedMemory();
    capped_memory.cap = all * 7 / 10;
    capped_memory.fail_at = fail_at;
    notices_.clear();
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    EXPECT_FALSE(session->model().placement().hot.empty());
    if (fail_at == 0) {
      ASSERT_EQ(notices_.size(), 1);
      EXPECT_THAT(notices_[0], HasSubstr("had no room for"));
    }
    EXPECT_LT(testing::NormalizedError(Run(*session).back(), expected.back()), 1e-5);
  }
}

TEST_F(HotExpertsTest, UseFromAnImportanceMatrix) {
  eval::Imatrix imatrix;
  imatrix.entries["blk.1.ffn_down_exps.weight"] = {{1, 1, 1, 1}, {4, 9}};
  imatrix.entries["blk.1.attn_q.weight"] = {{1, 1}, {13}};
  const auto use = eval::ExpertUseOf(imatrix);
  ASSERT_TRUE(use.ok()) << use.status();
  EXPECT_THAT(use->counts, ElementsAre(IsEmpty(), ElementsAre(4, 9)));
  imatrix.entries["blk.1.ffn_down_exps.weight"].counts = {9, 9};
  EXPECT_THAT(std::string(eval::ExpertUseOf(imatrix).status().message()),
              HasSubstr("does not say how often"));
  imatrix.entries.erase("blk.1.ffn_down_exps.weight");
  EXPECT_THAT(std::string(eval::ExpertUseOf(imatrix).status().message()),
              HasSubstr("nothing of experts"));
}

}  // namespace
}  // namespace bantam
