// bantam convert: a GGUF file from a Hugging Face folder or an old GGML file.
#include "runtime/convert/convert.h"

#include <filesystem>

#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/progress.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

struct Request {
  std::string in, out;
  std::string type = "auto";
  convert::Options options;
  bool json = false;
};

absl::Status Convert(const Request& request) {
  convert::Options options = request.options;
  if (request.type != "auto") options.type = quant::TypeFromName(request.type);
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(request.in, ignored);
  if (!is_folder && !convert::IsGgml(request.in)) {
    return absl::InvalidArgumentError(absl::StrCat(
        request.in, ": is neither a folder with a model nor a GGML, GGMF or GGJT file"));
  }
  if (!is_folder && options.type) {
    return absl::UnimplementedError(
        "--type is for folders: an old file's tensors are copied as they are; see bantam quantize");
  }
  InterruptScope interrupt(InterruptScope::Signals::kEnds);
  StatusLine status;
  Stopwatch watch;
  const auto progress = [&](uint64_t done, uint64_t of) {
    status.Show(absl::StrFormat("%s of %s", FormatByteSize(done), FormatByteSize(of)));
    return !interrupt.Pending();
  };
  const auto report = is_folder ? convert::ConvertFolder(request.in, request.out, options, progress)
                                : convert::ConvertGgml(request.in, request.out, options, progress);
  status.Clear();
  if (absl::IsAborted(report.status())) return Interrupted();
  BANTAM_RETURN_IF_ERROR(report.status());
  if (request.json) {
    return WriteJson({{"input", request.in},
                      {"output", request.out},
                      {"architecture", report->architecture},
                      {"tensors", report->tensors},
                      {"tensor_bytes_before", report->bytes_before},
                      {"tensor_bytes_after", report->bytes_after},
                      {"seconds", watch.Seconds()}});
  }
  return WriteStdout(absl::StrFormat("%s: %s, %d tensors, %s (before: %s), %.1f s\n", request.out,
                                     report->architecture, report->tensors,
                                     FormatByteSize(report->bytes_after),
                                     FormatByteSize(report->bytes_before), watch.Seconds()));
}

}  // namespace

int ConvertMain(int argc, char** argv) {
  Request request;
  CLI::App app(
      "Makes a GGUF file of a model as it was published: a folder with config.json, *.safetensors\n"
      "and tokenizer.json or tokenizer.model, or a llama model in a format before GGUF (GGML,\n"
      "GGMF, GGJT). bantam quantize then makes it small.",
      argv[0]);
  app.add_option("input", request.in, "The folder, or the old file")
      ->required()
      ->type_name("INPUT");
  app.add_option("output", request.out, "The GGUF file to write")->required()->type_name("FILE");
  app.add_option("--type", request.type,
                 "Number format of matrices: f32, f16, bf16, or auto: as they are stored")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}).description(""))
      ->capture_default_str();
  app.add_option("--pre", request.options.pre,
                 "Name of the pre-tokenizer, where it is not recognised")
      ->type_name("NAME");
  app.add_option("--ctx", request.options.ggml_context,
                 "Tokens an old file's model was trained for, which it does not say")
      ->type_name("CONTEXT")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""))
      ->capture_default_str();
  app.add_option("--norm-epsilon", request.options.ggml_epsilon,
                 "What an old file's norms add, which it does not say either")
      ->type_name("NUMBER")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->capture_default_str();
  app.add_flag("--json", request.json, "Print one JSON object on standard output");
  if (const auto code = Parse(app, argc, argv)) return *code;
  return Finish(Convert(request));
}

}  // namespace bantam::cli
