// What guessing ahead gains: twenty prompts, answered greedily without drafts, with drafts looked
// up in the text and, given a smaller model, with its drafts, in turn. Prints speeds, and whether
// all texts are the same.
//
//   build/bench/bench_speculation MODEL [DRAFT_MODEL [threads [tokens]]]

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/generator.h"

namespace bantam {
namespace {

using engine::Drafter;
using engine::Session;

constexpr const char* kQuestions[] = {
    "Why is the sky blue?",
    "What is the capital of France, and what is it known for?",
    "Write a short story about a lighthouse keeper.",
    "Explain how a bicycle stays upright.",
    "Give me a recipe for pancakes.",
    "What are the three laws of thermodynamics?",
    "Write a poem about autumn.",
    "How does a computer add two numbers?",
    "Describe the water cycle.",
    "What should I pack for a week in the mountains?",
};
// Answers to these repeat much of the text they are given.
constexpr const char* kText =
    "The harbour of the town lies at the mouth of the river, where two long piers of grey stone "
    "keep out the swell. Fishing boats leave before dawn and come back in the early afternoon. On "
    "Saturdays the market is held along the quay, and people from the villages come to buy fish, "
    "bread and vegetables.";
constexpr const char* kCode =
    "def average(numbers):\n    total = 0\n    count = 0\n    for number in numbers:\n"
    "        total = total + number\n        count = count + 1\n    return total / count\n";
constexpr const char* kTasks[] = {
    "Repeat this text word for word: ",
    "Correct the mistakes in this text, and give it back: ",
    "Quote the sentence about the market: ",
    "Rewrite this in the past tense: ",
    "Give this text back with a title: ",
};

struct Total {
  double seconds = 0;
  int64_t tokens = 0, drafted = 0, accepted = 0, steps = 0;
};

absl::StatusOr<std::vector<int32_t>> Answer(Session& session, const std::string& text,
                                            Drafter* drafter, int count, Total& total) {
  constexpr int kDraftTokens = 4;
  const engine::Model& model = session.model();
  BANTAM_ASSIGN_OR_RETURN(const std::string prompt, model.FormatChat({{"user", text}}, true));
  const std::vector<int32_t> tokens =
      model.tokenizer().Encode(prompt, {.add_special = false, .parse_special = true});
  BANTAM_ASSIGN_OR_RETURN(auto sampler,
                          sample::Sampler::Create({.temperature = 0}, model.config().vocab_size));
  BANTAM_RETURN_IF_ERROR(session.Truncate(0));
  BANTAM_RETURN_IF_ERROR(session.Decode(tokens));
  engine::Generator generator(session, *sampler, nullptr, drafter, {.draft_tokens = kDraftTokens});
  std::vector<int32_t> answer;
  const auto start = std::chrono::steady_clock::now();
  while (static_cast<int>(answer.size()) < count) {
    BANTAM_ASSIGN_OR_RETURN(const auto next, generator(count - std::ssize(answer)));
    if (next.stop != engine::Generator::Stop::kNone) break;
    answer.push_back(next.token);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  BANTAM_RETURN_IF_ERROR(generator.Settle(false));
  total.seconds += seconds.count();
  total.tokens += std::ssize(answer);
  total.drafted += generator.counts().drafted;
  total.accepted += generator.counts().accepted;
  total.steps += generator.counts().steps;
  return answer;
}

absl::Status Run(int argc, char** argv) {
  if (argc < 2) {
    return absl::InvalidArgumentError("usage: speculation MODEL [DRAFT_MODEL [threads [tokens]]]");
  }
  engine::LoadOptions load;
  load.device = "cpu";
  load.threads = argc > 3 ? std::atoi(argv[3]) : 0;
  const int count = argc > 4 ? std::atoi(argv[4]) : 96;
  BANTAM_ASSIGN_OR_RETURN(const auto model, engine::Model::Load(argv[1], load));
  BANTAM_ASSIGN_OR_RETURN(const auto session,
                          Session::Create(model, {.context = 1024, .verify_rows = 5}));
  std::vector<std::pair<const char*, std::unique_ptr<Drafter>>> ways;
  ways.emplace_back("plain", nullptr);
  ways.emplace_back("look-up", Drafter::LookUp());
  if (argc > 2 && *argv[2] != '\0') {
    BANTAM_ASSIGN_OR_RETURN(auto draft, engine::Model::Load(argv[2], load));
    BANTAM_ASSIGN_OR_RETURN(auto drafter, Drafter::FromModel(std::move(draft), *session, {}));
    ways.emplace_back("draft model", std::move(drafter));
  }
  std::vector<std::pair<const char*, std::vector<std::string>>> groups(2);
  groups[0].first = "questions";
  for (const char* question : kQuestions) groups[0].second.push_back(question);
  groups[1].first = "given texts";
  for (const char* task : kTasks) {
    for (const char* given : {kText, kCode}) groups[1].second.push_back(absl::StrCat(task, given));
  }
  bool same = true;
  for (const auto& [name, prompts] : groups) {
    std::vector<Total> totals(ways.size());
    for (const std::string& prompt : prompts) {
      std::vector<int32_t> expected;
      for (size_t w = 0; w < ways.size(); ++w) {
        BANTAM_ASSIGN_OR_RETURN(auto answer,
                                Answer(*session, prompt, ways[w].second.get(), count, totals[w]));
        if (w == 0) expected = answer;
        same &= answer == expected;
      }
    }
    for (size_t w = 0; w < ways.size(); ++w) {
      const Total& t = totals[w];
      const double speed = static_cast<double>(t.tokens) / t.seconds;
      const double plain = static_cast<double>(totals[0].tokens) / totals[0].seconds;
      std::printf("%-11s %-11s %6.1f tok/s, %.2f times; %lld of %lld guesses right, %lld steps\n",
                  name, ways[w].first, speed, speed / plain, static_cast<long long>(t.accepted),
                  static_cast<long long>(t.drafted), static_cast<long long>(t.steps));
    }
  }
  std::printf("texts are %s\n", same ? "the same" : "NOT the same");
  return same ? absl::OkStatus() : absl::InternalError("speculation changed a text");
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
