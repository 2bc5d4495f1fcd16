// What the scheduler predicts for splits of a model between two devices, and what is then measured:
// a prompt that fills the context but for the tokens generated after it.
//
//   build/bench/bench_placement MODEL [DEVICES [ROUNDS [CONTEXT [LAYERS...]]]]
//
// DEVICES as --device takes it, by default vulkan,cpu; LAYERS those on the first, by default 0, 5,
// ... to all. In each round a split is predicted from measurements made just before, as a program
// does that starts for the first time, and then measured: how fast the machine is changes within
// minutes. What counts is the median of the rounds of how far off that was.
//
// On a machine that others use too, what is measured is what they leave. With
// BANTAM_BENCH_CLOCK=processor in the environment the processor time of this program stands for the
// clock, in calibrating and in measuring: with one thread for each device (taskset -c 0, and
// LP_NUM_THREADS=1 for llvmpipe), which then never compute at the same time.

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"

// In place of the C library's, for all that this program links: std::chrono asks it.
extern "C" int clock_gettime(clockid_t id, timespec* time) noexcept {
  static const char* const clock = std::getenv("BANTAM_BENCH_CLOCK");
  const bool is_processor_time = clock != nullptr && std::strcmp(clock, "processor") == 0;
  if (is_processor_time && id == CLOCK_MONOTONIC) id = CLOCK_PROCESS_CPUTIME_ID;
  return static_cast<int>(syscall(SYS_clock_gettime, id, time));
}

namespace bantam {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kUbatch = 64;
constexpr int kGenerated = 64;

// Of one split: of the prompt, and of an answer.
struct Figures {
  std::vector<double> predicted, measured;  // tokens per second, by round
};

struct Split {
  std::string layers;
  std::unique_ptr<engine::Session> session;
  Figures prompt, generate;
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What a program that starts now would predict: devices are measured anew.
absl::Status Predict(const char* model_path, const engine::LoadOptions& load, Split& split) {
  std::string folder = (std::filesystem::temp_directory_path() / "bantam_bench_XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return absl::UnavailableError("no temporary folder");
  setenv("XDG_CACHE_HOME", folder.c_str(), 1);
  const auto model = engine::Model::Load(model_path, load);
  std::filesystem::remove_all(folder);
  BANTAM_RETURN_IF_ERROR(model.status());
  const schedule::Placement& placement = (*model)->placement();
  split.prompt.predicted.push_back(static_cast<double>(placement.prompt_rows) /
                                   placement.prompt_seconds);
  split.generate.predicted.push_back(1 / placement.decode_seconds);
  return absl::OkStatus();
}

absl::Status Measure(Split& split) {
  engine::Session& session = *split.session;
  BANTAM_RETURN_IF_ERROR(session.Truncate(0));
  std::vector<int32_t> tokens(static_cast<size_t>(session.context()));
  const auto vocab = static_cast<int32_t>(session.model().config().vocab_size);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(i * 7919 + 11) % vocab;
  const std::span<const int32_t> prompt = std::span(tokens).first(tokens.size() - kGenerated);
  Clock::time_point start = Clock::now();
  BANTAM_RETURN_IF_ERROR(session.Decode(prompt));
  split.prompt.measured.push_back(static_cast<double>(prompt.size()) / Since(start));
  start = Clock::now();
  for (size_t i = prompt.size(); i < tokens.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(session.Decode({&tokens[i], 1}));
  }
  split.generate.measured.push_back(kGenerated / Since(start));
  return absl::OkStatus();
}

absl::Status Run(int argc, char** argv) {
  if (argc < 2) {
    return absl::InvalidArgumentError(
        "usage: placement MODEL [DEVICES [ROUNDS [CONTEXT [LAYERS...]]]]");
  }
  engine::LoadOptions load;
  load.device = argc > 2 ? argv[2] : "vulkan,cpu";
  const int rounds = std::max(1, argc > 3 ? std::atoi(argv[3]) : 3);
  load.expected.context = kUbatch * (argc > 4 ? std::atoi(argv[4]) / kUbatch : 8) + kGenerated;
  load.expected.ubatch = kUbatch;
  std::vector<Split> splits;
  for (int i = 5; i < argc; ++i) splits.emplace_back().layers = argv[i];
  for (int64_t layers = 0, all = 0; argc <= 5 && layers <= all; layers += 5) {
    load.control.gpu_layers = "0";
    if (layers == 0) {
      BANTAM_ASSIGN_OR_RETURN(const auto model, engine::Model::Load(argv[1], load));
      all = model->config().block_count;
    }
    splits.emplace_back().layers = absl::StrCat(layers);
  }
  for (Split& split : splits) {
    load.control.gpu_layers = split.layers;
    BANTAM_ASSIGN_OR_RETURN(auto model, engine::Model::Load(argv[1], load));
    BANTAM_ASSIGN_OR_RETURN(split.session, engine::Session::Create(model, load.expected));
    BANTAM_RETURN_IF_ERROR(split.session->Decode(std::vector<int32_t>{1, 2, 3}));
  }
  for (int round = 0; round < rounds; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
    for (Split& split : splits) {
      load.control.gpu_layers = split.layers;
      BANTAM_RETURN_IF_ERROR(Predict(argv[1], load, split));
      BANTAM_RETURN_IF_ERROR(Measure(split));
    }
  }
  std::printf("%-6s | %10s %10s %7s | %10s %10s %7s\n", "layers", "prompt", "measured", "off",
              "generate", "measured", "off");
  double furthest = 0;
  for (const Split& split : splits) {
    std::printf("%-6s", split.layers.c_str());
    for (const Figures* figures : {&split.prompt, &split.generate}) {
      std::vector<double> off;
      for (size_t i = 0; i < figures->measured.size(); ++i) {
        off.push_back(figures->predicted[i] / figures->measured[i] - 1);
      }
      furthest = std::max(furthest, std::abs(Median(off)));
      std::printf(" | %10.1f %10.1f %6.0f%%", Median(figures->predicted), Median(figures->measured),
                  100 * Median(off));
    }
    std::printf("\n");
  }
  std::printf("furthest off: %.0f%%\n", 100 * furthest);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
