#include "frontends/cli/output.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "frontends/cli/command.h"

namespace bantam::cli {
namespace {

// 0 or errno.
int WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // a pipe that somebody made non-blocking
      pollfd writable{fd, POLLOUT, 0};
      poll(&writable, 1, -1);
      continue;
    }
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

bool IsControl(unsigned char c) { return c < 0x20 || c == 0x7F; }

// Whether a control character of U+0080..U+009F starts at `at`.
bool IsC1(absl::string_view text, size_t at) {
  return static_cast<unsigned char>(text[at]) == 0xC2 && at + 1 < text.size() &&
         (static_cast<unsigned char>(text[at + 1]) & 0xE0) == 0x80;
}

}  // namespace

absl::Status WriteStdout(absl::string_view text) {
  const int error = WriteAll(STDOUT_FILENO, text);
  if (error == 0) return absl::OkStatus();
  if (error == EPIPE) return absl::CancelledError("the reader of stdout went away");
  return absl::UnavailableError(absl::StrCat("cannot write to stdout: ", std::strerror(error)));
}

void WriteStderr(absl::string_view text) { WriteAll(STDERR_FILENO, text); }

absl::Status WriteJson(const nlohmann::ordered_json& json) {
  return WriteStdout(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                     "\n");
}

absl::Status WriteAnswer(absl::string_view text) {
  static const bool is_terminal = isatty(STDOUT_FILENO) != 0;
  return is_terminal ? WriteStdout(ForTerminal(text)) : WriteStdout(text);
}

absl::Status EndAnswer(absl::string_view answer) {
  return absl::EndsWith(answer, "\n") ? absl::OkStatus() : WriteStdout("\n");
}

bool StderrIsTerminal() { return isatty(STDERR_FILENO) != 0; }

std::string OneLine(absl::string_view message) {
  std::string line;
  for (size_t i = 0; i < message.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(message[i]);
    if (c == '\n') {
      line += "\\n";
    } else if (IsControl(c)) {
      absl::StrAppendFormat(&line, "\\x%02x", c);
    } else if (IsC1(message, i)) {
      absl::StrAppendFormat(&line, "\\x%02x", static_cast<unsigned char>(message[++i]));
    } else {
      line += message[i];
    }
  }
  return line;
}

std::string ForTerminal(absl::string_view text) {
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '\r') continue;
    if (c == '\n' || c == '\t' || !(IsControl(c) || IsC1(text, i))) {
      safe += text[i];
    } else if (IsControl(c)) {
      safe += {'^', static_cast<char>(c ^ 0x40)};
    } else {
      safe += "\uFFFD";
      ++i;
    }
  }
  return safe;
}

int UsageError(absl::string_view program, absl::string_view message) {
  WriteStderr(absl::StrCat(program, ": ", OneLine(message), "\n"));
  return kUsage;
}

int Fail(const absl::Status& status) {
  if (!absl::IsCancelled(status)) {
    WriteStderr(absl::StrCat("bantam: ", OneLine(status.message()), "\n"));
  }
  return kFailed;
}

uint64_t PeakResidentBytes() {
  // getrusage's figure also counts what the process that started this one had.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, "VmHWM:")) continue;
    absl::ConsumeSuffix(&rest, "kB");
    uint64_t kib = 0;
    if (absl::SimpleAtoi(rest, &kib)) return kib * 1024;
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

StatusLine::StatusLine() : enabled_(StderrIsTerminal()) {}
StatusLine::~StatusLine() { Clear(); }

void StatusLine::Show(absl::string_view text) {
  if (!enabled_) return;
  WriteStderr(absl::StrCat("\r\x1b[K", text));
  shown_ = true;
}

void StatusLine::Clear() {
  if (shown_) WriteStderr("\r\x1b[K");
  shown_ = false;
}

}  // namespace bantam::cli
