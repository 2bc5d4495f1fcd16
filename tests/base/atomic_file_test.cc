#include "runtime/base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class AtomicFileTest : public ::testing::Test {
 protected:
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  size_t FilesInFolder() const {
    const std::filesystem::directory_iterator files(dir_.path());
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.File("out");
};

TEST_F(AtomicFileTest, HasItsNameOnlyWhenComplete) {
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Append(Bytes("hello ")).ok());
  ASSERT_TRUE((*file)->Append({}).ok());
  ASSERT_TRUE((*file)->Append(Bytes("world")).ok());
  EXPECT_EQ((*file)->size(), 11u);
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(Read(path_), "hello world");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(AtomicFileTest, MixedSizesKeepTheirOrder) {
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  std::string expected;
  // Below, at and above the size from which spans bypass the buffer.
  for (size_t size : {10, (1 << 20) - 5, 7, 1 << 20, 1, (1 << 20) + 1, 3 << 20, 0, 11}) {
    const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
    ASSERT_TRUE((*file)->Append(Bytes(piece)).ok());
    expected += piece;
  }
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ((*file)->size(), expected.size());
  EXPECT_TRUE(Read(path_) == expected);
}

TEST_F(AtomicFileTest, AbandonedLeavesEverythingAsItWas) {
  std::ofstream(path_) << "before";
  {
    auto file = AtomicFile::Create(path_);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->Append(Bytes(std::string(3 << 20, 'x'))).ok());
  }
  EXPECT_EQ(Read(path_), "before");
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(AtomicFileTest, ReplacesAndGetsTheUsualPermissions) {
  std::ofstream(path_) << "before";
  std::ofstream(dir_.File("plain")) << "x";
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append(Bytes("after")).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_EQ(Read(path_), "after");
  struct stat written, plain;
  ASSERT_EQ(stat(path_.c_str(), &written), 0);
  ASSERT_EQ(stat(dir_.File("plain").c_str(), &plain), 0);
  EXPECT_EQ(written.st_mode, plain.st_mode);
}

TEST_F(AtomicFileTest, TwoWritersOfOneNameDoNotMix) {
  auto first = AtomicFile::Create(path_);
  auto second = AtomicFile::Create(path_);
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE((*first)->Append(Bytes("first")).ok());
  ASSERT_TRUE((*second)->Append(Bytes("second")).ok());
  ASSERT_TRUE((*second)->Commit().ok());
  ASSERT_TRUE((*first)->Commit().ok());
  EXPECT_EQ(Read(path_), "first");
}

TEST_F(AtomicFileTest, WritesThroughALink) {
  std::filesystem::create_directory(dir_.File("sub"));
  std::ofstream(dir_.File("sub/target")) << "before";
  std::filesystem::create_symlink("sub/target", path_);
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append(Bytes("after")).ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_EQ(Read(dir_.File("sub/target")), "after");
}

TEST_F(AtomicFileTest, NothingAfterCommit) {
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Commit().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition((*file)->Append(Bytes("x"))));
  EXPECT_TRUE(absl::IsFailedPrecondition((*file)->Commit()));
  EXPECT_EQ(Read(path_), "");
}

TEST_F(AtomicFileTest, RefusesWhatIsNotAFile) {
  // Renaming over a device would replace it for the whole system.
  for (const std::string& path : {dir_.path(), std::string("/dev/null")}) {
    const auto file = AtomicFile::Create(path);
    EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(path));
  }
}

TEST_F(AtomicFileTest, MissingFolder) {
  const auto file = AtomicFile::Create(dir_.File("none/out"));
  EXPECT_TRUE(absl::IsNotFound(file.status())) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("none/out"));
}

TEST_F(AtomicFileTest, RenameFails) {
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append(Bytes("x")).ok());
  std::filesystem::create_directories(path_ + "/in the way");
  const absl::Status committed = (*file)->Commit();
  ASSERT_FALSE(committed.ok());
  EXPECT_THAT(std::string(committed.message()), HasSubstr(path_));
  EXPECT_EQ((*file)->Commit(), committed);
  file->reset();
  EXPECT_EQ(FilesInFolder(), 1u);  // the folder in the way, no temporary
}

TEST_F(AtomicFileTest, NothingIsSeenBeforeItIsComplete) {
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append(Bytes(std::string(3 << 20, 'x'))).ok());
  EXPECT_EQ(FilesInFolder(), 0u);  // what a killed process would leave
}

TEST_F(AtomicFileTest, NamedWhereNamelessFilesAreUnknown) {
  std::ofstream(path_) << "before";
  for (const char* text : {"after", "again"}) {
    auto file = AtomicFile::Create(path_, AtomicFile::Temporary::kNamed);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(Bytes(text)).ok());
    EXPECT_EQ(FilesInFolder(), 2u);
    ASSERT_TRUE((*file)->Commit().ok());
    EXPECT_EQ(Read(path_), text);
  }
  {
    auto abandoned = AtomicFile::Create(path_, AtomicFile::Temporary::kNamed);
    ASSERT_TRUE(abandoned.ok());
  }
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(AtomicFileTest, WhatAKilledProcessLeftIsRemoved) {
  const pid_t child = fork();
  if (child == 0) {
    const auto file = AtomicFile::Create(path_, AtomicFile::Temporary::kNamed);
    if (!file.ok()) _exit(1);
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(FilesInFolder(), 1u);
  // Of another file, of a person, and of a writer that is at work.
  for (const char* name : {"out2.1-0.partial", "out.mine.partial", "out.1-.partial"}) {
    std::ofstream(dir_.File(name)) << "x";
  }
  auto at_work = AtomicFile::Create(path_, AtomicFile::Temporary::kNamed);
  ASSERT_TRUE(at_work.ok());
  ASSERT_TRUE((*at_work)->Append(Bytes("first")).ok());
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(FilesInFolder(), 4u);
  ASSERT_TRUE((*file)->Commit().ok());
  ASSERT_TRUE((*at_work)->Commit().ok());
  EXPECT_EQ(Read(path_), "first");
  EXPECT_EQ(FilesInFolder(), 4u);
}

// Stands in for a full disk: the kernel refuses to let files grow past the limit.
TEST_F(AtomicFileTest, AFailedWriteIsNeverCommitted) {
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  std::ofstream(path_) << "before";
  auto file = AtomicFile::Create(path_);
  ASSERT_TRUE(file.ok());
  const rlimit small = {1 << 20, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status appended = (*file)->Append(Bytes(std::string(2 << 20, 'x')));
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(appended.ok());
  EXPECT_THAT(std::string(appended.message()), HasSubstr(path_));
  // The disk has room again, but the file would have a hole.
  EXPECT_EQ((*file)->Append(Bytes("y")), appended);
  EXPECT_EQ((*file)->Commit(), appended);
  file->reset();
  EXPECT_EQ(Read(path_), "before");
  EXPECT_EQ(FilesInFolder(), 1u);
}

}  // namespace
}  // namespace bantam
