// Running the program as a user does.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

extern char** environ;

namespace bantam::testing {

inline std::string ReadWhole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline void WriteWhole(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

inline std::string Program(const std::string& name = "bantam") {
  return std::string(BANTAM_BIN_DIR) + "/" + name;
}

inline std::vector<char*> Argv(std::vector<std::string>& args) {
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  return argv;
}

struct Outcome {
  int code = -1;   // exit code, or -1 when a signal ended it
  int signal = 0;  // that signal
  std::string out, err;

  int64_t error_lines() const { return std::count(err.begin(), err.end(), '\n'); }
};

inline void SetStatus(Outcome& outcome, int status) {
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
}

// A program that was started with files for its three streams.
class Process {
 public:
  // `out` >= 0: a descriptor to be its stdout.
  explicit Process(std::vector<std::string> args, const std::string& in = "", int out = -1)
      : in_(std::tmpfile()), out_(std::tmpfile()), err_(std::tmpfile()) {
    std::fwrite(in.data(), 1, in.size(), in_.get());
    std::rewind(in_.get());
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(in_.get()), 0);
    posix_spawn_file_actions_adddup2(&actions, out >= 0 ? out : fileno(out_.get()), 1);
    posix_spawn_file_actions_adddup2(&actions, fileno(err_.get()), 2);
    const std::vector<char*> argv = Argv(args);
    const int failed = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    EXPECT_EQ(failed, 0) << argv[0];
    if (failed != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
  }

  // Never to the pid -1 of a program that did not start: that would be every process.
  void Signal(int signal) {
    if (pid_ > 0) kill(pid_, signal);
  }
  // Whether it has a file open whose path starts so, with or without a name.
  bool HasOpen(const std::string& prefix) const {
    std::error_code error;
    for (std::filesystem::directory_iterator it("/proc/" + std::to_string(pid_) + "/fd", error), end;
         !error && it != end; it.increment(error)) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(it->path(), gone).string();
      if (!gone && target.rfind(prefix, 0) == 0) return true;
    }
    return false;
  }
  std::string OutSoFar() { return Read(out_.get()); }

  Outcome Wait() {
    Outcome outcome;
    if (pid_ <= 0) return outcome;
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    SetStatus(outcome, status);
    outcome.out = Read(out_.get());
    outcome.err = Read(err_.get());
    return outcome;
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  // The child shares the position of its streams with us, so that they are read without moving it.
  static std::string Read(std::FILE* file) {
    std::string text;
    char chunk[4096];
    ssize_t count = 0;
    while ((count = pread(fileno(file), chunk, sizeof(chunk), static_cast<off_t>(text.size()))) >
           0) {
      text.append(chunk, static_cast<size_t>(count));
    }
    return text;
  }

  File in_, out_, err_;
  pid_t pid_ = -1;
};

// `bantam <args>` to its end.
inline Outcome RunBantam(std::vector<std::string> args, const std::string& in = "") {
  args.insert(args.begin(), Program());
  return Process(std::move(args), in).Wait();
}

// A program on a terminal of its own.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> args) {
    const std::vector<char*> argv = Argv(args);
    pid_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      execv(argv[0], argv.data());
      _exit(127);
    }
    EXPECT_GT(pid_, 0);
  }
  ~Terminal() {
    if (pid_ > 0 && !ended_) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(fd_);
  }

  void Type(const std::string& text) {
    EXPECT_EQ(write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  // Reads until `text` appears after what earlier calls waited for; false after a minute or at the
  // end of the program.
  bool WaitFor(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (true) {
      if (const size_t at = shown_.find(text, seen_); at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      if (std::chrono::steady_clock::now() > deadline || !ReadSome()) return false;
    }
  }

  // Reads until there are `bytes` after what earlier calls waited for; false as above.
  bool WaitForBytes(size_t bytes) {
    while (shown_.size() < seen_ + bytes) {
      if (!ReadSome()) return false;
    }
    seen_ += bytes;
    return true;
  }

  // Everything until the program's end.
  Outcome Wait() {
    while (ReadSome()) {
    }
    Outcome outcome;
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    ended_ = true;
    SetStatus(outcome, status);
    outcome.out = shown_;
    return outcome;
  }

  const std::string& shown() const { return shown_; }

 private:
  bool ReadSome() {
    pollfd readable{fd_, POLLIN, 0};
    if (poll(&readable, 1, 60000) <= 0) return false;
    char chunk[4096];
    const ssize_t count = read(fd_, chunk, sizeof(chunk));
    if (count <= 0) return false;  // EIO when the other side closed
    shown_.append(chunk, static_cast<size_t>(count));
    return true;
  }

  int fd_ = -1;
  pid_t pid_ = -1;
  bool ended_ = false;
  std::string shown_;
  size_t seen_ = 0;
};

}  // namespace bantam::testing
