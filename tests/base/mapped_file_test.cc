#include "runtime/base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;

class MappedFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& contents) {
    std::ofstream(dir_.File(name), std::ios::binary) << contents;
    return dir_.File(name);
  }

  testing::TempDir dir_;
};

TEST_F(MappedFileTest, ShowsTheContents) {
  std::string contents(100000, 'x');
  contents[0] = '\0';
  contents.back() = '\xff';
  const std::string path = Write("f", contents);
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), path);
  ASSERT_EQ((*file)->data().size(), contents.size());
  EXPECT_EQ(std::memcmp((*file)->data().data(), contents.data(), contents.size()), 0);
}

TEST_F(MappedFileTest, SurvivesReplacementAndRemoval) {
  const std::string path = Write("f", "old contents");
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::rename(Write("g", "new"), path);
  std::filesystem::remove(path);
  EXPECT_EQ(std::memcmp((*file)->data().data(), "old contents", 12), 0);
}

TEST_F(MappedFileTest, MissingFile) {
  const auto file = MappedFile::Open(dir_.File("none.gguf"));
  EXPECT_TRUE(absl::IsNotFound(file.status())) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("none.gguf"));
}

TEST_F(MappedFileTest, WhatIsNotAFileWithContents) {
  auto file = MappedFile::Open(dir_.path());
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("is a folder"));
  file = MappedFile::Open(Write("empty", ""));
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("is empty"));
  file = MappedFile::Open("/dev/null");
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
}

TEST_F(MappedFileTest, APipeIsNotWaitedOn) {
  const std::string path = dir_.File("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const auto file = MappedFile::Open(path);
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
}

TEST_F(MappedFileTest, Unreadable) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read every file";
  const std::string path = Write("secret", "x");
  chmod(path.c_str(), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(MappedFile::Open(path).status()));
}

}  // namespace
}  // namespace bantam
