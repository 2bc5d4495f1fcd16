// What a session promises, on tiny random models.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "runtime/device/registry.h"
#include "runtime/engine/engine.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::bantam::testing::TempDir;
using ::bantam::testing::TinyLlamaOptions;
using ::bantam::testing::WriteTinyLlama;
using engine::LogitsMode;
using engine::Model;
using engine::Session;
using engine::SessionOptions;
using ::testing::HasSubstr;

class SessionTest : public ::testing::Test {
 protected:
  std::shared_ptr<Model> Load(const TinyLlamaOptions& options = {}, int threads = 0) {
    WriteTinyLlama(dir_.File("model.gguf"), options);
    auto model = Model::Load(dir_.File("model.gguf"), {.device = "cpu", .threads = threads});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *std::move(model) : nullptr;
  }
  static std::unique_ptr<Session> Open(std::shared_ptr<Model> model,
                                       const SessionOptions& options = {}) {
    auto session = Session::Create(std::move(model), options);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *std::move(session) : nullptr;
  }
  static std::vector<int32_t> Tokens(int64_t count) {
    std::vector<int32_t> tokens(count);
    for (int64_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>((i * 37 + 11) % 256);
    return tokens;
  }
  static std::vector<float> Copy(std::span<const float> values) {
    return {values.begin(), values.end()};
  }
  static double MaxDifference(std::span<const float> a, std::span<const float> b) {
    EXPECT_EQ(a.size(), b.size());
    double most = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      most = std::max(most, std::abs(double{a[i]} - b[i]));
    }
    return most;
  }

  TempDir dir_;
};

// Every way to cut a prompt into steps gives the logits of decoding token by token.
TEST_F(SessionTest, UbatchesEqualSingleTokens) {
  auto model = Load();
  const std::vector<int32_t> tokens = Tokens(77);
  auto single = Open(model);
  for (int32_t token : tokens) ASSERT_TRUE(single->Decode({&token, 1}).ok());
  const std::vector<float> expected = Copy(single->Logits());
  ASSERT_EQ(expected.size(), 264);
  for (int64_t ubatch : {1, 2, 3, 16, 33, 77, 128}) {
    auto session = Open(model, {.ubatch = ubatch});
    ASSERT_TRUE(session->Decode(tokens).ok());
    EXPECT_EQ(session->position(), 77);
    EXPECT_LT(MaxDifference(session->Logits(), expected), 1e-4) << "ubatch " << ubatch;
  }
}

TEST_F(SessionTest, AllLogitsEqualLastLogits) {
  auto model = Load();
  const std::vector<int32_t> tokens = Tokens(21);
  auto all = Open(model);
  ASSERT_TRUE(all->Decode(tokens, LogitsMode::kAll).ok());
  auto last = Open(model);
  for (size_t i = 0; i < tokens.size(); ++i) {
    ASSERT_TRUE(last->Decode({&tokens[i], 1}).ok());
    EXPECT_LT(MaxDifference(all->Logits(i), last->Logits()), 1e-4) << "token " << i;
  }
  EXPECT_TRUE(all->Logits(21).empty());
  EXPECT_TRUE(all->Logits(-1).empty());
}

TEST_F(SessionTest, OptimizedGraphGivesTheSameLogits) {
  auto model = Load({.biases = true});
  const std::vector<int32_t> tokens = Tokens(19);
  auto optimized = Open(model, {.kv_type = quant::Type::kF32});
  auto plain = Open(model, {.kv_type = quant::Type::kF32, .optimize_graph = false});
  ASSERT_TRUE(optimized->Decode(tokens).ok());
  ASSERT_TRUE(plain->Decode(tokens).ok());
  EXPECT_LT(MaxDifference(optimized->Logits(), plain->Logits()), 1e-5);
}

TEST_F(SessionTest, ThreadCountDoesNotChangeABit) {
  const std::vector<int32_t> tokens = Tokens(50);
  auto one = Open(Load({.weight_type = quant::Type::kQ8_0}, 1));
  auto four = Open(Load({.weight_type = quant::Type::kQ8_0}, 4));
  ASSERT_TRUE(one->Decode(tokens).ok());
  ASSERT_TRUE(four->Decode(tokens).ok());
  EXPECT_EQ(MaxDifference(one->Logits(), four->Logits()), 0);
}

