// bantam perplexity: how well a model predicts a text, and how far it is from another model.
#include "runtime/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/divergence_report.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/progress.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/eval/divergence.h"
#include "runtime/eval/log_probs_file.h"

namespace bantam::cli {
namespace {

using tokenizer::TokenId;

struct Request {
  Options options;
  int64_t chunks = 0;
  std::string save_logits;
  std::string kl_base;
};

// What is printed about how the measurement went, whatever was measured.
struct Run {
  int64_t window = 0;
  int64_t windows = 0;
  int64_t scored = 0;
  double load_seconds = 0;
  double seconds = 0;

  double Speed() const { return static_cast<double>(windows * window) / seconds; }
};

nlohmann::ordered_json RunJson(const Request& request, const engine::Session& session,
                               const Run& run, const eval::Estimate& perplexity) {
  nlohmann::ordered_json json = {{"model", session.model().file().path()}};
  if (!request.options.file.empty()) json["file"] = request.options.file;
  if (!request.kl_base.empty()) json["kl_base"] = request.kl_base;
  if (!request.save_logits.empty()) json["save_logits"] = request.save_logits;
  json["device"] = session.model().device().name();
  json["perplexity"] = perplexity.value;
  json["standard_error"] = perplexity.error;
  json["mean_nll"] = std::log(perplexity.value);
  json["context"] = run.window;
  json["windows"] = run.windows;
  json["scored_tokens"] = run.scored;
  json["load_seconds"] = run.load_seconds;
  json["seconds"] = run.seconds;
  json["tokens_per_second"] = run.Speed();
  json["memory"] = MemoryJson(session);
  return json;
}

std::string WindowsLine(const Run& run) {
  return absl::StrFormat("%d windows of %d tokens, the second half of each scored: %d tokens\n",
                         run.windows, run.window, run.scored);
}

void PrintRun(const engine::Session& session, const Run& run) {
  WriteStderr(absl::StrFormat("load      %.2f s\nmeasure   %.1f s, %.1f tok/s\nmemory    %s\n",
                              run.load_seconds, run.seconds, run.Speed(), DescribeMemory(session)));
}

// Perplexity, and the log-probabilities to a file where they were asked for.
absl::Status MeasureAlone(const Request& request, engine::Session& session, Run run) {
  const Options& options = request.options;
  BANTAM_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(options.file));
  const std::vector<TokenId> tokens = session.model().tokenizer().Encode(text, {});
  const auto windows =
      eval::CutWindows(session, tokens, {.window = run.window, .max_windows = request.chunks});
  if (!windows.ok()) return Annotate(windows.status(), options.file);
  std::unique_ptr<eval::LogProbsWriter> save;
  if (!request.save_logits.empty()) {
    BANTAM_ASSIGN_OR_RETURN(
        save, eval::LogProbsWriter::Create(request.save_logits, session.model(), *windows));
  }
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::DefaultSize());
  absl::StatusOr<eval::PerplexityResult> result;
  bool interrupted = false;
  {
    InterruptScope interrupt(InterruptScope::Signals::kEnds);
    Progress progress(windows->count);
    result = eval::MeasurePerplexity(
        session, *windows,
        [&](std::span<const TokenId> targets) {
          return save == nullptr ? absl::OkStatus() : save->AddBatch(session, targets, pool);
        },
        [&](const eval::PerplexityResult& so_far) {
          progress.Show(so_far.windows, absl::StrFormat("PPL %.4f", so_far.score.Perplexity()));
          interrupted = interrupt.Pending();
          return !interrupted;
        });
    run.seconds = progress.Seconds();
  }
  BANTAM_RETURN_IF_ERROR(result.status());
  if (interrupted) return Interrupted();
  if (save != nullptr) BANTAM_RETURN_IF_ERROR(save->Commit());
  const eval::Score& score = result->score;
  run.windows = result->windows;
  run.scored = score.count();
  if (options.json) {
    auto json = RunJson(request, session, run, {score.Perplexity(), score.StandardError()});
    json["text_tokens"] = tokens.size();
    return WriteJson(json);
  }
  BANTAM_RETURN_IF_ERROR(
      WriteStdout(absl::StrFormat("perplexity %.4f +/- %.4f\n%s", score.Perplexity(),
                                  score.StandardError(), WindowsLine(run))));
  PrintRun(session, run);
  if (save != nullptr) {
    WriteStderr(
        absl::StrFormat("saved     %s, %s\n", request.save_logits, FormatByteSize(save->size())));
  }
  return absl::OkStatus();
}

