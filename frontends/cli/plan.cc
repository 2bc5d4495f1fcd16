// bantam plan: which size of a model fits this machine, or another, and what goes where.
#include "runtime/plan/plan.h"

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "frontends/cli/placement.h"
#include "frontends/cli/progress.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/plan/loss.h"
#include "runtime/schedule/cache.h"
#include "runtime/schedule/measure.h"

namespace bantam::cli {
namespace {

// Of a machine's memory that is described; the rest is for other programs.
constexpr double kUsableShare = 0.9;

struct Arguments {
  std::string model;
  std::string ram;
  std::vector<std::string> vram;
  int64_t context = 0;
  int threads = 0;
  bool json = false;
};

// "16GiB" or "16GiB@50", with the speed at which it is read in GB/s.
struct Memory {
  uint64_t bytes = 0;
  std::optional<double> bandwidth;  // bytes per second
};
absl::StatusOr<Memory> ParseMemory(absl::string_view text) {
  const size_t at = text.find('@');
  Memory memory;
  BANTAM_ASSIGN_OR_RETURN(memory.bytes, ParseByteSize(text.substr(0, at)));
  if (at == absl::string_view::npos) return memory;
  double speed = 0;
  if (!absl::SimpleAtod(text.substr(at + 1), &speed) || !(speed >= 0.1 && speed <= 1e5)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text.substr(at + 1), "' is no speed of memory; expected GB/s, such as 16GiB@50"));
  }
  memory.bandwidth = speed * 1e9;
  return memory;
}

// What is described takes the place of what is here.
absl::StatusOr<plan::Machine> FindMachine(const Arguments& arguments) {
  plan::Machine machine;
  // Speeds of weights of other types are much the same in bytes.
  constexpr quant::Type kMeasured = quant::Type::kQ4_K;
  device::BackendOptions options;
  options.threads = arguments.threads;
  device::DeviceList list = device::ListDevices(options);
  for (auto& device : device::Distinct(std::move(list.devices))) {
    machine.open.push_back(std::move(device));
  }
  const std::vector<std::shared_ptr<device::Device>>& here = machine.open;
  const auto profile = [&](device::Device& device) {
    return schedule::ProfileDevice(device, kMeasured, schedule::CacheFolder());
  };
  const auto is_host = [](const auto& d) { return d->kind() == device::Kind::kCpu; };
  if (arguments.vram.empty()) {
    for (const auto& device : here) {
      if (is_host(device)) continue;
      BANTAM_ASSIGN_OR_RETURN(machine.devices.emplace_back(), profile(*device));
    }
  }
  for (size_t i = 0; i < arguments.vram.size(); ++i) {
    BANTAM_ASSIGN_OR_RETURN(const Memory memory, ParseMemory(arguments.vram[i]));
    if (memory.bytes == 0) continue;
    const std::string name = absl::StrCat("card:", i);
    machine.devices.push_back(memory.bandwidth.has_value()
                                  ? plan::TypicalCard(name, memory.bytes, *memory.bandwidth)
                                  : plan::TypicalCard(name, memory.bytes));
  }
  const auto host = std::find_if(here.begin(), here.end(), is_host);
  if (!arguments.ram.empty()) {
    BANTAM_ASSIGN_OR_RETURN(const Memory memory, ParseMemory(arguments.ram));
    machine.ram = static_cast<uint64_t>(static_cast<double>(memory.bytes) * kUsableShare);
    machine.devices.push_back(memory.bandwidth.has_value() ? plan::TypicalHost(*memory.bandwidth)
                                                           : plan::TypicalHost());
  } else if (host != here.end()) {
    machine.ram = (*host)->memory().free;
    BANTAM_ASSIGN_OR_RETURN(machine.devices.emplace_back(), profile(**host));
  } else {
    return absl::FailedPreconditionError("this machine has no device 'cpu'; describe it by --ram");
  }
  return machine;
}

std::vector<DeviceUse> Uses(const plan::Row& row, const plan::Machine& machine) {
  std::vector<DeviceUse> uses;
  for (size_t d = 0; d < machine.devices.size(); ++d) {
    const bool is_host = d + 1 == machine.devices.size();
    const uint64_t all = is_host ? machine.ram : machine.devices[d].capacity;
    const schedule::DeviceMemory& memory = row.placement.memory[d];
    uses.push_back({machine.devices[d].name, memory, all - std::min(all, memory.total())});
  }
  return uses;
}

