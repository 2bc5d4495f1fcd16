// Sessions, samplers and generation through the C interface.

#include <gmock/gmock.h>

#include <algorithm>

#include "runtime/sample/sampler.h"
#include "tests/capi/support.h"
#include "tests/support/logits.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;

std::vector<float> Row(const bantam_session* session, size_t row = 0) {
  const float* logits = nullptr;
  size_t count = 0;
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_session_logits(session, row, &logits, &count, &error), BANTAM_OK)
      << Message(error);
  return {logits, logits + count};
}

struct Answer {
  std::vector<int32_t> tokens;
  std::string text;
  int64_t stop_after = INT64_MAX;
  static int Add(const char* text, size_t length, int32_t token, void* self) {
    auto& answer = *static_cast<Answer*>(self);
    answer.text.append(text, length);
    if (token != BANTAM_NO_TOKEN) answer.tokens.push_back(token);
    return static_cast<int64_t>(answer.tokens.size()) >= answer.stop_after;
  }
};

bantam_generate_options Into(Answer& answer, int64_t max_tokens) {
  bantam_generate_options options = BANTAM_GENERATE_OPTIONS_INIT;
  options.max_tokens = max_tokens;
  options.callback = &Answer::Add;
  options.user_data = &answer;
  return options;
}

TEST(SamplerOptions, DefaultsAreTheLibrarys) {
  const bantam_sampler_options c = BANTAM_SAMPLER_OPTIONS_INIT;
  const sample::Params params;
  EXPECT_EQ(c.temperature, params.temperature);
  EXPECT_EQ(c.top_k, params.top_k);
  EXPECT_EQ(c.top_p, params.top_p);
  EXPECT_EQ(c.min_p, params.min_p);
  EXPECT_EQ(c.typical_p, params.typical_p);
  EXPECT_EQ(c.repeat_penalty, params.repeat_penalty);
  EXPECT_EQ(c.frequency_penalty, params.frequency_penalty);
  EXPECT_EQ(c.presence_penalty, params.presence_penalty);
  EXPECT_EQ(c.penalty_last_n, params.penalty_last_n);
  EXPECT_EQ(c.seed, params.seed);
  EXPECT_EQ(c.dry_multiplier, params.dry.multiplier);
  EXPECT_EQ(c.dry_base, params.dry.base);
  EXPECT_EQ(c.dry_allowed_length, params.dry.allowed_length);
  EXPECT_EQ(c.dry_last_n, params.dry.last_n);
  EXPECT_EQ(c.xtc_probability, params.xtc_probability);
  EXPECT_EQ(c.xtc_threshold, params.xtc_threshold);
  EXPECT_EQ(c.mirostat_tau, params.mirostat_tau);
  EXPECT_EQ(c.mirostat_eta, params.mirostat_eta);
}

TEST_F(CApiTest, LogitsOfAllTokensAndOfTheLastAgree) {
  const std::vector<int32_t> tokens = Tokenize("the cat sat");
  const auto all = NewSession();
  ASSERT_EQ(
      bantam_session_decode(all.get(), tokens.data(), tokens.size(), BANTAM_LOGITS_ALL, nullptr),
      BANTAM_OK);
  const auto last = NewSession();
  ASSERT_EQ(
      bantam_session_decode(last.get(), tokens.data(), tokens.size(), BANTAM_LOGITS_LAST, nullptr),
      BANTAM_OK);
  EXPECT_EQ(Row(all.get(), tokens.size() - 1), Row(last.get()));
  EXPECT_NE(Row(all.get(), 0), Row(last.get()));
  const float* logits = nullptr;
  for (size_t row : {size_t{1}, size_t{1} << 40, SIZE_MAX}) {
    EXPECT_EQ(bantam_session_logits(last.get(), row, &logits, nullptr, nullptr),
              BANTAM_OUT_OF_RANGE);
  }
  EXPECT_EQ(bantam_session_position(last.get()), static_cast<int64_t>(tokens.size()));
  EXPECT_EQ(bantam_session_context(last.get()), 64);
  EXPECT_LE(bantam_session_ubatch(last.get()), 64);
}

