// Handles that free themselves and messages that free themselves, for tests of the C interface.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "bantam/bantam.h"
#include "tests/support/tiny_model.h"

namespace bantam {

struct FreeHandle {
  void operator()(bantam_model* p) const { bantam_model_free(p); }
  void operator()(bantam_session* p) const { bantam_session_free(p); }
  void operator()(bantam_sampler* p) const { bantam_sampler_free(p); }
  void operator()(bantam_decoder* p) const { bantam_decoder_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, FreeHandle>;

// The message of an error, which it frees.
inline std::string Message(bantam_error* error) {
  std::string message = bantam_error_message(error);
  bantam_error_free(error);
  return message;
}

// Text handed out by the library, which it frees.
inline std::string Take(char* text) {
  std::string copy = text == nullptr ? "" : text;
  bantam_free(text);
  return copy;
}

// A tiny model on disk and loaded, with what most tests need of it.
class CApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = dir_.File("tiny.gguf");
    testing::WriteTinyLlama(path_, {});
    bantam_model_options options = BANTAM_MODEL_OPTIONS_INIT;
    options.device = "cpu";
    bantam_model* model = nullptr;
    bantam_error* error = nullptr;
    ASSERT_EQ(bantam_model_load(path_.c_str(), &options, &model, &error), BANTAM_OK)
        << Message(error);
    ASSERT_EQ(error, nullptr);
    model_.reset(model);
  }

  Owned<bantam_session> NewSession(int64_t context = 64) {
    bantam_session_options options = BANTAM_SESSION_OPTIONS_INIT;
    options.context = context;
    bantam_session* session = nullptr;
    bantam_error* error = nullptr;
    EXPECT_EQ(bantam_session_create(model_.get(), &options, &session, &error), BANTAM_OK)
        << Message(error);
    return Owned<bantam_session>(session);
  }

  Owned<bantam_sampler> GreedySampler() {
    bantam_sampler_options options = BANTAM_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    bantam_sampler* sampler = nullptr;
    bantam_error* error = nullptr;
    EXPECT_EQ(bantam_sampler_create(model_.get(), &options, &sampler, &error), BANTAM_OK)
        << Message(error);
    return Owned<bantam_sampler>(sampler);
  }

  std::vector<int32_t> Tokenize(const std::string& text, uint32_t flags = 0) {
    int32_t* tokens = nullptr;
    size_t count = 0;
    bantam_error* error = nullptr;
    EXPECT_EQ(
        bantam_tokenize(model_.get(), text.data(), text.size(), flags, &tokens, &count, &error),
        BANTAM_OK)
        << Message(error);
    std::vector<int32_t> result(tokens, tokens + count);
    bantam_free(tokens);
    return result;
  }

  testing::TempDir dir_;
  std::string path_;
  Owned<bantam_model> model_;
};

}  // namespace bantam
