#include "runtime/engine/generator.h"

#include <algorithm>
#include <chrono>

#include "runtime/base/status.h"

namespace bantam::engine {
namespace {

using Clock = std::chrono::steady_clock;

// Steps without a draft at the start, to tell how fast those are.
constexpr int64_t kPlainSteps = 3;

}  // namespace

Generator::Generator(Session& session, sample::Sampler& sampler, grammar::Matcher* grammar,
                     Drafter* drafter, const GeneratorOptions& options)
    : session_(session),
      sampler_(sampler),
      grammar_(grammar),
      drafter_(drafter),
      options_(options) {
  batch_.reserve(options.draft_tokens + 1);
}

absl::StatusOr<Generator::Next> Generator::operator()(int64_t most) {
  if (pending_.has_value()) {
    BANTAM_ASSIGN_OR_RETURN(const bool stepped, Step(most));
    if (!stepped) return Next{.stop = Stop::kContextFull};
  }
  Next next;
  if (grammar_ == nullptr && sampler_.greedy()) next.token = session_.Likeliest(row_);
  if (next.token == tokenizer::kNoToken) {
    std::span<const uint64_t> allowed;
    if (grammar_ != nullptr) allowed = grammar_->Mask();
    BANTAM_ASSIGN_OR_RETURN(next.token, sampler_.Sample(session_.Logits(row_), allowed));
  }
  const bool guessed =
      row_ + 1 < static_cast<int64_t>(batch_.size()) && batch_[row_ + 1] == next.token;
  if (guessed) {
    ++row_;  // it is in the session, and so are the logits after it
    ++counts_.accepted;
  } else {
    pending_ = next.token;
    BANTAM_RETURN_IF_ERROR(Settle(/*feed=*/false));
  }
  sampler_.Accept(next.token);
  if (session_.model().tokenizer().IsEndOfGeneration(next.token)) {
    next.stop = Stop::kEndOfGeneration;
  } else if (grammar_ != nullptr) {
    BANTAM_RETURN_IF_ERROR(grammar_->Accept(next.token));
    if (grammar_->MustEnd()) next.stop = Stop::kGrammarEnded;
  }
  return next;
}

absl::StatusOr<bool> Generator::Step(int64_t most) {
  if (session_.position() == session_.context()) {
    const int64_t keep = std::min(options_.keep, session_.context() - 1);
    if (!options_.context_shift) return false;
    BANTAM_RETURN_IF_ERROR(
        session_.Drop(keep, std::max<int64_t>(1, (session_.context() - keep) / 2)));
    ++counts_.shifts;
  }
  const Clock::time_point start = Clock::now();
  batch_.assign(1, *pending_);
  if (drafter_ != nullptr && counts_.plain_steps >= kPlainSteps) {
    const int64_t room = session_.context() - session_.position() - 1;
    const int64_t wanted = std::min({options_.draft_tokens, room, most - 1});
    if (wanted > 0) {
      BANTAM_ASSIGN_OR_RETURN(const std::span<const TokenId> draft,
                              drafter_->Draft(session_.tokens(), *pending_, wanted));
      batch_.insert(batch_.end(), draft.begin(), draft.end());
    }
  }
  BANTAM_RETURN_IF_ERROR(session_.Decode(batch_, LogitsMode::kAll));
  pending_.reset();
  row_ = 0;
  ++counts_.steps;
  counts_.drafted += static_cast<int64_t>(batch_.size()) - 1;
  if (batch_.size() == 1) {
    ++counts_.plain_steps;
    counts_.plain_seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
  return true;
}

absl::Status Generator::Settle(bool feed) {
  const int64_t rejected = static_cast<int64_t>(batch_.size()) - 1 - row_;
  const bool from_draft = !pending_.has_value() && batch_.size() > 1;
  batch_.clear();
  row_ = 0;
  if (rejected > 0) BANTAM_RETURN_IF_ERROR(session_.Truncate(session_.position() - rejected));
  if (!feed) return absl::OkStatus();
  if (from_draft) {
    // The last token is in the session, but its logits may not be those of the last decode.
    pending_ = session_.tokens().back();
    BANTAM_RETURN_IF_ERROR(session_.Truncate(session_.position() - 1));
  }
  if (!pending_.has_value() || session_.position() == session_.context()) return absl::OkStatus();
  const TokenId token = *pending_;
  pending_.reset();
  return session_.Decode({&token, 1});
}

}  // namespace bantam::engine
