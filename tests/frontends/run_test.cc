// `bantam run` on a tiny model with random weights.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <thread>

#include "nlohmann/json.hpp"
#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// With so high a temperature and nothing cut off every byte is about as likely.
const std::vector<std::string> kNoise = {"--temp", "1000",    "--top-k", "0",           "--top-p",
                                         "1",      "--min-p", "0",       "--ignore-eos"};

bool IsUtf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();  // strict by default
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

class Run : public ::testing::Test {
 protected:
  void WriteModel(TinyLlamaOptions options = {}) {
    options.tied = false;  // with random weights a tied model says its last token again
    WriteTinyLlama(model_, options);
  }
  // `run -m model <args>`
  std::vector<std::string> Args(std::vector<std::string> args) const {
    args.insert(args.begin(), {"run", "-m", model_});
    return args;
  }
  Outcome Answer(std::vector<std::string> args, const std::string& in = "") const {
    return RunBantam(Args(std::move(args)), in);
  }

  TempDir folder_;
  std::string model_ = folder_.File("model.gguf");
};

TEST_F(Run, ASeedReproducesTheText) {
  WriteModel();
  const std::vector<std::string> args = {"-p", "hello", "-n", "40", "--temp", "8", "--ignore-eos"};
  auto with_seed = [&](const char* seed) {
    std::vector<std::string> all = args;
    all.insert(all.end(), {"--seed", seed});
    const Outcome outcome = Answer(all);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string first = with_seed("1");
  EXPECT_GT(first.size(), 10u);
  EXPECT_EQ(with_seed("1"), first);
  EXPECT_NE(with_seed("2"), first);
  // Without one it is another each time.
  EXPECT_NE(Answer(args).out, Answer(args).out);
}

TEST_F(Run, GreedyNeedsNoSeed) {
  WriteModel();
  const std::vector<std::string> args = {"-p", "hello", "-n", "20", "--temp", "0"};
  EXPECT_EQ(Answer(args).out, Answer(args).out);
}

TEST_F(Run, PromptsFromTextFileAndStdinAreTheSame) {
  WriteModel();
  const std::string prompt = "the thin cat\nin the hat";
  const std::string file = folder_.File("prompt.txt");
  WriteWhole(file, prompt + "\n");
  const Outcome text = Answer({"-p", prompt, "-n", "20", "--temp", "0"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(Answer({"-f", file, "-n", "20", "--temp", "0"}).out, text.out);
  EXPECT_EQ(Answer({"-f", "-", "-n", "20", "--temp", "0"}, prompt).out, text.out);
  EXPECT_EQ(Answer({"-n", "20", "--temp", "0"}, prompt + "\n").out, text.out);
  EXPECT_NE(Answer({"-p", prompt, "-n", "20", "--temp", "0", "--system", "Shout."}).out, text.out);
  EXPECT_NE(Answer({"-p", prompt, "-n", "20", "--temp", "0", "--raw"}).out, text.out);
}

TEST_F(Run, UnreadablePromptFiles) {
  WriteModel();
  for (const std::string& file : {folder_.File("none"), folder_.path()}) {
    const Outcome outcome = Answer({"-f", file});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(file));
  }
}

TEST_F(Run, RawCompletionEqualsTheTemplateWrittenOut) {
  WriteModel();
  const std::string written = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(Answer({"--raw", "-p", written, "-n", "20", "--temp", "0"}).out,
            Answer({"-p", "hi", "-n", "20", "--temp", "0"}).out);
}

TEST_F(Run, TheLengthsAreWhatWasAskedFor) {
  WriteModel({.context = 64});
  auto json_of = [&](std::vector<std::string> args) {
    args.insert(args.end(), {"-p", "hi", "--raw", "--json", "--ignore-eos"});
    const Outcome outcome = Answer(args);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    return nlohmann::json::parse(outcome.out, nullptr, false);
  };
  const auto none = json_of({"-n", "0"});
  EXPECT_EQ(none["text"], "");
  EXPECT_EQ(none["stop_reason"], "length");
  EXPECT_EQ(none["tokens"]["prompt"], 2);
  const auto ten = json_of({"-n", "10", "--seed", "7"});
  EXPECT_EQ(ten["stop_reason"], "length");
  EXPECT_EQ(ten["tokens"]["generated"], 10);
  EXPECT_EQ(ten["seed"], 7);
  EXPECT_GT(ten["timings"]["prompt_tokens_per_second"].get<double>(), 0);
  EXPECT_GT(ten["memory"]["kv_cache"].get<int64_t>(), 0);
  EXPECT_GT(ten["memory"]["peak_resident"].get<int64_t>(), 0);
  // The last token is predicted from a full context: 62 more fit, and one is left over.
  const auto full = json_of({});
  EXPECT_EQ(full["stop_reason"], "context_full");
  EXPECT_EQ(full["tokens"]["generated"], 63);
}

TEST_F(Run, TheAnswerEndsWhereTheModelEndsIt) {
  WriteModel();
  // About every 88th token is one of the three that end an answer.
  std::vector<std::string> args = {"-p", "hi", "--json", "--seed", "3"};
  args.insert(args.end(), kNoise.begin(), kNoise.end() - 1);
  const Outcome outcome = Answer(args);
  const auto json = nlohmann::json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out << outcome.err;
  EXPECT_EQ(json["stop_reason"], "end_of_generation");
}

TEST_F(Run, TimingsCanBeLeftOut) {
  WriteModel();
  EXPECT_THAT(Answer({"-p", "hi", "-n", "3"}).err,
              AllOf(HasSubstr("load "), HasSubstr("prompt "), HasSubstr("generate "),
                    HasSubstr("tok/s"), HasSubstr("memory "), HasSubstr("KV ")));
  EXPECT_EQ(Answer({"-p", "hi", "-n", "3", "--no-timings"}).err, "");
}

TEST_F(Run, VerboseNamesDeviceAndSeed) {
  WriteModel();
  EXPECT_THAT(Answer({"-p", "hi", "-n", "3", "--verbose", "--seed", "42"}).err,
              AllOf(HasSubstr("device    cpu"), HasSubstr("seed      42"), HasSubstr("steps of")));
}

TEST_F(Run, AnyBytesAreAPrompt) {
  WriteModel();
  for (const std::string& prompt : {std::string("\xff\xfe\xc3"), std::string("\xe2\x82"),
                                    std::string("\xf0\x9f\xa6\x9a"), std::string("\x01\x7f")}) {
    for (const char* mode : {"--raw", "--no-timings"}) {
      const Outcome outcome = Answer({"-f", "-", "-n", "5", mode}, prompt);
      EXPECT_EQ(outcome.code, 0) << outcome.err;
    }
  }
}

TEST_F(Run, WhateverTheModelSaysTheOutputIsUtf8) {
  WriteModel({.context = 4096});
  std::vector<std::string> args = {"-p", "hi", "-n", "2000", "--seed", "5"};
  args.insert(args.end(), kNoise.begin(), kNoise.end());
  const Outcome outcome = Answer(args);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_GT(outcome.out.size(), 2000u);
  EXPECT_TRUE(IsUtf8(outcome.out));
}

TEST_F(Run, EscapeSequencesReachAFileButNoTerminal) {
  WriteModel({.context = 4096});
  std::vector<std::string> args = Args({"-p", "hi", "-n", "2000", "--seed", "5", "--no-timings"});
  args.insert(args.end(), kNoise.begin(), kNoise.end());
  args.insert(args.begin(), Program());
  const std::string plain = Process(args).Wait().out;
  ASSERT_THAT(plain, HasSubstr("\x1b"));
  ASSERT_THAT(plain, HasSubstr("\a"));
  Terminal terminal(args);
  Outcome outcome = terminal.Wait();
  EXPECT_EQ(outcome.code, 0);
  // The progress of loading, which shares this terminal, erases its line.
  for (size_t at; (at = outcome.out.find("\x1b[K")) != std::string::npos;) outcome.out.erase(at, 3);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("^["), HasSubstr("^G")));
  for (unsigned char c : outcome.out) {
    EXPECT_TRUE(c >= 0x20 || c == '\n' || c == '\r' || c == '\t') << int{c};
    EXPECT_NE(c, 0x7f);
  }
  EXPECT_THAT(outcome.out, Not(HasSubstr("\xc2\x9b")));
}

