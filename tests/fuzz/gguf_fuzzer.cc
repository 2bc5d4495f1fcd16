// Any bytes as a GGUF file. See README.md.
#include <cstddef>
#include <cstdint>

#include "tests/gguf/exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = bantam::gguf::File::Parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) {
    if (file.status().message().find('\n') != absl::string_view::npos) std::abort();
    return 0;
  }
  bantam::gguf::Exercise(**file);
  return 0;
}
