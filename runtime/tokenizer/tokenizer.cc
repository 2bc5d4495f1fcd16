#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>

#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/character_bpe.h"
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/unigram.h"
#include "runtime/tokenizer/utf8.h"
#include "runtime/tokenizer/wordpiece.h"

namespace bantam::tokenizer {
namespace {

constexpr char kModel[] = "tokenizer.ggml.model";

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const gguf::File& file) {
  if (file.Find(kModel) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(kModel, " is missing: the file has no tokenizer"));
  }
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view model, file.GetString(kModel));
  if (model == "gpt2") return BpeTokenizer::FromGguf(file);
  if (model == "llama") return SentencePieceTokenizer::FromGguf(file);
  if (model == "bert") return WordPieceTokenizer::FromGguf(file);
  if (model == "gemma4") return CharacterBpeTokenizer::FromGguf(file);
  if (model == "t5") return UnigramTokenizer::FromGguf(file);
  return absl::UnimplementedError(
      absl::StrCat(kModel, " is ", Printable(model),
                   ", which is not supported; gpt2, llama, gemma4, bert and t5 are"));
}

// Moves all whole characters of `pending` to the result; `at_end`, an unfinished one too.
std::string TakeCharacters(std::string& pending, bool at_end) {
  std::string out;
  size_t position = 0;
  while (position < pending.size()) {
    const Utf8Step step = NextUtf8(pending, position);
    if (step.state == Utf8State::kIncomplete && !at_end) break;
    if (step.state == Utf8State::kValid) {
      out.append(pending, position, step.length);
    } else {
      out.append(kReplacement.data(), kReplacement.size());
    }
    position += step.length;
  }
  pending.erase(0, position);
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const gguf::File& file) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = MakeTokenizer(file);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), file.path());
  return tokenizer;
}

std::vector<TokenId> Tokenizer::Encode(absl::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> out;
  // About four bytes a token is usual for prose.
  out.reserve(text.size() / 4 + 8);
  if (options.add_special && special().add_bos) out.push_back(special().bos);
  EncodeFragments(partition_.Split(text, options.parse_special), out);
  if (options.add_special && special().add_eos) out.push_back(special().eos);
  if (options.add_special && special().add_sep) out.push_back(special().sep);
  return out;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool render_special) const {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string bytes = TokenBytes(ids[i], render_special);
    const bool prefix =
        i == 0 && special().add_space_prefix && !bytes.empty() && bytes.front() == ' ';
    out.append(bytes, prefix ? 1 : 0, std::string::npos);
  }
  return out;
}

bool Tokenizer::IsEndOfGeneration(TokenId id) const {
  return std::binary_search(vocabulary_.end_of_generation.begin(),
                            vocabulary_.end_of_generation.end(), id);
}

std::string StreamDecoder::Push(TokenId id) {
  pending_ += tokenizer_.TokenBytes(id, render_special_);
  return TakeCharacters(pending_, false);
}

std::string StreamDecoder::Finish() { return TakeCharacters(pending_, true); }

}  // namespace bantam::tokenizer
