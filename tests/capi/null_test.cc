// NULL in every place of every function of the C interface.

#include "tests/capi/support.h"

namespace bantam {
namespace {

// The call fails cleanly with the error asked for and without.
#define EXPECT_REFUSED(function, ...)                                   \
  do {                                                                  \
    bantam_error* error = nullptr;                                      \
    EXPECT_EQ(function(__VA_ARGS__, &error), BANTAM_INVALID_ARGUMENT);  \
    EXPECT_NE(Message(error).find(" is NULL"), std::string::npos);      \
    EXPECT_EQ(function(__VA_ARGS__, nullptr), BANTAM_INVALID_ARGUMENT); \
  } while (0)

using NullTest = CApiTest;

TEST(Null, HandlesCanBeFreedAndAsked) {
  bantam_error_free(nullptr);
  bantam_free(nullptr);
  bantam_model_free(nullptr);
  bantam_session_free(nullptr);
  bantam_sampler_free(nullptr);
  bantam_decoder_free(nullptr);
  bantam_sampler_reset(nullptr);
  EXPECT_EQ(bantam_error_code(nullptr), BANTAM_OK);
  EXPECT_STREQ(bantam_error_message(nullptr), "");
  EXPECT_EQ(bantam_model_metadata_count(nullptr), 0u);
  EXPECT_EQ(bantam_token_is_end(nullptr, 0), 0);
  EXPECT_EQ(bantam_session_position(nullptr), 0);
  EXPECT_EQ(bantam_session_context(nullptr), 0);
  EXPECT_EQ(bantam_session_ubatch(nullptr), 0);
}

TEST_F(NullTest, OfModels) {
  bantam_model* model = nullptr;
  EXPECT_REFUSED(bantam_model_load, nullptr, nullptr, &model);
  EXPECT_REFUSED(bantam_model_load, path_.c_str(), nullptr, nullptr);
  bantam_model_info info = BANTAM_MODEL_INFO_INIT;
  EXPECT_REFUSED(bantam_model_get_info, nullptr, &info);
  EXPECT_REFUSED(bantam_model_get_info, model_.get(), nullptr);
  char* text = nullptr;
  size_t length = 0;
  EXPECT_REFUSED(bantam_model_metadata_key, nullptr, 0, &text, &length);
  EXPECT_REFUSED(bantam_model_metadata_key, model_.get(), 0, nullptr, &length);
  EXPECT_REFUSED(bantam_model_metadata_value, nullptr, "k", &text, &length);
  EXPECT_REFUSED(bantam_model_metadata_value, model_.get(), nullptr, &text, &length);
  EXPECT_REFUSED(bantam_model_metadata_value, model_.get(), "k", nullptr, &length);
}

TEST_F(NullTest, OfText) {
  int32_t* tokens = nullptr;
  size_t count = 0;
  char* text = nullptr;
  const char* piece = nullptr;
  const int32_t token = 'a';
  EXPECT_REFUSED(bantam_tokenize, nullptr, "a", 1, 0, &tokens, &count);
  EXPECT_REFUSED(bantam_tokenize, model_.get(), nullptr, 1, 0, &tokens, &count);
  EXPECT_REFUSED(bantam_tokenize, model_.get(), nullptr, BANTAM_NUL_TERMINATED, 0, &tokens, &count);
  EXPECT_REFUSED(bantam_tokenize, model_.get(), "a", 1, 0, nullptr, &count);
  EXPECT_REFUSED(bantam_tokenize, model_.get(), "a", 1, 0, &tokens, nullptr);
  EXPECT_REFUSED(bantam_detokenize, nullptr, &token, 1, 0, &text, &count);
  EXPECT_REFUSED(bantam_detokenize, model_.get(), nullptr, 1, 0, &text, &count);
  EXPECT_REFUSED(bantam_detokenize, model_.get(), &token, 1, 0, nullptr, &count);
  EXPECT_REFUSED(bantam_token_bytes, nullptr, token, 0, &text, &count);
  EXPECT_REFUSED(bantam_token_bytes, model_.get(), token, 0, nullptr, &count);
  bantam_decoder* decoder = nullptr;
  EXPECT_REFUSED(bantam_decoder_create, nullptr, 0, &decoder);
  EXPECT_REFUSED(bantam_decoder_create, model_.get(), 0, nullptr);
  EXPECT_REFUSED(bantam_decoder_push, nullptr, token, &piece, &count);
  EXPECT_REFUSED(bantam_decoder_finish, nullptr, &piece, &count);
  ASSERT_EQ(bantam_decoder_create(model_.get(), 0, &decoder, nullptr), BANTAM_OK);
  const Owned<bantam_decoder> owner(decoder);
  EXPECT_REFUSED(bantam_decoder_push, decoder, token, nullptr, &count);
  EXPECT_REFUSED(bantam_decoder_finish, decoder, nullptr, &count);
  const bantam_chat_message message = {"user", nullptr};
  EXPECT_REFUSED(bantam_format_chat, nullptr, nullptr, 0, 1, &text, &count);
  EXPECT_REFUSED(bantam_format_chat, model_.get(), nullptr, 1, 1, &text, &count);
  EXPECT_REFUSED(bantam_format_chat, model_.get(), &message, 1, 1, &text, &count);
  EXPECT_REFUSED(bantam_format_chat, model_.get(), nullptr, 0, 1, nullptr, &count);
}

TEST_F(NullTest, OfSessionsAndSamplers) {
  const auto session = NewSession();
  const auto sampler = GreedySampler();
  const int32_t token = 'a';
  int32_t picked = 0;
  bantam_session* new_session = nullptr;
  bantam_sampler* new_sampler = nullptr;
  const float* logits = nullptr;
  size_t count = 0;
  bantam_memory_use memory = BANTAM_MEMORY_USE_INIT;
  EXPECT_REFUSED(bantam_session_create, nullptr, nullptr, &new_session);
  EXPECT_REFUSED(bantam_session_create, model_.get(), nullptr, nullptr);
  EXPECT_REFUSED(bantam_session_decode, nullptr, &token, 1, BANTAM_LOGITS_LAST);
  EXPECT_REFUSED(bantam_session_decode, session.get(), nullptr, 1, BANTAM_LOGITS_LAST);
  EXPECT_REFUSED(bantam_session_logits, nullptr, 0, &logits, &count);
  EXPECT_REFUSED(bantam_session_logits, session.get(), 0, nullptr, &count);
  EXPECT_REFUSED(bantam_session_truncate, nullptr, 0);
  EXPECT_REFUSED(bantam_session_get_memory, nullptr, &memory);
  EXPECT_REFUSED(bantam_session_get_memory, session.get(), nullptr);
  EXPECT_REFUSED(bantam_sampler_create, nullptr, nullptr, &new_sampler);
  EXPECT_REFUSED(bantam_sampler_create, model_.get(), nullptr, nullptr);
  const float number = 0;
  EXPECT_REFUSED(bantam_sampler_sample, nullptr, &number, 1, &picked);
  EXPECT_REFUSED(bantam_sampler_sample, sampler.get(), nullptr, 1, &picked);
  EXPECT_REFUSED(bantam_sampler_sample, sampler.get(), &number, 1, nullptr);
  EXPECT_REFUSED(bantam_sampler_accept, nullptr, 0);
  EXPECT_REFUSED(bantam_generate, nullptr, sampler.get(), &token, 1, nullptr, nullptr);
  EXPECT_REFUSED(bantam_generate, session.get(), nullptr, &token, 1, nullptr, nullptr);
  EXPECT_REFUSED(bantam_generate, session.get(), sampler.get(), nullptr, 1, nullptr, nullptr);
  EXPECT_EQ(bantam_session_position(session.get()), 0);
}

}  // namespace
}  // namespace bantam
