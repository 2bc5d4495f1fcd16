// bantam quantize: a model in fewer bits.
#include "runtime/quantize/quantize.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "frontends/cli/command.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/progress.h"
#include "frontends/cli/quantize_budget.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/eval/imatrix_file.h"
#include "runtime/quantize/recipe.h"

namespace bantam::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string input, output, recipe;
  std::vector<std::string> tensor_types;  // REGEX=TYPE
  std::string output_type, embedding_type;
  bool pure = false;
  bool overwrite = false;
  std::string imatrix;
  BudgetArguments budget;
  quantize::Options options;
};

absl::StatusOr<quant::Type> ParseType(absl::string_view name) {
  const auto type = quant::TypeFromName(name);
  // Types of activations and integers are none for weights.
  const bool usable = type.has_value() && *type != quant::Type::kQ8_1 &&
                      *type != quant::Type::kQ8_K && *type != quant::Type::kI8 &&
                      *type != quant::Type::kI16 && *type != quant::Type::kI32 &&
                      *type != quant::Type::kI64;
  if (usable) return *type;
  return absl::InvalidArgumentError(
      absl::StrCat("'", Printable(name), "' is no tensor type; expected one like Q4_K or F16"));
}

absl::StatusOr<quantize::Overrides> ParseOverrides(const Arguments& arguments) {
  quantize::Overrides overrides;
  overrides.pure = arguments.pure;
  for (const std::string& text : arguments.tensor_types) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--tensor-type '", Printable(text), "': expected REGEX=TYPE, such as ffn_down=Q6_K"));
    }
    BANTAM_ASSIGN_OR_RETURN(const quant::Type type, ParseType(text.substr(equals + 1)));
    overrides.tensor_types.emplace_back(text.substr(0, equals), type);
  }
  if (!arguments.output_type.empty()) {
    BANTAM_ASSIGN_OR_RETURN(overrides.output, ParseType(arguments.output_type));
  }
  if (!arguments.embedding_type.empty()) {
    BANTAM_ASSIGN_OR_RETURN(overrides.token_embedding, ParseType(arguments.embedding_type));
  }
  return overrides;
}

class ProgressLine {
 public:
  bool operator()(const quantize::Progress& progress) {
    const double done = progress.of_bytes > 0 ? static_cast<double>(progress.bytes) /
                                                    static_cast<double>(progress.of_bytes)
                                              : 1.0;
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    std::string left;
    if (done > 0.02) {
      const int64_t s = std::llround(seconds / done * (1 - done));
      left = absl::StrFormat(", %d:%02d left", s / 60, s % 60);
    }
    line_.Show(absl::StrFormat("[%3.0f %%] %s%s", 100 * done, progress.tensor, left));
    return !interrupt_.Pending();
  }

 private:
  InterruptScope interrupt_{InterruptScope::Signals::kEnds};
  StatusLine line_;
  Clock::time_point start_ = Clock::now();
};

// "Q4_K would not fit 288 rows of 576; 120 tensors are Q5_0 instead", for each pair of types.
std::vector<std::string> DescribeFallbacks(const gguf::File& file,
                                           const std::vector<quantize::Choice>& choices) {
  std::map<std::pair<quant::Type, quant::Type>, std::vector<size_t>> pairs;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].instead_of) pairs[{*choices[i].instead_of, choices[i].type}].push_back(i);
  }
  std::vector<std::string> lines;
  for (const auto& [pair, tensors] : pairs) {
    lines.push_back(absl::StrFormat(
        "%d %s %s instead of %s, whose blocks of %d do not divide rows of %d (%s%s)",
        tensors.size(), tensors.size() == 1 ? "tensor is" : "tensors are", quant::Name(pair.second),
        quant::Name(pair.first), quant::Traits(pair.first).block_size,
        file.tensors()[tensors[0]].shape[0], file.tensors()[tensors[0]].name,
        tensors.size() > 1 ? ", ..." : ""));
  }
  return lines;
}

