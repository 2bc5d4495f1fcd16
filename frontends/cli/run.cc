// bantam run: one prompt, or a chat.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/chat.h"
#include "frontends/cli/command.h"
#include "frontends/cli/conversation.h"
#include "frontends/cli/generate.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/placement.h"
#include "frontends/cli/run_options.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Where -c is not given. What models are trained for can be 128 Ki tokens and more, whose KV cache
// few machines have room for.
constexpr int64_t kDefaultContext = 4096;

// "speculation ..." for the summary; "" when there was none.
std::string DescribeSpeculation(const Counts& counts) {
  const engine::GeneratorCounts& steps = counts.steps;
  if (steps.drafted == 0) return "";
  return absl::StrFormat(
      "drafts    %d of %d tokens accepted (%.0f %%), %.2f tokens per step, %.2f times the speed "
      "without\n",
      steps.accepted, steps.drafted, 100.0 * steps.accepted / steps.drafted,
      static_cast<double>(steps.steps + steps.accepted) / steps.steps, counts.speculation_gain());
}

void PrintTimings(double load_seconds, const Counts& counts, const engine::Session& session) {
  std::string reused;
  if (counts.reused_tokens > 0) {
    reused = absl::StrFormat(" (%d more were in the KV cache)", counts.reused_tokens);
  }
  std::string shifts;
  if (counts.steps.shifts > 0) shifts = absl::StrFormat(", %d context shifts", counts.steps.shifts);
  WriteStderr(
      absl::StrFormat("\nload      %.2f s\nprompt    %d tokens, %.1f tok/s%s%s\n"
                      "generate  %d tokens, %.1f tok/s%s%s\n%smemory    %s\n",
                      load_seconds, counts.prompt_tokens, counts.prompt_speed(),
                      PredictedPromptSpeed(session.model()), reused, counts.generated_tokens,
                      counts.generate_speed(), PredictedGenerateSpeed(session.model()), shifts,
                      DescribeSpeculation(counts), DescribeMemory(session)));
}

nlohmann::ordered_json AnswerJson(const RunOptions& options, const Answer& answer,
                                  double load_seconds, const engine::Session& session) {
  const Counts& counts = answer.counts;
  nlohmann::ordered_json json = {{"model", options.model},
                                 {"device", session.model().device().name()},
                                 {"text", answer.text},
                                 {"stop_reason", std::string(StopReasonName(answer.stop))},
                                 {"seed", options.seed},
                                 {"tokens",
                                  {{"prompt", counts.prompt_tokens},
                                   {"reused", counts.reused_tokens},
                                   {"generated", counts.generated_tokens}}},
                                 {"timings",
                                  {{"load_seconds", load_seconds},
                                   {"prompt_seconds", counts.prompt_seconds},
                                   {"prompt_tokens_per_second", counts.prompt_speed()},
                                   {"generate_seconds", counts.generate_seconds},
                                   {"generate_tokens_per_second", counts.generate_speed()}}},
                                 {"memory", MemoryJson(session)}};
  if (!answer.reasoning.empty()) json["reasoning"] = answer.reasoning;
  if (options.generate.context_shift) json["context_shifts"] = counts.steps.shifts;
  if (options.generate.draft_tokens > 0) {
    json["speculation"] = {{"drafted", counts.steps.drafted},
                           {"accepted", counts.steps.accepted},
                           {"steps", counts.steps.steps},
                           {"speed_up", counts.speculation_gain()}};
  }
  return json;
}

// Answers options.prompt. True when Ctrl-C ended the answer.
absl::StatusOr<bool> RunOnce(const RunOptions& options, double load_seconds,
                             Conversation& conversation) {
  engine::Session& session = conversation.generator().session();
  InterruptScope interrupt;
  auto emit = [&](absl::string_view text, bool reasoning) {
    if (options.json) return absl::OkStatus();
    return reasoning ? WriteReasoning(text) : WriteAnswer(text);
  };
  BANTAM_ASSIGN_OR_RETURN(
      const Answer answer,
      conversation.Say(options.prompt, options.seed, emit, [&] { return interrupt.Pending(); }));
  if (options.json) {
    BANTAM_RETURN_IF_ERROR(WriteJson(AnswerJson(options, answer, load_seconds, session)));
  } else {
    BANTAM_RETURN_IF_ERROR(EndAnswer(answer.shown));
    if (answer.stop == StopReason::kContextFull) {
      WriteStderr(
          absl::StrFormat("bantam: the answer ends here: the context of %d tokens is full; "
                          "-c gives more room, --context-shift forgets the oldest text\n",
                          session.context()));
    }
    if (!options.no_timings) PrintTimings(load_seconds, answer.counts, session);
  }
  return answer.stop == StopReason::kInterrupted;
}

