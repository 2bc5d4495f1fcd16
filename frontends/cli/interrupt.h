// Ctrl-C as something a loop asks about, in place of the end of the program.
#pragma once

namespace bantam::cli {

// While one lives, SIGINT sets a flag; afterwards it ends the program again. One at a time; its
// functions are for one thread.
class InterruptScope {
 public:
  // kEnds: for tasks that Ctrl-C ends, with something to clean up. SIGTERM and SIGHUP then set the
  // flag too.
  enum class Signals { kInterrupt, kEnds };
  explicit InterruptScope(Signals signals = Signals::kInterrupt);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Whether there was a signal since the last Take.
  bool Pending() const;
  // The same, and forgets it.
  bool Take();
  // Readable while one is pending, for poll().
  int fd() const;

 private:
  const Signals signals_;
};

// Ends the program the way the signal that was caught (else SIGINT) does where nobody catches it,
// so that a shell's loop around it ends too.
[[noreturn]] void DieInterrupted();

}  // namespace bantam::cli
