// Ctrl-C as something a loop asks about, in place of the end of the program.
#pragma once

namespace bantam::cli {

// While one lives, SIGINT sets a flag; afterwards it ends the program again. One at a time; its
// functions are for one thread.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Whether there was a SIGINT since the last Take.
  bool Pending() const;
  // The same, and forgets it.
  bool Take();
  // Readable while one is pending, for poll().
  int fd() const;
};

// Ends the program the way SIGINT does where nobody catches it, so that a shell's loop around it
// ends too.
[[noreturn]] void DieInterrupted();

}  // namespace bantam::cli
