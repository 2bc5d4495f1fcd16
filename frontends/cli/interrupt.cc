#include "frontends/cli/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <initializer_list>

namespace bantam::cli {
namespace {

// The handler may run on any thread, so that a blocked read or poll of the main thread is not sure
// to return with EINTR. A pipe in its poll set is.
std::atomic<bool> pending{false};
std::atomic<int> caught{SIGINT};
int pipe_fds[2] = {-1, -1};

void OnSignal(int signal) {
  const int saved = errno;
  caught.store(signal, std::memory_order_relaxed);
  pending.store(true, std::memory_order_relaxed);
  const char byte = 0;
  // A full pipe is as readable as one more byte would make it.
  [[maybe_unused]] const ssize_t written = write(pipe_fds[1], &byte, 1);
  errno = saved;
}

void SetHandler(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);  // no SA_RESTART: blocking calls are to return
}

void SetHandlers(InterruptScope::Signals signals, void (*handler)(int)) {
  SetHandler(SIGINT, handler);
  if (signals != InterruptScope::Signals::kEnds) return;
  for (const int signal : {SIGTERM, SIGHUP}) {
    struct sigaction now;
    // What nohup ignores stays ignored.
    if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) {
      SetHandler(signal, handler);
    }
  }
}

}  // namespace

InterruptScope::InterruptScope(Signals signals) : signals_(signals) {
  // Without a pipe (no descriptors left) the flag alone still works, if a little late.
  if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) != 0) pipe_fds[0] = pipe_fds[1] = -1;
  pending = false;
  caught = SIGINT;
  SetHandlers(signals_, OnSignal);
}

InterruptScope::~InterruptScope() {
  SetHandlers(signals_, SIG_DFL);
  for (int& fd : pipe_fds) {
    if (fd >= 0) close(fd);
    fd = -1;
  }
}

bool InterruptScope::Pending() const { return pending.load(std::memory_order_relaxed); }

bool InterruptScope::Take() {
  char drained[64];
  while (read(pipe_fds[0], drained, sizeof(drained)) > 0) {
  }
  return pending.exchange(false, std::memory_order_relaxed);
}

int InterruptScope::fd() const { return pipe_fds[0]; }

void DieInterrupted() {
  const int signal = caught;
  SetHandler(signal, SIG_DFL);
  raise(signal);
  std::_Exit(128 + signal);  // where it is blocked
}

}  // namespace bantam::cli