absl::Status MeasureAgainst(const Request& request, engine::Session& session, Run run) {
  BANTAM_ASSIGN_OR_RETURN(const auto base,
                          eval::LogProbsFile::Open(request.kl_base, session.model()));
  ThreadPool pool(request.options.threads > 0 ? request.options.threads
                                              : ThreadPool::DefaultSize());
  absl::StatusOr<eval::DivergenceResult> result;
  bool interrupted = false;
  {
    InterruptScope interrupt(InterruptScope::Signals::kEnds);
    Progress progress(request.chunks > 0 ? std::min(request.chunks, base->windows().count)
                                         : base->windows().count);
    result = eval::MeasureDivergence(
        session, *base, request.chunks, pool, [&](const eval::DivergenceResult& so_far) {
          progress.Show(so_far.windows,
                        absl::StrFormat("mean KL %.6f", so_far.divergence.MeanKl()));
          interrupted = interrupt.Pending();
          return !interrupted;
        });
    run.seconds = progress.Seconds();
  }
  BANTAM_RETURN_IF_ERROR(result.status());
  if (interrupted) return Interrupted();
  run.windows = result->windows;
  run.scored = result->divergence.count();
  if (request.options.json) {
    const eval::DivergenceSummary summary = result->divergence.Summarize();
    auto json = RunJson(request, session, run, summary.perplexity);
    json.update(DivergenceJson(result->divergence));
    return WriteJson(json);
  }
  BANTAM_RETURN_IF_ERROR(WriteStdout(DivergenceReport(*result) + WindowsLine(run)));
  PrintRun(session, run);
  return absl::OkStatus();
}

absl::Status Measure(Request request) {
  Options& options = request.options;
  if (!request.kl_base.empty()) {
    BANTAM_ASSIGN_OR_RETURN(const int64_t window, eval::WindowSizeOf(request.kl_base));
    if (options.context != 0 && options.context != window) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s was made in windows of %d tokens, so --ctx %d cannot be honoured",
                          request.kl_base, window, options.context));
    }
    options.context = window;
  }
  if (options.context == 0) options.context = 512;
  Stopwatch load;
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options));
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  // The half that is scored is the largest step there is.
  session_options.ubatch =
      std::min(session_options.ubatch, std::max<int64_t>(options.context / 2, 1));
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  if (options.verbose) WriteStderr(DescribeSession(*session));
  Run run;
  run.window = options.context;
  run.load_seconds = load.Seconds();
  return request.kl_base.empty() ? MeasureAlone(request, *session, run)
                                 : MeasureAgainst(request, *session, run);
}

}  // namespace

int PerplexityMain(int argc, char** argv) {
  Request request;
  Options& options = request.options;
  CLI::App app(
      "Measures perplexity: the text is cut into windows of --ctx tokens and the second half of\n"
      "each is scored, so that figures compare with those of llama.cpp's tool.\n\n"
      "What a smaller model lost: save what the original predicts, then compare the other with "
      "it.\n"
      "  bantam perplexity -m original.gguf -f text.txt --save-logits original.logits\n"
      "  bantam perplexity -m small.gguf --kl-base original.logits",
      argv[0]);
  AddModelOption(app, options);
  auto* source = app.add_option_group("text", "");
  auto* file = source->add_option("-f,--file", options.file, "The text; - is standard input")
                   ->type_name("FILE");
  source
      ->add_option("--kl-base", request.kl_base,
                   "Compare with the predictions in FILE, on the text they were made on")
      ->type_name("FILE");
  source->require_option(1);
  app.add_option("--save-logits", request.save_logits,
                 "Save every prediction to FILE: about 1.1 bytes per scored token and entry of "
                 "the vocabulary")
      ->type_name("FILE")
      ->needs(file);
  app.add_option("--chunks", request.chunks, "Measure only the first N windows")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""));
  AddContextOptions(app, options);
  app.get_option("--ctx")->description("Tokens in a window; default: 512, or those of --kl-base");
  AddDeviceOptions(app, options);
  AddOutputOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  return Finish(Measure(request));
}

}  // namespace bantam::cli
