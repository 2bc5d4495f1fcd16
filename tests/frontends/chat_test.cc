// The interactive chat of `bantam run`, from a file of lines and on a terminal.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Chat : public ::testing::Test {
 protected:
  void WriteModel(TinyLlamaOptions options) {
    options.tied = false;  // with random weights a tied model says its last token again
    WriteTinyLlama(model_, options);
  }
  std::vector<std::string> Args(std::vector<std::string> args) const {
    args.insert(args.begin(), {Program(), "run", "-m", model_});
    return args;
  }
  Outcome Talk(std::vector<std::string> args, const std::string& lines) const {
    args.push_back("-i");
    return Process(Args(std::move(args)), lines).Wait();
  }

  TempDir folder_;
  std::string model_ = folder_.File("model.gguf");
};

int64_t Count(const std::string& text, const std::string& what) {
  int64_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST_F(Chat, TheConversationIsOneLongPromptFromTheCache) {
  WriteModel({.context = 1024});
  const Outcome outcome = Talk({"-n", "5", "--temp", "0"}, "hello\nand then?\n/exit\nnot read\n");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("generate  10 tokens"), HasSubstr("in the KV cache")));
}

TEST_F(Chat, AnAnswerFromTheCacheIsTheAnswerToTheWholeConversation) {
  WriteModel({.context = 1024});
  // /clear and the same words again: nothing of the first conversation may be left.
  const Outcome outcome =
      Talk({"-n", "8", "--temp", "0", "--ignore-eos"}, "hello\nmore\n/clear\nhello\nmore\n");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  ASSERT_EQ(outcome.out.size() % 2, 0u);
  EXPECT_EQ(outcome.out.substr(0, outcome.out.size() / 2),
            outcome.out.substr(outcome.out.size() / 2));
  // The system message and the first message are part of it.
  const Outcome with_system =
      Talk({"-n", "8", "--temp", "0", "--ignore-eos", "--system", "Shout."}, "hello\n");
  EXPECT_NE(with_system.out, outcome.out.substr(0, with_system.out.size()));
  const Outcome first = Talk({"-n", "8", "--temp", "0", "--ignore-eos", "-p", "hello"}, "more\n");
  EXPECT_EQ(first.out, outcome.out.substr(0, outcome.out.size() / 2));
}

TEST_F(Chat, RegenAnswersAgainWithAnotherSeed) {
  WriteModel({.context = 1024});
  const std::vector<std::string> args = {"-n", "20", "--temp", "8", "--ignore-eos", "--seed", "1"};
  const std::string one = Talk(args, "hello\n").out;
  const std::string two = Talk(args, "hello\n/regen\n").out;
  ASSERT_EQ(two.substr(0, one.size()), one);
  EXPECT_NE(two.substr(one.size()), one);
  EXPECT_GT(two.size(), one.size());
  EXPECT_THAT(Talk(args, "/regen\n").err, HasSubstr("no message"));
}

TEST_F(Chat, CommandsAndContinuedLines) {
  WriteModel({.context = 1024});
  const std::vector<std::string> args = {"-n", "8", "--temp", "0", "--ignore-eos"};
  EXPECT_THAT(Talk(args, "/help\n").err, AllOf(HasSubstr("/clear"), HasSubstr("/exit")));
  const Outcome unknown = Talk(args, "/frobnicate\n");
  EXPECT_THAT(unknown.err, HasSubstr("there is no /frobnicate"));
  EXPECT_EQ(unknown.out, "");
  EXPECT_NE(Talk(args, "/usr/bin holds what?\n").out, "");
  EXPECT_EQ(
      Talk(args, "one \\\ntwo\n").out,
      Process(Args({"-n", "8", "--temp", "0", "--ignore-eos", "-p", "one \ntwo"})).Wait().out);
  EXPECT_EQ(Talk(args, "\n\n").out, "");
}

TEST_F(Chat, AFullContextIsSaidAndSurvived) {
  WriteModel({.context = 128});
  const Outcome outcome =
      Talk({"-n", "8", "--temp", "0"}, std::string(300, 'x') + "\nhello\n" + "/clear\nhello\n");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(Count(outcome.err, "context full"), 1) << outcome.err;
  EXPECT_NE(outcome.out, "");
  const Outcome endless = Talk({"--temp", "1", "--ignore-eos"}, "hello\n");
  EXPECT_EQ(endless.code, 0);
  EXPECT_EQ(Count(endless.err, "context full"), 1) << endless.err;
}

TEST_F(Chat, RawLinesContinueOneText) {
  WriteModel({.context = 1024, .chat_template = false});
  const std::vector<std::string> args = {"-n", "6", "--temp", "0", "--raw", "--ignore-eos"};
  const Outcome outcome = Talk(args, "the \ncat\n");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("generate  12 tokens"));
}

TEST_F(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  WriteModel({.context = 1 << 16});
  Terminal terminal(Args({"--ignore-eos", "-c", "65536", "--system", "Go on."}));
  ASSERT_TRUE(terminal.WaitFor("> "));
  terminal.Type("hello\n");
  ASSERT_TRUE(terminal.WaitFor("hello\r\n"));
  while (terminal.shown().size() < 400) ASSERT_TRUE(terminal.WaitFor("\n") || true);
  terminal.Type("\x03");
  ASSERT_TRUE(terminal.WaitFor("\n> ")) << terminal.shown();
  terminal.Type("again\n");
  ASSERT_TRUE(terminal.WaitFor("again\r\n"));
  terminal.Type("\x03");
  ASSERT_TRUE(terminal.WaitFor("\n> ")) << terminal.shown();
  terminal.Type("/exit\n");
  const Outcome outcome = terminal.Wait();
  EXPECT_EQ(outcome.code, 0) << outcome.signal;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("generate "), Not(HasSubstr("context full"))));
}

TEST_F(Chat, CtrlCTwiceOrCtrlDAtThePromptLeaves) {
  WriteModel({});
  {
    Terminal terminal(Args({}));
    ASSERT_TRUE(terminal.WaitFor("> "));
    terminal.Type("half a mess\x03");
    ASSERT_TRUE(terminal.WaitFor("leaves"));
    ASSERT_TRUE(terminal.WaitFor("> "));
    terminal.Type("\x03");
    EXPECT_EQ(terminal.Wait().code, 0);
  }
  {
    Terminal terminal(Args({}));
    ASSERT_TRUE(terminal.WaitFor("> "));
    terminal.Type("\x04");
    EXPECT_EQ(terminal.Wait().code, 0);
  }
}

}  // namespace
}  // namespace bantam::testing