std::string Table(const quantize::Report& report, bool errors) {
  size_t width = 6;
  for (const auto& tensor : report.tensors) width = std::max(width, tensor.name.size());
  std::string out = absl::StrFormat("%-*s  %-8s %-8s %12s %12s", width, "tensor", "from", "to",
                                    "before", "after");
  absl::StrAppend(&out, errors ? "        RMSE  relative\n" : "\n");
  for (const auto& tensor : report.tensors) {
    absl::StrAppendFormat(&out, "%-*s  %-8s %-8s %12s %12s", width, tensor.name,
                          quant::Name(tensor.from), quant::Name(tensor.to),
                          FormatByteSize(tensor.bytes_before), FormatByteSize(tensor.bytes_after));
    if (errors && tensor.square_sum > 0) {
      absl::StrAppendFormat(&out, "  %10.3e  %6.3f %%", tensor.Rmse(),
                            100 * tensor.RelativeError());
    }
    absl::StrAppend(&out, "\n");
  }
  return out;
}

nlohmann::ordered_json ToJson(const quantize::Report& report, const std::vector<std::string>& notes,
                              bool dry_run, double seconds) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const auto& tensor : report.tensors) {
    nlohmann::ordered_json entry = {{"name", tensor.name},
                                    {"from", std::string(quant::Name(tensor.from))},
                                    {"to", std::string(quant::Name(tensor.to))},
                                    {"elements", tensor.elements},
                                    {"bytes_before", tensor.bytes_before},
                                    {"bytes_after", tensor.bytes_after}};
    if (tensor.square_sum > 0) {
      entry["rmse"] = tensor.Rmse();
      entry["relative_error"] = tensor.RelativeError();
    }
    tensors.push_back(std::move(entry));
  }
  return {
      {"outputs", report.outputs},
      {"dry_run", dry_run},
      {"bytes_before", report.bytes_before},
      {"bytes_after", report.bytes_after},
      {"ratio", static_cast<double>(report.bytes_before) / static_cast<double>(report.bytes_after)},
      {"bits_per_weight", report.BitsPerWeight()},
      {"seconds", seconds},
      {"peak_resident_bytes", PeakResidentBytes()},
      {"notes", notes},
      {"tensors", tensors}};
}

// The file type of the recipe for what most weights are.
std::optional<uint32_t> FileTypeOf(const gguf::File& file, const std::vector<quant::Type>& types) {
  std::map<quant::Type, int64_t> elements;
  for (size_t i = 0; i < types.size(); ++i) elements[types[i]] += file.tensors()[i].elements();
  const auto most =
      std::max_element(elements.begin(), elements.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const quantize::Recipe& recipe : quantize::Recipes()) {
    if (most != elements.end() && recipe.base == most->first) return recipe.file_type;
  }
  return std::nullopt;
}

