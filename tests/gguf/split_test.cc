// Models in several files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runtime/gguf/writer.h"
#include "tests/gguf/builder.h"
#include "tests/support/tiny_model.h"

namespace bantam::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct PartSpec {
  std::string name;  // of the file
  uint16_t number = 0;
  uint16_t count = 3;
  int32_t tensors = 3;
  std::string tensor = "t";
};

class SplitTest : public ::testing::Test {
 protected:
  void Write(const PartSpec& spec) {
    Writer writer;
    if (spec.number == 0) writer.Set("general.architecture", absl::string_view("llama"));
    writer.Set("split.no", spec.number);
    writer.Set("split.count", spec.count);
    writer.Set("split.tensors.count", spec.tensors);
    const float value = spec.number;
    const int64_t shape[] = {1};
    ASSERT_TRUE(
        writer.AddTensor(spec.tensor, quant::Type::kF32, shape, std::as_bytes(std::span(&value, 1)))
            .ok());
    const absl::Status written = writer.Write(dir_.File(spec.name));
    ASSERT_TRUE(written.ok()) << written;
  }
  void WriteAll() {
    Write({"m-00001-of-00003.gguf", 0, 3, 3, "a"});
    Write({"m-00002-of-00003.gguf", 1, 3, 3, "b"});
    Write({"m-00003-of-00003.gguf", 2, 3, 3, "c"});
  }
  std::string ErrorOf(const std::string& name) {
    const auto file = File::Open(dir_.File(name));
    if (file.ok()) return "no error";
    std::string message(file.status().message());
    EXPECT_EQ(message.find('\n'), std::string::npos);
    // The folder is another one each time.
    for (size_t at; (at = message.find(dir_.path() + "/")) != std::string::npos;) {
      message.erase(at, dir_.path().size() + 1);
    }
    return message;
  }

  testing::TempDir dir_;
};

TEST_F(SplitTest, AnyPartOpensAll) {
  WriteAll();
  for (const char* name :
       {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto file = File::Open(dir_.File(name));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->path(), dir_.File(name));
    EXPECT_EQ((*file)->part_count(), 3);
    EXPECT_THAT((*file)->part_paths(),
                ElementsAre(dir_.File("m-00001-of-00003.gguf"), dir_.File("m-00002-of-00003.gguf"),
                            dir_.File("m-00003-of-00003.gguf")));
    uint64_t bytes = 0;
    for (const std::string& path : (*file)->part_paths()) bytes += std::filesystem::file_size(path);
    EXPECT_EQ((*file)->file_bytes(), bytes);
    EXPECT_EQ(*(*file)->GetString("general.architecture"), "llama");
    ASSERT_EQ((*file)->tensors().size(), 3u);
    for (int i = 0; i < 3; ++i) {
      const TensorInfo& tensor = (*file)->tensors()[i];
      EXPECT_EQ(tensor.part, i);
      EXPECT_EQ(tensor.name, std::string(1, static_cast<char>('a' + i)));
      float value;
      ASSERT_EQ(tensor.data.size(), sizeof(value));
      std::memcpy(&value, tensor.data.data(), sizeof(value));
      EXPECT_EQ(value, i);
    }
    EXPECT_EQ((*file)->FindTensor("c"), &(*file)->tensors()[2]);
  }
}

TEST_F(SplitTest, MissingPartsAreNamed) {
  WriteAll();
  std::filesystem::remove(dir_.File("m-00003-of-00003.gguf"));
  EXPECT_TRUE(absl::IsNotFound(File::Open(dir_.File("m-00002-of-00003.gguf")).status()));
  EXPECT_EQ(ErrorOf("m-00002-of-00003.gguf"),
            "m-00002-of-00003.gguf: 1 of the 3 parts of this split model is missing, "
            "'m-00003-of-00003.gguf'; put all parts into one folder");
  std::filesystem::remove(dir_.File("m-00001-of-00003.gguf"));
  EXPECT_EQ(ErrorOf("m-00002-of-00003.gguf"),
            "m-00002-of-00003.gguf: 2 of the 3 parts of this split model are missing, the first is "
            "'m-00001-of-00003.gguf'; put all parts into one folder");
}

