// bantam plan: which size of a model fits this machine, or another.
#include "runtime/plan/plan.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/progress.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/registry.h"

namespace bantam::cli {
namespace {

// Of a machine that is described; of this one what is free now.
constexpr double kUsableShare = 0.9;

struct Arguments {
  std::string model;
  std::string ram, vram;
  int64_t context = 0;
  int threads = 0;
  bool json = false;
};

absl::StatusOr<plan::Machine> FindMachine(const Arguments& arguments) {
  plan::Machine machine;
  const auto described = [](const std::string& text) -> absl::StatusOr<uint64_t> {
    BANTAM_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(text));
    return static_cast<uint64_t>(static_cast<double>(bytes) * kUsableShare);
  };
  const device::DeviceList list = device::ListDevices({});
  for (const auto& device : list.devices) {
    const uint64_t free = device->memory().free;
    if (device->kind() == device::Kind::kCpu) {
      machine.ram = std::max(machine.ram, free);
    } else if (device->kind() == device::Kind::kDiscreteGpu) {
      machine.vram = std::max(machine.vram, free);
    }
  }
  if (!arguments.ram.empty()) {
    BANTAM_ASSIGN_OR_RETURN(machine.ram, described(arguments.ram));
  } else {
    // Another machine's memory is not this one's.
    machine.bandwidth = plan::MeasureBandwidth(arguments.threads > 0 ? arguments.threads
                                                                     : ThreadPool::DefaultSize());
  }
  if (!arguments.vram.empty()) {
    BANTAM_ASSIGN_OR_RETURN(machine.vram, described(arguments.vram));
  }
  return machine;
}

std::string Table(const plan::Plan& plan, const plan::Machine& machine) {
  std::string out =
      absl::StrFormat("%s, %d layers, trained for %d tokens%s\n", OneLine(plan.model), plan.layers,
                      plan.trained_context, plan.exact ? "" : " (an estimate)");
  absl::StrAppendFormat(&out, "memory that may be used: %s RAM", FormatByteSize(machine.ram));
  if (machine.vram > 0) absl::StrAppend(&out, ", ", FormatByteSize(machine.vram), " VRAM");
  if (machine.bandwidth > 0) {
    absl::StrAppendFormat(&out, "; RAM read at %.1f GB/s", machine.bandwidth / 1e9);
  }
  absl::StrAppendFormat(
      &out, "\nbeside the weights, at %d tokens of context: KV cache %s, compute %s\n\n",
      plan.context, FormatByteSize(plan.rows[0].memory.kv_cache),
      FormatByteSize(plan.rows[0].memory.compute));
  absl::StrAppendFormat(&out, "  %-8s %6s %11s %11s  %-5s %10s %12s\n", "recipe", "bits", "weights",
                        "in all", "fits", "longest", "at most");
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const plan::Row& row = plan.rows[i];
    const bool recommended = static_cast<int>(i) == plan.recommended;
    absl::StrAppendFormat(
        &out, "%s %-8s %6.2f %11s %11s  %-5s %10s %12s", recommended ? "*" : " ", row.recipe,
        row.bits_per_weight, FormatByteSize(row.weights), FormatByteSize(row.total()),
        row.fits ? "yes" : "no", row.longest_context > 0 ? absl::StrCat(row.longest_context) : "-",
        row.most_tokens_per_second ? absl::StrFormat("%.1f tok/s", *row.most_tokens_per_second)
                                   : "-");
    if (machine.vram > 0) {
      absl::StrAppendFormat(&out, "  %d of %d layers on the GPU: %s there, %s in RAM",
                            row.gpu_layers, plan.layers, FormatByteSize(row.in_vram),
                            FormatByteSize(row.in_ram));
    }
    out += "\n";
  }
  absl::StrAppend(&out, "\n");
  if (plan.recommended >= 0) {
    absl::StrAppend(&out, "recommended: ", plan.rows[plan.recommended].recipe, ", ");
  }
  absl::StrAppend(&out, plan.reason, "\n");
  return out;
}

constexpr char kNotes[] =
    "bits: per weight. longest: context in tokens that fits. at most: reading the weights from "
    "RAM\n"
    "allows no more.\n";

nlohmann::ordered_json ToJson(const plan::Plan& plan, const plan::Machine& machine) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const plan::Row& row : plan.rows) {
    nlohmann::ordered_json json = {{"recipe", row.recipe},
                                   {"bits_per_weight", row.bits_per_weight},
                                   {"weights", row.weights},
                                   {"kv_cache", row.memory.kv_cache},
                                   {"compute", row.memory.compute},
                                   {"total", row.total()},
                                   {"fits", row.fits},
                                   {"gpu_layers", row.gpu_layers},
                                   {"in_vram", row.in_vram},
                                   {"in_ram", row.in_ram},
                                   {"longest_context", row.longest_context}};
    if (row.most_tokens_per_second) json["most_tokens_per_second"] = *row.most_tokens_per_second;
    rows.push_back(std::move(json));
  }
  nlohmann::ordered_json json = {{"model", plan.model},
                                 {"exact", plan.exact},
                                 {"layers", plan.layers},
                                 {"context", plan.context},
                                 {"trained_context", plan.trained_context},
                                 {"ram", machine.ram},
                                 {"vram", machine.vram},
                                 {"bandwidth", machine.bandwidth},
                                 {"rows", rows},
                                 {"reason", plan.reason}};
  if (plan.recommended >= 0) json["recommended"] = plan.rows[plan.recommended].recipe;
  return json;
}

absl::Status MakePlan(const Arguments& arguments) {
  plan::Request request;
  request.context = arguments.context;
  BANTAM_ASSIGN_OR_RETURN(request.machine, FindMachine(arguments));
  const auto weights = plan::ParseWeights(arguments.model);
  BANTAM_ASSIGN_OR_RETURN(const plan::Plan plan, weights
                                                     ? plan::PlanSize(*weights, request)
                                                     : plan::PlanFile(arguments.model, request));
  if (arguments.json) return WriteJson(ToJson(plan, request.machine));
  BANTAM_RETURN_IF_ERROR(WriteStdout(Table(plan, request.machine)));
  WriteStderr(kNotes);
  return absl::OkStatus();
}

std::string CheckSize(const std::string& text) {
  const auto size = ParseByteSize(text);
  return size.ok() ? "" : std::string(size.status().message());
}

}  // namespace

int PlanMain(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Shows for each recipe what a model takes, whether that fits and how long a context does,\n"
      "and recommends one. bantam quantize then makes it.",
      argv[0]);
  app.add_option("model", arguments.model, "A GGUF file of any type, or a size such as 7B or 360M")
      ->required()
      ->type_name("MODEL|SIZE");
  app.add_option("--ram", arguments.ram,
                 "Memory of the machine, of which 90 % may be used; default: what is free here now")
      ->type_name("SIZE")
      ->check(CheckSize);
  app.add_option("--vram", arguments.vram,
                 "Memory of its graphics card, of which 90 % may be used; default: what is free")
      ->type_name("SIZE")
      ->check(CheckSize);
  app.add_option("-c,--ctx", arguments.context,
                 "Tokens of context; default: 4096, or what the model was trained for")
      ->type_name("CONTEXT")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""));
  app.add_option("-t,--threads", arguments.threads, "Threads that measure how fast RAM is read")
      ->type_name("THREADS")
      ->check(CLI::Range(1, 1024).description(""));
  app.add_flag("--json", arguments.json, "Print one JSON object on standard output");
  if (const auto code = Parse(app, argc, argv)) return *code;
  return Finish(MakePlan(arguments));
}

}  // namespace bantam::cli
