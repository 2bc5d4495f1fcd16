#include "frontends/cli/generate.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;
using engine::LogitsMode;
using tokenizer::TokenId;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

// Puts the parts of a text where they belong.
class AnswerWriter {
 public:
  AnswerWriter(Answer& answer, const GenerateOptions& options, bool inside, Generator::Emit emit)
      : answer_(answer), options_(options), filter_(inside), emit_(emit) {}

  absl::Status Write(absl::string_view text) {
    if (text.empty()) return absl::OkStatus();
    if (options_.raw) return WritePart(text, Part::kAnswer);
    return filter_.Push(text,
                        [this](absl::string_view t, Part part) { return WritePart(t, part); });
  }
  absl::Status Finish() {
    return filter_.Finish([this](absl::string_view t, Part part) { return WritePart(t, part); });
  }

 private:
  absl::Status WritePart(absl::string_view text, Part part) {
    const bool shows = options_.think == Think::kShow;
    if (part == Part::kMarker) {
      after_block_ = true;
      // Control tokens were never part of the text.
      return shows && text[0] == '<' && text[1] != '|' ? Emit(text, true) : absl::OkStatus();
    }
    if (part == Part::kReasoning) {
      answer_.reasoning.append(text.data(), text.size());
      return shows ? Emit(text, true) : absl::OkStatus();
    }
    if (after_block_) {
      // The empty lines between reasoning and answer are part of neither.
      const absl::string_view rest = absl::StripLeadingAsciiWhitespace(text);
      if (shows) {
        BANTAM_RETURN_IF_ERROR(Emit(text.substr(0, text.size() - rest.size()), true));
        if (!rest.empty() && !answer_.shown.empty() && answer_.shown.back() != '\n') {
          BANTAM_RETURN_IF_ERROR(Emit("\n", true));
        }
      }
      text = rest;
      if (text.empty()) return absl::OkStatus();
      after_block_ = false;
    }
    answer_.text.append(text.data(), text.size());
    return Emit(text, false);
  }
  absl::Status Emit(absl::string_view text, bool reasoning) {
    if (text.empty()) return absl::OkStatus();
    answer_.shown = std::string(text);
    return emit_(text, reasoning);
  }

  Answer& answer_;
  const GenerateOptions& options_;
  ThinkFilter filter_;
  Generator::Emit emit_;
  bool after_block_ = false;
};

}  // namespace

absl::string_view StopReasonName(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfGeneration:
      return "end_of_generation";
    case StopReason::kLength:
      return "length";
    case StopReason::kContextFull:
      return "context_full";
    case StopReason::kInterrupted:
      return "interrupted";
  }
  return "?";
}

void Counts::Add(const Counts& other) {
  prompt_tokens += other.prompt_tokens;
  reused_tokens += other.reused_tokens;
  generated_tokens += other.generated_tokens;
  prompt_seconds += other.prompt_seconds;
  generate_seconds += other.generate_seconds;
  answers += other.answers;
  steps.steps += other.steps.steps;
  steps.drafted += other.steps.drafted;
  steps.accepted += other.steps.accepted;
  steps.shifts += other.steps.shifts;
  steps.plain_steps += other.steps.plain_steps;
  steps.plain_seconds += other.steps.plain_seconds;
}

double Counts::prompt_speed() const { return PerSecond(prompt_tokens, prompt_seconds); }
double Counts::generate_speed() const {
  return PerSecond(std::max<int64_t>(0, generated_tokens - answers), generate_seconds);
}
double Counts::speculation_gain() const {
  if (steps.drafted == 0 || steps.plain_steps == 0) return 0;
  return generate_speed() * steps.plain_seconds / static_cast<double>(steps.plain_steps);
}

Generator::Generator(engine::Session& session, const GenerateOptions& options)
    : session_(session), options_(options) {
  const tokenizer::Tokenizer& tokenizer = session.model().tokenizer();
  const int64_t vocab_size = session.model().config().vocab_size;
  if (options.ignore_eos) {
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
      if (!tokenizer.IsEndOfGeneration(id)) continue;
      options_.sampling.logit_bias.push_back({id, -std::numeric_limits<float>::infinity()});
    }
  }
  if (options.grammar != nullptr) {
    matcher_.emplace(options.grammar, std::make_shared<grammar::TokenTrie>(tokenizer, vocab_size));
  }
  if (!options.raw) mark_tokens_ = ThinkFilter::MarkTokens(tokenizer);
}

std::vector<TokenId> Generator::Encode(absl::string_view text) const {
  const tokenizer::Tokenizer& tokenizer = session_.model().tokenizer();
  // Not add_special: it would end the prompt with an EOS in some vocabularies, and many chat
  // templates write the BOS themselves.
  std::vector<TokenId> ids = tokenizer.Encode(text, {.add_special = false, .parse_special = true});
  const tokenizer::SpecialTokens& special = tokenizer.special();
  if (special.add_bos && special.bos != tokenizer::kNoToken &&
      (ids.empty() || ids.front() != special.bos)) {
    ids.insert(ids.begin(), special.bos);
  }
  return ids;
}

