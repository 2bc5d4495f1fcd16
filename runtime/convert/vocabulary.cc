#include "runtime/convert/vocabulary.h"

#include <algorithm>
#include <filesystem>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/pre_tokenizers.h"

namespace bantam::convert {
namespace {

using nlohmann::json;
using tokenizer::TokenKind;

constexpr int64_t kMaxTokens = 1 << 24;
// Of tokens that are found by their text alone, as converters for SentencePiece write it.
constexpr float kAddedScore = -1000;

// A pre-tokenizer by what the steps of tokenizer.json's pre_tokenizer say: the expression of a
// Split, "Digits", and "ByteLevel" where that splits too. Joined by '\n'.
struct KnownPreTokenizer {
  absl::string_view steps;
  const char* pre;
};
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3(PREFIX, NUMBER)                    \
  PREFIX "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" NUMBER \
         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
constexpr KnownPreTokenizer kKnown[] = {
    {"ByteLevel", "gpt-2"},
    {"Digits\nByteLevel", "smollm"},
    {LLAMA3(CONTRACTIONS, "\\p{N}{1,3}"), "llama-bpe"},
    {LLAMA3(CONTRACTIONS, "\\p{N}"), "qwen2"},
    {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
     "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "tekken"},
};

// The value of a string member, or "".
std::string Text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool Flag(const json& object, const char* key, bool fallback) {
  if (!object.is_object()) return fallback;
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() ? found->get<bool>() : fallback;
}

void AppendStep(const json& step, std::string& steps) {
  const std::string type = Text(step, "type");
  std::string text;
  if (type == "Split" && step.contains("pattern")) {
    text = Text(step["pattern"], "Regex");
  } else if (type == "ByteLevel") {
    if (!Flag(step, "use_regex", true)) return;  // the expression before did the splitting
    text = type;
  } else {
    text = type;
  }
  absl::StrAppend(&steps, steps.empty() ? "" : "\n", text);
}

absl::StatusOr<std::string> RecognisePreTokenizer(const JsonFile& tokenizer) {
  std::string steps;
  if (const json* pre = tokenizer.Find("pre_tokenizer")) {
    if (Text(*pre, "type") == "Sequence" && pre->contains("pretokenizers") &&
        (*pre)["pretokenizers"].is_array()) {
      for (const json& step : (*pre)["pretokenizers"]) AppendStep(step, steps);
    } else {
      AppendStep(*pre, steps);
    }
  }
  for (const KnownPreTokenizer& known : kKnown) {
    if (steps == known.steps) return std::string(known.pre);
  }
  return absl::UnimplementedError(absl::StrCat(
      tokenizer.name(), ": pre_tokenizer is '", Printable(steps),
      "', which GGUF has no name for that is known here; --pre NAME says which to use"));
}

// Whether a space is put in front of a text: what SentencePiece does unless it is told not to, and
// tokenizer.json says by a step of its own.
bool PrependsSpace(const JsonFile& file) {
  std::vector<const json*> steps;
  for (const char* key : {"normalizer", "pre_tokenizer"}) {
    const json* step = file.Find(key);
    if (step == nullptr) continue;
    steps.push_back(step);
    for (const char* list : {"normalizers", "pretokenizers"}) {
      if (!step->is_object() || !step->contains(list) || !(*step)[list].is_array()) continue;
      for (const json& part : (*step)[list]) steps.push_back(&part);
    }
  }
  return std::any_of(steps.begin(), steps.end(), [](const json* step) {
    const std::string type = Text(*step, "type");
    return type == "Prepend" || (type == "Metaspace" && Text(*step, "prepend_scheme") != "never" &&
                                 Flag(*step, "add_prefix_space", true));
  });
}

// WordPiece marks what goes on within a word, GGUF what begins one.
absl::Status ReadWordPiece(const JsonFile& file, const json& vocab, Vocabulary& v) {
  v.model = "bert";
  v.pre = "default";
  for (const auto& [text, id] : vocab.items()) {
    if (!id.is_number_unsigned()) return file.Error("model.vocab", "has an id that is no number");
    absl::string_view rest = text;
    const std::string token =
        absl::ConsumePrefix(&rest, "##") ? std::string(rest) : absl::StrCat("\u2581", text);
    BANTAM_RETURN_IF_ERROR(
        Annotate(v.Put(static_cast<int64_t>(std::min<uint64_t>(id.get<uint64_t>(), INT64_MAX)),
                       token, TokenKind::kNormal, 0),
                 file.name()));
  }
  const json* normalizer = file.Find("normalizer");
  if (normalizer == nullptr || Text(*normalizer, "type") != "BertNormalizer") {
    return absl::UnimplementedError(
        absl::StrCat(file.name(), ": the normalizer of a WordPiece vocabulary is '",
                     normalizer == nullptr ? "" : Printable(Text(*normalizer, "type")),
                     "'; supported is BertNormalizer"));
  }
  v.lowercase = Flag(*normalizer, "lowercase", true);
  v.strip_accents = Flag(*normalizer, "strip_accents", *v.lowercase);
  return absl::OkStatus();
}

// Byte-level BPE, or SentencePiece's as tokenizer.json writes it (with a fall-back to bytes).
absl::Status ReadTokenizerJson(const JsonFile& file, const std::string& pre, Vocabulary& v) {
  const json* vocab = file.Find("model.vocab");
  const std::string type = file.Find("model") ? Text(*file.Find("model"), "type") : "";
  const bool is_object = vocab != nullptr && vocab->is_object();
  if (is_object && type == "WordPiece") return ReadWordPiece(file, *vocab, v);
  if (!is_object || (type != "BPE" && !type.empty())) {
    return absl::UnimplementedError(absl::StrCat(file.name(), ": the tokenizer is of type '",
                                                 Printable(type),
                                                 "'; supported are BPE and WordPiece"));
  }
  const bool bytes = Flag(*file.Find("model"), "byte_fallback", false);
  v.model = bytes ? "llama" : "gpt2";
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_unsigned()) return file.Error("model.vocab", "has an id that is no number");
    const bool is_byte = bytes && tokenizer::ParseByteToken(text) >= 0;
    const auto kind = is_byte ? TokenKind::kByte : TokenKind::kNormal;
    BANTAM_RETURN_IF_ERROR(
        Annotate(v.Put(static_cast<int64_t>(std::min<uint64_t>(id.get<uint64_t>(), INT64_MAX)),
                       text, kind, kAddedScore),
                 file.name()));
  }
  if (const json* merges = file.Find("model.merges"); merges != nullptr && merges->is_array()) {
    for (const json& merge : *merges) {
      if (merge.is_string()) {
        v.merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        // GGUF parts the two by a space, which no byte-level token contains.
        v.merges.push_back(
            absl::StrCat(merge[0].get<std::string>(), " ", merge[1].get<std::string>()));
      } else {
        return file.Error("model.merges", "holds something other than pairs");
      }
    }
  }
  if (!bytes) {
    if (pre.empty()) {
      BANTAM_ASSIGN_OR_RETURN(v.pre, RecognisePreTokenizer(file));
    } else {
      v.pre = pre;
    }
    return absl::OkStatus();
  }
  // SentencePiece merges the pair with the best score: the rank of the merge that makes the piece.
  v.pre = "default";
  v.add_space_prefix = PrependsSpace(file);
  absl::flat_hash_map<std::string, size_t> ids;
  for (size_t id = 0; id < v.tokens.size(); ++id) ids[v.tokens[id]] = id;
  for (size_t rank = v.merges.size(); rank-- > 0;) {
    std::string piece = v.merges[rank];
    piece.erase(std::min(piece.find(' '), piece.size()), 1);
    const auto found = ids.find(piece);
    if (found != ids.end()) v.scores[found->second] = -static_cast<float>(rank);
  }
  v.merges.clear();
  return absl::OkStatus();
}

// Tokens added to a vocabulary after it was trained. Those past the `rows` of the embedding table,
// as text models of a family with pictures list them, are of no use to this model.
absl::Status ReadAddedTokens(const JsonFile& file, int64_t rows, Vocabulary& v) {
  const json* added = file.Find("added_tokens");
  if (added == nullptr) return absl::OkStatus();
  if (!added->is_array()) return file.Error("added_tokens", "is no list");
  for (const json& token : *added) {
    const std::string text = Text(token, "content");
    const auto id = token.is_object() ? token.find("id") : token.end();
    if (text.empty() || id == token.end() || !id->is_number_unsigned()) {
      return file.Error("added_tokens", "holds an entry without id or content");
    }
    if (id->get<uint64_t>() >= static_cast<uint64_t>(rows)) continue;
    const bool special = Flag(token, "special", false);
    BANTAM_RETURN_IF_ERROR(
        Annotate(v.Put(static_cast<int64_t>(std::min<uint64_t>(id->get<uint64_t>(), INT64_MAX)),
                       text, special ? TokenKind::kControl : TokenKind::kUserDefined, kAddedScore),
                 file.name()));
  }
  return absl::OkStatus();
}

// tokenizer_config.json lists them by id, where there is no tokenizer.json.
absl::Status ReadAddedTokensDecoder(const JsonFile& file, Vocabulary& v) {
  const json* added = file.Find("added_tokens_decoder");
  if (added == nullptr || !added->is_object()) return absl::OkStatus();
  for (const auto& [key, token] : added->items()) {
    int64_t id = 0;
    const std::string text = Text(token, "content");
    if (!absl::SimpleAtoi(key, &id) || text.empty()) {
      return file.Error("added_tokens_decoder", "holds an entry without id or content");
    }
    const bool known =
        id >= 0 && id < static_cast<int64_t>(v.tokens.size()) && v.tokens[id] == text;
    if (known) continue;
    BANTAM_RETURN_IF_ERROR(Annotate(
        v.Put(id, text,
              Flag(token, "special", false) ? TokenKind::kControl : TokenKind::kUserDefined,
              kAddedScore),
        file.name()));
  }
  return absl::OkStatus();
}

// "bos_token" is a string, or an object with "content".
std::string SpecialText(const JsonFile& file, absl::string_view key) {
  const json* value = file.Find(key);
  if (value == nullptr) return "";
  return value->is_string() ? value->get<std::string>() : Text(*value, "content");
}

// An id, or the first of a list of ids.
std::optional<int64_t> SpecialId(const JsonFile& file, absl::string_view key) {
  const json* value = file.Find(key);
  if (value != nullptr && value->is_array() && !value->empty()) value = &(*value)[0];
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  return static_cast<int64_t>(std::min<uint64_t>(value->get<uint64_t>(), INT64_MAX));
}

// Whether the post-processor puts the token of that text in front.
std::optional<bool> StartsWithToken(const JsonFile& tokenizer, absl::string_view text) {
  const json* processor = tokenizer.Find("post_processor");
  if (processor == nullptr || text.empty()) return std::nullopt;
  std::vector<const json*> steps = {processor};
  if (Text(*processor, "type") == "Sequence" && processor->contains("processors")) {
    steps.clear();
    for (const json& step : (*processor)["processors"]) steps.push_back(&step);
  }
  for (const json* step : steps) {
    if (Text(*step, "type") != "TemplateProcessing" || !step->contains("single")) continue;
    const json& single = (*step)["single"];
    if (!single.is_array() || single.empty() || !single[0].is_object()) continue;
    return single[0].contains("SpecialToken") && Text(single[0]["SpecialToken"], "id") == text;
  }
  return std::nullopt;
}

// chat_template is a string, or a list of named ones of which "default" counts.
std::string ChatTemplate(const JsonFile& file) {
  const json* value = file.Find("chat_template");
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) return "";
  for (const json& named : *value) {
    if (Text(named, "name") == "default") return Text(named, "template");
  }
  return "";
}

