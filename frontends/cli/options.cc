#include "frontends/cli/options.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "frontends/cli/command.h"
#include "frontends/cli/output.h"
#include "frontends/cli/placement.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"
#include "runtime/eval/imatrix_file.h"
#include "runtime/schedule/cache.h"

namespace bantam::cli {
namespace {

constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxTokens = int64_t{1} << 31;

// The help says in words what the range means.
CLI::Validator Between(int64_t low, int64_t high) { return CLI::Range(low, high).description(""); }

quant::Type KvType(const Options& options) {
  return options.kv_type == "f32"    ? quant::Type::kF32
         : options.kv_type == "q8_0" ? quant::Type::kQ8_0
         : options.kv_type == "q4_0" ? quant::Type::kQ4_0
                                     : quant::Type::kF16;
}

// Where use of experts is counted to; "": nowhere.
std::string CountingFolder(const Options& options) {
  return options.counts_experts && options.expert_use != "off" ? schedule::CacheFolder() : "";
}

std::string ProblemOf(const schedule::Control& control) {
  return std::string(schedule::CheckControl(control).message());
}

}  // namespace

void AddModelOption(CLI::App& app, Options& options) {
  app.add_option("-m,--model", options.model, "The model: a GGUF file, or any part of a split one")
      ->required()
      ->type_name("FILE");
}

void AddPromptOptions(CLI::App& app, Options& options) {
  auto* prompt = app.add_option("-p,--prompt", options.prompt, "The prompt")->type_name("TEXT");
  app.add_option("-f,--file", options.file, "Read the prompt from a file; - is standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  app.add_option("-n,--tokens", options.tokens, "Most tokens to generate; -1: no limit")
      ->type_name("TOKENS")
      ->check(Between(-1, kMaxTokens))
      ->capture_default_str();
}

void AddDeviceOptions(CLI::App& app, Options& options) {
  app.add_option("-t,--threads", options.threads,
                 "CPU threads; default: one for each core the process may use")
      ->type_name("THREADS")
      ->check(Between(1, kMaxThreads));
  app.add_option(
         "--device", options.device,
         "Where to compute, as bantam devices names it; of several, joined by commas, the last "
         "takes what the others have no room for")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option(
         "--cpu-isa", options.cpu_isa,
         "Instruction set of the device cpu: portable, avx2, avxvnni, avx512vnni, amx, neon "
         "or neoni8mm; default: the fastest")
      ->type_name("NAME");
  schedule::Control& control = options.control;
  app.add_option("--gpu-layers", control.gpu_layers,
                 "How many of the last layers go to GPUs: a number, all or auto")
      ->type_name("N|all|auto")
      ->check([](const std::string& text) { return ProblemOf({.gpu_layers = text}); })
      ->capture_default_str();
  app.add_option("--vram", control.vram,
                 "Most memory to use of each GPU, such as 6GiB, or of one: vulkan:0=6GiB")
      ->type_name("[DEVICE=]SIZE")
      ->check([](const std::string& text) { return ProblemOf({.vram = {text}}); });
  app.add_option("--place", control.place,
                 "Tensor groups to put on a device: those with a tensor whose name the regular "
                 "expression finds")
      ->type_name("REGEX=DEVICE")
      ->check([](const std::string& text) { return ProblemOf({.place = {text}}); });
  app.add_option("--expert-use", options.expert_use,
                 "How often each expert of a mixture is used, so that the hot ones go to a GPU: as "
                 "counted here before, an importance matrix, or off")
      ->type_name("auto|off|FILE")
      ->capture_default_str();
  app.add_option("--kv-device", control.kv_device, "Where the KV cache goes")->type_name("NAME");
  app.add_flag("--no-recover", options.no_recover,
               "End with an error when a device is lost, rather than go on with the others");
  app.add_flag("--no-repack", options.no_repack,
               "Use weights on the CPU where they lie in the file: starts at once and takes no "
               "memory of its own, but is slower");
  app.add_option("--prefer", options.prefer,
                 "What to place for: fast prompts, fast generation, or nothing loaded twice")
      ->type_name("prompt|generate|memory")
      ->check(CLI::IsMember({"prompt", "generate", "memory"}).description(""))
      ->capture_default_str();
}

void AddContextOptions(CLI::App& app, Options& options) {
  app.add_option("-c,--ctx", options.context, "Tokens of context")
      ->type_name("CONTEXT")
      ->check(Between(1, kMaxTokens));
  app.add_option("--ubatch", options.ubatch,
                 "Most tokens of a prompt to process in one step; default: 256 on a CPU without "
                 "AMX, 512 elsewhere")
      ->type_name("TOKENS")
      ->check(Between(1, kMaxTokens));
  app.add_option("--kv-type", options.kv_type,
                 "Number format of the KV cache: f32, f16, q8_0 or q4_0")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f16", "f32", "q8_0", "q4_0"}).description(""))
      ->capture_default_str();
}

void AddOutputOptions(CLI::App& app, Options& options) {
  app.add_flag("-v,--verbose", options.verbose,
               "Tell on standard error what is used: device, kernels, seed");
  app.add_flag("--json", options.json, "Print one JSON object on standard output");
}

std::optional<int> Parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const absl::Status printed = WriteStdout(app.help());
    return printed.ok() ? kOk : Fail(printed);
  } catch (const CLI::ParseError& error) {
    return UsageError(argv[0], absl::StrCat(error.what(), "; see ", argv[0], " --help"));
  }
  return std::nullopt;
}

