// One model on two devices: the same text, and exactly the memory that was predicted.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/match.h"
#include "runtime/engine/engine.h"
#include "tests/engine/split_fixture.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/logits.h"

namespace bantam {
namespace {

using ::bantam::testing::capped_memory;
using ::bantam::testing::CappedMemory;
using ::bantam::testing::TinyLlamaOptions;
using ::bantam::testing::WriteTinyLlama;
using engine::LoadOptions;
using engine::LogitsMode;
using engine::Model;
using engine::Session;
using engine::SessionOptions;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class SplitTest : public testing::SplitFixture {
 protected:
  LoadOptions Options(const SessionOptions& session = {.context = 128, .ubatch = 16}) {
    return OptionsFor("capped,cpu", session);
  }
  std::string Write(const TinyLlamaOptions& options) {
    const std::string path = dir_.File("model.gguf");
    WriteTinyLlama(path, options);
    return path;
  }

  struct Text {
    std::vector<int32_t> tokens;
    std::vector<std::vector<float>> logits;
  };
  // A prompt in steps of several sizes and then `count` tokens: the likeliest, or those given.
  static Text Generate(Session& session, int count, const Text* given = nullptr) {
    Text text;
    std::vector<int32_t> prompt(21);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 37 + 11) % 256;
    EXPECT_TRUE(session.Decode(prompt).ok());
    for (int i = 0; i < count; ++i) {
      const std::span<const float> logits = session.Logits();
      text.logits.emplace_back(logits.begin(), logits.end());
      text.tokens.push_back(testing::Likeliest(logits));
      const int32_t next = given == nullptr ? text.tokens.back() : given->tokens[i];
      EXPECT_TRUE(session.Decode({&next, 1}).ok());
    }
    return text;
  }
  // Both devices compute in f32, in another order: logits of about 1 to 10 from two layers agree to
  // 1e-3, and so do the likeliest tokens, unless two are as close as that.
  static void ExpectSame(const Text& expected, const Text& found) {
    ASSERT_LE(found.logits.size(), expected.logits.size());
    ASSERT_FALSE(found.logits.empty());
    for (size_t i = 0; i < found.logits.size(); ++i) {
      for (size_t t = 0; t < found.logits[i].size(); ++t) {
        ASSERT_NEAR(found.logits[i][t], expected.logits[i][t], 1e-3) << "token " << i;
      }
      if (found.tokens[i] == expected.tokens[i]) continue;
      ASSERT_NEAR(expected.logits[i][found.tokens[i]], expected.logits[i][expected.tokens[i]],
                  2e-3);
    }
  }
  Text OnCpu(const std::string& path) {
    LoadOptions options = Options();
    options.device = "cpu";
    options.expected.kv_type = quant::Type::kF32;
    auto session = Open(path, options);
    return session == nullptr ? Text() : Generate(*session, 64);
  }

  // Whether anything was moved while another step was computed.
  static bool Overlap(const engine::Trace& trace) {
    const std::vector<engine::Trace::Span> spans = trace.spans();
    return std::any_of(spans.begin(), spans.end(), [&](const auto& a) {
      return a.is_transfer && std::any_of(spans.begin(), spans.end(), [&](const auto& b) {
               return !b.is_transfer && b.step != a.step && a.begin < b.end && b.begin < a.end;
             });
    });
  }