TEST_F(SplitTest, RenamedPart) {
  Write({"model.gguf", 1});
  EXPECT_EQ(ErrorOf("model.gguf"),
            "model.gguf: is part 2 of 3 of a split model, but its name does not end in "
            "'-00002-of-00003.gguf'; all parts must have the names they were published with");
  WriteAll();
  std::filesystem::copy_file(dir_.File("m-00002-of-00003.gguf"), dir_.File("m-00003-of-00003.gguf"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(ErrorOf("m-00001-of-00003.gguf"),
            "m-00003-of-00003.gguf: says it is part 2 of 3 of a split model; expected part 3 of 3");
}

TEST_F(SplitTest, PartsOfAnotherModel) {
  WriteAll();
  Write({"m-00003-of-00003.gguf", 2, 3, 8, "c"});
  EXPECT_EQ(ErrorOf("m-00001-of-00003.gguf"),
            "m-00003-of-00003.gguf: its split.tensors.count differs from that of "
            "'m-00001-of-00003.gguf'; the parts are not of one model");
  Write({"m-00003-of-00003.gguf", 2, 3, 3, "a"});
  EXPECT_EQ(ErrorOf("m-00001-of-00003.gguf"),
            "m-00003-of-00003.gguf: tensor 'a' is also in 'm-00001-of-00003.gguf'");
}

TEST_F(SplitTest, TensorsMissingInAPart) {
  Write({"m-00001-of-00002.gguf", 0, 2, 5, "a"});
  Write({"m-00002-of-00002.gguf", 1, 2, 5, "b"});
  EXPECT_EQ(ErrorOf("m-00001-of-00002.gguf"),
            "m-00001-of-00002.gguf: the 2 parts hold 2 tensors, but split.tensors.count is 5");
}

TEST_F(SplitTest, ADamagedPartIsNamed) {
  WriteAll();
  const std::string path = dir_.File("m-00002-of-00003.gguf");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 30);
  EXPECT_THAT(ErrorOf("m-00001-of-00003.gguf"),
              HasSubstr("m-00002-of-00003.gguf: the file is truncated: 2 bytes are missing"));
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1";
  EXPECT_THAT(ErrorOf("m-00001-of-00003.gguf"),
              HasSubstr("m-00002-of-00003.gguf: is a Git LFS pointer"));
}

TEST_F(SplitTest, OnePartIsAWholeModel) {
  Write({"any name.gguf", 0, 1, 1});
  EXPECT_EQ(ErrorOf("any name.gguf"), "no error");
}

TEST_F(SplitTest, BadKeys) {
  const auto file = [](MetaValue count, MetaValue number) {
    Writer writer;
    writer.Set("split.count", std::move(count));
    writer.Set("split.no", std::move(number));
    return *writer.Serialize();
  };
  const auto error = [](const std::string& bytes) {
    return std::string(ParseBytes(bytes).status().message());
  };
  EXPECT_EQ(error(file(uint16_t{3}, uint16_t{3})),
            "m.gguf: key 'split.no' is the uint16 3; expected an integer from 0 to 2");
  EXPECT_EQ(error(file(int32_t{-1}, uint16_t{0})),
            "m.gguf: key 'split.count' is the int32 -1; expected an integer from 0 to 99999");
  EXPECT_EQ(error(file(absl::string_view("3"), uint16_t{0})),
            "m.gguf: key 'split.count' is the string '3'; expected an integer from 0 to 99999");
  EXPECT_EQ(
      error(file(~uint64_t{0}, uint16_t{0})),
      "m.gguf: key 'split.count' is the uint64 18446744073709551615; expected an integer from "
      "0 to 99999");
  Writer no_number;
  no_number.Set("split.count", uint16_t{2});
  EXPECT_EQ(error(*no_number.Serialize()),
            "m.gguf: key 'split.no' is missing, though split.count is 2");
  // In memory there is no other file to look for.
  EXPECT_EQ(error(file(uint16_t{3}, uint16_t{1})),
            "m.gguf: is part 2 of 3 of a split model and not complete by itself");
}

}  // namespace
}  // namespace bantam::gguf
