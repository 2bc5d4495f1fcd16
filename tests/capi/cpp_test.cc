// The C++ wrapper.

#include <gtest/gtest.h>

#include <stdexcept>
#include <type_traits>

#include "bantam/bantam.hpp"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

static_assert(!std::is_copy_constructible_v<Model> && std::is_move_constructible_v<Model>);
static_assert(!std::is_copy_constructible_v<Session> && std::is_move_assignable_v<Session>);
static_assert(!std::is_copy_constructible_v<Sampler> && std::is_move_constructible_v<Sampler>);
static_assert(!std::is_convertible_v<Expected<int>, bool>);

class CppTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = dir_.File("tiny.gguf");
    testing::WriteTinyLlama(path_, {});
  }
  Model Load() {
    auto model = Model::Load(path_);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return *std::move(model);
  }
  static Sampler Greedy(const Model& model) {
    auto options = Sampler::DefaultOptions();
    options.temperature = 0;
    auto sampler = Sampler::Create(model, options);
    EXPECT_TRUE(sampler.ok());
    return *std::move(sampler);
  }
  testing::TempDir dir_;
  std::string path_;
};

TEST_F(CppTest, ErrorsCarryCodeAndMessage) {
  const auto model = Model::Load("/nonexistent.gguf");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, BANTAM_NOT_FOUND);
  EXPECT_NE(model.error().message.find("/nonexistent.gguf"), std::string::npos);
  const Status status = Error{BANTAM_INTERNAL, "x"};
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Status().ok());
}

TEST_F(CppTest, TextTokensAndMetadata) {
  const Model model = Load();
  const auto tokens = model.Tokenize("the cat", {.add_special = false});
  ASSERT_TRUE(tokens);
  EXPECT_EQ(*model.Detokenize(*tokens), "the cat");
  std::string joined;
  for (int32_t token : *tokens) joined += *model.TokenBytes(token);
  EXPECT_EQ(joined, "the cat");
  EXPECT_TRUE(model.Tokenize("", {.add_special = false})->empty());
  EXPECT_EQ(*model.Metadata("general.architecture"), "llama");
  EXPECT_EQ(model.Metadata("none").error().code, BANTAM_NOT_FOUND);
  EXPECT_EQ(model.MetadataKeys()->size(), bantam_model_metadata_count(model.get()));
  EXPECT_STREQ(model.Info().architecture, "llama");
  EXPECT_TRUE(model.IsEnd(model.Info().eos_token));
  EXPECT_EQ(*model.FormatChat({{"user", "Hi"}}, false), "<|im_start|>user\nHi<|im_end|>\n");
  auto decoder = TextDecoder::Create(model);
  ASSERT_TRUE(decoder);
  std::string streamed;
  for (int32_t token : *tokens) streamed += *decoder->Push(token);
  streamed += *decoder->Finish();
  EXPECT_EQ(streamed, "the cat");
}

TEST_F(CppTest, GenerateIsDecodeAndSample) {
  const Model model = Load();
  const std::vector<int32_t> prompt = *model.Tokenize("the cat");
  auto session = *Session::Create(model);
  Sampler sampler = Greedy(model);
  std::vector<int32_t> generated;
  const auto result =
      session.Generate(prompt, sampler, {.max_tokens = 5}, [&](std::string_view, int32_t token) {
        if (token != BANTAM_NO_TOKEN) generated.push_back(token);
        return true;
      });
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->generated_tokens, 5);
  EXPECT_EQ(session.Position(), static_cast<int64_t>(prompt.size()) + 5);
  EXPECT_GT(session.Memory().kv_cache, 0u);
  EXPECT_EQ(session.Context(), model.Info().context_length);
  EXPECT_GT(session.Ubatch(), 0);

  ASSERT_TRUE(session.Truncate(0));
  ASSERT_TRUE(session.Decode(prompt));
  const auto logits = session.Logits();
  ASSERT_TRUE(logits);
  EXPECT_EQ(logits->size, static_cast<size_t>(model.Info().vocab_size));
  const auto token = sampler.Sample(logits->data, logits->size);
  ASSERT_TRUE(token);
  EXPECT_EQ(*token, generated[0]);
  EXPECT_TRUE(sampler.Accept(*token));
  sampler.Reset();
  EXPECT_EQ(session.Logits(3).error().code, BANTAM_OUT_OF_RANGE);
}

TEST_F(CppTest, FalseStopsAndExceptionsComeOut) {
  const Model model = Load();
  auto session = *Session::Create(model);
  Sampler sampler = Greedy(model);
  const auto result =
      session.Generate({'a'}, sampler, {}, [](std::string_view, int32_t) { return false; });
  ASSERT_TRUE(result);
  EXPECT_EQ(result->stop, BANTAM_STOP_CALLBACK);
  EXPECT_EQ(result->generated_tokens, 1);
  EXPECT_THROW((void)session.Generate(
                   {'a'}, sampler, {},
                   [](std::string_view, int32_t) -> bool { throw std::runtime_error("mine"); }),
               std::runtime_error);
  LoadOptions options;
  options.progress = [](double) { throw std::runtime_error("mine"); };
  EXPECT_THROW((void)Model::Load(path_, options), std::runtime_error);
}

TEST_F(CppTest, HandlesMove) {
  Model model = Load();
  Model moved = std::move(model);
  EXPECT_EQ(model.get(), nullptr);
  auto session = *Session::Create(moved);
  moved = Load();  // the session keeps the first model alive
  EXPECT_TRUE(session.Decode({'a'}));
}

}  // namespace
}  // namespace bantam