TEST_F(Run, AReaderThatLeavesIsNoError) {
  WriteModel();
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  close(fds[0]);
  std::vector<std::string> args = Args({"-p", "hi", "-n", "20", "--ignore-eos"});
  args.insert(args.begin(), Program());
  const Outcome outcome = Process(args, "", fds[1]).Wait();
  close(fds[1]);
  EXPECT_EQ(outcome.err, "");
  EXPECT_TRUE(outcome.signal == SIGPIPE || outcome.code == 1) << outcome.code;
}

TEST_F(Run, AFullDiskIsAnError) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (full < 0) GTEST_SKIP() << "no /dev/full here";
  WriteModel();
  std::vector<std::string> args = Args({"-p", "hi", "-n", "20", "--ignore-eos"});
  args.insert(args.begin(), Program());
  const Outcome outcome = Process(args, "", full).Wait();
  close(full);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("stdout"));
}

TEST_F(Run, ClosedStreamsAreNotMistakenForFiles) {
  WriteModel();
  const std::string command = Program() + " run -m " + model_ + " -n 4 --raw --ignore-eos ";
  const Outcome no_stdout = Process({"/bin/sh", "-c", command + "-p hi >&-"}).Wait();
  EXPECT_EQ(no_stdout.code, 1);
  EXPECT_EQ(no_stdout.out, "");
  EXPECT_EQ(no_stdout.error_lines(), 1) << no_stdout.err;
  EXPECT_THAT(no_stdout.err, HasSubstr("stdout"));
  const Outcome no_stderr = Process({"/bin/sh", "-c", command + "-p hi --seed 1 2>&-"}).Wait();
  EXPECT_EQ(no_stderr.code, 0);
  EXPECT_EQ(no_stderr.out,
            Answer({"-n", "4", "--raw", "--ignore-eos", "-p", "hi", "--seed", "1"}).out);
  const Outcome no_stdin = Process({"/bin/sh", "-c", command + "<&-"}).Wait();
  EXPECT_EQ(no_stdin.code, 1);
  EXPECT_EQ(no_stdin.error_lines(), 1) << no_stdin.err;
  EXPECT_THAT(no_stdin.err, HasSubstr("standard input"));
}

