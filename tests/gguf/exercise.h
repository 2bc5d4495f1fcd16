// Reads all there is in a file that was accepted, for tests with damaged files: a sanitizer sees
// any byte out of bounds.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#include "tests/gguf/rewrite.h"

namespace bantam::gguf {

inline uint64_t Touch(absl::string_view text) {
  uint64_t sum = 0;
  for (char c : text) sum += static_cast<unsigned char>(c);
  return sum;
}

inline uint64_t Touch(const MetaValue& value) {
  const auto* array = std::get_if<std::shared_ptr<const MetaArray>>(&value);
  if (array == nullptr) {
    const auto* text = std::get_if<absl::string_view>(&value);
    return text == nullptr ? value.index() : Touch(*text);
  }
  uint64_t sum = (*array)->count;
  for (absl::string_view text : (*array)->strings) sum += Touch(text);
  for (const MetaValue& nested : (*array)->arrays) sum += Touch(nested);
  if (!(*array)->raw.empty()) {
    for (uint64_t i = 0; i < (*array)->count; ++i) sum += (*array)->At(i).index();
  }
  return sum;
}

// Aborts when the file breaks a promise of file.h. Returns a number that depends on every byte
// read, so that no read is optimised away.
inline uint64_t Exercise(const File& file) {
  const auto require = [](bool ok) {
    if (!ok) std::abort();
  };
  uint64_t sum = file.version() + file.alignment() + file.part_paths().size();
  for (const KeyValue& kv : file.metadata()) {
    require(file.Find(kv.key) == &kv.value);
    sum += Touch(kv.key) + Touch(kv.value);
    sum += file.GetUint(kv.key).ok() + file.GetInt(kv.key).ok() + file.GetFloat(kv.key).ok() +
           file.GetBool(kv.key).ok() + file.GetString(kv.key).ok() + file.GetInts(kv.key).ok() +
           file.GetFloats(kv.key).ok() + file.GetStrings(kv.key).ok();
  }
  for (const TensorInfo& tensor : file.tensors()) {
    require(file.FindTensor(tensor.name) == &tensor);
    require(!tensor.data.empty() && tensor.elements() > 0);
    require(tensor.offset % file.alignment() == 0);
    sum += Touch(tensor.name);
    sum += static_cast<uint64_t>(tensor.data.front()) + static_cast<uint64_t>(tensor.data.back());
  }
  // Whatever can be read can be written, and then reads the same. (A great alignment would only
  // make a great file of zeros.)
  if (file.alignment() <= 4096) {
    const auto first = Rewrite(file);
    require(first.ok());
    const auto again = File::Parse(std::as_bytes(std::span(*first)), "again");
    require(again.ok());
    require(*Rewrite(**again) == *first);
    sum += first->size();
  }
  return sum;
}

}  // namespace bantam::gguf