// An optional file: absent is fine, damaged is not.
absl::StatusOr<std::optional<JsonFile>> OpenOptional(const std::string& path) {
  auto file = JsonFile::Open(path);
  if (absl::IsNotFound(file.status())) return std::optional<JsonFile>();
  BANTAM_RETURN_IF_ERROR(file.status());
  return std::optional<JsonFile>(*std::move(file));
}

absl::Status ReadSpecialTokens(const std::string& folder, const JsonFile& config,
                               const std::optional<JsonFile>& tokenizer, Vocabulary& v) {
  BANTAM_ASSIGN_OR_RETURN(const auto settings, OpenOptional(folder + "/tokenizer_config.json"));
  BANTAM_ASSIGN_OR_RETURN(const auto generation, OpenOptional(folder + "/generation_config.json"));
  if (settings && !tokenizer) BANTAM_RETURN_IF_ERROR(ReadAddedTokensDecoder(*settings, v));
  struct Special {
    const char* name;
    std::optional<int64_t>& id;
  };
  for (const auto& [name, id] :
       {Special{"bos", v.bos}, Special{"eos", v.eos}, Special{"unk", v.unk}, Special{"pad", v.pad},
        Special{"cls", v.cls}, Special{"sep", v.sep}, Special{"mask", v.mask}}) {
    const std::string id_key = absl::StrCat(name, "_token_id");
    if (settings) {
      const std::string text = SpecialText(*settings, absl::StrCat(name, "_token"));
      const auto found = std::find(v.tokens.begin(), v.tokens.end(), text);
      if (!text.empty() && found != v.tokens.end()) id = found - v.tokens.begin();
    }
    if (!id) id = SpecialId(config, id_key);
    if (!id && generation) id = SpecialId(*generation, id_key);
    if (id && *id >= static_cast<int64_t>(v.tokens.size())) id.reset();
  }
  if (settings) {
    BANTAM_ASSIGN_OR_RETURN(v.add_bos, settings->Bool("add_bos_token"));
    BANTAM_ASSIGN_OR_RETURN(v.add_eos, settings->Bool("add_eos_token"));
    BANTAM_ASSIGN_OR_RETURN(const auto prefix, settings->Bool("add_prefix_space"));
    if (prefix) v.add_space_prefix = prefix;
    v.chat_template = ChatTemplate(*settings);
  }
  if (!v.add_bos && tokenizer && v.bos) {
    v.add_bos = StartsWithToken(*tokenizer, v.tokens[*v.bos]);
  }
  if (v.model == "bert") {
    v.bos = v.cls;
    v.eos = v.sep;
  } else {
    v.cls.reset(), v.sep.reset(), v.mask.reset();
  }
  if (v.model != "llama") v.add_space_prefix.reset();
  const auto jinja = MappedFile::Open(folder + "/chat_template.jinja");
  if (jinja.ok()) {
    v.chat_template.assign(reinterpret_cast<const char*>((*jinja)->data().data()),
                           (*jinja)->data().size());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Vocabulary::Put(int64_t id, std::string text, TokenKind kind, float score) {
  if (id < 0 || id >= kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrFormat("token '%s' has the id %d; expected 0 to %d",
                                                      Printable(text), id, kMaxTokens - 1));
  }
  if (static_cast<size_t>(id) >= tokens.size()) {
    tokens.resize(id + 1);
    kinds.resize(id + 1, static_cast<int32_t>(TokenKind::kUnused));
    scores.resize(id + 1, kAddedScore);
  }
  tokens[id] = std::move(text);
  kinds[id] = static_cast<int32_t>(kind);
  scores[id] = score;
  return absl::OkStatus();
}

absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& folder, const JsonFile& config,
                                          int64_t rows, const std::string& pre) {
  if (!pre.empty() && tokenizer::FindPreTokenizer(pre) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is no pre-tokenizer named ", pre));
  }
  Vocabulary v;
  BANTAM_ASSIGN_OR_RETURN(const auto tokenizer, OpenOptional(folder + "/tokenizer.json"));
  const std::string pieces_path = folder + "/tokenizer.model";
  const auto pieces = MappedFile::Open(pieces_path);
  if (pieces.ok()) {
    BANTAM_RETURN_IF_ERROR(ReadSentencePiece((*pieces)->data(), pieces_path, v));
  } else if (tokenizer) {
    BANTAM_RETURN_IF_ERROR(ReadTokenizerJson(*tokenizer, pre, v));
  } else {
    return absl::NotFoundError(
        absl::StrCat(folder, ": has neither tokenizer.json nor tokenizer.model"));
  }
  if (tokenizer) BANTAM_RETURN_IF_ERROR(ReadAddedTokens(*tokenizer, rows, v));
  BANTAM_RETURN_IF_ERROR(ReadSpecialTokens(folder, config, tokenizer, v));
  if (static_cast<int64_t>(v.tokens.size()) > rows) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: the vocabulary has %d tokens, the embedding table only %d rows",
                        folder, v.tokens.size(), rows));
  }
  v.tokens.resize(rows);
  v.kinds.resize(rows, static_cast<int32_t>(TokenKind::kUnused));
  v.scores.resize(rows, kAddedScore);
  for (int64_t id = 0; id < rows; ++id) {
    if (v.kinds[id] == static_cast<int32_t>(TokenKind::kUnused) && v.tokens[id].empty()) {
      v.tokens[id] = absl::StrCat("[PAD", id, "]");
    }
  }
  return v;
}