  // Whether weights came while their own step was computed on the same device.
  static bool OverlapInAStep(const engine::Trace& trace) {
    const std::vector<engine::Trace::Span> spans = trace.spans();
    return std::any_of(spans.begin(), spans.end(), [&](const auto& a) {
      return a.is_transfer && std::any_of(spans.begin(), spans.end(), [&](const auto& b) {
               return !b.is_transfer && b.step == a.step && b.segment < a.segment &&
                      a.begin < b.end && b.begin < a.end;
             });
    });
  }
};

// Layers with a window and without, on either side; and the ring goes through a file.
TEST_F(SplitTest, LayersWithAWindow) {
  const std::string path = absl::StrCat(BANTAM_GOLDEN_DIR, "/models/gemma2.gguf");
  const Text expected = OnCpu(path);
  for (const char* layers : {"1", "2", "3"}) {
    SCOPED_TRACE(layers);
    LoadOptions options = Options();
    options.expected.kv_type = quant::Type::kF32;
    options.control.gpu_layers = layers;
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    ExpectSame(expected, Generate(*session, 64, &expected));
    for (size_t d = 0; d < 2; ++d) {
      const auto& predicted = session->model().placement().memory[d];
      EXPECT_EQ(session->device_memory()[d].kv_cache, predicted.kv_cache) << d;
      EXPECT_EQ(session->device_memory()[d].inputs, predicted.inputs) << d;
    }
    ASSERT_TRUE(session->Save(dir_.File("text.session")).ok());
    auto other = Open(path, options);
    ASSERT_NE(other, nullptr);
    ASSERT_TRUE(other->Restore(dir_.File("text.session")).ok());
    const int32_t next = 65;
    ASSERT_TRUE(session->Decode({&next, 1}).ok());
    ASSERT_TRUE(other->Decode({&next, 1}).ok());
    EXPECT_EQ(testing::NormalizedError(other->Logits(), session->Logits()), 0);
  }
}

TEST_F(SplitTest, EverySplitByLayersGivesTheSameText) {
  for (const bool tied : {true, false}) {
    const std::string path = Write({.layers = 5, .tied = tied, .biases = true});
    const Text expected = OnCpu(path);
    for (const char* layers : {"0", "1", "2", "3", "4", "5", "all"}) {
      SCOPED_TRACE(layers);
      LoadOptions options = Options();
      options.expected.kv_type = quant::Type::kF32;
      options.control.gpu_layers = layers;
      auto session = Open(path, options);
      ASSERT_NE(session, nullptr);
      ExpectSame(expected, Generate(*session, 64, &expected));
      EXPECT_EQ(session->device_memory()[0].total() > 0, std::string(layers) != "0");
      EXPECT_TRUE(session->device_memory()[1].total() == 0 || std::string(layers) != "all");
    }
  }
  EXPECT_THAT(notices_, IsEmpty());
}

TEST_F(SplitTest, RandomPlacementsGiveTheSameText) {
  const std::string path = Write({.layers = 2, .tied = false, .freq_factors = true});
  const Text expected = OnCpu(path);
  std::mt19937 random(1);
  const char* groups[] = {"^token_embd",     R"(^blk\.0\.attn)", R"(^blk\.0\.kv)",
                          R"(^blk\.0\.ffn)", R"(^blk\.1\.attn)", R"(^blk\.1\.kv)",
                          R"(^blk\.1\.ffn)", "^output"};
  for (int i = 0; i < 200; ++i) {
    LoadOptions options = Options();
    options.expected.kv_type = quant::Type::kF32;
    for (const char* group : groups) {
      options.control.place.push_back(
          absl::StrCat(group, "=", random() % 2 == 0 ? "capped" : "cpu"));
    }
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    ExpectSame(expected, Generate(*session, 5, &expected));
    if (HasFatalFailure()) FAIL() << i << session->Describe();
  }
}

// Mixtures of experts, with shared experts, biases and sinks: router, experts and the rest of a
// layer anywhere. Both devices are the reference, so that every bit is the same.
TEST_F(SplitTest, RandomPlacementsOfExpertsGiveTheSameBits) {
  std::mt19937 random(2);
  int apart = 0;  // a layer's experts from what routes to them
  for (const char* name : {"mixtral", "qwen2moe", "qwen3moe", "gpt_oss", "granitemoe"}) {
    const std::string path = absl::StrCat(BANTAM_GOLDEN_DIR, "/models/", name, ".gguf");
    LoadOptions alone = Options();
    alone.device = "reference";
    auto reference = Open(path, alone);
    ASSERT_NE(reference, nullptr);
    const Text expected = Generate(*reference, 6);
    const int layers = reference->model().config().block_count;
    for (int i = 0; i < 40; ++i) {
      SCOPED_TRACE(absl::StrCat(name, " ", i));
      LoadOptions options = Options();
      options.device = "capped,reference";
      const auto place = [&](absl::string_view what) {
        options.control.place.push_back(
            absl::StrCat(what, "=", random() % 2 == 0 ? "capped" : "reference"));
      };
      place("^output_norm");
      for (int l = 0; l < layers; ++l) {
        for (const char* one :
             {"attn_output.weight", "kv_cache", "ffn_gate_inp.weight", "ffn_down_exps.weight"}) {
          place(absl::StrCat("^blk[.]", l, "[.]", one));
        }
      }
      auto session = Open(path, options);
      ASSERT_NE(session, nullptr);
      const Text found = Generate(*session, 6);
      ASSERT_EQ(found.tokens, expected.tokens);
      ASSERT_EQ(found.logits, expected.logits);
      const schedule::Placement& placement = session->model().placement();
      for (int l = 0; l < layers; ++l) {
        apart += placement.DeviceOf({schedule::Part::kExperts, l}) !=
                 placement.DeviceOf({schedule::Part::kFeedForward, l});
      }
    }
  }
  EXPECT_GT(apart, 150);
}

// A prompt of several steps, two of them at a time and one after the other: the same bits.
TEST_F(SplitTest, TwoStepsAtATimeComputeTheSame) {
  for (const bool has_window : {false, true}) {
    const std::string path = has_window ? absl::StrCat(BANTAM_GOLDEN_DIR, "/models/gemma3.gguf")
                                        : Write({.layers = 4, .tied = false});
    std::vector<int32_t> prompt(110);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 37 + 11) % 256;
    std::vector<std::vector<float>> logits;
    for (const bool pipeline : {false, true}) {
      engine::Trace trace;
      LoadOptions options = Options();
      options.expected.pipeline = pipeline;
      options.expected.trace = &trace;
      options.control.place = {R"(^blk\.[02]\.=capped)", R"(^blk\.[^02]\.=cpu)", "^token=cpu"};
      capped_memory.transfer = std::chrono::microseconds(500);
      auto session = Open(path, options);
      ASSERT_NE(session, nullptr);
      EXPECT_EQ(session->prompt_batch() > session->ubatch(), pipeline);
      for (const size_t count : {prompt.size(), size_t{70}, size_t{16}}) {
        ASSERT_TRUE(session->Truncate(0).ok());
        ASSERT_TRUE(session->Decode(std::span(prompt).first(count)).ok());
        EXPECT_EQ(session->position(), static_cast<int64_t>(count));
        const std::span<const float> last = session->Logits();
        logits.emplace_back(last.begin(), last.end());
      }
      EXPECT_EQ(Overlap(trace), pipeline);
    }
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(logits[i], logits[i + 3]);
  }
}