std::string Table(const plan::Plan& plan, const plan::Machine& machine) {
  const bool has_card = machine.devices.size() > 1;
  std::string out =
      absl::StrFormat("%s, %d layers, trained for %d tokens%s\n", OneLine(plan.model), plan.layers,
                      plan.trained_context, plan.exact ? "" : " (an estimate)");
  absl::StrAppend(&out, "memory that may be used:");
  for (size_t d = 0; d < machine.devices.size(); ++d) {
    const bool is_host = d + 1 == machine.devices.size();
    absl::StrAppendFormat(&out, "%s %s %s at %.4g GB/s", d > 0 ? "," : "",
                          is_host ? "RAM" : machine.devices[d].name,
                          FormatByteSize(is_host ? machine.ram : machine.devices[d].capacity),
                          machine.devices[d].bandwidth / 1e9);
  }
  absl::StrAppendFormat(&out, "\nwith %d tokens of context:\n\n", plan.context);
  absl::StrAppendFormat(&out, "  %-8s %6s %-10s %10s %10s%s  %-5s %8s %12s %12s\n", "recipe",
                        "bits", "loss", "weights", "in all", has_card ? "    in VRAM" : "", "fits",
                        "longest", "prompt tok/s", "output tok/s");
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const plan::Row& row = plan.rows[i];
    absl::StrAppendFormat(&out, "%s %-8s %6.2f %-10s %10s %10s",
                          static_cast<int>(i) == plan.recommended ? "*" : " ", row.recipe,
                          row.bits_per_weight, plan::DescribeDivergence(row.divergence),
                          FormatByteSize(row.weights), FormatByteSize(row.total));
    if (has_card) absl::StrAppendFormat(&out, " %10s", FormatByteSize(row.in_vram));
    absl::StrAppendFormat(&out, "  %-5s %8s", row.fits ? "yes" : "no",
                          row.longest_context > 0 ? absl::StrCat(row.longest_context) : "-");
    if (row.fits) {
      absl::StrAppendFormat(&out, " %12.1f %12.1f\n", row.prompt_speed(), row.generate_speed());
    } else {
      absl::StrAppendFormat(&out, " %12s %12s\n", "-", "-");
    }
  }
  out += "\n";
  if (plan.recommended >= 0) {
    const plan::Row& row = plan.rows[plan.recommended];
    absl::StrAppend(&out, "recommended: ", row.recipe, ", ", plan.reason, "\n",
                    PlacementTable(row.placement, Uses(row, machine)));
  } else {
    absl::StrAppend(&out, plan.reason, "\n");
  }
  return out;
}

constexpr char kNotes[] =
    "loss: an estimate from published measurements; bantam perplexity --kl-base measures it.\n"
    "bits: per weight. in VRAM: weights and KV cache. longest: context in tokens that fits. The\n"
    "speeds are predicted from how fast each memory is read, with 1024 tokens in the cache.\n";

nlohmann::ordered_json ToJson(const plan::Row& row, const plan::Machine& machine) {
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  const std::vector<DeviceUse> uses = Uses(row, machine);
  for (size_t d = 0; d < uses.size(); ++d) {
    nlohmann::ordered_json groups = nlohmann::ordered_json::array();
    for (size_t g = 0; g < row.placement.groups.size(); ++g) {
      if (row.placement.device[g] != static_cast<int>(d)) continue;
      groups.push_back(schedule::GroupName(row.placement.groups[g]));
    }
    devices.push_back(
        {{"name", uses[d].name},
         {"weights", uses[d].memory.weights},
         {"kv_cache", uses[d].memory.kv_cache},
         {"compute", uses[d].memory.compute + uses[d].memory.inputs + uses[d].memory.scratch},
         {"for_streamed", uses[d].memory.streamed},
         {"free", uses[d].free},
         {"groups", std::move(groups)}});
  }
  nlohmann::ordered_json streamed;  // null: no weights are
  if (const schedule::Streaming& streaming = row.placement.streaming; streaming.rows > 0) {
    nlohmann::ordered_json groups = nlohmann::ordered_json::array();
    for (size_t g = 0; g < row.placement.groups.size(); ++g) {
      if (streaming.is_streamed[g]) groups.push_back(GroupName(row.placement.groups[g]));
    }
    streamed = {{"to", uses[streaming.device].name},
                {"from_step_tokens", streaming.rows},
                {"groups", std::move(groups)}};
  }
  nlohmann::ordered_json hot = nlohmann::ordered_json::array();
  for (const schedule::HotExperts& layer : row.placement.hot) {
    hot.push_back({{"layer", layer.layer},
                   {"device", uses[layer.device].name},
                   {"experts", layer.experts.size()},
                   {"of", layer.count},
                   {"share_of_use", layer.share}});
  }
  return {{"recipe", row.recipe},
          {"bits_per_weight", row.bits_per_weight},
          {"expected_divergence", row.divergence},
          {"weights", row.weights},
          {"total", row.total},
          {"in_vram", row.in_vram},
          {"fits", row.fits},
          {"longest_context", row.longest_context},
          {"prompt_tokens_per_second", row.prompt_speed()},
          {"generate_tokens_per_second", row.generate_speed()},
          {"devices", std::move(devices)},
          {"streamed", std::move(streamed)},
          {"hot_experts", std::move(hot)}};
}