TEST_F(CApiTest, BadDecodesLeaveTheSessionAsItWas) {
  const auto session = NewSession(8);
  const std::vector<int32_t> tokens(9, 'a');
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_session_decode(session.get(), tokens.data(), 9, BANTAM_LOGITS_LAST, &error),
            BANTAM_RESOURCE_EXHAUSTED);
  bantam_error_free(error);
  const int32_t wrong = 1 << 30;
  EXPECT_EQ(bantam_session_decode(session.get(), &wrong, 1, BANTAM_LOGITS_LAST, nullptr),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(bantam_session_decode(session.get(), tokens.data(), 1, static_cast<bantam_logits>(3),
                                  nullptr),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(bantam_session_position(session.get()), 0);
  EXPECT_EQ(bantam_session_decode(session.get(), tokens.data(), 8, BANTAM_LOGITS_LAST, nullptr),
            BANTAM_OK);
  EXPECT_EQ(bantam_session_truncate(session.get(), 9, nullptr), BANTAM_OUT_OF_RANGE);
  EXPECT_EQ(bantam_session_truncate(session.get(), 2, nullptr), BANTAM_OK);
  EXPECT_EQ(bantam_session_position(session.get()), 2);
}

TEST_F(CApiTest, SessionOptionsAreChecked) {
  bantam_session_options options = BANTAM_SESSION_OPTIONS_INIT;
  bantam_session* session = nullptr;
  bantam_error* error = nullptr;
  options.kv_type = 7;
  EXPECT_EQ(bantam_session_create(model_.get(), &options, &session, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_THAT(Message(error), HasSubstr("kv_type"));
  options = BANTAM_SESSION_OPTIONS_INIT;
  options.context = 100000;
  EXPECT_EQ(bantam_session_create(model_.get(), &options, &session, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_THAT(Message(error), HasSubstr("100000"));
  EXPECT_EQ(session, nullptr);
}

TEST_F(CApiTest, TheKvTypeIsWhatWasAskedFor) {
  uint64_t kv_bytes[2] = {};
  for (int32_t type : {BANTAM_KV_F16, BANTAM_KV_F32}) {
    bantam_session_options options = BANTAM_SESSION_OPTIONS_INIT;
    options.kv_type = type;
    bantam_session* session = nullptr;
    ASSERT_EQ(bantam_session_create(model_.get(), &options, &session, nullptr), BANTAM_OK);
    const Owned<bantam_session> owner(session);
    bantam_memory_use memory = BANTAM_MEMORY_USE_INIT;
    ASSERT_EQ(bantam_session_get_memory(session, &memory, nullptr), BANTAM_OK);
    EXPECT_GT(memory.weights, 0u);
    EXPECT_GT(memory.compute, 0u);
    kv_bytes[type] = memory.kv_cache;
  }
  EXPECT_EQ(kv_bytes[BANTAM_KV_F32], 2 * kv_bytes[BANTAM_KV_F16]);
}

TEST_F(CApiTest, SamplersCheckWhatTheyAreGiven) {
  const auto sampler = GreedySampler();
  bantam_error* error = nullptr;
  const float logits[3] = {0, 1, 2};
  int32_t token = 0;
  EXPECT_EQ(bantam_sampler_sample(sampler.get(), logits, 3, &token, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(token, BANTAM_NO_TOKEN);
  EXPECT_THAT(Message(error), HasSubstr("3 logits"));
  EXPECT_EQ(bantam_sampler_accept(sampler.get(), -1, nullptr), BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(bantam_sampler_accept(sampler.get(), 1 << 30, nullptr), BANTAM_INVALID_ARGUMENT);
  bantam_sampler_options options = BANTAM_SAMPLER_OPTIONS_INIT;
  options.temperature = -1;
  bantam_sampler* refused = nullptr;
  EXPECT_EQ(bantam_sampler_create(model_.get(), &options, &refused, &error),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_THAT(Message(error), HasSubstr("temperature"));
}

TEST_F(CApiTest, GenerateIsTheLoopOneWouldWrite) {
  const std::vector<int32_t> prompt = Tokenize("the cat sat");
  const auto session = NewSession();
  const auto sampler = GreedySampler();
  Answer answer;
  const bantam_generate_options options = Into(answer, 12);
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  bantam_error* error = nullptr;
  ASSERT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                            &result, &error),
            BANTAM_OK)
      << Message(error);

  const auto by_hand = NewSession();
  std::vector<int32_t> expected;
  std::vector<int32_t> next = prompt;
  bool ended = false;
  while (expected.size() < 12 && !ended) {
    ASSERT_EQ(
        bantam_session_decode(by_hand.get(), next.data(), next.size(), BANTAM_LOGITS_LAST, nullptr),
        BANTAM_OK);
    const std::vector<float> logits = Row(by_hand.get());
    next = {testing::Likeliest(logits)};
    ended = bantam_token_is_end(model_.get(), next[0]) != 0;
    if (!ended) expected.push_back(next[0]);
  }
  EXPECT_EQ(answer.tokens, expected);
  EXPECT_EQ(result.stop, ended ? BANTAM_STOP_END : BANTAM_STOP_MAX_TOKENS);
  EXPECT_EQ(result.prompt_tokens, static_cast<int64_t>(prompt.size()));
  EXPECT_EQ(result.generated_tokens, static_cast<int64_t>(expected.size()));
  EXPECT_GT(result.prompt_seconds, 0);
  EXPECT_GT(result.generate_seconds, 0);
  EXPECT_EQ(bantam_session_position(session.get()),
            static_cast<int64_t>(prompt.size() + expected.size() + ended));
}

TEST_F(CApiTest, GenerateGoesOnWhereItStopped) {
  const std::vector<int32_t> prompt = Tokenize("the cat sat");
  Answer whole, parts;
  {
    const auto session = NewSession();
    const auto sampler = GreedySampler();
    const auto options = Into(whole, 10);
    ASSERT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                              nullptr, nullptr),
              BANTAM_OK);
  }
  ASSERT_EQ(whole.tokens.size(), 10u) << "this model must not end its answer early";
  const auto session = NewSession();
  const auto sampler = GreedySampler();
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  auto options = Into(parts, 0);
  parts.stop_after = 4;
  ASSERT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                            &result, nullptr),
            BANTAM_OK);
  EXPECT_EQ(result.stop, BANTAM_STOP_CALLBACK);
  EXPECT_EQ(result.generated_tokens, 4);
  parts.stop_after = INT64_MAX;
  options.max_tokens = 6;
  ASSERT_EQ(bantam_generate(session.get(), sampler.get(), nullptr, 0, &options, &result, nullptr),
            BANTAM_OK);
  EXPECT_EQ(result.stop, BANTAM_STOP_MAX_TOKENS);
  EXPECT_EQ(result.prompt_tokens, 0);
  EXPECT_EQ(parts.tokens, whole.tokens);
}

TEST_F(CApiTest, GenerateEndsWithTheContext) {
  const std::vector<int32_t> prompt(4, 'a');
  const auto session = NewSession(8);
  const auto sampler = GreedySampler();
  Answer answer;
  const auto options = Into(answer, 0);
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  ASSERT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                            &result, nullptr),
            BANTAM_OK);
  EXPECT_EQ(result.stop, BANTAM_STOP_CONTEXT_FULL);
  EXPECT_EQ(answer.tokens.size(), 5u);  // the last needs no room, as nothing follows it
  EXPECT_EQ(bantam_session_position(session.get()), 8);
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_generate(session.get(), sampler.get(), prompt.data(), prompt.size(), &options,
                            &result, &error),
            BANTAM_RESOURCE_EXHAUSTED);
  bantam_error_free(error);
}