absl::StatusOr<bool> Generator::Prefill(std::span<const TokenId> prompt, Counts& counts,
                                        absl::FunctionRef<bool()> stop) {
  const std::span<const TokenId> cached = session_.tokens();
  const auto differs =
      std::mismatch(prompt.begin(), prompt.end(), cached.begin(), cached.end()).first;
  // The last token is always fed: its logits are what the answer begins with.
  int64_t reused = std::min<int64_t>(differs - prompt.begin(), prompt.size() - 1);
  BANTAM_RETURN_IF_ERROR(session_.Truncate(reused));
  if (session_.computed() < reused) {
    // Layers with a window don't go back so far: the prompt is read as a new one.
    reused = 0;
    BANTAM_RETURN_IF_ERROR(session_.Truncate(0));
  }
  counts.reused_tokens = reused;
  prompt = prompt.subspan(reused);
  while (!prompt.empty()) {
    if (stop()) return false;
    // No more at a time, so that `stop` is asked often.
    const size_t count = std::min<size_t>(session_.prompt_batch(), prompt.size());
    BANTAM_RETURN_IF_ERROR(session_.Decode(
        prompt.first(count), count == prompt.size() ? LogitsMode::kLast : LogitsMode::kNone));
    counts.prompt_tokens += static_cast<int64_t>(count);
    prompt = prompt.subspan(count);
  }
  return true;
}

absl::StatusOr<Answer> Generator::Generate(absl::string_view prompt_text, uint64_t seed, Emit emit,
                                           absl::FunctionRef<bool()> stop, int64_t keep) {
  const std::vector<TokenId> prompt = Encode(prompt_text);
  if (prompt.empty()) return absl::InvalidArgumentError("the prompt is empty");
  const int64_t size = static_cast<int64_t>(prompt.size());
  if (size > session_.context()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the prompt has %d tokens, but the context only room for %d; the model "
                        "can have -c %d",
                        size, session_.context(), session_.model().config().context_length));
  }
  const tokenizer::Tokenizer& tokenizer = session_.model().tokenizer();
  sample::Params sampling = options_.sampling;
  sampling.seed = seed;
  BANTAM_ASSIGN_OR_RETURN(
      const auto sampler,
      sample::Sampler::Create(sampling, session_.model().config().vocab_size, session_.context()));
  for (TokenId id : prompt) sampler->Accept(id);

  Answer answer;
  Counts& counts = answer.counts;
  Clock::time_point start = Clock::now();
  BANTAM_ASSIGN_OR_RETURN(const bool complete, Prefill(prompt, counts, stop));
  counts.prompt_seconds = SecondsSince(start);
  if (!complete) {
    answer.stop = StopReason::kInterrupted;
    return answer;
  }

  start = Clock::now();
  if (keep < 0) keep = prompt.front() == tokenizer.special().bos ? 1 : 0;
  if (options_.keep >= 0) keep = options_.keep;
  if (matcher_.has_value()) matcher_->Reset();
  engine::Generator next_token(session_, *sampler, matcher_.has_value() ? &*matcher_ : nullptr,
                               options_.drafter.get(),
                               {.context_shift = options_.context_shift,
                                .keep = keep,
                                .draft_tokens = options_.draft_tokens});
  tokenizer::StreamDecoder decoder(tokenizer);
  AnswerWriter writer(answer, options_, ThinkFilter::EndsInside(prompt_text), emit);
  answer.stop = StopReason::kLength;
  while (counts.generated_tokens != options_.max_tokens) {
    if (stop()) {
      answer.stop = StopReason::kInterrupted;
      break;
    }
    const int64_t most = options_.max_tokens < 0 ? std::numeric_limits<int32_t>::max()
                                                 : options_.max_tokens - counts.generated_tokens;
    BANTAM_ASSIGN_OR_RETURN(const engine::Generator::Next next, next_token(most));
    if (next.stop == engine::Generator::Stop::kContextFull) {
      answer.stop = StopReason::kContextFull;
      break;
    }
    ++counts.generated_tokens;
    if (next.stop == engine::Generator::Stop::kEndOfGeneration) {
      answer.stop = StopReason::kEndOfGeneration;
      break;
    }
    const bool is_mark =
        std::find(mark_tokens_.begin(), mark_tokens_.end(), next.token) != mark_tokens_.end();
    BANTAM_RETURN_IF_ERROR(writer.Write(decoder.Push(next.token)));
    if (is_mark) BANTAM_RETURN_IF_ERROR(writer.Write(tokenizer.text(next.token)));
    if (next.stop == engine::Generator::Stop::kGrammarEnded) {
      answer.stop = StopReason::kEndOfGeneration;
      break;
    }
  }
  BANTAM_RETURN_IF_ERROR(next_token.Settle(/*feed=*/false));
  BANTAM_RETURN_IF_ERROR(writer.Write(decoder.Finish()));
  BANTAM_RETURN_IF_ERROR(writer.Finish());
  counts.generate_seconds = SecondsSince(start);
  counts.steps = next_token.counts();
  counts.answers = counts.generated_tokens > 0 ? 1 : 0;
  return answer;
}

}  // namespace bantam::cli