nlohmann::ordered_json ToJson(const plan::Plan& plan, const plan::Machine& machine) {
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  for (size_t d = 0; d < machine.devices.size(); ++d) {
    const schedule::DeviceProfile& device = machine.devices[d];
    const bool is_host = d + 1 == machine.devices.size();
    devices.push_back({{"name", device.name},
                       {"memory", is_host ? machine.ram : device.capacity},
                       {"bandwidth", device.bandwidth},
                       {"operations", device.operations}});
  }
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const plan::Row& row : plan.rows) rows.push_back(ToJson(row, machine));
  nlohmann::ordered_json json = {{"model", plan.model},
                                 {"exact", plan.exact},
                                 {"layers", plan.layers},
                                 {"context", plan.context},
                                 {"trained_context", plan.trained_context},
                                 {"devices", std::move(devices)},
                                 {"rows", std::move(rows)},
                                 {"reason", plan.reason}};
  if (plan.recommended >= 0) json["recommended"] = plan.rows[plan.recommended].recipe;
  return json;
}

absl::Status MakePlan(const Arguments& arguments) {
  plan::Request request;
  request.context = arguments.context;
  request.expert_use_folder = schedule::CacheFolder();
  BANTAM_ASSIGN_OR_RETURN(request.machine, FindMachine(arguments));
  const auto size = plan::ParseSize(arguments.model);
  BANTAM_ASSIGN_OR_RETURN(const plan::Plan plan, size.has_value()
                                                     ? plan::PlanSize(*size, request)
                                                     : plan::PlanFile(arguments.model, request));
  if (arguments.json) return WriteJson(ToJson(plan, request.machine));
  BANTAM_RETURN_IF_ERROR(WriteStdout(Table(plan, request.machine)));
  WriteStderr(kNotes);
  return absl::OkStatus();
}

std::string CheckMemory(const std::string& text) {
  const auto memory = ParseMemory(text);
  return memory.ok() ? "" : std::string(memory.status().message());
}

}  // namespace

int PlanMain(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Shows for each recipe what a model takes, what of it goes to which device, how long a\n"
      "context fits and what speed to expect, and recommends one. bantam quantize then makes it.",
      argv[0]);
  app.add_option(
         "-m,--model,model", arguments.model,
         "A GGUF file of any type, or a size such as 7B, 360M or 30B-A3B (3B of them active)")
      ->required()
      ->type_name("MODEL|SIZE");
  app.add_option("--ram", arguments.ram,
                 "Memory of the machine, of which 90 % may be used, and its speed in GB/s if it is "
                 "not 40; default: what is free here now, its speed measured")
      ->type_name("SIZE[@GB/s]")
      ->check(CheckMemory);
  app.add_option("--vram", arguments.vram,
                 "Free memory of a graphics card, and its speed in GB/s if it is not 270; for "
                 "several cards joined by commas; 0: none; default: the cards that are here")
      ->type_name("SIZE[@GB/s]")
      ->delimiter(',')
      ->check(CheckMemory);
  app.add_option("-c,--ctx", arguments.context,
                 "Tokens of context; default: 4096, or what the model was trained for")
      ->type_name("CONTEXT")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31).description(""));
  app.add_option("-t,--threads", arguments.threads, "Threads that measure how fast this machine is")
      ->type_name("THREADS")
      ->check(CLI::Range(1, 1024).description(""));
  app.add_flag("--json", arguments.json, "Print one JSON object on standard output");
  if (const auto code = Parse(app, argc, argv)) return *code;
  return Finish(MakePlan(arguments));
}

}  // namespace bantam::cli
