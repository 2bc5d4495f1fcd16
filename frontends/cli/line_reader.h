// Lines from standard input, with Ctrl-C noticed while waiting.
#pragma once

#include <cstdint>
#include <string>

#include "frontends/cli/interrupt.h"

namespace bantam::cli {

class LineReader {
 public:
  enum class Result : uint8_t { kLine, kEnd, kInterrupted };

  explicit LineReader(InterruptScope& interrupt) : interrupt_(interrupt) {}
  // `line` without its newline. A last line that has none counts. After kInterrupted, what was
  // typed of the line is forgotten.
  Result Read(std::string& line);

 private:
  InterruptScope& interrupt_;
  std::string buffer_;
};

}  // namespace bantam::cli
