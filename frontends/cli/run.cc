// bantam run: one prompt, or a chat.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/chat.h"
#include "frontends/cli/command.h"
#include "frontends/cli/generate.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/placement.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Where -c is not given. What models are trained for can be 128 Ki tokens and more, whose KV cache
// few machines have room for.
constexpr int64_t kDefaultContext = 4096;

struct RunOptions : Options {
  std::string system;
  bool raw = false;
  bool interactive = false;
  bool no_timings = false;
  bool has_prompt = false;  // -p or -f, or text on stdin
  GenerateOptions generate;
  uint64_t seed = 0;
};

// CLI11 takes -1 for the largest unsigned number.
std::string CheckSeed(const std::string& text) {
  uint64_t seed = 0;
  return absl::SimpleAtoi(text, &seed) ? "" : absl::StrCat("'", text, "' is not a number from 0");
}

void AddSamplingOptions(CLI::App& app, RunOptions& options) {
  sample::Params& params = options.generate.sampling;
  auto add = [&app](const char* name, auto& value, const char* help, const char* type) {
    app.add_option(name, value, help)
        ->type_name(type)
        ->capture_default_str()
        ->group("Choosing the next token");
  };
  add("--temp", params.temperature, "Temperature; 0 always takes the likeliest token", "T");
  add("--top-k", params.top_k, "Only the K likeliest; 0: off", "K");
  add("--top-p", params.top_p, "Only the likeliest that together have this probability; 1: off",
      "P");
  add("--min-p", params.min_p, "Only those this likely relative to the likeliest; 0: off", "P");
  add("--typical", params.typical_p, "Locally typical sampling; 1: off", "P");
  add("--repeat-penalty", params.repeat_penalty, "Divides the logits of tokens seen; 1: off", "X");
  add("--frequency-penalty", params.frequency_penalty,
      "Taken off a logit for each time the token was seen; 0: off", "X");
  add("--presence-penalty", params.presence_penalty, "Taken off the logits of tokens seen; 0: off",
      "X");
  add("--penalty-last-n", params.penalty_last_n,
      "Tokens the penalties look back on; -1: all, 0: none", "N");
  app.add_option("--seed", options.seed, "Makes the text reproducible; default: another each time")
      ->type_name("SEED")
      ->check(CheckSeed)
      ->group("Choosing the next token");
}

void AddRunOptions(CLI::App& app, RunOptions& options) {
  AddModelOption(app, options);
  AddPromptOptions(app, options);
  app.add_option("--system", options.system, "System message put before the chat")
      ->type_name("TEXT");
  app.add_flag("--raw", options.raw, "Continue the text itself, without the chat template");
  app.add_flag("-i,--interactive", options.interactive,
               "Chat, even with a prompt or without a terminal");
  app.add_flag("--ignore-eos", options.generate.ignore_eos,
               "Never pick a token that ends the answer");
  AddSamplingOptions(app, options);
  AddContextOptions(app, options);
  AddDeviceOptions(app, options);
  AddOutputOptions(app, options);
  app.add_flag("--no-timings", options.no_timings, "No speed and memory at the end");
}

// What is wrong with options that are each right; "" if nothing.
std::string Contradiction(const RunOptions& options) {
  if (options.raw && !options.system.empty()) {
    return "--system needs the chat template that --raw does without";
  }
  if (options.interactive && options.json) return "--json tells of one answer, not of a chat";
  if (options.interactive && options.file == "-") return "-i and -f - both want standard input";
  // The sampler knows the ranges of its parameters; the vocabulary does not matter to them.
  const auto sampler = sample::Sampler::Create(options.generate.sampling, 1);
  return sampler.ok() ? "" : std::string(sampler.status().message());
}

