// `bantam run`: grammars, reasoning, sessions, context shift, speculation and samplers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class Generation : public ::testing::Test {
 protected:
  void WriteModel(TinyLlamaOptions options = {}) {
    options.tied = false;  // with random weights a tied model says its last token again
    WriteTinyLlama(model_, options);
  }
  Outcome Run(std::vector<std::string> args, const std::string& in = "") const {
    args.insert(args.begin(), {"run", "-m", model_});
    return RunBantam(args, in);
  }
  nlohmann::json Json(std::vector<std::string> args) const {
    args.push_back("--json");
    const Outcome outcome = Run(args);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out, nullptr, false);
  }

  TempDir folder_;
  std::string model_ = folder_.File("model.gguf");
};

TEST_F(Generation, AGrammarIsKept) {
  WriteModel();
  const std::string file = folder_.File("grammar.gbnf");
  WriteWhole(file, "root ::= \"yes\" | \"no\"\n");
  EXPECT_THAT(Run({"-p", "hi", "--grammar", file, "--no-timings"}).out, AnyOf("yes\n", "no\n"));
  EXPECT_THAT(Run({"-p", "hi", "--grammar", "root ::= [a-c]{5}", "--no-timings"}).out,
              MatchesRegex("[a-c]{5}\n"));
  const auto json =
      Json({"-p", "hi", "--json-schema",
            R"({"type":"object","properties":{"n":{"type":"integer","maximum":9,"minimum":0},
                              "ok":{"type":"boolean"}},"required":["n","ok"]})"});
  const auto made = nlohmann::json::parse(json["text"].get<std::string>(), nullptr, false);
  ASSERT_TRUE(made.is_object()) << json;
  EXPECT_TRUE(made["n"].is_number_integer() && made["ok"].is_boolean()) << made;
  EXPECT_EQ(json["stop_reason"], "end_of_generation");
}

TEST_F(Generation, AWrongGrammarIsSaidInOneLine) {
  WriteModel();
  const std::string file = folder_.File("schema.json");
  WriteWhole(file, R"({"type":"object","minProperties":2})");
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--grammar", "root ::= root"}, "left-recursive"},
      {{"--grammar", folder_.File("none")}, "none"},
      {{"--json-schema", file}, "minProperties"},
      {{"--json-schema", "{"}, "not JSON"}};
  for (auto [args, reason] : cases) {
    args.insert(args.end(), {"-p", "hi"});
    const Outcome outcome = Run(args);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(reason));
  }
  EXPECT_EQ(Run({"-p", "hi", "--grammar", "root ::= \"a\"", "--json-schema", "{}"}).code, 2);
}

// A grammar makes the random model reason.
const char kReasons[] = "root ::= \"<think>\\nhm\\n</think>\\n\\n\" \"so <think> is\"";

TEST_F(Generation, ReasoningIsShownHiddenAndToldApart) {
  WriteModel();
  auto out = [&](std::vector<std::string> args) {
    args.insert(args.end(), {"-p", "hi", "--no-timings", "--grammar", kReasons});
    return Run(args).out;
  };
  EXPECT_EQ(out({}), "<think>\nhm\n</think>\n\nso <think> is\n");
  EXPECT_EQ(out({"--think", "hide"}), "so <think> is\n");
  EXPECT_EQ(out({"--raw", "--think", "hide"}), "<think>\nhm\n</think>\n\nso <think> is\n");
  const auto json = Json({"-p", "hi", "--grammar", kReasons});
  EXPECT_EQ(json["text"], "so <think> is");
  EXPECT_EQ(json["reasoning"], "\nhm\n");
  const Outcome off = Run({"-p", "hi", "--grammar", kReasons, "--think", "off", "--no-timings"});
  EXPECT_EQ(off.out, "so <think> is\n");
  EXPECT_THAT(off.err, HasSubstr("no switch"));
  EXPECT_EQ(Run({"-p", "hi", "--think", "loudly"}).code, 2);
  Terminal terminal({Program(), "run", "-m", model_, "-p", "hi", "--grammar", kReasons});
  const std::string shown = terminal.Wait().out;
  EXPECT_THAT(shown, AllOf(HasSubstr("\x1b[2m"), HasSubstr("\x1b[0m"), HasSubstr("so <think> is")));
}

