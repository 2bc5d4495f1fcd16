// What the subcommands share. Each lives in a file of its own and has one line in main.cc's table.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace bantam::cli {

// Exit codes others script against.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

struct Command {
  const char* name;
  const char* summary;                // one line for `bantam --help`
  int (*run)(int argc, char** argv);  // argv[0] is "bantam <name>"
};

int RunMain(int argc, char** argv);
int InspectMain(int argc, char** argv);
int PerplexityMain(int argc, char** argv);
int BenchMain(int argc, char** argv);
int ConvertMain(int argc, char** argv);
int ImatrixMain(int argc, char** argv);
int PlanMain(int argc, char** argv);
int QuantizeMain(int argc, char** argv);
int EmbedMain(int argc, char** argv);
int DevicesMain(int argc, char** argv);

// Prints "bantam: <message>" on one line of stderr; returns kFailed. Says nothing of kCancelled,
// which is that the reader of stdout went away (output.h).
int Fail(const absl::Status& status);

}  // namespace bantam::cli
