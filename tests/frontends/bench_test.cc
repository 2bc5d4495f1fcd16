// bantam bench: what it tells and that figures agree with each other. Not how fast anything is.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class BenchCommand : public ::testing::Test {
 protected:
  BenchCommand() { WriteTinyLlama(model_, {.context = 128, .weight_type = quant::Type::kQ8_0}); }
  Outcome Bench(std::vector<std::string> more) {
    std::vector<std::string> args = {"bench", "-m", model_, "-p", "40", "-n", "10", "-r", "3"};
    args.insert(args.end(), more.begin(), more.end());
    return RunBantam(args);
  }
  nlohmann::json BenchJson(std::vector<std::string> more) {
    more.push_back("--json");
    const Outcome outcome = Bench(std::move(more));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out, nullptr, false);
  }

  TempDir folder_;
  std::string model_ = folder_.File("model.gguf");
};

TEST_F(BenchCommand, JsonTellsRunsMeanAndShares) {
  const auto json = BenchJson({"--depth", "20", "-t", "1"});
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["repetitions"], 3);
  for (const char* name : {"prompt", "generate"}) {
    const auto& m = json[name];
    ASSERT_EQ(m["runs"].size(), 3) << name;
    double sum = 0;
    for (const auto& run : m["runs"]) sum += run.get<double>();
    EXPECT_NEAR(m["tokens_per_second"].get<double>(), sum / 3, 1e-6 * sum) << name;
    EXPECT_GE(m["deviation"].get<double>(), 0);
    EXPECT_EQ(m["depth"], 20);
    EXPECT_FALSE(m.contains("kernels"));
    if (json.contains("read_bytes_per_second")) {
      EXPECT_NEAR(
          m["share_of_read_speed"].get<double>() * json["read_bytes_per_second"].get<double>(),
          m["weight_bytes_per_second"].get<double>(), 1)
          << name;
    }
  }
  // Two layers of 64 by 64, 32, 32, 64 and three times 96, and the output of 64 by the vocabulary,
  // all of Q8_0: what one generated token reads.
  const auto& generate = json["generate"];
  const double bytes = generate["weight_bytes_per_second"].get<double>() /
                       generate["tokens_per_second"].get<double>();
  const double ops =
      generate["ops_per_second"].get<double>() / generate["tokens_per_second"].get<double>();
  EXPECT_NEAR(bytes / ops, 34.0 / 32 / 2, 1e-6);
  EXPECT_GT(ops, 2.0 * 2 * 64 * (64 + 32 + 32 + 64 + 3 * 96));
}

// The proof that a token costs no allocation, no graph and no wait for a lock.
TEST_F(BenchCommand, ATokenAllocatesNothing) {
  const auto json = BenchJson({"--profile", "-t", "2"});
  ASSERT_TRUE(json.is_object());
  for (const char* name : {"prompt", "generate"}) {
    EXPECT_EQ(json[name]["events"]["allocations"], 0) << name;
    EXPECT_EQ(json[name]["events"]["graphs"], 0) << name;
    EXPECT_EQ(json[name]["events"]["lock_waits"], 0) << name;
  }
  const auto& kernels = json["generate"]["kernels"];
  ASSERT_FALSE(kernels.empty());
  double weight_bytes = 0;
  for (const auto& kernel : kernels) weight_bytes += kernel["weight_bytes"].get<double>();
  const auto& generate = json["generate"];
  EXPECT_NEAR(weight_bytes / 30,
              generate["weight_bytes_per_second"].get<double>() /
                  generate["tokens_per_second"].get<double>(),
              1);
}

TEST_F(BenchCommand, TextHasALineForEach) {
  const Outcome both = Bench({"--profile"});
  EXPECT_EQ(both.code, 0) << both.err;
  EXPECT_THAT(both.out, AllOf(HasSubstr("prompt    40 tokens"), HasSubstr("generate  10 tokens"),
                              HasSubstr("tok/s"), HasSubstr("per token: 0.00 allocations")));
  const Outcome one =
      RunBantam({"bench", "-m", model_, "-p", "0", "-n", "3", "--device", "reference"});
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_THAT(one.out, AllOf(Not(HasSubstr("prompt")), HasSubstr("generate")));
  EXPECT_THAT(one.err, Not(HasSubstr("machine")));  // nothing is known of its limits
}

TEST_F(BenchCommand, MoreThanTheModelCanHold) {
  const Outcome outcome = Bench({"--depth", "100"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("140"), HasSubstr("128")));
}

}  // namespace
}  // namespace bantam::testing
