// bantam perplexity: how well a model predicts a text.
#include "runtime/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string Duration(double seconds) {
  const int64_t s = std::llround(seconds);
  if (s >= 3600) return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return absl::StrFormat("%d:%02d", s / 60, s % 60);
}

// On a terminal one line that changes with every window; elsewhere about 20 lines in all.
class Progress {
 public:
  explicit Progress(Clock::time_point start) : start_(start) {}

  void operator()(const eval::PerplexityResult& so_far) {
    const double seconds = SecondsSince(start_);
    const int64_t left = so_far.of_windows - so_far.windows;
    const std::string line = absl::StrFormat(
        "[%d/%d] PPL %.4f, %s left", so_far.windows, so_far.of_windows, so_far.score.Perplexity(),
        Duration(seconds / static_cast<double>(so_far.windows) * static_cast<double>(left)));
    if (StderrIsTerminal()) {
      status_.Show(line);
    } else if (so_far.windows % std::max<int64_t>(so_far.of_windows / 20, 1) == 0 || left == 0) {
      WriteStderr(line + "\n");
    }
  }

 private:
  Clock::time_point start_;
  StatusLine status_;
};

absl::Status Measure(const Options& options, int64_t chunks) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(options.file));
  const Clock::time_point load_start = Clock::now();
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options));
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  // The half that is scored is the largest step there is.
  session_options.ubatch =
      std::min(session_options.ubatch, std::max<int64_t>(options.context / 2, 1));
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  const double load_seconds = SecondsSince(load_start);
  if (options.verbose) WriteStderr(DescribeSession(*session));

  const std::vector<tokenizer::TokenId> tokens = model->tokenizer().Encode(text, {});
  const Clock::time_point start = Clock::now();
  eval::PerplexityOptions measure;
  measure.window = options.context;
  measure.max_windows = chunks;
  absl::StatusOr<eval::PerplexityResult> result;
  {
    Progress progress(start);
    result = eval::MeasurePerplexity(*session, tokens, measure, [&](const auto& so_far) {
      progress(so_far);
      return true;
    });
  }
  if (!result.ok()) return Annotate(result.status(), options.file);
  const double seconds = SecondsSince(start);
  const eval::Score& score = result->score;
  const double speed = static_cast<double>(result->windows * measure.window) / seconds;
  if (options.json) {
    return WriteJson({{"model", model->file().path()},
                      {"file", options.file},
                      {"device", model->device().name()},
                      {"perplexity", score.Perplexity()},
                      {"standard_error", score.StandardError()},
                      {"mean_nll", score.MeanNll()},
                      {"context", measure.window},
                      {"windows", result->windows},
                      {"scored_tokens", score.count()},
                      {"text_tokens", tokens.size()},
                      {"load_seconds", load_seconds},
                      {"seconds", seconds},
                      {"tokens_per_second", speed},
                      {"memory", MemoryJson(*session)}});
  }
  BANTAM_RETURN_IF_ERROR(WriteStdout(absl::StrFormat(
      "perplexity %.4f +/- %.4f\n%d windows of %d tokens, the second half of each scored: %d "
      "tokens\n",
      score.Perplexity(), score.StandardError(), result->windows, measure.window, score.count())));
  WriteStderr(absl::StrFormat("load      %.2f s\nmeasure   %.1f s, %.1f tok/s\nmemory    %s\n",
                              load_seconds, seconds, speed, DescribeMemory(*session)));
  return absl::OkStatus();
}

}  // namespace

int PerplexityMain(int argc, char** argv) {
  Options options;
  options.context = 512;
  int64_t chunks = 0;
  CLI::App app(
      "Measures perplexity: the text is cut into windows of --ctx tokens and the second half of\n"
      "each is scored, so that figures compare with those of llama.cpp's tool.",
      argv[0]);
  AddModelOption(app, options);
  app.add_option("-f,--file", options.file, "The text; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("--chunks", chunks, "Measure only the first N windows")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""));
  AddContextOptions(app, options);
  app.get_option("--ctx")->capture_default_str();
  AddDeviceOptions(app, options);
  AddOutputOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  const absl::Status status = Measure(options, chunks);
  return status.ok() ? kOk : Fail(status);
}

}  // namespace bantam::cli
