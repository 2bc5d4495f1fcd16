#include "frontends/cli/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace bantam::cli {

LineReader::Result LineReader::Read(std::string& line) {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return Result::kLine;
    }
    pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_.fd(), POLLIN, 0}};
    const int ready = poll(fds, 2, -1);
    if (interrupt_.Take()) {
      buffer_.clear();
      return Result::kInterrupted;
    }
    if (ready < 0 && errno == EINTR) continue;
    char chunk[4096];
    const ssize_t count = read(STDIN_FILENO, chunk, sizeof(chunk));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count > 0) {
      buffer_.append(chunk, static_cast<size_t>(count));
      continue;
    }
    if (buffer_.empty()) return Result::kEnd;
    line = std::move(buffer_);
    buffer_.clear();
    return Result::kLine;
  }
}

}  // namespace bantam::cli