TEST_F(CApiTest, GenerateTextIsThatOfItsTokens) {
  bantam_sampler_options sampler_options = BANTAM_SAMPLER_OPTIONS_INIT;
  sampler_options.temperature = 2;
  sampler_options.top_k = 0;
  sampler_options.seed = 5;
  std::string first;
  for (int round = 0; round < 2; ++round) {
    bantam_sampler* made = nullptr;
    ASSERT_EQ(bantam_sampler_create(model_.get(), &sampler_options, &made, nullptr), BANTAM_OK);
    const Owned<bantam_sampler> sampler(made);
    const auto session = NewSession();
    Answer answer;
    const auto options = Into(answer, 30);
    const int32_t prompt = 'a';
    ASSERT_EQ(bantam_generate(session.get(), sampler.get(), &prompt, 1, &options, nullptr, nullptr),
              BANTAM_OK);
    // Random bytes: the text is their UTF-8 reading with U+FFFD for what is not.
    EXPECT_FALSE(answer.text.empty());
    if (round == 0) first = answer.text;
    EXPECT_EQ(answer.text, first) << "the same seed must give the same text";
  }
}

TEST_F(CApiTest, GenerateRefusesWhatItCannotDo) {
  const auto session = NewSession();
  const auto sampler = GreedySampler();
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_generate(session.get(), sampler.get(), nullptr, 0, nullptr, nullptr, &error),
            BANTAM_FAILED_PRECONDITION);
  EXPECT_THAT(Message(error), HasSubstr("prompt"));
  bantam_generate_options options = BANTAM_GENERATE_OPTIONS_INIT;
  options.max_tokens = -1;
  const int32_t token = 'a';
  EXPECT_EQ(bantam_generate(session.get(), sampler.get(), &token, 1, &options, nullptr, nullptr),
            BANTAM_INVALID_ARGUMENT);
  bantam_generate_result unset = {};
  EXPECT_EQ(bantam_generate(session.get(), sampler.get(), &token, 1, nullptr, &unset, nullptr),
            BANTAM_INVALID_ARGUMENT);
  EXPECT_EQ(bantam_session_position(session.get()), 0);
}