void Vocabulary::AddTo(gguf::Writer& writer) const {
  const auto views = [](const std::vector<std::string>& texts) {
    return std::vector<absl::string_view>(texts.begin(), texts.end());
  };
  writer.Set("tokenizer.ggml.model", absl::string_view(model));
  writer.Set("tokenizer.ggml.pre", absl::string_view(pre));
  writer.SetStrings("tokenizer.ggml.tokens", views(tokens));
  if (model == "llama") writer.SetFloats("tokenizer.ggml.scores", scores);
  writer.SetInts("tokenizer.ggml.token_type", kinds);
  if (model == "gpt2") writer.SetStrings("tokenizer.ggml.merges", views(merges));
  const std::pair<const char*, const std::optional<int64_t>&> ids[] = {
      {"tokenizer.ggml.bos_token_id", bos},
      {"tokenizer.ggml.eos_token_id", eos},
      {"tokenizer.ggml.unknown_token_id", unk},
      {"tokenizer.ggml.padding_token_id", pad},
      {"tokenizer.ggml.cls_token_id", cls},
      {"tokenizer.ggml.seperator_token_id", sep},  // as the format spells it
      {"tokenizer.ggml.mask_token_id", mask}};
  for (const auto& [key, id] : ids) {
    if (id) writer.Set(key, static_cast<uint32_t>(*id));
  }
  const std::pair<const char*, const std::optional<bool>&> flags[] = {
      {"tokenizer.ggml.add_bos_token", add_bos},
      {"tokenizer.ggml.add_eos_token", add_eos},
      {"tokenizer.ggml.add_space_prefix", add_space_prefix},
      {"tokenizer.ggml.normalizer.lowercase", lowercase},
      {"tokenizer.ggml.normalizer.strip_accents", strip_accents}};
  for (const auto& [key, flag] : flags) {
    if (flag) writer.Set(key, *flag);
  }
  if (!chat_template.empty()) {
    writer.Set("tokenizer.chat_template", absl::string_view(chat_template));
  }
}

}  // namespace bantam::convert
