// Which tokens are special: from metadata where it says so, else by text. Files from many
// converters lack the metadata or mark such tokens as ordinary text, and a model whose end token
// goes unrecognised never stops.
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {
namespace {

using Texts = std::initializer_list<absl::string_view>;

// Tokens that end a turn. The first in the vocabulary is `eot`; all of them end generation.
constexpr absl::string_view kEndOfTurn[] = {
    "<|eot_id|>",        "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",   "<EOT>",      "_<EOT>",  "[EOT]",         "<｜end▁of▁sentence｜>",
    "<end_of_utterance>"};
constexpr absl::string_view kEndOfMessage[] = {"<|eom_id|>"};
// Further tokens that end generation.
constexpr absl::string_view kEndOfGeneration[] = {
    "</s>",  "<|return|>", "<|call|>", "<|calls|>",        "<|flush|>",
    "[EOS]", "<eos>",      "<turn|>",  "<|tool_response>", "[e~["};

// Fill-in-the-middle tokens, under their present and former keys. Generation ends at some: what
// follows is padding or another file.
struct FillInMiddle {
  absl::string_view key;
  absl::string_view former_key;
  bool ends_generation;
  Texts texts;
};
const FillInMiddle kFillInMiddle[] = {
    {"fim_pre",
     "prefix",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
      "<|code_prefix|>", "<|prefix|>"}},
    {"fim_suf",
     "suffix",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {"fim_mid",
     "middle",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
      "<|code_middle|>", "<|middle|>"}},
    {"fim_pad", "", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep", "", true, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep", "", true, {"<|file_sep|>"}},
};

// gpt-oss wraps its answers in these; they are kept in the text for whoever parses it.
constexpr absl::string_view kShown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

std::string Key(absl::string_view role) {
  return absl::StrCat("tokenizer.ggml.", role, "_token_id");
}

// An id from metadata into `id`; unchanged when absent or -1, as some converters write.
absl::Status ReadId(const gguf::File& file, const std::string& key, const Vocabulary& v,
                    TokenId& id) {
  if (file.Find(key) == nullptr) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(const int64_t value, file.GetInt(key));
  if (value == -1 || value == std::numeric_limits<uint32_t>::max()) return absl::OkStatus();
  if (value < 0 || value >= v.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        key, " is ", value, ", expected a token id below ", v.size(), ", the vocabulary's size"));
  }
  id = static_cast<TokenId>(value);
  return absl::OkStatus();
}

class Finder {
 public:
  explicit Finder(Vocabulary& v) : v_(v) {}

  // The first of `texts` there is becomes `id`, if that is not known, and a control token.
  template <typename Range>
  void ByText(const Range& texts, TokenId& id) {
    for (const absl::string_view text : texts) {
      if (id != kNoToken) return;
      id = v_.Find(text);
      if (id != kNoToken) v_.kinds[id] = TokenKind::kControl;
    }
  }

  template <typename Range>
  void AllEnd(const Range& texts) {
    for (const absl::string_view text : texts) {
      TokenId id = kNoToken;
      ByText(Texts{text}, id);
      Ends(id);
    }
  }

  void Ends(TokenId id) {
    if (id != kNoToken) ends_.insert(id);
  }

  // `text` doesn't end generation in models that end it with every one of `others`.
  void DoesNotEnd(absl::string_view text, Texts others, TokenKind kind) {
    const auto ends = [&](absl::string_view t) { return ends_.contains(v_.Find(t)); };
    if (!ends(text) || !std::all_of(others.begin(), others.end(), ends)) return;
    ends_.erase(v_.Find(text));
    v_.kinds[v_.Find(text)] = kind;
  }

  void Finish() {
    v_.end_of_generation.assign(ends_.begin(), ends_.end());
    std::sort(v_.end_of_generation.begin(), v_.end_of_generation.end());
  }

 private:
  Vocabulary& v_;
  absl::flat_hash_set<TokenId> ends_;
};

}  // namespace

absl::Status LoadSpecialTokens(const gguf::File& file, Vocabulary& v) {
  SpecialTokens& s = v.special;
  const std::pair<absl::string_view, TokenId*> roles[] = {
      {"bos", &s.bos},     {"eos", &s.eos},       {"eot", &s.eot},     {"eom", &s.eom},
      {"unknown", &s.unk}, {"seperator", &s.sep}, {"padding", &s.pad},
  };
  for (const auto& [role, id] : roles) BANTAM_RETURN_IF_ERROR(ReadId(file, Key(role), v, *id));

  const std::pair<absl::string_view, bool*> flags[] = {
      {"tokenizer.ggml.add_bos_token", &s.add_bos},
      {"tokenizer.ggml.add_eos_token", &s.add_eos},
      {"tokenizer.ggml.add_sep_token", &s.add_sep},
      {"tokenizer.ggml.add_space_prefix", &s.add_space_prefix},
  };
  for (const auto& [key, flag] : flags) {
    BANTAM_ASSIGN_OR_RETURN(*flag, gguf::Or(file.GetBool(key), *flag));
  }
  s.add_bos = s.add_bos && s.bos != kNoToken;
  s.add_eos = s.add_eos && s.eos != kNoToken;
  s.add_sep = s.add_sep && s.sep != kNoToken;

  Finder find(v);
  find.ByText(kEndOfTurn, s.eot);
  find.ByText(kEndOfMessage, s.eom);
  for (const FillInMiddle& role : kFillInMiddle) {
    TokenId id = kNoToken;
    BANTAM_RETURN_IF_ERROR(ReadId(file, Key(role.key), v, id));
    if (!role.former_key.empty()) {
      BANTAM_RETURN_IF_ERROR(ReadId(file, Key(role.former_key), v, id));
    }
    find.ByText(role.texts, id);
    if (role.ends_generation) find.Ends(id);
  }
  find.AllEnd(kEndOfTurn);
  find.AllEnd(kEndOfMessage);
  find.AllEnd(kEndOfGeneration);
  for (const absl::string_view text : kShown) {
    if (const TokenId id = v.Find(text); id != kNoToken) v.kinds[id] = TokenKind::kUserDefined;
  }
  for (const TokenId id : {s.eos, s.eot, s.eom}) find.Ends(id);
  // Where the answer ends with these, <|end|> ends only a part of it.
  find.DoesNotEnd("<|end|>", {"<|return|>", "<|call|>"}, TokenKind::kUserDefined);
  find.DoesNotEnd("<|end|>", {"<|call|>", "<|flush|>"}, TokenKind::kUserDefined);
  find.DoesNotEnd("<|end|>", {"<|calls|>", "<|flush|>"}, TokenKind::kUserDefined);
  // Gemma 4 has </s> as a piece of HTML.
  find.DoesNotEnd("</s>", {"<|tool_response>"}, TokenKind::kNormal);
  find.Finish();
  return absl::OkStatus();
}

}  // namespace bantam::tokenizer