TEST_F(SessionTest, TruncateForgets) {
  auto session = Open(Load());
  const std::vector<int32_t> tokens = Tokens(30);
  const std::span<const int32_t> all(tokens);
  ASSERT_TRUE(session->Decode(all).ok());
  const std::vector<float> expected = Copy(session->Logits());
  const int32_t other = 5;
  ASSERT_TRUE(session->Truncate(10).ok());
  ASSERT_TRUE(session->Decode({&other, 1}).ok());
  ASSERT_TRUE(session->Truncate(10).ok());
  EXPECT_TRUE(session->Logits().empty());
  ASSERT_TRUE(session->Decode(all.subspan(10)).ok());
  EXPECT_LT(MaxDifference(session->Logits(), expected), 1e-4);
  EXPECT_EQ(session->Truncate(31).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(session->Truncate(-1).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(SessionTest, HalfPrecisionCacheIsClose) {
  auto model = Load();
  auto f16 = Open(model);
  auto f32 = Open(model, {.kv_type = quant::Type::kF32});
  const std::vector<int32_t> tokens = Tokens(40);
  ASSERT_TRUE(f16->Decode(tokens).ok());
  ASSERT_TRUE(f32->Decode(tokens).ok());
  const double difference = MaxDifference(f16->Logits(), f32->Logits());
  EXPECT_LT(difference, 0.1);
  EXPECT_GT(difference, 0);  // or the option does nothing
  EXPECT_EQ(f32->memory().kv_cache, 2 * f16->memory().kv_cache);
}

TEST_F(SessionTest, DecodeAllocatesNothing) {
  auto session = Open(Load());
  const std::vector<int32_t> tokens = Tokens(100);
  ASSERT_TRUE(session->Decode(tokens).ok());
  const int64_t before = testing::allocation_count.load();
  for (int i = 0; i < 50; ++i) {
    const int32_t token = i;
    ASSERT_TRUE(session->Decode({&token, 1}).ok());
  }
  ASSERT_TRUE(session->Decode(tokens).ok());  // prompt steps neither
  EXPECT_EQ(testing::allocation_count.load() - before, 0);
}

TEST_F(SessionTest, RefusesWhatDoesNotFit) {
  auto model = Load();
  auto session = Open(model, {.context = 16});
  const std::vector<int32_t> tokens = Tokens(17);
  const std::span<const int32_t> all(tokens);
  const absl::Status full = session->Decode(all);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("17 tokens do not fit: the context holds 16"));
  EXPECT_EQ(session->position(), 0);
  EXPECT_TRUE(session->Decode(all.first(16)).ok());
  EXPECT_FALSE(session->Decode(all.first(1)).ok());

  const int32_t outside[] = {3, 264};
  session->Truncate(0).IgnoreError();
  EXPECT_EQ(session->Decode(outside).code(), absl::StatusCode::kInvalidArgument);
  const int32_t negative = -1;
  EXPECT_EQ(session->Decode({&negative, 1}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(session->position(), 0);

  EXPECT_EQ(Session::Create(model, {.context = 257}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Session::Create(model, {.context = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Session::Create(model, {.ubatch = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Session::Create(model, {.kv_type = quant::Type::kQ5_0}).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Session::Create(model, {.embeddings = true, .likeliest = true}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionTest, NanWeightsAreNamed) {
  const auto model = Load({.nan_tensor = "blk.1.ffn_up.weight"});
  for (bool likeliest : {false, true}) {
    auto session = Open(model, {.likeliest = likeliest});
    const absl::Status status = session->Decode(Tokens(3));
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("blk.1.ffn_up.weight"));
    EXPECT_EQ(session->Likeliest(), tokenizer::kNoToken);
  }
}

TEST_F(SessionTest, MemoryIsStatedExactly) {
  auto model = Load();
  auto session = Open(model, {.context = 128, .ubatch = 32});
  const engine::MemoryUse use = session->memory();
  // 2 layers x (K and V) x 2 heads x 16 elements x 128 cells x 2 bytes
  EXPECT_EQ(use.kv_cache, 2 * 2 * 2 * 16 * 128 * 2);
  uint64_t tensors = 0;
  for (const gguf::TensorInfo& tensor : model->file().tensors()) tensors += tensor.data.size();
  EXPECT_EQ(use.weights, tensors);
  EXPECT_EQ(model->mapped_bytes(), tensors);  // the CPU reads weights where they lie
  EXPECT_GT(use.compute, 0);
  EXPECT_FALSE(session->Describe().empty());
}

// What the CPU rearranges is copied to memory of its own, and gives what it gives in the file; the
// embedding is rows for tokens and the output head both.
TEST_F(SessionTest, RepackedWeightsChangeNoBit) {
  WriteTinyLlama(dir_.File("model.gguf"),
                 {.embedding = 256, .weight_type = quant::Type::kQ8_0, .tied = true});
  std::vector<float> logits[2];
  uint64_t mapped[2], bytes[2];
  for (const bool repack : {false, true}) {
    auto model = Model::Load(dir_.File("model.gguf"), {.device = "cpu", .repack = repack});
    ASSERT_TRUE(model.ok()) << model.status();
    mapped[repack] = (*model)->mapped_bytes();
    bytes[repack] = (*model)->weight_bytes();
    auto session = Open(*model);
    ASSERT_TRUE(session->Decode(Tokens(77)).ok());
    for (int32_t token : Tokens(5)) ASSERT_TRUE(session->Decode({&token, 1}).ok());
    logits[repack] = Copy(session->Logits());
  }
  EXPECT_EQ(logits[true], logits[false]);
  EXPECT_EQ(mapped[false], bytes[false]);
  auto cpu = device::OpenDevice("cpu", {});
  ASSERT_TRUE(cpu.ok());
  graph::Graph g;
  const graph::ValueId w = g.AddWeight("w", quant::Type::kQ8_0, {256, 256, 1, 1});
  if (!(*cpu)->Repacks(g, w)) GTEST_SKIP() << (*cpu)->description() << " does not repack";
  EXPECT_LT(mapped[true], bytes[true] / 10);  // norms
}

TEST_F(SessionTest, ChatTemplateOfTheFile) {
  auto with = Load();
  auto text = with->FormatChat({{"user", "hello"}}, true);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
  auto without = Load({.chat_template = false});
  EXPECT_FALSE(without->has_chat_template());
  EXPECT_EQ(without->FormatChat({{"user", "hello"}}, true).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace bantam