TEST_F(Run, CtrlCEndsOneAnswerWithItsTimings) {
  WriteModel({.context = 1 << 16});
  std::vector<std::string> args = Args({"-p", "hi", "--ignore-eos", "-c", "65536"});
  args.insert(args.begin(), Program());
  Process process(args);
  for (int i = 0; i < 600 && process.OutSoFar().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_FALSE(process.OutSoFar().empty());
  process.Signal(SIGINT);
  const Outcome outcome = process.Wait();
  EXPECT_EQ(outcome.signal, SIGINT);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("generate "), Not(HasSubstr("full"))));
}

TEST_F(Run, ATraceTellsWhatRan) {
  WriteModel();
  const std::string trace = folder_.File("trace.json");
  const Outcome outcome = Answer({"-p", "hello", "-n", "3", "--ignore-eos", "--device",
                                  "reference,cpu", "--gpu-layers", "1", "--trace", trace});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(std::ifstream(trace));
  std::set<std::string> names, lines;
  for (const auto& event : json["traceEvents"]) {
    if (event["ph"] == "M") lines.insert(event["args"]["name"]);
    if (event["ph"] != "X") continue;
    names.insert(event["name"]);
    EXPECT_GE(event["dur"], 0);
  }
  EXPECT_EQ(names, (std::set<std::string>{"compute", "transfer"}));
  EXPECT_EQ(lines, (std::set<std::string>{"reference", "to reference", "cpu", "to cpu"}));
  EXPECT_EQ(Answer({"-p", "hello", "-n", "1", "--trace", "/no/such/folder/t.json"}).code, 1);
}

}  // namespace
}  // namespace bantam::testing