TEST_F(Generation, ASessionKeepsTheConversation) {
  WriteModel({.context = 1024});
  const std::string file = folder_.File("talk.session");
  const std::vector<std::string> args = {"--temp", "0", "-n", "12", "--ignore-eos"};
  auto say = [&](const std::string& text, bool keep) {
    std::vector<std::string> all = args;
    all.insert(all.end(), {"-p", text});
    if (keep) all.insert(all.end(), {"--session", file});
    return Json(all);
  };
  const auto first = say("hello", true);
  EXPECT_EQ(first["tokens"]["reused"], 0);
  const auto second = say("and then?", true);
  EXPECT_GT(second["tokens"]["reused"], 10);
  EXPECT_NE(second["text"], say("and then?", false)["text"]);
  // The same in one chat.
  std::vector<std::string> chat = args;
  chat.insert(chat.end(), {"-i", "--no-timings"});
  const Outcome talk = Run(chat, "hello\nand then?\n");
  const std::string both =
      first["text"].get<std::string>() + "\n" + second["text"].get<std::string>();
  EXPECT_THAT(talk.out, HasSubstr(second["text"].get<std::string>())) << both;
  // Another model is refused, and so is another KV type.
  std::vector<std::string> f32 = args;
  f32.insert(f32.end(), {"-p", "x", "--session", file, "--kv-type", "f32"});
  EXPECT_THAT(Run(f32).err, HasSubstr("KV cache of type F16"));
  WriteModel({.context = 1024, .seed = 5});
  std::vector<std::string> other = args;
  other.insert(other.end(), {"-p", "x", "--session", file});
  const Outcome refused = Run(other);
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.error_lines(), 1) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("another model"));
}

TEST_F(Generation, AContextShiftGoesOn) {
  WriteModel({.context = 64});
  const std::vector<std::string> args = {"-p", "hi", "-n", "150", "--ignore-eos", "--seed", "3"};
  EXPECT_EQ(Json(args)["stop_reason"], "context_full");
  EXPECT_THAT(Run(args).err, HasSubstr("--context-shift"));
  std::vector<std::string> shift = args;
  shift.push_back("--context-shift");
  const auto json = Json(shift);
  EXPECT_EQ(json["stop_reason"], "length");
  EXPECT_EQ(json["tokens"]["generated"], 150);
  EXPECT_GT(json["context_shifts"], 2);
  // A chat forgets its oldest messages.
  const Outcome talk = Run({"-i", "-n", "8", "--temp", "0", "--context-shift", "--system", "Hm."},
                           "one two\nthree\nfour\nfive\nsix\nseven\n");
  EXPECT_EQ(talk.code, 0) << talk.err;
  EXPECT_THAT(talk.err, Not(HasSubstr("context full")));
}

TEST_F(Generation, SpeculationSaysTheSameAndTellsHow) {
  WriteModel({.context = 512});
  const std::vector<std::string> args = {
      "-p",          "the the the thin thin hat", "-n", "60", "--temp", "1.5", "--seed", "4",
      "--ignore-eos"};
  const auto plain = Json(args);
  EXPECT_FALSE(plain.contains("speculation"));
  for (std::vector<std::string> how :
       {std::vector<std::string>{"--lookup"}, {"--draft-model", model_, "--draft-tokens", "6"}}) {
    how.insert(how.end(), args.begin(), args.end());
    const auto json = Json(how);
    EXPECT_EQ(json["text"], plain["text"]);
    EXPECT_GE(json["speculation"]["drafted"], json["speculation"]["accepted"]);
  }
  std::vector<std::string> greedy = {"-p",     "hi", "-n",           "60",
                                     "--temp", "0",  "--ignore-eos", "--lookup"};
  EXPECT_THAT(Run(greedy).err, HasSubstr("drafts "));  // random models soon repeat themselves
}

TEST_F(Generation, SamplersByTheirUsualNames) {
  WriteModel();
  const std::vector<std::vector<std::string>> good = {
      {"--mirostat", "2", "--mirostat-ent", "3", "--mirostat-lr", "0.2"},
      {"--xtc-probability", "0.5", "--xtc-threshold", "0.05"},
      {"--dry-multiplier", "0.8", "--dry-base", "1.5", "--dry-allowed-length", "3",
       "--dry-penalty-last-n", "64", "--dry-sequence-breaker", "none"},
      {"--logit-bias", "65+3", "--logit-bias", "66-inf"},
      {"--kv-type", "f32"}};
  for (std::vector<std::string> args : good) {
    args.insert(args.end(), {"-p", "hi", "-n", "20"});
    EXPECT_EQ(Run(args).code, 0) << args[0];
  }
  const std::vector<std::vector<std::string>> bad = {{"--mirostat", "1"},
                                                     {"--xtc-probability", "2"},
                                                     {"--dry-base", "0"},
                                                     {"--logit-bias", "65"},
                                                     {"--kv-type", "q5_0"}};
  for (std::vector<std::string> args : bad) {
    args.insert(args.end(), {"-p", "hi", "-n", "20"});
    EXPECT_EQ(Run(args).code, 2) << args[0];
  }
  EXPECT_EQ(Run({"-p", "hi", "--logit-bias", "99999+1"}).code, 1);
  // Forced by a bias.
  EXPECT_EQ(Run({"-p", "hi", "-n", "3", "--logit-bias", "65+1000", "--no-timings"}).out, "AAA\n");
}

}  // namespace
}  // namespace bantam::testing