absl::StatusOr<std::shared_ptr<engine::Model>> LoadModel(const Options& options,
                                                         int64_t default_context) {
  StatusLine status;
  engine::LoadOptions load;
  load.device = options.device;
  load.threads = options.threads;
  load.cpu_isa = options.cpu_isa;
  load.repack = !options.no_repack;
  load.control = options.control;
  if (options.prefer == "prompt") load.prefer = schedule::Prefer::kPrompt;
  if (options.prefer == "memory") load.prefer = schedule::Prefer::kMemory;
  load.expected.context = options.context == 0 ? default_context : options.context;
  load.expected.ubatch = options.ubatch;
  load.expected.kv_type = KvType(options);
  load.expected.expert_use_folder = CountingFolder(options);
  load.expert_use_folder = schedule::CacheFolder();
  if (options.expert_use == "off") {
    load.expert_use = std::make_shared<schedule::ExpertUse>();
  } else if (options.expert_use != "auto") {
    BANTAM_ASSIGN_OR_RETURN(const eval::Imatrix imatrix, eval::ReadImatrix(options.expert_use));
    auto use = eval::ExpertUseOf(imatrix);
    BANTAM_RETURN_IF_ERROR(Annotate(use.status(), options.expert_use));
    load.expert_use = std::make_shared<schedule::ExpertUse>(*std::move(use));
  }
  load.notice = [&](absl::string_view line) {
    status.Clear();
    WriteStderr(absl::StrFormat("bantam: %s\n", OneLine(line)));
  };
  int shown = -1;
  load.progress = [&](double done) {
    const int percent = static_cast<int>(done * 100);
    if (percent == shown) return;
    shown = percent;
    status.Show(absl::StrFormat("loading %3d %%", percent));
  };
  return engine::Model::Load(options.model, load);
}

engine::SessionOptions SessionOptionsFrom(const Options& options, const device::Device& device) {
  engine::SessionOptions session;
  session.context = options.context;
  session.ubatch = options.ubatch;
  if (options.ubatch == 0) session.ubatch = device.limits().ubatch;
  session.kv_type = KvType(options);
  session.recover = !options.no_recover;
  session.expert_use_folder = CountingFolder(options);
  session.notice = [](absl::string_view line) {
    WriteStderr(absl::StrFormat("bantam: %s\n", OneLine(line)));
  };
  return session;
}

void AddTraceOption(CLI::App& app, Options& options) {
  app.add_option("--trace", options.trace,
                 "Write what ran when on which device, for chrome://tracing or Perfetto")
      ->type_name("FILE");
}

absl::Status WriteTrace(const Options& options, const engine::Trace& trace,
                        const engine::Model& model) {
  if (options.trace.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const auto& device : model.devices()) names.push_back(device->name());
  return trace.Write(options.trace, names);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  constexpr size_t kMost = size_t{1} << 30;
  const bool is_stdin = path == "-";
  const std::string name = is_stdin ? "standard input" : path;
  auto failed = [&] {
    const std::string message = absl::StrCat("cannot read ", name, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
  };
  std::FILE* file = is_stdin ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) return failed();
  absl::Cleanup close = [&] {
    if (!is_stdin) std::fclose(file);
  };
  std::string text;
  char chunk[1 << 16];
  while (const size_t read = std::fread(chunk, 1, sizeof(chunk), file)) {
    text.append(chunk, read);
    if (text.size() > kMost) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is larger than ", FormatByteSize(kMost)));
    }
  }
  if (std::ferror(file)) return failed();
  return text;
}

absl::StatusOr<std::string> ReadPrompt(const std::string& path) {
  BANTAM_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string DescribeSession(const engine::Session& session) {
  const engine::Model& model = session.model();
  const auto type = model.file().GetString("general.architecture");
  std::string devices;
  for (const auto& device : model.devices()) {
    absl::StrAppendFormat(&devices, "device    %s: %s\n", device->name(), device->description());
  }
  return absl::StrFormat(
      "model     %s: %s, %d tensors, %s of weights\n%s%s"
      "context   %d tokens, trained for %d\nsteps of  %s tokens\nkernels of a decode step:\n%s\n"
      "kernels of a prompt's step:\n%s\n",
      OneLine(model.file().path()), OneLine(type.value_or("?")), model.file().tensors().size(),
      FormatByteSize(model.weight_bytes()), devices, DescribePlacement(session), session.context(),
      model.config().context_length, absl::StrJoin(session.shape_classes(), " "),
      absl::StripTrailingAsciiWhitespace(session.Describe()),
      absl::StripTrailingAsciiWhitespace(session.DescribePrompt()));
}

std::string DescribeMemory(const engine::Session& session) {
  const engine::MemoryUse use = session.memory();
  const uint64_t mapped = session.model().mapped_bytes();
  std::string how;
  if (mapped == use.weights) {
    how = " (mapped)";
  } else if (mapped > 0) {
    how = absl::StrFormat(" (%s of them mapped)", FormatByteSize(mapped));
  }
  return absl::StrFormat("weights %s%s, KV %s, compute %s, peak resident %s",
                         FormatByteSize(use.weights), how, FormatByteSize(use.kv_cache),
                         FormatByteSize(use.compute), FormatByteSize(PeakResidentBytes()));
}

nlohmann::ordered_json MemoryJson(const engine::Session& session) {
  const engine::MemoryUse use = session.memory();
  return {{"weights", use.weights},
          {"weights_mapped", session.model().mapped_bytes()},
          {"kv_cache", use.kv_cache},
          {"compute", use.compute},
          {"peak_resident", PeakResidentBytes()}};
}

}  // namespace bantam::cli
