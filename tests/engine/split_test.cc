// One model on two devices: the same text, and exactly the memory that was predicted.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "runtime/engine/engine.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/capped_device.h"
#include "tests/support/logits.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::bantam::testing::capped_memory;
using ::bantam::testing::CappedMemory;
using ::bantam::testing::TempDir;
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

const device::BackendRegistration kCapped(std::make_unique<testing::CappedBackend>());

class SplitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(capped_memory.used, 0) << "an earlier test leaked";
    capped_memory = CappedMemory();
  }
  void TearDown() override { EXPECT_EQ(capped_memory.used, 0) << "leaked"; }

  // A fast card beside a slow host, so that what fits goes to the card.
  LoadOptions Options(const SessionOptions& session = {.context = 128, .ubatch = 16}) {
    LoadOptions options;
    options.device = "capped,cpu";
    options.threads = 1;
    options.expected = session;
    options.profiles.resize(2);
    options.profiles[0].bandwidth = 1e12;
    options.profiles[0].operations = 1e14;
    options.profiles[0].transfer_bandwidth = 1e11;
    options.notice = [this](absl::string_view line) { notices_.emplace_back(line); };
    options.expected.notice = options.notice;
    return options;
  }
  std::string Write(const TinyLlamaOptions& options) {
    const std::string path = dir_.File("model.gguf");
    WriteTinyLlama(path, options);
    return path;
  }
  static std::unique_ptr<Session> Open(const std::string& path, const LoadOptions& options) {
    auto model = Model::Load(path, options);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return nullptr;
    auto session = Session::Create(*std::move(model), options.expected);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *std::move(session) : nullptr;
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

  TempDir dir_;
  std::vector<std::string> notices_;
};

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

TEST_F(SplitTest, WhatIsPredictedIsAllocatedAndNeverMoreThanTheCap) {
  int partial = 0;
  for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ8_0, quant::Type::kQ4_0}) {
    const std::string path =
        Write({.layers = 3, .weight_type = type, .tied = type != quant::Type::kQ8_0});
    for (const int64_t context : {33, 256}) {
      for (const uint64_t cap : {0, 30'000, 90'000, 200'001, 400'000, 10'000'000}) {
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
        }
        EXPECT_EQ(capped_memory.peak, predicted[0].total());
        EXPECT_LE(capped_memory.peak, cap);
        partial += predicted[0].total() > 0 && allocated[1].total() > 0;
      }
    }
  }
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_GE(partial, 10);  // or hardly any cap showed anything
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
