// One model used by several threads at once, each with a session of its own.

#include <thread>

#include "tests/capi/support.h"

namespace bantam {
namespace {

int Collect(const char*, size_t, int32_t token, void* tokens) {
  if (token != BANTAM_NO_TOKEN) static_cast<std::vector<int32_t>*>(tokens)->push_back(token);
  return 0;
}

TEST_F(CApiTest, SessionsOnThreadsOfTheirOwnAnswerAsAlone) {
  constexpr int kThreads = 4;
  auto answer = [this](const std::string& text) {
    const auto session = NewSession();
    const auto sampler = GreedySampler();
    const std::vector<int32_t> prompt = Tokenize(text);
    std::vector<int32_t> tokens;
    bantam_generate_options options = BANTAM_GENERATE_OPTIONS_INIT;
    options.max_tokens = 16;
    options.callback = &Collect;
    options.user_data = &tokens;
    bantam_error* error = nullptr;
    EXPECT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                              nullptr, &error),
              BANTAM_OK)
        << Message(error);
    return tokens;
  };
  const std::string prompts[kThreads] = {"the cat", "a dog ate", "1 2 3 4 5 6", "x"};
  std::vector<int32_t> alone[kThreads], together[kThreads];
  for (int i = 0; i < kThreads; ++i) alone[i] = answer(prompts[i]);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { together[i] = answer(prompts[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kThreads; ++i) EXPECT_EQ(together[i], alone[i]) << prompts[i];
}

TEST(CApiThreads, ErrorsBelongToTheCallThatFailed) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      const std::string path = "/nonexistent/" + std::to_string(i);
      for (int round = 0; round < 50; ++round) {
        bantam_model* model = nullptr;
        bantam_error* error = nullptr;
        EXPECT_EQ(bantam_model_load(path.c_str(), nullptr, &model, &error), BANTAM_NOT_FOUND);
        EXPECT_NE(Message(error).find(path), std::string::npos);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace bantam