TEST_F(CApiTest, SessionsAndSamplersOutliveTheModelsHandle) {
  const auto session = NewSession();
  const auto sampler = GreedySampler();
  model_.reset();
  const int32_t token = 'a';
  bantam_generate_options options = BANTAM_GENERATE_OPTIONS_INIT;
  options.max_tokens = 3;
  EXPECT_EQ(bantam_generate(session.get(), sampler.get(), &token, 1, &options, nullptr, nullptr),
            BANTAM_OK);
}

TEST_F(CApiTest, AGrammarIsKept) {
  const auto sampler = GreedySampler();
  const auto session = NewSession();
  const char* gbnf = "root ::= [xy]{4} \"!\"";
  ASSERT_EQ(
      bantam_sampler_set_grammar(sampler.get(), model_.get(), gbnf, BANTAM_NUL_TERMINATED, nullptr),
      BANTAM_OK);
  Answer answer;
  const auto options = Into(answer, 0);
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  const int32_t prompt = 'a';
  ASSERT_EQ(bantam_generate(session.get(), sampler.get(), &prompt, 1, &options, &result, nullptr),
            BANTAM_OK);
  EXPECT_EQ(result.stop, BANTAM_STOP_END);
  EXPECT_THAT(answer.text, ::testing::MatchesRegex("[xy]{4}!"));
  // Again, by hand, after a reset.
  bantam_sampler_reset(sampler.get());
  const std::vector<float> logits = Row(session.get());
  int32_t token = 0;
  ASSERT_EQ(bantam_sampler_sample(sampler.get(), logits.data(), logits.size(), &token, nullptr),
            BANTAM_OK);
  ASSERT_EQ(bantam_sampler_accept(sampler.get(), token, nullptr), BANTAM_OK);
  bantam_error* error = nullptr;
  EXPECT_EQ(bantam_sampler_set_json_schema(sampler.get(), model_.get(), "{\"not\":{}}",
                                           BANTAM_NUL_TERMINATED, &error),
            BANTAM_UNIMPLEMENTED);
  EXPECT_THAT(Message(error), HasSubstr("'not'"));
  EXPECT_EQ(bantam_sampler_set_json_schema(sampler.get(), model_.get(), "", 0, nullptr), BANTAM_OK);
}

TEST_F(CApiTest, DraftsAndSavedSessions) {
  const std::vector<int32_t> prompt = Tokenize("the cat, the cat, the");
  Answer expected, drafted;
  const auto plain = NewSession();
  auto options = Into(expected, 30);
  ASSERT_EQ(bantam_generate(plain.get(), GreedySampler().get(), prompt.data(), prompt.size(),
                            &options, nullptr, nullptr),
            BANTAM_OK);
  bantam_session_options with_drafts = BANTAM_SESSION_OPTIONS_INIT;
  with_drafts.context = 64;
  with_drafts.draft_tokens = 4;
  bantam_session* made = nullptr;
  ASSERT_EQ(bantam_session_create(model_.get(), &with_drafts, &made, nullptr), BANTAM_OK);
  const Owned<bantam_session> session(made);
  options = Into(drafted, 30);
  bantam_generate_result result = BANTAM_GENERATE_RESULT_INIT;
  ASSERT_EQ(bantam_generate(session.get(), GreedySampler().get(), prompt.data(), prompt.size(),
                            &options, &result, nullptr),
            BANTAM_OK);
  EXPECT_EQ(drafted.tokens, expected.tokens);
  EXPECT_GT(result.drafted_tokens, 0);  // a tied random model repeats itself
  EXPECT_EQ(Row(session.get()), Row(plain.get()));

  const std::string file = dir_.File("saved.session");
  ASSERT_EQ(bantam_session_save(session.get(), file.c_str(), "note", 4, nullptr), BANTAM_OK);
  const auto other = NewSession();
  char* note = nullptr;
  size_t length = 0;
  ASSERT_EQ(bantam_session_restore(other.get(), file.c_str(), &note, &length, nullptr), BANTAM_OK);
  EXPECT_EQ(length, 4u);
  EXPECT_EQ(Take(note), "note");
  EXPECT_EQ(bantam_session_position(other.get()), bantam_session_position(session.get()));
  ASSERT_EQ(bantam_session_drop(other.get(), 2, 5, nullptr), BANTAM_OK);
  EXPECT_EQ(bantam_session_drop(other.get(), 2, 500, nullptr), BANTAM_OUT_OF_RANGE);
  EXPECT_EQ(bantam_session_restore(other.get(), "none", nullptr, nullptr, nullptr),
            BANTAM_NOT_FOUND);
}

}  // namespace
}  // namespace bantam