TEST_F(SplitTest, NoRoomForASecondStep) {
  const std::string path = Write({.layers = 3});
  LoadOptions options = Options();
  options.control.gpu_layers = "1";
  // Weights, inputs, KV cache and intermediate values are there; then inputs again.
  capped_memory.fail_at = 4;
  auto session = Open(path, options);
  ASSERT_NE(session, nullptr);
  ASSERT_EQ(notices_.size(), 1);
  EXPECT_THAT(notices_[0], HasSubstr("steps run one after the other"));
  std::vector<int32_t> prompt(100, 7);
  EXPECT_TRUE(session->Decode(prompt).ok());
}

TEST_F(SplitTest, WhatIsPredictedIsAllocatedAndNeverMoreThanTheCap) {
  int partial = 0, streamed = 0;
  for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ8_0, quant::Type::kQ4_0}) {
    const std::string path =
        Write({.layers = 3, .weight_type = type, .tied = type != quant::Type::kQ8_0});
    for (const int64_t context : {33, 256}) {
      for (const uint64_t cap : {0, 30'000, 90'000, 200'001, 300'000, 400'000, 10'000'000}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", context, " ", cap));
        capped_memory = CappedMemory();
        capped_memory.cap = cap;
        auto session = Open(path, Options({.context = context, .ubatch = 32}));
        ASSERT_NE(session, nullptr);
        const auto& predicted = session->model().placement().memory;
        const auto allocated = session->device_memory();
        EXPECT_EQ(predicted[0].weights, allocated[0].weights);
        for (size_t d = 0; d < 2; ++d) {
          EXPECT_EQ(predicted[d].kv_cache, allocated[d].kv_cache);
          EXPECT_EQ(predicted[d].inputs, allocated[d].inputs);
          EXPECT_EQ(predicted[d].compute, allocated[d].compute);
          EXPECT_EQ(predicted[d].streamed, allocated[d].streamed);
          EXPECT_EQ(predicted[d].scratch, allocated[d].scratch);
        }
        streamed += predicted[0].streamed > 0;
        EXPECT_EQ(capped_memory.peak, predicted[0].total());
        EXPECT_LE(capped_memory.peak, cap);
        partial += predicted[0].total() > 0 && allocated[1].total() > 0;
      }
    }
  }
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_GE(partial, 10);  // or hardly any cap showed anything
  EXPECT_GE(streamed, 2);
}

