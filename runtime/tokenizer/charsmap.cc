#include "runtime/tokenizer/charsmap.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::tokenizer {
namespace {

// One unit of the double array.
struct Unit {
  uint32_t bits;
  bool has_value() const { return (bits >> 8 & 1) != 0; }        // of the child by byte 0
  uint32_t value() const { return bits & 0x7FFFFFFF; }           // of a leaf
  uint32_t label() const { return bits & (0x80000000 | 0xFF); }  // never a byte in a leaf
  uint32_t offset() const { return bits >> 10 << ((bits & 0x200) >> 6); }
};

}  // namespace

absl::StatusOr<Charsmap> Charsmap::FromGguf(const gguf::File& file) {
  constexpr char kKey[] = "tokenizer.ggml.precompiled_charsmap";
  Charsmap map;
  const gguf::MetaValue* value = file.Find(kKey);
  if (value == nullptr) return map;
  const auto* holder = std::get_if<std::shared_ptr<const gguf::MetaArray>>(value);
  const gguf::MetaArray* array = holder == nullptr ? nullptr : holder->get();
  if (array == nullptr ||
      (array->element != gguf::MetaType::kInt8 && array->element != gguf::MetaType::kUint8)) {
    return absl::InvalidArgumentError(absl::StrCat(kKey, " is not an array of bytes"));
  }
  const std::span<const std::byte> bytes = array->raw;
  if (bytes.empty()) return map;
  uint32_t size = 0;
  if (bytes.size() < sizeof(size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kKey, " has ", bytes.size(), " bytes; expected 4 or more"));
  }
  std::memcpy(&size, bytes.data(), sizeof(size));
  if (size % sizeof(uint32_t) != 0 || size >= bytes.size() - sizeof(size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kKey, " says that its trie has ", size,
                     " bytes; expected a multiple of 4, less than the ", bytes.size(), " of all"));
  }
  map.units_.resize(size / sizeof(uint32_t));
  std::memcpy(map.units_.data(), bytes.data() + sizeof(size), size);
  const std::span<const std::byte> rest = bytes.subspan(sizeof(size) + size);
  map.replacements_.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
  if (map.replacements_.back() != '\0') map.replacements_ += '\0';
  return map;
}

Charsmap::Match Charsmap::LongestPrefix(absl::string_view text) const {
  Match best;
  if (units_.empty()) return best;
  uint32_t at = Unit{units_[0]}.offset();
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size()) break;
    const Unit unit{units_[at]};
    if (unit.label() != byte) break;
    at ^= unit.offset();
    if (!unit.has_value()) continue;
    if (at >= units_.size()) break;
    const uint32_t replacement = Unit{units_[at]}.value();
    if (replacement >= replacements_.size()) break;
    best.length = i + 1;
    best.replacement = replacements_.data() + replacement;
  }
  return best;
}

}  // namespace bantam::tokenizer
