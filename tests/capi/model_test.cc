// Models, text and tokens through the C interface.

#include <gmock/gmock.h>

#include <cstddef>
#include <new>
#include <stdexcept>

#include "tests/capi/support.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;

// Programs are compiled against these layouts: a field may only be added at the end.
static_assert(sizeof(void*) != 8 || sizeof(bantam_model_options) == 48);
static_assert(sizeof(void*) != 8 || sizeof(bantam_model_info) == 128);
static_assert(sizeof(void*) != 8 || sizeof(bantam_session_options) == 48);
static_assert(sizeof(void*) != 8 || sizeof(bantam_memory_use) == 32);
static_assert(sizeof(void*) != 8 || sizeof(bantam_sampler_options) == 128);
static_assert(sizeof(void*) != 8 || sizeof(bantam_generate_options) == 56);
static_assert(sizeof(void*) != 8 || sizeof(bantam_generate_result) == 64);
// Not in the padding at the end of an earlier layout, which programs leave as it was.
static_assert(sizeof(void*) != 8 || offsetof(bantam_session_options, draft_tokens) == 32);
static_assert(sizeof(void*) != 8 || offsetof(bantam_generate_options, keep) == 40);

TEST_F(CApiTest, InfoTellsWhatTheFileSays) {
  bantam_model_info info = BANTAM_MODEL_INFO_INIT;
  ASSERT_EQ(bantam_model_get_info(model_.get(), &info, nullptr), BANTAM_OK);
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_EQ(info.block_count, 2);
  EXPECT_EQ(info.embedding_length, 64);
  EXPECT_EQ(info.head_count, 4);
  EXPECT_EQ(info.head_count_kv, 2);
  EXPECT_EQ(info.context_length, 256);
  EXPECT_GT(info.vocab_size, 256);
  EXPECT_EQ(info.parameter_count * sizeof(float), info.weight_bytes);  // all F32, all in use
  EXPECT_GT(info.file_bytes, info.weight_bytes);
  EXPECT_LE(info.mapped_bytes, info.weight_bytes);
  EXPECT_EQ(info.has_chat_template, 1);
  EXPECT_EQ(bantam_token_is_end(model_.get(), info.eos_token), 1);
  EXPECT_EQ(bantam_token_is_end(model_.get(), 'a'), 0);
  EXPECT_EQ(bantam_token_is_end(model_.get(), -1), 0);
}

TEST_F(CApiTest, AnOlderProgramsInfoIsFilledAsFarAsItGoes) {
  bantam_model_info info = BANTAM_MODEL_INFO_INIT;
  info.size = offsetof(bantam_model_info, context_length);
  info.context_length = -7;
  ASSERT_EQ(bantam_model_get_info(model_.get(), &info, nullptr), BANTAM_OK);
  EXPECT_GT(info.vocab_size, 256);
  EXPECT_EQ(info.context_length, -7);
}

