#include "frontends/cli/quantize_budget.h"

#include "absl/strings/str_format.h"
#include "frontends/cli/interrupt.h"
#include "frontends/cli/options.h"
#include "frontends/cli/progress.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/windows.h"
#include "runtime/model/architecture.h"
#include "runtime/plan/sensitivities.h"
#include "runtime/quant/encode.h"

namespace bantam::cli {
namespace {

constexpr int64_t kWindow = 256;  // tokens; half of them are scored
constexpr int64_t kUbatch = 128;

std::string CheckSize(const std::string& text) {
  const auto size = ParseByteSize(text);
  return size.ok() ? "" : std::string(size.status().message());
}

// Bytes of the tensors' data.
absl::StatusOr<uint64_t> Budget(const gguf::File& file, const BudgetArguments& arguments) {
  uint64_t data = 0, elements = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    data += tensor.data.size();
    elements += static_cast<uint64_t>(tensor.elements());
  }
  if (arguments.target_bpw > 0) {
    return static_cast<uint64_t>(arguments.target_bpw * static_cast<double>(elements) / 8);
  }
  // Metadata, with two keys that may be new, and at most so much padding behind each tensor.
  uint64_t beside = file.file_bytes() - data + 128 + file.alignment() * file.tensors().size();
  absl::string_view text = arguments.target_size;
  if (text.empty()) {
    text = arguments.fit;
    BANTAM_ASSIGN_OR_RETURN(const auto architecture, model::Open(file));
    engine::SessionOptions session;
    session.context = std::min(arguments.context, architecture->config().context_length);
    session.ubatch = kUbatch;
    BANTAM_ASSIGN_OR_RETURN(const engine::MemoryUse use,
                            engine::PredictMemory(*architecture, device::Limits{}, session));
    beside += use.kv_cache + use.compute;
  }
  BANTAM_ASSIGN_OR_RETURN(const uint64_t size, ParseByteSize(text));
  if (size <= beside) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%s leave no room for weights: %s go to everything else", text, FormatByteSize(beside)));
  }
  return size - beside;
}

absl::StatusOr<plan::Sensitivities> Measure(const gguf::File& file,
                                            const BudgetArguments& arguments,
                                            const quant::Importance* importance, int threads,
                                            ThreadPool& pool, const InterruptScope& interrupt) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, ReadPrompt(arguments.calibrate));
  engine::LoadOptions load;
  load.threads = threads;
  load.writable_weights = true;
  BANTAM_ASSIGN_OR_RETURN(const auto model, engine::Model::Load(file.path(), load));
  engine::SessionOptions options;
  options.context = kWindow;
  options.ubatch = kUbatch;
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, options));
  const auto windows = eval::CutWindows(*session, model->tokenizer().Encode(text, {}),
                                        {.window = kWindow, .max_windows = arguments.chunks});
  if (!windows.ok()) return Annotate(windows.status(), arguments.calibrate);
  const std::vector<const gguf::TensorInfo*> tensors =
      plan::TensorsToMeasure(model->file(), arguments.layers);
  Progress progress(static_cast<int64_t>(tensors.size()));
  BANTAM_ASSIGN_OR_RETURN(
      const std::vector<plan::Gain> gains,
      plan::MeasureGains(model, *windows, tensors, {plan::ProbeType, importance},
                         quant::QuantizeRow, *session, pool, [&](int64_t done) {
                           progress.Show(done, "tensors measured");
                           return !interrupt.Pending();
                         }));
  const plan::Sensitivities all = plan::SpreadSensitivities(model->file(), gains);
  if (!arguments.save_sensitivities.empty()) {
    BANTAM_RETURN_IF_ERROR(plan::SaveSensitivities(all, arguments.save_sensitivities));
  }
  return all;
}

}  // namespace

void AddBudgetOptions(CLI::App& app, BudgetArguments& arguments) {
  auto* group = app.add_option_group("size", "In place of RECIPE: the best types for a size");
  group->add_option("--target-size", arguments.target_size, "Size of the file, such as 5.5GiB")
      ->type_name("SIZE")
      ->check(CheckSize);
  group->add_option("--target-bpw", arguments.target_bpw, "Bits per weight, such as 4.25")
      ->type_name("BITS")
      ->check(CLI::Range(0.5, 32.0).description(""));
  group->add_option("--fit", arguments.fit, "Memory for the file, the KV cache and all else")
      ->type_name("SIZE")
      ->check(CheckSize);
  group->require_option(0, 1);
  app.add_option("-c,--ctx", arguments.context, "Tokens of context, with --fit")
      ->type_name("CONTEXT")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""))
      ->capture_default_str();
  auto* calibrate =
      app.add_option("--calibrate", arguments.calibrate,
                     "Measure on this text what each tensor's rounding does to the model; without, "
                     "it is taken to be as in other models")
          ->type_name("FILE");
  app.add_option("--calibrate-chunks", arguments.chunks, "Windows of 256 tokens to measure on")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20).description(""))
      ->capture_default_str();
  app.add_option("--calibrate-layers", arguments.layers,
                 "Layers to measure, those between are interpolated; 0: all")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20).description(""))
      ->capture_default_str();
  app.add_option("--save-sensitivities", arguments.save_sensitivities,
                 "Keep what --calibrate measured, for files of other sizes")
      ->type_name("FILE")
      ->needs(calibrate);
  app.add_option("--sensitivities", arguments.sensitivities,
                 "Take what --save-sensitivities kept in place of measuring")
      ->type_name("FILE")
      ->excludes(calibrate);
}

absl::StatusOr<plan::BudgetChoice> ChooseForBudget(const gguf::File& file,
                                                   const BudgetArguments& arguments,
                                                   const quant::Importance* importance, int threads,
                                                   std::string& note) {
  BANTAM_ASSIGN_OR_RETURN(const uint64_t budget, Budget(file, arguments));
  InterruptScope interrupt(InterruptScope::Signals::kEnds);
  ThreadPool pool(threads > 0 ? threads : ThreadPool::DefaultSize());
  plan::BudgetOptions options;
  options.importance = importance;
  if (!arguments.sensitivities.empty()) {
    BANTAM_ASSIGN_OR_RETURN(options.sensitivities,
                            plan::ReadSensitivities(arguments.sensitivities, file));
  } else if (!arguments.calibrate.empty()) {
    BANTAM_ASSIGN_OR_RETURN(options.sensitivities,
                            Measure(file, arguments, importance, threads, pool, interrupt));
  }
  StatusLine status;
  BANTAM_ASSIGN_OR_RETURN(
      plan::BudgetChoice choice,
      plan::ChooseWithinBudget(file, budget, options, pool, [&](int64_t done, int64_t of) {
        status.Show(absl::StrFormat("errors of tensor %d of %d", done, of));
        return !interrupt.Pending();
      }));
  note = absl::StrFormat(
      "types chosen for %s: %s %.5g, %s", FormatByteSize(budget),
      options.sensitivities.empty() ? "KL divergence predicted from typical models"
                                    : "predicted KL divergence",
      choice.cost,
      choice.bound >= choice.cost ? "the least there is"
                                  : absl::StrFormat("no choice is below %.5g", choice.bound));
  return choice;
}

}  // namespace bantam::cli
