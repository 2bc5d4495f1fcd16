// Writing to the user: stdout for results, stderr for everything about them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace bantam::cli {

// Writes all of `text` at once, past stdio's buffer, so that text appears as it is made. A reader
// that went away is kCancelled, which Fail says nothing about; a full disk and the like
// kUnavailable.
absl::Status WriteStdout(absl::string_view text);
// Failures are of no consequence: there is nobody to tell.
void WriteStderr(absl::string_view text);
// One object, indented, with a newline. Bytes that are not UTF-8 become U+FFFD.
absl::Status WriteJson(const nlohmann::ordered_json& json);

// Text a model made: as it is, or on a terminal as ForTerminal makes it.
absl::Status WriteAnswer(absl::string_view text);
// A newline, unless the whole answer already ends with one.
absl::Status EndAnswer(absl::string_view answer);

bool StderrIsTerminal();

// `message` on one line without anything a terminal obeys: control characters as \n or \x1b.
std::string OneLine(absl::string_view message);

// Text a model made, safe to show on a terminal. A model can be made to say escape sequences that
// retitle the window, fill the clipboard or hide text, so that control characters other than
// newline and tab show as ^[ and the like, and those of U+0080 to U+009F as U+FFFD. Carriage
// returns are dropped. `text` holds whole characters.
std::string ForTerminal(absl::string_view text);

// Prints "<program>: <message>" on one line of stderr; returns kUsage.
int UsageError(absl::string_view program, absl::string_view message);

// Most memory this process has had resident so far, in bytes; 0 where the system does not say.
uint64_t PeakResidentBytes();

// A line on stderr that is rewritten in place, only when stderr is a terminal. Removed by the
// destructor.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine();
  void Show(absl::string_view text);
  void Clear();

 private:
  bool enabled_;
  bool shown_ = false;
};

}  // namespace bantam::cli