TEST_F(CApiTest, StructuresOfUnsetOrNewerSizeAreRefused) {
  bantam_error* error = nullptr;
  bantam_model_info info = {};
  EXPECT_EQ(bantam_model_get_info(model_.get(), &info, &error), BANTAM_INVALID_ARGUMENT);
  EXPECT_THAT(Message(error), HasSubstr("_INIT"));

  struct {
    bantam_session_options known = BANTAM_SESSION_OPTIONS_INIT;
    int64_t of_the_future = 0;
  } options;
  options.known.size = sizeof(options);
  options.known.context = 8;
  bantam_session* session = nullptr;
  ASSERT_EQ(bantam_session_create(model_.get(), &options.known, &session, nullptr), BANTAM_OK);
  bantam_session_free(session);
  options.of_the_future = 1;
  EXPECT_EQ(bantam_session_create(model_.get(), &options.known, &session, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(session, nullptr);
  EXPECT_THAT(Message(error), HasSubstr("does not know"));
}

TEST_F(CApiTest, MetadataIsHandedOutAsText) {
  const size_t count = bantam_model_metadata_count(model_.get());
  ASSERT_GT(count, 5u);
  bool seen = false;
  for (size_t i = 0; i < count; ++i) {
    char* key = nullptr;
    ASSERT_EQ(bantam_model_metadata_key(model_.get(), i, &key, nullptr, nullptr), BANTAM_OK);
    char* value = nullptr;
    EXPECT_EQ(bantam_model_metadata_value(model_.get(), key, &value, nullptr, nullptr), BANTAM_OK)
        << key;
    bantam_free(value);
    seen |= Take(key) == "llama.block_count";
  }
  EXPECT_TRUE(seen);

  auto value = [this](const char* key) {
    char* text = nullptr;
    size_t length = 0;
    bantam_error* error = nullptr;
    EXPECT_EQ(bantam_model_metadata_value(model_.get(), key, &text, &length, &error), BANTAM_OK)
        << Message(error);
    const std::string result = Take(text);
    EXPECT_EQ(length, result.size());
    return result;
  };
  EXPECT_EQ(value("general.architecture"), "llama");
  EXPECT_EQ(value("llama.block_count"), "2");
  EXPECT_THAT(value("tokenizer.ggml.tokens"), ::testing::StartsWith("[\""));

  bantam_error* error = nullptr;
  char* text = nullptr;
  EXPECT_EQ(bantam_model_metadata_value(model_.get(), "no.such", &text, nullptr, &error),
            BANTAM_NOT_FOUND);
  EXPECT_THAT(Message(error), HasSubstr("no.such"));
  EXPECT_EQ(bantam_model_metadata_key(model_.get(), count, &text, nullptr, &error),
            BANTAM_OUT_OF_RANGE);
  EXPECT_EQ(text, nullptr);
  bantam_error_free(error);
}

TEST_F(CApiTest, AnyBytesGoThroughTokensAndBack) {
  const std::string given("caf\xC3\xA9 \0 \xFF end", 14);
  // The byte that is no UTF-8 comes back as U+FFFD: see tokenizer::Tokenizer::Encode.
  const std::string text("caf\xC3\xA9 \0 \xEF\xBF\xBD end", 16);
  const std::vector<int32_t> tokens = Tokenize(given);
  ASSERT_FALSE(tokens.empty());
  char* back = nullptr;
  size_t length = 0;
  ASSERT_EQ(
      bantam_detokenize(model_.get(), tokens.data(), tokens.size(), 0, &back, &length, nullptr),
      BANTAM_OK);
  EXPECT_EQ(std::string(back, length), text);
  bantam_free(back);

  std::string joined;
  for (int32_t token : tokens) {
    char* bytes = nullptr;
    ASSERT_EQ(bantam_token_bytes(model_.get(), token, 0, &bytes, &length, nullptr), BANTAM_OK);
    joined.append(bytes, length);
    bantam_free(bytes);
  }
  EXPECT_EQ(joined, text);
}

TEST_F(CApiTest, TokenizeTakesNulTerminatedAndEmptyText) {
  int32_t* tokens = nullptr;
  size_t count = 0;
  ASSERT_EQ(
      bantam_tokenize(model_.get(), "abc", BANTAM_NUL_TERMINATED, 0, &tokens, &count, nullptr),
      BANTAM_OK);
  EXPECT_EQ(std::vector<int32_t>(tokens, tokens + count), Tokenize("abc"));
  bantam_free(tokens);
  ASSERT_EQ(bantam_tokenize(model_.get(), nullptr, 0, 0, &tokens, &count, nullptr), BANTAM_OK);
  EXPECT_EQ(count, 0u);
  EXPECT_NE(tokens, nullptr);
  bantam_free(tokens);
}

TEST_F(CApiTest, SpecialTokensAreParsedOnRequestOnly) {
  EXPECT_EQ(Tokenize("<|im_end|>", BANTAM_PARSE_SPECIAL).size(), 1u);
  EXPECT_GT(Tokenize("<|im_end|>").size(), 1u);
  const int32_t end = Tokenize("<|im_end|>", BANTAM_PARSE_SPECIAL)[0];
  char* text = nullptr;
  ASSERT_EQ(bantam_detokenize(model_.get(), &end, 1, 0, &text, nullptr, nullptr), BANTAM_OK);
  EXPECT_EQ(Take(text), "");
  ASSERT_EQ(bantam_detokenize(model_.get(), &end, 1, 1, &text, nullptr, nullptr), BANTAM_OK);
  EXPECT_EQ(Take(text), "<|im_end|>");
  int32_t* tokens = nullptr;
  size_t count = 0;
  EXPECT_EQ(bantam_tokenize(model_.get(), "a", 1, 64, &tokens, &count, nullptr),
            BANTAM_INVALID_ARGUMENT);
}

TEST_F(CApiTest, DecoderHandsOutWholeCharacters) {
  std::vector<int32_t> tokens = Tokenize("\xE2\x82\xAC\xE2\x82\xAC");  // two euro signs,
  ASSERT_EQ(tokens.size(), 6u);                                        // a token for each byte:
  tokens.pop_back();                                                   // the second is cut short
  bantam_decoder* made = nullptr;
  ASSERT_EQ(bantam_decoder_create(model_.get(), 0, &made, nullptr), BANTAM_OK);
  const Owned<bantam_decoder> decoder(made);
  // The decoder keeps the model alive.
  model_.reset();
  std::string all;
  for (int32_t token : tokens) {
    const char* text = nullptr;
    size_t length = 0;
    ASSERT_EQ(bantam_decoder_push(decoder.get(), token, &text, &length, nullptr), BANTAM_OK);
    EXPECT_EQ(std::string(text).size(), length);
    EXPECT_TRUE(length == 0 || std::string(text) == "\xE2\x82\xAC");
    all += text;
  }
  EXPECT_EQ(all, "\xE2\x82\xAC");
  const char* rest = nullptr;
  ASSERT_EQ(bantam_decoder_finish(decoder.get(), &rest, nullptr, nullptr), BANTAM_OK);
  EXPECT_STREQ(rest, "\xEF\xBF\xBD");
  EXPECT_EQ(bantam_decoder_push(decoder.get(), -1, &rest, nullptr, nullptr), BANTAM_OUT_OF_RANGE);
}

TEST_F(CApiTest, ChatFollowsTheModelsTemplate) {
  const bantam_chat_message messages[] = {{"system", "Be brief."}, {"user", "Hi"}};
  char* text = nullptr;
  bantam_error* error = nullptr;
  ASSERT_EQ(bantam_format_chat(model_.get(), messages, 2, 1, &text, nullptr, &error), BANTAM_OK)
      << Message(error);
  EXPECT_EQ(Take(text),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
  const bantam_chat_message nobody = {nullptr, "Hi"};
  EXPECT_EQ(bantam_format_chat(model_.get(), &nobody, 1, 1, &text, nullptr, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(Message(error), "messages[0].role is NULL");
}

TEST_F(CApiTest, AModelWithoutTemplateSaysSo) {
  const std::string path = dir_.File("plain.gguf");
  testing::WriteTinyLlama(path, {.chat_template = false});
  bantam_model* model = nullptr;
  ASSERT_EQ(bantam_model_load(path.c_str(), nullptr, &model, nullptr), BANTAM_OK);
  const Owned<bantam_model> owner(model);
  const bantam_chat_message message = {"user", "Hi"};
  char* text = nullptr;
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_format_chat(model, &message, 1, 1, &text, nullptr, &error),
            BANTAM_FAILED_PRECONDITION);
  EXPECT_THAT(Message(error), HasSubstr("tokenizer.chat_template"));
}

TEST(CApiErrors, LoadingSaysWhatIsWrong) {
  bantam_error* error = nullptr;
  bantam_model* model = nullptr;
  EXPECT_EQ(bantam_model_load("/nonexistent.gguf", nullptr, &model, &error), BANTAM_NOT_FOUND);
  EXPECT_EQ(bantam_error_code(error), BANTAM_NOT_FOUND);
  EXPECT_THAT(Message(error), HasSubstr("/nonexistent.gguf"));
  bantam_model_options options = BANTAM_MODEL_OPTIONS_INIT;
  options.threads = -1;
  EXPECT_EQ(bantam_model_load("/nonexistent.gguf", &options, &model, nullptr),
            BANTAM_INVALID_ARGUMENT);
}

TEST_F(CApiTest, LoadReportsProgressAndNothingIsThrownThroughC) {
  bantam_model_options options = BANTAM_MODEL_OPTIONS_INIT;
  double last = -1;
  options.user_data = &last;
  options.progress = [](double share, void* data) { *static_cast<double*>(data) = share; };
  bantam_model* model = nullptr;
  ASSERT_EQ(bantam_model_load(path_.c_str(), &options, &model, nullptr), BANTAM_OK);
  bantam_model_free(model);
  EXPECT_EQ(last, 1.0);

  bantam_error* error = nullptr;
  options.progress = [](double, void*) { throw std::runtime_error("mine"); };
  EXPECT_EQ(bantam_model_load(path_.c_str(), &options, &model, &error), BANTAM_INTERNAL);
  EXPECT_EQ(Message(error), "mine");
  options.progress = [](double, void*) { throw std::bad_alloc(); };
  EXPECT_EQ(bantam_model_load(path_.c_str(), &options, &model, &error), BANTAM_RESOURCE_EXHAUSTED);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(Message(error), "out of memory");
}

TEST(CApiErrors, CodesHaveNames) {
  EXPECT_STREQ(bantam_code_name(BANTAM_OK), "OK");
  EXPECT_STREQ(bantam_code_name(BANTAM_DATA_LOSS), "DATA_LOSS");
  EXPECT_STREQ(bantam_code_name(static_cast<bantam_code>(99)), "");
}

}  // namespace
}  // namespace bantam
