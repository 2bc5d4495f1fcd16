// bantam embed: a text as a vector.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "frontends/cli/command.h"
#include "frontends/cli/options.h"
#include "frontends/cli/output.h"
#include "runtime/base/status.h"
#include "runtime/engine/embedding.h"

namespace bantam::cli {
namespace {

using model::Pooling;

constexpr std::pair<const char*, Pooling> kPoolings[] = {
    {"mean", Pooling::kMean}, {"cls", Pooling::kCls}, {"last", Pooling::kLast}};

struct EmbedOptions {
  std::string pooling;  // "": the model's own
  bool lines = false;
  bool raw = false;
};

Pooling PoolingOf(const EmbedOptions& embed, const model::Config& config) {
  for (const auto& [name, pooling] : kPoolings) {
    if (embed.pooling == name) return pooling;
  }
  return config.pooling == Pooling::kNone ? Pooling::kLast : config.pooling;
}

// Numbers with a space between, on one line.
std::string Line(const std::vector<float>& embedding) {
  std::string line;
  for (float v : embedding) absl::StrAppendFormat(&line, "%s%.9g", line.empty() ? "" : " ", v);
  return line + "\n";
}

absl::Status Run(const Options& options, const EmbedOptions& embed) {
  std::vector<std::string> texts = {options.prompt};
  if (!options.file.empty()) {
    BANTAM_ASSIGN_OR_RETURN(texts[0], ReadPrompt(options.file));
  }
  if (embed.lines) texts = absl::StrSplit(texts[0], '\n');
  BANTAM_ASSIGN_OR_RETURN(const auto model, LoadModel(options));
  const model::Config& config = model->config();
  const Pooling pooling = PoolingOf(embed, config);

  engine::SessionOptions session_options = SessionOptionsFrom(options, model->device());
  session_options.embeddings = true;
  constexpr int64_t kDefaultContext = 4096;
  if (session_options.context == 0) {
    session_options.context = std::min(kDefaultContext, config.context_length);
  }
  // What pools several rows, or sees all tokens at once, needs them in one step.
  if (!config.causal || pooling != Pooling::kLast) session_options.ubatch = session_options.context;
  // An encoder keeps nothing for a next step, so that there is nothing to save.
  if (!config.causal) session_options.kv_type = quant::Type::kF32;
  BANTAM_ASSIGN_OR_RETURN(const auto session, engine::Session::Create(model, session_options));
  if (options.verbose) WriteStderr(DescribeSession(*session));

  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<tokenizer::TokenId> tokens = model->tokenizer().Encode(texts[i], {});
    auto embedding = engine::Embed(*session, tokens, pooling, /*normalize=*/!embed.raw);
    if (!embedding.ok()) {
      return embed.lines ? Annotate(embedding.status(), absl::StrCat("line ", i + 1))
                         : embedding.status();
    }
    if (options.json) {
      results.push_back({{"tokens", tokens.size()}, {"embedding", *embedding}});
    } else {
      BANTAM_RETURN_IF_ERROR(WriteStdout(Line(*embedding)));
    }
  }
  if (!options.json) return absl::OkStatus();
  std::string pooling_name;
  for (const auto& [name, value] : kPoolings) {
    if (value == pooling) pooling_name = name;
  }
  return WriteJson({{"model", model->file().path()},
                    {"device", model->device().name()},
                    {"pooling", pooling_name},
                    {"normalized", !embed.raw},
                    {"dimensions", config.embedding_length},
                    {"texts", results}});
}

}  // namespace

int EmbedMain(int argc, char** argv) {
  Options options;
  EmbedOptions embed;
  CLI::App app(
      "Writes a text as a vector of length 1, its numbers on one line, for search by meaning: the\n"
      "nearer two texts, the larger the product of their vectors.",
      argv[0]);
  AddModelOption(app, options);
  auto* prompt = app.add_option("-p,--prompt", options.prompt, "The text")->type_name("TEXT");
  auto* file = app.add_option("-f,--file", options.file, "The text; - is standard input")
                   ->type_name("FILE")
                   ->excludes(prompt);
  app.add_flag("--lines", embed.lines, "Every line is a text of its own");
  app.add_option(
         "--pooling", embed.pooling,
         "mean, cls or last: how the tokens' vectors become one; the model's own way unless "
         "given")
      ->type_name("HOW")
      ->check(CLI::IsMember({"mean", "cls", "last"}).description(""));
  app.add_flag("--no-normalize", embed.raw, "Leave the vector's length as it is");
  AddContextOptions(app, options);
  AddDeviceOptions(app, options);
  AddOutputOptions(app, options);
  if (const auto code = Parse(app, argc, argv)) return *code;
  if (prompt->count() == 0 && file->count() == 0) {
    return UsageError(argv[0], "what text? Give -p TEXT or -f FILE");
  }
  const absl::Status status = Run(options, embed);
  return status.ok() ? kOk : Fail(status);
}

}  // namespace bantam::cli