absl::Status Quantize(const Arguments& arguments, bool json) {
  BANTAM_ASSIGN_OR_RETURN(const quantize::Overrides overrides, ParseOverrides(arguments));
  BANTAM_ASSIGN_OR_RETURN(const std::unique_ptr<gguf::File> file,
                          gguf::File::Open(arguments.input));
  quantize::Options options = arguments.options;
  quant::Importance importance;
  if (!arguments.imatrix.empty()) {
    BANTAM_ASSIGN_OR_RETURN(const eval::Imatrix imatrix, eval::ReadImatrix(arguments.imatrix));
    importance = eval::ImportanceOf(imatrix);
    options.importance = &importance;
  }
  std::vector<quant::Type> types;
  std::vector<std::string> notes;
  if (arguments.budget.Given()) {
    notes.emplace_back();
    BANTAM_ASSIGN_OR_RETURN(
        const plan::BudgetChoice choice,
        ChooseForBudget(*file, arguments.budget, options.importance, options.threads, notes[0]));
    types = choice.types;
    options.file_type = FileTypeOf(*file, types);
  } else {
    BANTAM_ASSIGN_OR_RETURN(const quantize::Recipe recipe, quantize::FindRecipe(arguments.recipe));
    options.file_type = recipe.file_type;
    BANTAM_ASSIGN_OR_RETURN(
        const std::vector<quantize::Choice> choices,
        quantize::ChooseTypes(*file, recipe, overrides, options.importance != nullptr));
    for (const quantize::Choice& choice : choices) types.push_back(choice.type);
    notes = DescribeFallbacks(*file, choices);
  }

  const Clock::time_point start = Clock::now();
  absl::StatusOr<quantize::Report> report;
  {
    ProgressLine progress;
    report = quantize::QuantizeFile(
        *file, arguments.output, types, options,
        [&progress](const quantize::Progress& so_far) { return progress(so_far); });
  }
  if (absl::IsCancelled(report.status())) DieInterrupted();
  if (absl::IsAlreadyExists(report.status())) {
    return absl::AlreadyExistsError(
        absl::StrCat(report.status().message(), "; --overwrite replaces it"));
  }
  BANTAM_RETURN_IF_ERROR(report.status());
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (json) return WriteJson(ToJson(*report, notes, options.dry_run, seconds));
  std::string out = Table(*report, !options.dry_run);
  for (const std::string& note : notes) absl::StrAppend(&out, note, "\n");
  absl::StrAppendFormat(
      &out, "%s -> %s, %.2f times smaller, %.3f bits per weight\n",
      FormatByteSize(report->bytes_before), FormatByteSize(report->bytes_after),
      static_cast<double>(report->bytes_before) / static_cast<double>(report->bytes_after),
      report->BitsPerWeight());
  BANTAM_RETURN_IF_ERROR(WriteStdout(out));
  if (options.dry_run) {
    WriteStderr("dry run: nothing was written\n");
  } else {
    WriteStderr(absl::StrFormat("%s written in %.1f s, peak RSS %s\n",
                                absl::StrJoin(report->outputs, ", "), seconds,
                                FormatByteSize(PeakResidentBytes())));
  }
  return absl::OkStatus();
}

}  // namespace

int QuantizeMain(int argc, char** argv) {
  Arguments arguments;
  bool json = false;
  CLI::App app(
      absl::StrCat("Writes a model in fewer bits.\n\nRecipes, from the smallest file to the "
                   "largest:\n ",
                   absl::StrJoin(quantize::Recipes(), " ",
                                 [](std::string* out, const quantize::Recipe& recipe) {
                                   absl::StrAppend(out, recipe.name);
                                 })),
      argv[0]);
  app.add_option("IN", arguments.input, "The model, best in F16, BF16 or F32")
      ->required()
      ->type_name("");
  app.add_option("OUT", arguments.output, "The file to write")->required()->type_name("");
  app.add_option("RECIPE", arguments.recipe, "Q4_K_M, Q8_0, IQ3_XS, ...")->type_name("");
  app.add_option("--imatrix", arguments.imatrix,
                 "Importance matrix, as bantam imatrix makes it: rounds with care where it matters")
      ->type_name("FILE");
  AddBudgetOptions(app, arguments.budget);
  app.add_option("--tensor-type", arguments.tensor_types,
                 "Type of the tensors whose name has a match; the first match counts")
      ->type_name("REGEX=TYPE")
      ->expected(1)
      ->take_all();
  app.add_option("--output-tensor-type", arguments.output_type, "Type of the output matrix")
      ->type_name("TYPE");
  app.add_option("--token-embedding-type", arguments.embedding_type, "Type of the token embedding")
      ->type_name("TYPE");
  app.add_flag("--pure", arguments.pure, "The recipe's main type for every tensor");
  app.add_flag("--keep-split", arguments.options.keep_split, "As many files as the model has");
  app.add_flag("--dry-run", arguments.options.dry_run, "Show types and sizes, write nothing");
  app.add_flag("--allow-requantize", arguments.options.allow_requantize,
               "Take a quantized model as if it were exact");
  app.add_flag("--overwrite", arguments.options.overwrite, "Replace OUT if it exists");
  app.add_option("-t,--threads", arguments.options.threads, "Threads; default: all there are")
      ->type_name("N")
      ->check(CLI::Range(1, 4096).description(""));
  app.add_flag("--json", json, "Print one JSON object");
  if (const auto code = Parse(app, argc, argv)) return *code;
  if (arguments.budget.Given() == !arguments.recipe.empty()) {
    return UsageError(argv[0],
                      "either a RECIPE or one of --target-size, --target-bpw and --fit is "
                      "needed");
  }
  return Finish(Quantize(arguments, json));
}

}  // namespace bantam::cli
