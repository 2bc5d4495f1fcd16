// Speed of a whole model: a prompt of 512 tokens and 128 generated ones, as most programs measure
// it. Prints both in tokens per second.
//
//   build/bench/session MODEL [threads [device [repetitions]]]

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "runtime/engine/engine.h"

namespace bantam {
namespace {

double Seconds(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

absl::Status Run(int argc, char** argv) {
  if (argc < 2) return absl::InvalidArgumentError("usage: session MODEL [threads [device [n]]]");
  engine::LoadOptions load;
  load.threads = argc > 2 ? std::atoi(argv[2]) : 0;
  load.device = argc > 3 ? argv[3] : "cpu";
  const int repetitions = argc > 4 ? std::atoi(argv[4]) : 3;
  auto model = engine::Model::Load(argv[1], load);
  if (!model.ok()) return model.status();
  constexpr int kPrompt = 512, kGenerated = 128;
  auto session = engine::Session::Create(*model, {.context = kPrompt + kGenerated});
  if (!session.ok()) return session.status();
  std::vector<int32_t> tokens(kPrompt);
  const auto vocab = static_cast<int32_t>((*model)->config().vocab_size);
  for (int i = 0; i < kPrompt; ++i) tokens[i] = (i * 7919 + 11) % vocab;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    if (auto status = (*session)->Truncate(0); !status.ok()) return status;
    auto start = std::chrono::steady_clock::now();
    if (auto status = (*session)->Decode(tokens); !status.ok()) return status;
    const double prompt = kPrompt / Seconds(start);
    if (auto status = (*session)->Truncate(0); !status.ok()) return status;
    start = std::chrono::steady_clock::now();
    for (int i = 0; i < kGenerated; ++i) {
      if (auto status = (*session)->Decode({&tokens[i], 1}); !status.ok()) return status;
    }
    std::printf("prompt %.1f tok/s  generation %.1f tok/s\n", prompt, kGenerated / Seconds(start));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
