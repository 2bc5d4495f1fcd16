// bantam imatrix: which columns of a model's weights matter, by what a text puts through them.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/progress.h"
#include "runtime/base/status.h"
#include "runtime/eval/imatrix_file.h"

namespace bantam::cli {
namespace {

struct Request {
  Options options;
  std::string out;
  std::string format = "auto";
  int64_t chunks = 0;
  bool output = false;
};

absl::Status Collect(const Request& request) {
  const Options& options = request.options;
  BANTAM_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(options.file));
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options));
  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  session_options.keep_matmul_inputs = true;
  session_options.ubatch = std::min(session_options.ubatch, options.context);
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  if (options.verbose) WriteStderr(DescribeSession(*session));
  const auto tokens = model->tokenizer().Encode(text, {});
  const auto windows = eval::CutWindows(*session, tokens,
                                        {.window = options.context, .max_windows = request.chunks});
  if (!windows.ok()) return Annotate(windows.status(), options.file);

  absl::StatusOr<eval::Imatrix> imatrix;
  bool interrupted = false;
  double seconds = 0;
  {
    InterruptScope interrupt(InterruptScope::Signals::kEnds);
    Progress progress(windows->count);
    imatrix =
        eval::CollectImatrix(*session, *windows, {.output = request.output}, [&](int64_t done) {
          progress.Show(done, "windows");
          interrupted = interrupt.Pending();
          return !interrupted;
        });
    seconds = progress.Seconds();
  }
  if (!imatrix.ok()) return Annotate(imatrix.status(), options.model);
  if (interrupted) return Interrupted();
  imatrix->datasets = {options.file};
  const bool binary =
      request.format == "dat" || (request.format == "auto" && absl::EndsWith(request.out, ".dat"));
  BANTAM_RETURN_IF_ERROR(eval::WriteImatrix(
      request.out, *imatrix, binary ? eval::ImatrixFormat::kBinary : eval::ImatrixFormat::kGguf));
  int64_t unseen = 0;  // experts
  for (const auto& [name, entry] : imatrix->entries) {
    unseen += std::count(entry.counts.begin(), entry.counts.end(), 0);
  }
  if (options.json) {
    return WriteJson({{"model", model->file().path()},
                      {"file", options.file},
                      {"output", request.out},
                      {"format", binary ? "dat" : "gguf"},
                      {"tensors", imatrix->entries.size()},
                      {"windows", imatrix->chunks},
                      {"context", options.context},
                      {"unseen_experts", unseen},
                      {"seconds", seconds},
                      {"memory", MemoryJson(*session)}});
  }
  BANTAM_RETURN_IF_ERROR(WriteStdout(
      absl::StrFormat("%s: importance of %d tensors from %d windows of %d tokens\n", request.out,
                      imatrix->entries.size(), imatrix->chunks, options.context)));
  if (unseen > 0) {
    WriteStderr(absl::StrFormat(
        "note      the text never reached %d experts; a longer or more varied one may\n", unseen));
  }
  WriteStderr(
      absl::StrFormat("measure   %.1f s\nmemory    %s\n", seconds, DescribeMemory(*session)));
  return absl::OkStatus();
}

}  // namespace

int ImatrixMain(int argc, char** argv) {
  Request request;
  Options& options = request.options;
  options.context = 512;
  CLI::App app(
      "Reads a text with a model and sums, for each weight, the squares of what its columns are\n"
      "multiplied by: the importance matrix that bantam quantize and llama-quantize take to round\n"
      "with care where it matters. A few hundred windows of varied text are enough.",
      argv[0]);
  AddModelOption(app, options);
  app.add_option("-f,--file", options.file, "The text; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("-o,--output", request.out, "The file to write")->required()->type_name("FILE");
  app.add_option("--format", request.format,
                 "gguf, or dat: the form that llama.cpp wrote before 2025; auto: dat where FILE "
                 "ends in .dat")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"auto", "gguf", "dat"}).description(""))
      ->capture_default_str();
  app.add_option("--chunks", request.chunks, "Read only the first N windows")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""));
  app.add_flag("--process-output", request.output, "Include the output head");
  AddContextOptions(app, options);
  app.get_option("--ctx")->description("Tokens in a window")->capture_default_str();
  AddDeviceOptions(app, options);
  AddOutputOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  return Finish(Collect(request));
}

}  // namespace bantam::cli
