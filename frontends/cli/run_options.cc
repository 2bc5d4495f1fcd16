#include "frontends/cli/run_options.h"

#include <cmath>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

constexpr char kSampling[] = "Choosing the next token";
constexpr char kContext[] = "Long texts";
constexpr char kSpeculation[] = "Speculation";

// CLI11 takes -1 for the largest unsigned number.
std::string CheckSeed(const std::string& text) {
  uint64_t seed = 0;
  return absl::SimpleAtoi(text, &seed) ? "" : absl::StrCat("'", text, "' is not a number from 0");
}

// "15043+1.5", "15043-inf", "15043=2"
bool ParseBias(const std::string& text, sample::LogitBias& bias) {
  const size_t sign = text.find_first_of("+-=", 1);
  if (sign == std::string::npos) return false;
  const std::string value = text.substr(text[sign] == '-' ? sign : sign + 1);
  return absl::SimpleAtoi(text.substr(0, sign), &bias.token) && absl::SimpleAtof(value, &bias.bias);
}
std::string CheckBias(const std::string& text) {
  sample::LogitBias bias;
  return ParseBias(text, bias)
             ? ""
             : absl::StrCat("'", text,
                            "' is no token number with a bias, such as 15043+1 or 29-inf");
}

void AddSamplingOptions(CLI::App& app, RunOptions& options) {
  sample::Params& params = options.generate.sampling;
  auto add = [&app](const char* name, auto& value, const char* help, const char* type) {
    return app.add_option(name, value, help)
        ->type_name(type)
        ->capture_default_str()
        ->group(kSampling);
  };
  add("--temp", params.temperature, "Temperature; 0 always takes the likeliest token", "T");
  add("--top-k", params.top_k, "Only the K likeliest; 0: off", "K");
  add("--top-p", params.top_p, "Only the likeliest that together have this probability; 1: off",
      "P");
  add("--min-p", params.min_p, "Only those this likely relative to the likeliest; 0: off", "P");
  add("--typical", params.typical_p, "Locally typical sampling; 1: off", "P");
  add("--repeat-penalty", params.repeat_penalty, "Divides the logits of tokens seen; 1: off", "X");
  add("--frequency-penalty", params.frequency_penalty,
      "Taken off a logit for each time the token was seen; 0: off", "X");
  add("--presence-penalty", params.presence_penalty, "Taken off the logits of tokens seen; 0: off",
      "X");
  add("--penalty-last-n", params.penalty_last_n,
      "Tokens the penalties look back on; -1: all, 0: none", "N");
  add("--dry-multiplier", params.dry.multiplier,
      "DRY: penalty of a token that makes a repetition longer; 0: off", "X");
  add("--dry-base", params.dry.base, "DRY: grows by this factor with each token repeated", "X");
  add("--dry-allowed-length", params.dry.allowed_length, "DRY: repetitions this long cost nothing",
      "N");
  add("--dry-penalty-last-n", params.dry.last_n, "DRY: tokens to look back on; -1: all", "N");
  app.add_option("--dry-sequence-breaker", options.dry_breakers,
                 "DRY: text that repetitions do not reach over, or none; may be given again. "
                 "Default: newline : \" *")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(kSampling);
  add("--xtc-probability", params.xtc_probability,
      "XTC: how often the likeliest tokens are excluded; 0: off", "P");
  add("--xtc-threshold", params.xtc_threshold,
      "XTC: all that have this probability, but for the unlikeliest of them", "P");
  app.add_option_function<int>(
         "--mirostat", [&params](int version) { params.mirostat = version == 2; },
         "2: Mirostat 2.0 in place of top-k, top-p, min-p, typical and XTC; 0: off")
      ->type_name("0|2")
      ->check(CLI::IsMember({0, 2}).description(""))
      ->group(kSampling);
  add("--mirostat-ent", params.mirostat_tau, "Mirostat: the surprise to aim at, in bits", "TAU");
  add("--mirostat-lr", params.mirostat_eta, "Mirostat: how fast it adjusts", "ETA");
  app.add_option(
         "--logit-bias", options.logit_biases,
         "Added to the logit of a token, by its number: 15043+1, 15043-1, 15043-inf; may be "
         "given again")
      ->type_name("ID+BIAS")
      ->allow_extra_args(false)
      ->check(CheckBias)
      ->group(kSampling);
  app.add_option("--seed", options.seed, "Makes the text reproducible; default: another each time")
      ->type_name("SEED")
      ->check(CheckSeed)
      ->group(kSampling);
  auto* grammar = app.add_option("--grammar", options.grammar,
                                 "Only text of this grammar: a file of GBNF, or GBNF itself")
                      ->type_name("FILE")
                      ->group(kSampling);
  app.add_option("--json-schema", options.json_schema,
                 "Only JSON of this schema: a file, or the schema itself")
      ->type_name("FILE")
      ->excludes(grammar)
      ->group(kSampling);
}

void AddLongTextOptions(CLI::App& app, RunOptions& options) {
  app.add_flag("--context-shift", options.generate.context_shift,
               "When the context is full, forget the older half and go on")
      ->group(kContext);
  app.add_option("--keep", options.generate.keep,
                 "First tokens that a context shift never forgets; default: the system message")
      ->type_name("TOKENS")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31).description(""))
      ->group(kContext);
  app.add_option("--session", options.session,
                 "Go on with the conversation in this file, if there is one, and keep it there")
      ->type_name("FILE")
      ->group(kContext);
}

