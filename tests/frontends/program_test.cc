// The program itself: commands, help, wrong usage, devices, perplexity.

#include "tests/frontends/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST(Program, HelpListsTheCommands) {
  for (const char* flag : {"--help", "-h", "help"}) {
    const Outcome outcome = RunBantam({flag});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    for (const char* command : {"run", "inspect", "perplexity", "bench", "devices"}) {
      EXPECT_THAT(outcome.out, HasSubstr(std::string("\n  ") + command));
    }
  }
}

TEST(Program, Version) {
  const Outcome outcome = RunBantam({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, MatchesRegex("bantam [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Program, EveryCommandHasHelp) {
  for (const char* command : {"run", "inspect", "perplexity", "bench", "devices"}) {
    const Outcome outcome = RunBantam({command, "--help"});
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_EQ(outcome.err, "") << command;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("--json"), HasSubstr(command)));
  }
}

TEST(Program, WrongUsageIsOneLineAndExitCode2) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"rnu"},
      {"run"},
      {"run", "--no-such-option"},
      {"run", "-m"},
      {"run", "-m", "x", "-p", "a", "-f", "b"},
      {"run", "-m", "x", "-p", "a", "-n", "many"},
      {"run", "-m", "x", "-p", "a", "-n", "-2"},
      {"run", "-m", "x", "-p", "a", "-c", "0"},
      {"run", "-m", "x", "-p", "a", "-t", "0"},
      {"run", "-m", "x", "-p", "a", "--temp", "-1"},
      {"run", "-m", "x", "-p", "a", "--top-p", "nan"},
      {"run", "-m", "x", "-p", "a", "--seed", "-1"},
      {"run", "-m", "x", "-p", "a", "--kv-type", "q4"},
      {"run", "-m", "x", "-p", "a", "--gpu-layers", "some"},
      {"run", "-m", "x", "-p", "a", "--vram", "6 parsecs"},
      {"run", "-m", "x", "-p", "a", "--raw", "--system", "b"},
      {"run", "-m", "x", "-p", "a", "-i", "--json"},
      {"run", "-m", "x", "-p", "a", "two\nlines"},
      {"perplexity", "-m", "x"},
      {"perplexity", "-m", "x", "-f", "y", "--chunks", "0"},
      {"bench", "-m", "x", "-r", "0"},
      {"bench", "-m", "x", "-p", "-1"},
      {"devices", "extra"},
  };
  for (const std::vector<std::string>& args : wrong) {
    const Outcome outcome = RunBantam(args);
    EXPECT_EQ(outcome.code, 2) << ::testing::PrintToString(args);
    EXPECT_EQ(outcome.out, "") << ::testing::PrintToString(args);
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("bantam"), HasSubstr("--help")));
  }
}

TEST(Program, UnknownCommandsGetAHint) {
  EXPECT_THAT(RunBantam({"rnu"}).err, AllOf(HasSubstr("'rnu'"), HasSubstr("'run'")));
  EXPECT_THAT(RunBantam({"something"}).err, Not(HasSubstr("did you mean")));
}

TEST(Program, CalledAsRunItRuns) {
  const Outcome outcome = Process({Program("run"), "-m", "/nonexistent", "-p", "a"}).Wait();
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nonexistent"));
  const Outcome help = Process({Program("run"), "--help"}).Wait();
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("--temp"));
}

TEST(Program, Devices) {
  const Outcome text = RunBantam({"devices"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, AllOf(StartsWith("NAME"), HasSubstr("\ncpu ")));
  const Outcome outcome = RunBantam({"devices", "--json"});
  EXPECT_EQ(outcome.code, 0);
  const auto json = nlohmann::json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out;
  ASSERT_FALSE(json["devices"].empty());
  // The oracle comes last.
  EXPECT_EQ(json["devices"].back()["name"], "reference");
  ASSERT_GE(json["devices"].size(), 2);
  const auto& cpu = json["devices"][json["devices"].size() - 2];
  EXPECT_EQ(cpu["name"], "cpu");
  EXPECT_GT(cpu["memory_total"].get<uint64_t>(), uint64_t{1} << 20);
  EXPECT_LE(cpu["memory_free"].get<uint64_t>(), cpu["memory_total"].get<uint64_t>());
  EXPECT_TRUE(json["problems"].is_array());
}

class PerplexityCommand : public ::testing::Test {
 protected:
  PerplexityCommand() {
    WriteTinyLlama(model_, {.context = 128});
    std::string text;
    for (int i = 0; i < 100; ++i) text += "the thin cat " + std::to_string(i * i) + "\n";
    WriteWhole(text_, text);
  }
  Outcome Measure(std::vector<std::string> more) {
    std::vector<std::string> args = {"perplexity", "-m", model_, "-f", text_};
    args.insert(args.end(), more.begin(), more.end());
    return RunBantam(args);
  }

  TempDir folder_;
  std::string model_ = folder_.File("model.gguf");
  std::string text_ = folder_.File("text");
};

TEST_F(PerplexityCommand, TextAndJsonTellTheSame) {
  const Outcome json_outcome = Measure({"--ctx", "64", "--chunks", "5", "--json"});
  ASSERT_EQ(json_outcome.code, 0) << json_outcome.err;
  const auto json = nlohmann::json::parse(json_outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << json_outcome.out;
  EXPECT_EQ(json["windows"], 5);
  EXPECT_EQ(json["context"], 64);
  EXPECT_EQ(json["scored_tokens"], 5 * 31);
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(json["mean_nll"].get<double>()), 1e-6);
  const Outcome text = Measure({"--ctx", "64", "--chunks", "5"});
  EXPECT_EQ(text.code, 0);
  char expected[64];
  std::snprintf(expected, sizeof(expected), "perplexity %.4f +/- %.4f\n",
                json["perplexity"].get<double>(), json["standard_error"].get<double>());
  EXPECT_THAT(text.out, StartsWith(expected));
  EXPECT_THAT(text.err, AllOf(HasSubstr("[1/5] PPL "), HasSubstr("[5/5] PPL ")));
  // How a window is cut into steps is no part of the result.
  const Outcome stepped = Measure({"--ctx", "64", "--chunks", "5", "--ubatch", "7"});
  EXPECT_EQ(stepped.out, text.out);
}

TEST_F(PerplexityCommand, TooShortATextAndTooLongAWindow) {
  WriteWhole(text_, "the cat");
  const Outcome shorter = Measure({"--ctx", "64"});
  EXPECT_EQ(shorter.code, 1);
  EXPECT_EQ(shorter.error_lines(), 1) << shorter.err;
  EXPECT_THAT(shorter.err, AllOf(HasSubstr(text_), HasSubstr("64")));
  const Outcome longer = Measure({"--ctx", "512"});
  EXPECT_EQ(longer.code, 1);
  EXPECT_EQ(longer.error_lines(), 1) << longer.err;
  EXPECT_THAT(longer.err, AllOf(HasSubstr("512"), HasSubstr("128")));
}

}  // namespace
}  // namespace bantam::testing