// Weights that have no room on the card are copied to it for large steps: both devices are the
// reference, so that every bit is the same, and memory is what was predicted.
TEST_F(SplitTest, WeightsComeToTheCardForPrompts) {
  std::vector<int32_t> prompt(100);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 37 + 11) % 256;
  const std::string golden = absl::StrCat(BANTAM_GOLDEN_DIR, "/models/");
  int overlaps = 0, streamed = 0;
  for (const std::string& path :
       {Write({.layers = 4, .tied = false}), golden + "qwen2moe.gguf", golden + "gemma2.gguf"}) {
    LoadOptions alone = Options();
    alone.device = "reference";
    auto reference = Open(path, alone);
    ASSERT_NE(reference, nullptr);
    const Text expected = Generate(*reference, 8);
    ASSERT_TRUE(reference->Truncate(0).ok() && reference->Decode(prompt).ok());
    const std::vector<float> last(reference->Logits().begin(), reference->Logits().end());
    const uint64_t size = reference->model().weight_bytes();
    for (const uint64_t cap : {size / 3, size / 2, 2 * size / 3, 5 * size / 6}) {
      for (const bool streams : {true, false}) {
        SCOPED_TRACE(absl::StrCat(path, " ", cap, " ", streams));
        capped_memory = CappedMemory();
        capped_memory.cap = cap;
        capped_memory.transfer = std::chrono::microseconds(200);
        engine::Trace trace;
        LoadOptions options = Options();
        options.device = "capped,reference";
        options.expected.stream_weights = streams;
        options.expected.trace = &trace;
        auto session = Open(path, options);
        ASSERT_NE(session, nullptr);
        const schedule::Placement& placement = session->model().placement();
        EXPECT_LE(placement.streaming.rows > 0, streams);
        streamed += placement.streaming.rows > 0;
        for (size_t d = 0; d < 2; ++d) {
          EXPECT_EQ(placement.memory[d].streamed, session->device_memory()[d].streamed);
          EXPECT_EQ(placement.memory[d].compute, session->device_memory()[d].compute);
          EXPECT_EQ(placement.memory[d].inputs, session->device_memory()[d].inputs);
        }
        EXPECT_EQ(capped_memory.peak, placement.memory[0].total());
        EXPECT_LE(capped_memory.peak, cap);
        ASSERT_TRUE(session->Decode(prompt).ok());
        overlaps += OverlapInAStep(trace);
        EXPECT_EQ(testing::NormalizedError(session->Logits(), last), 0);
        ASSERT_TRUE(session->Truncate(0).ok());
        const Text found = Generate(*session, 8);
        ASSERT_EQ(found.tokens, expected.tokens);
        ASSERT_EQ(found.logits, expected.logits);
        // Logits of every row come from steps of the same kind, made when they are asked for.
        capped_memory.cap = 10'000'000;
        ASSERT_TRUE(session->Truncate(0).ok() && reference->Truncate(0).ok());
        const std::span<const int32_t> some = std::span(prompt).first(16);
        ASSERT_TRUE(session->Decode(some, LogitsMode::kAll).ok());
        ASSERT_TRUE(reference->Decode(some, LogitsMode::kAll).ok());
        for (int64_t row = 0; row < 16; ++row) {
          EXPECT_EQ(testing::NormalizedError(session->Logits(row), reference->Logits(row)), 0);
        }
      }
    }
  }
  EXPECT_GE(streamed, 6);
  EXPECT_GE(overlaps, 1);  // of those with more than one unit
  EXPECT_THAT(notices_, IsEmpty());
}

