// What a grammar costs beside decoding: texts of a model under JSON schemas and GBNF. Prints the
// time for masks (computed or found again) and for moving on, as a share of the decoding.
//
//   build/bench/bench_grammar MODEL [threads [tokens]]

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/grammar/matcher.h"
#include "runtime/sample/sampler.h"

namespace bantam {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

struct Case {
  const char* name;
  const char* text;
  bool is_schema;
};
constexpr Case kCases[] = {
    {"any JSON", "{}", true},
    {"a list of people",
     R"({"type":"array","minItems":3,"items":{"type":"object","properties":{
        "name":{"type":"string","maxLength":60},"age":{"type":"integer","minimum":0,"maximum":150},
        "email":{"type":"string","pattern":"^[a-z.]+@[a-z]+\\.(com|org)$"},
        "born":{"type":"string","format":"date"},
        "tags":{"type":"array","items":{"type":"string"}},"notes":{"type":"string"}},
        "required":["name","age","born","notes"]}})",
     true},
    {"lines of words", "root ::= (word (\" \" word){2,8} \"\\n\")+\nword ::= [a-zà-ÿ]{1,12}",
     false},
};

absl::Status Run(int argc, char** argv) {
  if (argc < 2) return absl::InvalidArgumentError("usage: grammar MODEL [threads [tokens]]");
  engine::LoadOptions load;
  load.threads = argc > 2 ? std::atoi(argv[2]) : 0;
  load.device = "cpu";
  const int count = argc > 3 ? std::atoi(argv[3]) : 300;
  auto model = engine::Model::Load(argv[1], load);
  if (!model.ok()) return model.status();
  auto session = engine::Session::Create(*model, {.context = 1024});
  if (!session.ok()) return session.status();
  const tokenizer::Tokenizer& tokenizer = (*model)->tokenizer();
  const int64_t vocab_size = (*model)->config().vocab_size;
  Clock::time_point start = Clock::now();
  auto trie = std::make_shared<grammar::TokenTrie>(tokenizer, vocab_size);
  std::printf("tree of %zu nodes for %lld tokens in %.1f ms\n", trie->node_count(),
              static_cast<long long>(vocab_size), 1e3 * Seconds(start));
  for (const Case& c : kCases) {
    start = Clock::now();
    auto grammar = c.is_schema ? grammar::Grammar::FromJsonSchema(c.text)
                               : grammar::Grammar::FromGbnf(c.text, &tokenizer);
    if (!grammar.ok()) return grammar.status();
    const double compile = Seconds(start);
    grammar::Matcher matcher(*grammar, trie);
    auto sampler = sample::Sampler::Create({.seed = 1}, vocab_size);
    if (!sampler.ok()) return sampler.status();
    const std::vector<int32_t> prompt = tokenizer.Encode("Here is some JSON:\n", {});
    if (auto status = (*session)->Truncate(0); !status.ok()) return status;
    if (auto status = (*session)->Decode(prompt); !status.ok()) return status;
    double decode = 0, constrain = 0, worst = 0;
    int tokens = 0;
    for (; tokens < count; ++tokens) {
      start = Clock::now();
      const auto mask = matcher.Mask();
      double seconds = Seconds(start);
      const auto token = (*sampler)->Sample((*session)->Logits(), mask);
      if (!token.ok()) return token.status();
      start = Clock::now();
      if (auto status = matcher.Accept(*token); !status.ok()) return status;
      seconds += Seconds(start);
      constrain += seconds;
      worst = std::max(worst, seconds);
      if (tokenizer.IsEndOfGeneration(*token) || matcher.MustEnd()) {
        matcher.Reset();  // the next text of the grammar
        continue;
      }
      start = Clock::now();
      if (auto status = (*session)->Decode({&*token, 1}); !status.ok()) return status;
      decode += Seconds(start);
    }
    std::printf(
        "%-18s compiled in %.2f ms; %d tokens: %.1f us each (worst %.0f us), decoding "
        "%.0f us: %.2f %%\n",
        c.name, 1e3 * compile, tokens, 1e6 * constrain / tokens, 1e6 * worst, 1e6 * decode / tokens,
        100 * constrain / decode);
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
