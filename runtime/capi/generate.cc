// Generating text with a session and a sampler.

#include <chrono>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "runtime/capi/handles.h"
#include "runtime/engine/generator.h"

namespace bantam::capi {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::Status ReadPrompt(bantam_session& session, bantam_sampler& sampler,
                        std::span<const int32_t> prompt) {
  if (prompt.empty()) {
    if (!session.session->Logits().empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        "there is nothing to go on from: give a prompt, or decode one before");
  }
  BANTAM_RETURN_IF_ERROR(session.session->Decode(prompt));
  for (int32_t token : prompt) sampler.sampler->Accept(token);
  return absl::OkStatus();
}

// The loop: pick a token, hand out its text; the generator appends it.
absl::Status Continue(bantam_session& session, bantam_sampler& sampler,
                      const bantam_generate_options& options, bantam_generate_result& result) {
  const tokenizer::Tokenizer& tokenizer = session.session->model().tokenizer();
  engine::Generator generator(*session.session, *sampler.sampler, sampler.grammar.get(),
                              session.drafter.get(),
                              {.context_shift = options.context_shift != 0,
                               .keep = options.keep,
                               .draft_tokens = session.draft_tokens});
  tokenizer::StreamDecoder decoder(tokenizer, options.render_special != 0);
  auto hand_out = [&options](const std::string& piece, int32_t token) {
    return options.callback != nullptr &&
           options.callback(piece.c_str(), piece.size(), token, options.user_data) != 0;
  };
  using Stop = engine::Generator::Stop;
  std::optional<bantam_stop> stop;
  while (!stop.has_value()) {
    const int64_t most = options.max_tokens == 0 ? std::numeric_limits<int32_t>::max()
                                                 : options.max_tokens - result.generated_tokens;
    BANTAM_ASSIGN_OR_RETURN(const engine::Generator::Next next, generator(most));
    if (next.stop == Stop::kContextFull) {
      stop = BANTAM_STOP_CONTEXT_FULL;
    } else if (next.stop == Stop::kEndOfGeneration) {
      stop = BANTAM_STOP_END;
    } else {
      ++result.generated_tokens;
      if (hand_out(decoder.Push(next.token), next.token)) {
        stop = BANTAM_STOP_CALLBACK;
      } else if (next.stop == Stop::kGrammarEnded) {
        stop = BANTAM_STOP_END;
      } else if (result.generated_tokens == options.max_tokens) {
        stop = BANTAM_STOP_MAX_TOKENS;
      }
    }
  }
  BANTAM_RETURN_IF_ERROR(generator.Settle(/*feed=*/true));
  result.stop = *stop;
  result.drafted_tokens = generator.counts().drafted;
  result.accepted_tokens = generator.counts().accepted;
  if (const std::string rest = decoder.Finish(); !rest.empty()) hand_out(rest, BANTAM_NO_TOKEN);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam::capi

extern "C" bantam_code bantam_generate(bantam_session* session, bantam_sampler* sampler,
                                       const int32_t* prompt, size_t count,
                                       const bantam_generate_options* options,
                                       bantam_generate_result* result, bantam_error** error) {
  using bantam::capi::NotNull;
  return bantam::capi::Guard(error, [&]() -> absl::Status {
    BANTAM_RETURN_IF_ERROR(NotNull(session, "session"));
    BANTAM_RETURN_IF_ERROR(NotNull(sampler, "sampler"));
    if (count > 0) BANTAM_RETURN_IF_ERROR(NotNull(prompt, "prompt"));
    bantam_generate_options given = BANTAM_GENERATE_OPTIONS_INIT;
    BANTAM_RETURN_IF_ERROR(bantam::capi::ReadSized(options, "options", given));
    bantam_generate_result done = BANTAM_GENERATE_RESULT_INIT;
    // Refused before anything is generated, not after.
    if (result != nullptr) BANTAM_RETURN_IF_ERROR(bantam::capi::CheckSize(result->size, "result"));
    if (given.max_tokens < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("options->max_tokens is ", given.max_tokens, "; expected 0 or more"));
    }
    if (given.keep < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("options->keep is ", given.keep, "; expected 0 or more"));
    }
    const int64_t vocab_size = session->session->model().config().vocab_size;
    if (sampler->vocab_size != vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("the sampler was made for a vocabulary of ",
                                                     sampler->vocab_size, ", the model has ",
                                                     vocab_size));
    }
    const auto start = bantam::capi::Clock::now();
    BANTAM_RETURN_IF_ERROR(bantam::capi::ReadPrompt(*session, *sampler, {prompt, count}));
    done.prompt_tokens = static_cast<int64_t>(count);
    done.prompt_seconds = bantam::capi::SecondsSince(start);
    const auto generating = bantam::capi::Clock::now();
    BANTAM_RETURN_IF_ERROR(bantam::capi::Continue(*session, *sampler, given, done));
    done.generate_seconds = bantam::capi::SecondsSince(generating);
    return result == nullptr ? absl::OkStatus() : bantam::capi::WriteSized(done, "result", result);
  });
}
