// Options that mean the same in every subcommand that takes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "runtime/engine/engine.h"

namespace bantam::cli {

struct Options {
  std::string model;                // -m, --model
  std::string prompt;               // -p, --prompt
  std::string file;                 // -f, --file; "-" is stdin
  int64_t tokens = -1;              // -n, --tokens; -1: no limit
  int64_t context = 0;              // -c, --ctx; 0: not given
  int threads = 0;                  // -t, --threads; 0: one for each core the process may use
  std::string device = "auto";      // --device
  std::string cpu_isa;              // --cpu-isa; "": the fastest there is
  schedule::Control control;        // --gpu-layers --vram --place --kv-device
  std::string prefer = "generate";  // --prefer
  std::string expert_use = "auto";  // --expert-use
  bool counts_experts = true;       // of texts that people have, not of made up ones
  int64_t ubatch = 0;               // --ubatch; 0: not given
  std::string kv_type = "f16";      // --kv-type
  bool no_recover = false;          // --no-recover
  bool no_repack = false;           // --no-repack
  std::string trace;                // --trace; "": none
  bool verbose = false;             // --verbose
  bool json = false;                // --json
};

// Each adds its options to `app`, which fills `options`.
void AddModelOption(CLI::App& app, Options& options);     // -m
void AddPromptOptions(CLI::App& app, Options& options);   // -p -f -n
void AddDeviceOptions(CLI::App& app, Options& options);   // -t --device ...
void AddContextOptions(CLI::App& app, Options& options);  // -c --ubatch --kv-type
void AddOutputOptions(CLI::App& app, Options& options);   // --verbose --json

// Parses; the exit code when the program is to end now: after --help on stdout, or after the error
// of a wrong option on one line of stderr.
std::optional<int> Parse(CLI::App& app, int argc, char** argv);

// Loads the model with a progress bar when stderr is a terminal, and says on a line of stderr where
// memory turned out to be short. `default_context`: of the sessions to keep room for, without -c.
absl::StatusOr<std::shared_ptr<engine::Model>> LoadModel(const Options& options,
                                                         int64_t default_context = 4096);
engine::SessionOptions SessionOptionsFrom(const Options& options, const device::Device& device);

void AddTraceOption(CLI::App& app, Options& options);  // --trace
// Writes what the session's steps told `trace`, where --trace asked for that.
absl::Status WriteTrace(const Options& options, const engine::Trace& trace,
                        const engine::Model& model);

// The whole file, or stdin for "-".
absl::StatusOr<std::string> ReadFile(const std::string& path);
// The same without one newline at its end, which editors and echo add.
absl::StatusOr<std::string> ReadPrompt(const std::string& path);

// For --verbose: the model, its device, the shape classes and the kernels of the decode step.
std::string DescribeSession(const engine::Session& session);
// "weights 97.8 MiB (mapped), KV 45.0 MiB, compute 3.1 MiB, peak RSS 150.2 MiB"
std::string DescribeMemory(const engine::Session& session);
nlohmann::ordered_json MemoryJson(const engine::Session& session);

}  // namespace bantam::cli
