// What the scheduler predicts for splits of a model between two devices, and what is then measured:
// a prompt that fills the context but for the tokens generated after it.
//
//   build/bench/bench_placement MODEL [DEVICES [ROUNDS [CONTEXT [LAYERS...]]]]
//
// DEVICES as --device takes it, by default vulkan,cpu; LAYERS those on the first, by default 0, 5,
// ... to all. The splits take turns, so that what else the machine does meets all of them, and the
// median of the rounds counts: what is predicted is the usual, not the best.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/engine.h"

namespace bantam {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kUbatch = 64;
constexpr int kGenerated = 16;

struct Split {
  std::string layers;
  std::unique_ptr<engine::Session> session;
  std::vector<double> prompt, generate;  // seconds for a token, by round
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
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
  split.prompt.push_back(Since(start) / static_cast<double>(prompt.size()));
  start = Clock::now();
  for (size_t i = prompt.size(); i < tokens.size(); ++i) {
    BANTAM_RETURN_IF_ERROR(session.Decode({&tokens[i], 1}));
  }
  split.generate.push_back(Since(start) / kGenerated);
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
    for (Split& split : splits) BANTAM_RETURN_IF_ERROR(Measure(split));
  }
  std::printf("%-6s | %10s %10s %7s | %10s %10s %7s\n", "layers", "prompt", "measured", "off",
              "generate", "measured", "off");
  double furthest = 0;
  for (const Split& split : splits) {
    const schedule::Placement& placement = split.session->model().placement();
    const double predicted[] = {
        static_cast<double>(placement.prompt_rows) / placement.prompt_seconds,
        1 / placement.decode_seconds};
    const double measured[] = {1 / Median(split.prompt), 1 / Median(split.generate)};
    double off[2];
    for (int i = 0; i < 2; ++i) {
      off[i] = predicted[i] / measured[i] - 1;
      furthest = std::max(furthest, std::abs(off[i]));
    }
    std::printf("%-6s | %10.1f %10.1f %6.0f%% | %10.1f %10.1f %6.0f%%\n", split.layers.c_str(),
                predicted[0], measured[0], 100 * off[0], predicted[1], measured[1], 100 * off[1]);
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
