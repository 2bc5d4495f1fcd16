// Source: sentencepiece_model.proto, and the encoding of protocol buffers (protobuf.dev/
// programming-guides/encoding): a field is a varint key, number << 3 | wire type, then its value.
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/convert/vocabulary.h"

namespace bantam::convert {
namespace {

using tokenizer::TokenKind;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  uint32_t type = 0;
  uint64_t value = 0;  // of kVarint and kFixed32
  std::span<const std::byte> bytes;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }

  // False for what is no field.
  bool Next(Field& field) {
    uint64_t key;
    if (!Varint(key)) return false;
    field.number = key >> 3;
    field.type = static_cast<uint32_t>(key & 7);
    switch (field.type) {
      case kVarint:
        return Varint(field.value);
      case kFixed64:
        return Take(8, field.bytes);
      case kFixed32: {
        if (!Take(4, field.bytes)) return false;
        uint32_t bits;
        std::memcpy(&bits, field.bytes.data(), sizeof(bits));
        field.value = bits;
        return true;
      }
      case kBytes: {
        uint64_t length;
        return Varint(length) && Take(length, field.bytes);
      }
      default:
        return false;
    }
  }

 private:
  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint64_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Take(uint64_t count, std::span<const std::byte>& bytes) {
    if (count > rest_.size()) return false;
    bytes = rest_.first(count);
    rest_ = rest_.subspan(count);
    return true;
  }

  std::span<const std::byte> rest_;
};

}  // namespace

absl::Status ReadSentencePiece(std::span<const std::byte> bytes, const std::string& name,
                               Vocabulary& vocabulary) {
  const auto damaged = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": is no SentencePiece model, or damaged: piece ",
                     vocabulary.tokens.size(), " cannot be read"));
  };
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  Reader reader(bytes);
  for (Field field; !reader.done();) {
    if (!reader.Next(field)) return damaged();
    if (field.number == 3 && field.type == kBytes) {  // how text is normalised
      Reader normalizer(field.bytes);
      for (Field part; !normalizer.done();) {
        if (!normalizer.Next(part)) return damaged();
        if (part.number == 3 && part.type == kVarint) vocabulary.add_space_prefix = part.value != 0;
      }
    }
    if (field.number != 1 || field.type != kBytes) continue;
    std::string text;
    float score = 0;
    auto kind = TokenKind::kNormal;
    Reader piece(field.bytes);
    for (Field part; !piece.done();) {
      if (!piece.Next(part)) return damaged();
      if (part.number == 1 && part.type == kBytes) {
        text.assign(reinterpret_cast<const char*>(part.bytes.data()), part.bytes.size());
      } else if (part.number == 2 && part.type == kFixed32) {
        const auto score_bits = static_cast<uint32_t>(part.value);
        std::memcpy(&score, &score_bits, sizeof(score));
      } else if (part.number == 3 && part.type == kVarint) {
        if (part.value < 1 || part.value > 6) return damaged();
        kind = static_cast<TokenKind>(part.value);
      }
    }
    BANTAM_RETURN_IF_ERROR(vocabulary.Put(static_cast<int64_t>(vocabulary.tokens.size()),
                                          std::move(text), kind, score));
  }
  if (vocabulary.tokens.empty()) return damaged();
  return absl::OkStatus();
}

}  // namespace bantam::convert