// Whatever allocation is refused, and whenever the card is lost, the text is the same.
TEST_F(SplitTest, WeightsThatComeToACardInTrouble) {
  const std::string path = Write({.layers = 4, .tied = false});
  LoadOptions options = Options();
  options.device = "capped,reference";
  LoadOptions alone = options;
  alone.device = "reference";
  auto reference = Open(path, alone);
  ASSERT_NE(reference, nullptr);
  const Text expected = Generate(*reference, 8);
  int without = 0;
  for (int i = 0; i < 16; ++i) {
    const bool is_refused = i < 8;
    SCOPED_TRACE(i);
    notices_.clear();
    capped_memory = CappedMemory();
    capped_memory.cap = 220'000;
    if (is_refused) capped_memory.fail_at = i;
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    if (!is_refused) capped_memory.lost_after = i - 8;
    const Text found = Generate(*session, 8);
    EXPECT_EQ(found.tokens, expected.tokens);
    EXPECT_EQ(found.logits, expected.logits);
    if (is_refused && capped_memory.allocations <= i) continue;
    ASSERT_EQ(notices_.size(), 1);
    without += absl::StrContains(notices_[0], "no weights are brought there");
  }
  // Two buffers, inputs, KV cache and intermediate values: what only prompts gain by goes first.
  EXPECT_EQ(without, 5);
}

TEST_F(SplitTest, ARefusedAllocationMovesAGroupAndIsSaid) {
  const std::string path = Write({.layers = 3});
  LoadOptions options = Options();
  options.expected.kv_type = quant::Type::kF32;
  const Text expected = OnCpu(path);
  for (int step = 0; step < 4; ++step) {  // weights, inputs, KV cache, compute
    SCOPED_TRACE(step);
    notices_.clear();
    capped_memory = CappedMemory();
    capped_memory.fail_at = step;
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    ASSERT_EQ(notices_.size(), 1);
    EXPECT_THAT(notices_[0], HasSubstr("capped "));
    EXPECT_THAT(notices_[0], HasSubstr(step == 0 ? " to cpu" : "moved KV of layer 2 to cpu"));
    EXPECT_THAT(notices_[0], Not(HasSubstr("\n")));
    ExpectSame(expected, Generate(*session, 8, &expected));
  }
}

TEST_F(SplitTest, ALostDeviceIsGoneOnWithout) {
  const std::string path = Write({.layers = 3});
  const Text expected = OnCpu(path);
  int lost_at_prompt = 0;
  // In its first step, later in the prompt, and while generating.
  for (const int runs : {0, 1, 3, 9}) {
    SCOPED_TRACE(runs);
    notices_.clear();
    capped_memory = CappedMemory();
    LoadOptions options = Options();
    options.expected.kv_type = quant::Type::kF32;
    options.control.gpu_layers = "2";
    options.control.vram = {"capped=1GiB"};
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    const Model& before = session->model();
    capped_memory.lost_after = runs;
    ExpectSame(expected, Generate(*session, 16, &expected));
    EXPECT_TRUE(capped_memory.is_lost);
    ASSERT_EQ(notices_.size(), 1);
    EXPECT_THAT(notices_[0], HasSubstr("capped was lost"));
    EXPECT_THAT(notices_[0], HasSubstr("again on cpu"));
    EXPECT_EQ(session->model().devices().size(), 1);
    EXPECT_EQ(before.devices().size(), 2);  // still there
    lost_at_prompt += runs < 2;
  }
  EXPECT_EQ(lost_at_prompt, 2);
}

