// The vocabulary of a model folder: tokenizer.model (SentencePiece) or tokenizer.json, with what
// tokenizer_config.json, config.json and generation_config.json say about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/convert/json_file.h"
#include "runtime/gguf/writer.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::convert {

struct Vocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2", "llama" or "bert"
  std::string pre;    // tokenizer.ggml.pre
  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;  // tokenizer::TokenKind
  std::vector<float> scores;   // of SentencePiece
  std::vector<std::string> merges;
  std::optional<int64_t> bos, eos, unk, pad;
  std::optional<int64_t> cls, sep, mask;
  std::optional<bool> add_bos, add_eos, add_space_prefix, lowercase, strip_accents;
  std::string chat_template;

  // Sets the token of an id, growing the list as needed. Fails past `kMaxTokens`.
  absl::Status Put(int64_t id, std::string text, tokenizer::TokenKind kind, float score);
  // Puts the metadata; this must stay as it is until the writer has written.
  void AddTo(gguf::Writer& writer) const;
};

// `rows` is the height of the embedding table: the vocabulary is padded to it, and may not exceed
// it. `pre` overrides what the pre-tokenizer is recognised as; "": recognise it. kUnimplemented
// names a kind of tokenizer or pre-tokenizer that GGUF has no name for.
absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& folder, const JsonFile& config,
                                          int64_t rows, const std::string& pre);

// The pieces of a SentencePiece model: a protobuf of which field 1, repeated, is a message of
// piece (1), score (2) and type (3), whose numbers are those of TokenKind; and field 3, of which
// field 3 says whether a space is put in front. `name` is for messages.
absl::Status ReadSentencePiece(std::span<const std::byte> bytes, const std::string& name,
                               Vocabulary& vocabulary);

}  // namespace bantam::convert
