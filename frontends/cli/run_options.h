// The options of `bantam run`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "frontends/cli/generate.h"
#include "frontends/cli/options.h"

namespace bantam::cli {

struct RunOptions : Options {
  std::string system;
  bool raw = false;
  bool interactive = false;
  bool no_timings = false;
  bool has_prompt = false;  // -p or -f, or text on stdin
  uint64_t seed = 0;
  std::string session;      // file to keep the conversation in
  std::string grammar;      // a file, or GBNF itself
  std::string json_schema;  // a file, or JSON itself
  std::string draft_model;
  bool lookup = false;
  std::vector<std::string> logit_biases;  // "ID+BIAS"
  std::vector<std::string> dry_breakers = {"\n", ":", "\"", "*"};
  GenerateOptions generate;  // but for what needs the model
};

void AddRunOptions(CLI::App& app, RunOptions& options);

// Fills options.generate from the texts; what is wrong with options that are each right, or "".
std::string CompleteRunOptions(RunOptions& options);

// What needs the vocabulary: grammar and DRY's sequence breakers.
absl::Status CompleteForModel(RunOptions& options, const engine::Model& model);

}  // namespace bantam::cli
