#include "frontends/cli/generate.h"

#include <algorithm>
#include <chrono>
#include <limits>

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
  decode_steps += other.decode_steps;
  prompt_seconds += other.prompt_seconds;
  generate_seconds += other.generate_seconds;
}

double Counts::prompt_speed() const { return PerSecond(prompt_tokens, prompt_seconds); }
double Counts::generate_speed() const { return PerSecond(decode_steps, generate_seconds); }

Generator::Generator(engine::Session& session, const GenerateOptions& options)
    : session_(session), options_(options) {
  cached_.reserve(session.context());
  if (!options.ignore_eos) return;
  const tokenizer::Tokenizer& tokenizer = session.model().tokenizer();
  for (int64_t id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.IsEndOfGeneration(static_cast<TokenId>(id))) {
      endings_.push_back(static_cast<TokenId>(id));
    }
  }
  masked_logits_.reserve(session.model().config().vocab_size);
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

absl::Status Generator::Feed(std::span<const TokenId> tokens, LogitsMode mode) {
  BANTAM_RETURN_IF_ERROR(session_.Decode(tokens, mode));
  cached_.insert(cached_.end(), tokens.begin(), tokens.end());
  return absl::OkStatus();
}

absl::StatusOr<bool> Generator::Prefill(std::span<const TokenId> prompt, Counts& counts,
                                        absl::FunctionRef<bool()> stop) {
  const auto differs =
      std::mismatch(prompt.begin(), prompt.end(), cached_.begin(), cached_.end()).first;
  // The last token is always fed: its logits are what the answer begins with.
  const int64_t reused = std::min<int64_t>(differs - prompt.begin(), prompt.size() - 1);
  BANTAM_RETURN_IF_ERROR(session_.Truncate(reused));
  cached_.resize(reused);
  counts.reused_tokens = reused;
  prompt = prompt.subspan(reused);
  while (!prompt.empty()) {
    if (stop()) return false;
    // One step of the session at a time, so that `stop` is asked often.
    const size_t count = std::min<size_t>(session_.ubatch(), prompt.size());
    BANTAM_RETURN_IF_ERROR(
        Feed(prompt.first(count), count == prompt.size() ? LogitsMode::kLast : LogitsMode::kNone));
    counts.prompt_tokens += static_cast<int64_t>(count);
    prompt = prompt.subspan(count);
  }
  return true;
}

std::span<const float> Generator::Logits() {
  const std::span<const float> logits = session_.Logits();
  if (endings_.empty()) return logits;
  masked_logits_.assign(logits.begin(), logits.end());
  for (TokenId id : endings_) masked_logits_[id] = -std::numeric_limits<float>::infinity();
  return masked_logits_;
}

absl::StatusOr<Answer> Generator::Generate(std::span<const TokenId> prompt, uint64_t seed,
                                           absl::FunctionRef<absl::Status(absl::string_view)> emit,
                                           absl::FunctionRef<bool()> stop) {
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
  tokenizer::StreamDecoder decoder(tokenizer);
  auto output = [&](absl::string_view text) {
    answer.text.append(text.data(), text.size());
    return text.empty() ? absl::OkStatus() : emit(text);
  };
  answer.stop = StopReason::kLength;
  while (counts.generated_tokens != options_.max_tokens) {
    if (stop()) {
      answer.stop = StopReason::kInterrupted;
      break;
    }
    BANTAM_ASSIGN_OR_RETURN(const TokenId id, sampler->Sample(Logits()));
    ++counts.generated_tokens;
    if (tokenizer.IsEndOfGeneration(id)) {
      answer.stop = StopReason::kEndOfGeneration;
      break;
    }
    sampler->Accept(id);
    BANTAM_RETURN_IF_ERROR(output(decoder.Push(id)));
    // The last token asked for need not be fed back: there is nothing to predict from it.
    if (counts.generated_tokens == options_.max_tokens) break;
    if (session_.position() == session_.context()) {
      answer.stop = StopReason::kContextFull;
      break;
    }
    BANTAM_RETURN_IF_ERROR(Feed(std::span(&id, 1), LogitsMode::kLast));
    ++counts.decode_steps;
  }
  BANTAM_RETURN_IF_ERROR(output(decoder.Finish()));
  counts.generate_seconds = SecondsSince(start);
  return answer;
}

}  // namespace bantam::cli