// Lost at each of the first calls and at some of the others, to the last token, with steps two at a
// time and with weights that come to it.
TEST_F(SplitTest, ADeviceLostAtAnyCall) {
  const std::string path = Write({.layers = 4, .tied = false});
  LoadOptions options = Options();
  options.device = "capped,reference";
  LoadOptions alone = options;
  alone.device = "reference";
  auto reference = Open(path, alone);
  ASSERT_NE(reference, nullptr);
  const Text expected = Generate(*reference, 4);
  for (const bool streams : {false, true}) {
    if (!streams) options.control.gpu_layers = "1";
    if (streams) options.control = {};
    int at_load = 0;
    for (int call = 0;; call += call < 30 ? 1 : 9) {
      SCOPED_TRACE(absl::StrCat(streams, " ", call));
      notices_.clear();
      capped_memory = CappedMemory();
      if (streams) capped_memory.cap = 150'000;
      capped_memory.lost_at_call = call;
      auto model = Model::Load(path, options);
      ASSERT_TRUE(model.ok()) << model.status();
      at_load += (*model)->devices().size() == 1;
      auto session = Session::Create(*std::move(model), options.expected);
      ASSERT_TRUE(session.ok()) << session.status();
      if (!capped_memory.is_lost) {
        EXPECT_EQ((*session)->model().placement().streaming.rows > 0, streams);
      }
      const Text found = Generate(**session, 4);
      ASSERT_EQ(found.tokens, expected.tokens);
      ASSERT_EQ(found.logits, expected.logits);
      if (!capped_memory.is_lost) {
        EXPECT_GT(call, 50);
        break;
      }
      ASSERT_EQ(notices_.size(), 1);
      EXPECT_THAT(notices_[0], HasSubstr("capped was lost"));
      EXPECT_EQ((*session)->model().devices().size(), 1);
    }
    EXPECT_GT(at_load, streams ? -1 : 3);  // with so little memory the card has no weights
  }
}

TEST_F(SplitTest, ALostDeviceIsAnErrorWhereThatIsWanted) {
  const std::string path = Write({});
  for (const bool is_alone : {false, true}) {
    capped_memory = CappedMemory();
    LoadOptions options = Options();
    options.expected.recover = is_alone;
    if (is_alone) {
      options.device = "capped";
      options.profiles.clear();
    } else {
      options.control.gpu_layers = "1";
    }
    auto session = Open(path, options);
    ASSERT_NE(session, nullptr);
    capped_memory.lost_after = 0;
    const int32_t token = 1;
    const absl::Status status = session->Decode({&token, 1});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(is_alone ? "it was the only device" : "switched off"));
    EXPECT_EQ(session->position(), 0);
  }
}

TEST_F(SplitTest, LessMemoryThanTheDriverSaid) {
  const std::string path = Write({.layers = 3});
  capped_memory.cap = 150'000;
  LoadOptions options = Options();
  options.expected.context = 16;  // less than the session then wants
  auto model = Model::Load(path, options);
  ASSERT_TRUE(model.ok()) << model.status();
  SessionOptions wanted = options.expected;
  wanted.context = 256;
  auto session = Session::Create(*std::move(model), wanted);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_THAT(notices_, Not(IsEmpty()));
  EXPECT_LE(capped_memory.peak, 150'000);
}

TEST_F(SplitTest, WhatTheUserFixedIsNotMoved) {
  const std::string path = Write({});
  LoadOptions options = Options();
  options.control.gpu_layers = "all";
  capped_memory.cap = 1000;
  const auto model = Model::Load(path, options);
  EXPECT_EQ(model.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("do not fit"));
  options.device = "cpu,cpu";
  EXPECT_THAT(std::string(Model::Load(path, options).status().message()),
              HasSubstr("device cpu is named twice"));
}

TEST_F(SplitTest, DecodeAllocatesNothing) {
  LoadOptions options = Options();
  options.control.gpu_layers = "1";
  auto session = Open(Write({}), options);
  ASSERT_NE(session, nullptr);
  Generate(*session, 2);
  const int64_t before = testing::allocation_count.load();
  for (int32_t token = 0; token < 20; ++token) ASSERT_TRUE(session->Decode({&token, 1}).ok());
  EXPECT_EQ(testing::allocation_count.load() - before, 0);
}

}  // namespace
}  // namespace bantam