void AddSpeculationOptions(CLI::App& app, RunOptions& options) {
  auto* model = app.add_option("--draft-model", options.draft_model,
                               "A smaller model of the same vocabulary that guesses ahead")
                    ->type_name("FILE")
                    ->group(kSpeculation);
  app.add_flag("--lookup", options.lookup, "Guess ahead what followed the same words before")
      ->excludes(model)
      ->group(kSpeculation);
  options.generate.draft_tokens = 4;
  app.add_option("--draft-tokens", options.generate.draft_tokens, "Most tokens to guess at a time")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{64}).description(""))
      ->capture_default_str()
      ->group(kSpeculation);
}

// The file's text, or `text` itself where it is what a file would hold.
absl::StatusOr<std::string> FileOrText(const std::string& text, bool is_text) {
  if (is_text) return text;
  return ReadFile(text);
}

// Tokens whose text has the breaker in it; where none has, the last one of the breaker's.
std::vector<int32_t> Breakers(const std::vector<std::string>& texts,
                              const tokenizer::Tokenizer& tokenizer) {
  std::vector<int32_t> tokens;
  std::vector<bool> found(texts.size(), false);
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    const std::string bytes = tokenizer.TokenBytes(id);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].empty() || !absl::StrContains(bytes, texts[i])) continue;
      found[i] = true;
      tokens.push_back(id);
    }
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (found[i] || texts[i].empty()) continue;
    const auto ids = tokenizer.Encode(texts[i], {.add_special = false});
    if (!ids.empty()) tokens.push_back(ids.back());
  }
  return tokens;
}

}  // namespace

void AddRunOptions(CLI::App& app, RunOptions& options) {
  AddModelOption(app, options);
  AddPromptOptions(app, options);
  app.add_option("--system", options.system, "System message put before the chat")
      ->type_name("TEXT");
  app.add_flag("--raw", options.raw, "Continue the text itself, without the chat template");
  app.add_flag("-i,--interactive", options.interactive,
               "Chat, even with a prompt or without a terminal");
  app.add_flag("--ignore-eos", options.generate.ignore_eos,
               "Never pick a token that ends the answer");
  app.add_option("--think", options.generate.think,
                 "What a model thinks before it answers: show it, hide it, or switch it off where "
                 "the model can")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Think>{{"show", Think::kShow},
                                                                       {"hide", Think::kHide},
                                                                       {"off", Think::kOff}})
                      .description(""))
      ->type_name("show|hide|off")
      ->default_str("show");
  AddSamplingOptions(app, options);
  AddContextOptions(app, options);
  AddLongTextOptions(app, options);
  AddSpeculationOptions(app, options);
  AddDeviceOptions(app, options);
  AddTraceOption(app, options);
  AddOutputOptions(app, options);
  app.add_flag("--no-timings", options.no_timings, "No speed and memory at the end");
}

std::string CompleteRunOptions(RunOptions& options) {
  if (options.raw && !options.system.empty()) {
    return "--system needs the chat template that --raw does without";
  }
  if (options.interactive && options.json) return "--json tells of one answer, not of a chat";
  if (options.interactive && options.file == "-") return "-i and -f - both want standard input";
  if (options.draft_model.empty() && !options.lookup) options.generate.draft_tokens = 0;
  options.generate.raw = options.raw;
  for (const std::string& text : options.logit_biases) {
    sample::LogitBias bias;
    ParseBias(text, bias);
    options.generate.sampling.logit_bias.push_back(bias);
  }
  // The sampler knows the ranges of its parameters; the vocabulary matters only to the biases,
  // which are checked with the model.
  sample::Params params = options.generate.sampling;
  params.logit_bias.clear();
  const auto sampler = sample::Sampler::Create(params, 1, 1);
  return sampler.ok() ? "" : std::string(sampler.status().message());
}

absl::Status CompleteForModel(RunOptions& options, const engine::Model& model) {
  const tokenizer::Tokenizer& tokenizer = model.tokenizer();
  if (!options.grammar.empty()) {
    const bool is_text = absl::StrContains(options.grammar, "::=");
    BANTAM_ASSIGN_OR_RETURN(const std::string text, FileOrText(options.grammar, is_text));
    auto grammar = grammar::Grammar::FromGbnf(text, &tokenizer);
    if (!grammar.ok()) {
      return is_text ? grammar.status() : Annotate(grammar.status(), options.grammar);
    }
    options.generate.grammar = *std::move(grammar);
  }
  if (!options.json_schema.empty()) {
    const absl::string_view start = absl::StripLeadingAsciiWhitespace(options.json_schema);
    const bool is_text = absl::StartsWith(start, "{") || start == "true";
    BANTAM_ASSIGN_OR_RETURN(const std::string text, FileOrText(options.json_schema, is_text));
    auto grammar = grammar::Grammar::FromJsonSchema(text);
    if (!grammar.ok()) {
      return is_text ? grammar.status() : Annotate(grammar.status(), options.json_schema);
    }
    options.generate.grammar = *std::move(grammar);
  }
  sample::Params& sampling = options.generate.sampling;
  if (sampling.dry.multiplier > 0) {
    if (options.dry_breakers == std::vector<std::string>{"none"}) options.dry_breakers.clear();
    sampling.dry.breakers = Breakers(options.dry_breakers, tokenizer);
  }
  for (const sample::LogitBias& bias : sampling.logit_bias) {
    if (bias.token < tokenizer.size()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--logit-bias: the vocabulary has ", tokenizer.size(), " tokens, none is ", bias.token));
  }
  return absl::OkStatus();
}

}  // namespace bantam::cli
