// The program `bantam`: finds the subcommand and hands over.
#include <fcntl.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "frontends/cli/command.h"
#include "frontends/cli/output.h"

namespace bantam::cli {
namespace {

constexpr Command kCommands[] = {
    {"run", "generate text: one prompt, or a chat", RunMain},
    {"inspect", "show what a model file holds", InspectMain},
    {"perplexity", "measure a model on a text", PerplexityMain},
    {"bench", "measure how fast a model runs", BenchMain},
    {"plan", "find which size of a model fits this machine", PlanMain},
    {"convert", "make a GGUF file from a Hugging Face folder", ConvertMain},
    {"imatrix", "measure which weights matter, for quantizing", ImatrixMain},
    {"quantize", "make a model smaller", QuantizeMain},
    {"embed", "turn a text into a vector", EmbedMain},
    {"devices", "list what models can run on", DevicesMain},
};

std::string Help() {
  std::string help =
      "Runs large language models on the computer you own.\n\n"
      "Usage: bantam COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : kCommands) {
    absl::StrAppendFormat(&help, "  %-12s%s\n", command.name, command.summary);
  }
  absl::StrAppend(&help,
                  "\nbantam COMMAND --help lists the options of a command; bantam --version tells "
                  "the version.\nExit codes: 0 success, 1 failure, 2 wrong usage.\n");
  return help;
}

// Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

int UnknownCommand(absl::string_view name) {
  const Command* nearest = std::min_element(
      std::begin(kCommands), std::end(kCommands), [name](const Command& a, const Command& b) {
        return EditDistance(name, a.name) < EditDistance(name, b.name);
      });
  std::string hint = "see bantam --help";
  if (EditDistance(name, nearest->name) <= 2) {
    hint = absl::StrCat("did you mean '", nearest->name, "'? (", hint, ")");
  }
  return UsageError("bantam", absl::StrCat("unknown command '", name, "'; ", hint));
}

// Where a standard stream is closed, the next file opened would take its number and get what is
// meant for the stream. These take it instead, opened so that reading or writing still fails.
void HoldStandardStreams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
  }
}

int Main(int argc, char** argv) {
  HoldStandardStreams();
  const absl::string_view called = argc > 0 ? argv[0] : "bantam";
  if (called.substr(called.rfind('/') + 1) == "run") {
    char name[] = "run";
    std::vector<char*> args(argv, argv + argc);
    args[0] = name;
    args.push_back(nullptr);
    return RunMain(argc, args.data());
  }
  if (argc < 2) return UsageError("bantam", "which command? See bantam --help");
  const absl::string_view name = argv[1];
  if (name == "--help" || name == "-h" || name == "help") {
    const absl::Status printed = WriteStdout(Help());
    return printed.ok() ? kOk : Fail(printed);
  }
  if (name == "--version" || name == "-V") {
    const absl::Status printed = WriteStdout("bantam " BANTAM_VERSION "\n");
    return printed.ok() ? kOk : Fail(printed);
  }
  for (const Command& command : kCommands) {
    if (name != command.name) continue;
    std::string full_name = absl::StrCat("bantam ", name);
    std::vector<char*> args(argv + 1, argv + argc);
    args[0] = full_name.data();
    args.push_back(nullptr);
    return command.run(argc - 1, args.data());
  }
  return UnknownCommand(name);
}

}  // namespace
}  // namespace bantam::cli

int main(int argc, char** argv) { return bantam::cli::Main(argc, argv); }