absl::Status RunChat(const RunOptions& options, double load_seconds, Conversation& conversation) {
  if (isatty(STDIN_FILENO)) WriteStderr("/help tells what can be typed, Ctrl-D leaves\n");
  InterruptScope interrupt;
  BANTAM_ASSIGN_OR_RETURN(const Counts counts,
                          Chat(conversation, options.prompt, options.seed, interrupt));
  if (!options.no_timings) {
    PrintTimings(load_seconds, counts, conversation.generator().session());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<engine::Drafter>> OpenDrafter(const RunOptions& options,
                                                             const engine::Session& session) {
  if (options.draft_model.empty()) {
    return std::shared_ptr<engine::Drafter>(engine::Drafter::LookUp());
  }
  Options draft = options;
  draft.model = options.draft_model;
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(draft));
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  session_options.context = 0;
  BANTAM_ASSIGN_OR_RETURN(auto drafter,
                          engine::Drafter::FromModel(model, session, session_options));
  return std::shared_ptr<engine::Drafter>(std::move(drafter));
}

absl::StatusOr<bool> Run(RunOptions& options) {
  const Clock::time_point start = Clock::now();
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options, kDefaultContext));
  if (!options.raw && !model->has_chat_template()) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.model,
                     ": the file has no chat template (tokenizer.chat_template); "
                     "--raw continues a text without one"));
  }
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  if (session_options.context == 0) {
    session_options.context = std::min(kDefaultContext, model->config().context_length);
  }
  BANTAM_RETURN_IF_ERROR(CompleteForModel(options, *model));
  if (options.generate.think == Think::kOff && !options.raw && !model->has_thinking_switch()) {
    WriteStderr("bantam: this model's chat template has no switch for thinking; it is hidden\n");
  }
  if (options.generate.draft_tokens > 0) {
    session_options.verify_rows = options.generate.draft_tokens + 1;
    session_options.ubatch = std::max(session_options.ubatch, session_options.verify_rows);
  }
  session_options.likeliest = options.generate.takes_likeliest();
  engine::Trace trace;
  if (!options.trace.empty()) session_options.trace = &trace;
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  options.generate.max_tokens = options.tokens;
  if (options.generate.draft_tokens > 0) {
    BANTAM_ASSIGN_OR_RETURN(options.generate.drafter, OpenDrafter(options, *session));
  }
  const double load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (options.verbose) {
    WriteStderr(DescribeSession(*session));
    WriteStderr(absl::StrFormat("seed      %d\n", options.seed));
  }
  Generator generator(*session, options.generate);
  Conversation conversation(generator, options.system);
  if (!options.session.empty()) BANTAM_RETURN_IF_ERROR(conversation.Restore(options.session));
  bool interrupted = false;
  if (options.has_prompt && !options.interactive) {
    BANTAM_ASSIGN_OR_RETURN(interrupted, RunOnce(options, load_seconds, conversation));
  } else {
    BANTAM_RETURN_IF_ERROR(RunChat(options, load_seconds, conversation));
  }
  if (!options.session.empty()) BANTAM_RETURN_IF_ERROR(conversation.Save(options.session));
  BANTAM_RETURN_IF_ERROR(WriteTrace(options, trace, *model));
  return interrupted;
}

}  // namespace

int RunMain(int argc, char** argv) {
  RunOptions options;
  CLI::App app(
      "Generates text. With a prompt (-p, -f, or text piped in) it answers once; on a terminal\n"
      "without one it chats.",
      argv[0]);
  AddRunOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  if (const std::string wrong = CompleteRunOptions(options); !wrong.empty()) {
    return UsageError(argv[0], absl::StrCat(wrong, "; see ", argv[0], " --help"));
  }
  options.has_prompt = app.count("--prompt") > 0 || app.count("--file") > 0;
  if (!options.has_prompt && !options.interactive && !isatty(STDIN_FILENO)) {
    options.has_prompt = true;
    options.file = "-";
  }
  if (!options.has_prompt && options.json) {
    return UsageError(argv[0], "--json tells of one answer, not of a chat: give -p or -f");
  }
  if (!options.file.empty()) {
    auto prompt = ReadPrompt(options.file);
    if (!prompt.ok()) return Fail(prompt.status());
    options.prompt = *std::move(prompt);
  }
  // 32 random bits: as good as 64 here, and a number people can copy.
  if (app.count("--seed") == 0) options.seed = std::random_device()();
  const absl::StatusOr<bool> interrupted = Run(options);
  if (!interrupted.ok()) return Fail(interrupted.status());
  if (*interrupted) DieInterrupted();
  return kOk;
}

}  // namespace bantam::cli
