#include "runtime/engine/drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::engine {
namespace {

// A draft ends before a token the draft model gives less than this: wrong ones cost a row of the
// check each, and everything after them.
constexpr double kLeastProbability = 0.4;

class ModelDrafter : public Drafter {
 public:
  explicit ModelDrafter(std::unique_ptr<Session> session) : session_(std::move(session)) {}

  absl::StatusOr<std::span<const TokenId>> Draft(std::span<const TokenId> text, TokenId next,
                                                 int64_t most) override {
    draft_.clear();
    const int64_t size = static_cast<int64_t>(text.size());
    most = std::min(most, session_->context() - size - 1);
    if (most <= 0) return std::span<const TokenId>();
    // What the session holds of the text; earlier drafts that came out otherwise go.
    const std::span<const TokenId> held = session_->tokens();
    const int64_t same =
        std::mismatch(held.begin(), held.end(), text.begin(), text.end()).first - held.begin();
    BANTAM_RETURN_IF_ERROR(session_->Truncate(same));
    if (same < size) {
      BANTAM_RETURN_IF_ERROR(session_->Decode(text.subspan(same), LogitsMode::kNone));
    }
    for (TokenId token = next;;) {
      BANTAM_RETURN_IF_ERROR(session_->Decode({&token, 1}));
      const std::span<const float> logits = session_->Logits();
      const auto best = std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (float logit : logits) sum += std::exp(logit - *best);
      token = static_cast<TokenId>(best - logits.begin());
      if (sum * kLeastProbability > 1 || session_->model().tokenizer().IsEndOfGeneration(token)) {
        break;
      }
      draft_.push_back(token);
      if (static_cast<int64_t>(draft_.size()) == most) break;
    }
    return draft_;
  }

 private:
  std::unique_ptr<Session> session_;
  std::vector<TokenId> draft_;
};

class LookUpDrafter : public Drafter {
 public:
  absl::StatusOr<std::span<const TokenId>> Draft(std::span<const TokenId> text, TokenId next,
                                                 int64_t most) override {
    constexpr size_t kLeast = 2, kMost = 8;  // tokens that must have occurred before
    text_.assign(text.begin(), text.end());
    text_.push_back(next);
    const size_t size = text_.size();
    size_t longest = kLeast - 1, found = 0;
    for (size_t end = size - 1; end >= kLeast && longest < kMost; --end) {
      // How many tokens before `end` are those before the end of the text.
      size_t n = 0;
      while (n < end && n < kMost && text_[end - 1 - n] == text_[size - 1 - n]) ++n;
      if (n > longest) {
        longest = n;
        found = end;
      }
    }
    if (found == 0) return std::span<const TokenId>();
    const size_t count = std::min<size_t>(size - found, std::max<int64_t>(most, 0));
    return std::span<const TokenId>(text_).subspan(found, count);
  }

 private:
  std::vector<TokenId> text_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Drafter>> Drafter::FromModel(std::shared_ptr<const Model> draft,
                                                            const Session& target,
                                                            SessionOptions options) {
  const tokenizer::Tokenizer& theirs = draft->tokenizer();
  const tokenizer::Tokenizer& ours = target.model().tokenizer();
  const auto differs = [&](absl::string_view how) {
    return absl::InvalidArgumentError(absl::StrCat(draft->file().path(), " cannot draft for ",
                                                   target.model().file().path(), ": ", how));
  };
  if (theirs.size() != ours.size() ||
      draft->config().vocab_size > target.model().config().vocab_size) {
    return differs(
        absl::StrCat("its vocabulary has ", theirs.size(), " tokens, not ", ours.size()));
  }
  for (TokenId id = 0; id < ours.size(); ++id) {
    if (theirs.text(id) == ours.text(id)) continue;
    return differs(absl::StrCat("its token ", id, " is '", Printable(theirs.text(id), 30),
                                "', not '", Printable(ours.text(id), 30), "'"));
  }
  if (options.context == 0) {
    options.context = std::min(target.context(), draft->config().context_length);
  }
  BANTAM_ASSIGN_OR_RETURN(auto session, Session::Create(std::move(draft), options));
  return std::unique_ptr<Drafter>(new ModelDrafter(std::move(session)));
}

std::unique_ptr<Drafter> Drafter::LookUp() { return std::make_unique<LookUpDrafter>(); }

}  // namespace bantam::engine