void PrintTimings(double load_seconds, const Counts& counts, const engine::Session& session) {
  std::string reused;
  if (counts.reused_tokens > 0) {
    reused = absl::StrFormat(" (%d more were in the KV cache)", counts.reused_tokens);
  }
  WriteStderr(absl::StrFormat(
      "\nload      %.2f s\nprompt    %d tokens, %.1f tok/s%s%s\n"
      "generate  %d tokens, %.1f tok/s%s\nmemory    %s\n",
      load_seconds, counts.prompt_tokens, counts.prompt_speed(),
      PredictedPromptSpeed(session.model()), reused, counts.generated_tokens,
      counts.generate_speed(), PredictedGenerateSpeed(session.model()), DescribeMemory(session)));
}

nlohmann::ordered_json AnswerJson(const RunOptions& options, const Answer& answer,
                                  double load_seconds, const engine::Session& session) {
  const Counts& counts = answer.counts;
  return {{"model", options.model},
          {"device", session.model().device().name()},
          {"text", answer.text},
          {"stop_reason", std::string(StopReasonName(answer.stop))},
          {"seed", options.seed},
          {"tokens", {{"prompt", counts.prompt_tokens}, {"generated", counts.generated_tokens}}},
          {"timings",
           {{"load_seconds", load_seconds},
            {"prompt_seconds", counts.prompt_seconds},
            {"prompt_tokens_per_second", counts.prompt_speed()},
            {"generate_seconds", counts.generate_seconds},
            {"generate_tokens_per_second", counts.generate_speed()}}},
          {"memory", MemoryJson(session)}};
}

// Answers options.prompt. True when Ctrl-C ended the answer.
absl::StatusOr<bool> RunOnce(const RunOptions& options, double load_seconds,
                             engine::Session& session, Generator& generator) {
  std::string prompt = options.prompt;
  if (!options.raw) {
    std::vector<chat::Message> messages;
    if (!options.system.empty()) messages.push_back({"system", options.system});
    messages.push_back({"user", options.prompt});
    BANTAM_ASSIGN_OR_RETURN(prompt, session.model().FormatChat(messages, true));
  }
  InterruptScope interrupt;
  auto emit = [&](absl::string_view text) {
    return options.json ? absl::OkStatus() : WriteAnswer(text);
  };
  BANTAM_ASSIGN_OR_RETURN(const Answer answer,
                          generator.Generate(generator.Encode(prompt), options.seed, emit,
                                             [&] { return interrupt.Pending(); }));
  if (options.json) {
    BANTAM_RETURN_IF_ERROR(WriteJson(AnswerJson(options, answer, load_seconds, session)));
  } else {
    BANTAM_RETURN_IF_ERROR(EndAnswer(answer.text));
    if (answer.stop == StopReason::kContextFull) {
      WriteStderr(
          absl::StrFormat("bantam: the answer ends here: the context of %d tokens is full; "
                          "-c gives more room\n",
                          session.context()));
    }
    if (!options.no_timings) PrintTimings(load_seconds, answer.counts, session);
  }
  return answer.stop == StopReason::kInterrupted;
}

absl::Status RunChat(const RunOptions& options, double load_seconds, engine::Session& session,
                     Generator& generator) {
  ChatOptions chat;
  chat.system = options.system;
  chat.raw = options.raw;
  chat.first = options.prompt;
  chat.seed = options.seed;
  if (isatty(STDIN_FILENO)) WriteStderr("/help tells what can be typed, Ctrl-D leaves\n");
  InterruptScope interrupt;
  BANTAM_ASSIGN_OR_RETURN(const Counts counts, Chat(session.model(), generator, chat, interrupt));
  if (!options.no_timings) PrintTimings(load_seconds, counts, session);
  return absl::OkStatus();
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
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  const double load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (options.verbose) {
    WriteStderr(DescribeSession(*session));
    WriteStderr(absl::StrFormat("seed      %d\n", options.seed));
  }
  options.generate.max_tokens = options.tokens;
  Generator generator(*session, options.generate);
  if (options.has_prompt && !options.interactive) {
    return RunOnce(options, load_seconds, *session, generator);
  }
  BANTAM_RETURN_IF_ERROR(RunChat(options, load_seconds, *session, generator));
  return false;
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
  if (const std::string wrong = Contradiction(options); !wrong.empty()) {
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
