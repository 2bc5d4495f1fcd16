// What people pass in place of a GGUF file is recognised, named, and answered with advice.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/gguf/builder.h"
#include "tests/support/tiny_model.h"

namespace bantam::gguf {
namespace {

using ::testing::HasSubstr;
using namespace std::string_literals;

std::string ErrorOf(const std::string& bytes) {
  const auto file = ParseBytes(bytes);
  if (file.ok()) return "no error";
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << file.status();
  const std::string message(file.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(Foreign, OldGgmlInBothByteOrders) {
  for (const std::string magic : {"ggml", "ggmf", "ggjt", "ggla"}) {
    for (const std::string& start : {magic, std::string(magic.rbegin(), magic.rend())}) {
      const std::string message = ErrorOf(start + std::string(60, '\1'));
      EXPECT_THAT(message, HasSubstr("is an old GGML"));
      EXPECT_THAT(message, HasSubstr("(magic '" + magic + "'"));
      EXPECT_THAT(message, HasSubstr("replaced by GGUF in August 2023: download a GGUF version"));
    }
  }
  EXPECT_THAT(ErrorOf("nsgg" + std::string(60, '\1')), HasSubstr("saved llama.cpp session"));
}

TEST(Foreign, OtherFormats) {
  const std::string json = "{\"__metadata__\":{}}";
  std::string tar(600, '\0');
  tar.replace(0, 5, "model");
  tar.replace(257, 5, "ustar");
  const std::pair<std::string, const char*> cases[] = {
      {Bytes().String(json).Raw("data").str(), "is a safetensors file; convert"},
      {"PK\x03\x04" + std::string(50, '\7'), "is a ZIP archive, as PyTorch"},
      {"\x80\x02\x8a\nl\xfc\x9c" + std::string(50, '\7'), "is a Python pickle"},
      {"\x08\x07\x12\x07pytorch\x1a\x05" + std::string(50, '\7'), "seems to be an ONNX model"},
      {"\x89HDF\r\n\x1a\n" + std::string(50, '\7'), "is an HDF5 file"},
      {"\x1c\0\0\0TFL3"s + std::string(50, '\7'), "is a TensorFlow Lite model"},
      {"\x93NUMPY\1\0"s + std::string(50, '\7'), "is a NumPy array"},
      {"\x1f\x8b\x08" + std::string(50, '\7'), "is compressed (gzip); unpack it first"},
      {"\x28\xb5\x2f\xfd" + std::string(50, '\7'), "is compressed (zstd)"},
      {"\xfd"
       "7zXZ" +
           std::string(50, '\0'),
       "is compressed (xz)"},
      {"BZh9" + std::string(50, '\7'), "is compressed (bzip2)"},
      {"7z\xbc\xaf\x27\x1c" + std::string(50, '\7'), "is a 7-Zip archive"},
      {tar, "is a tar archive"},
      {"\x7f"
       "ELF" +
           std::string(50, '\2'),
       "is a program"},
      {"MZqFpD='" + std::string(50, '\7'),
       "is a program, not a model; a llamafile holds a GGUF file"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
       "is a Git LFS pointer, not the model itself; fetch the model with 'git lfs pull'"},
      {"<!DOCTYPE html><html>", "is a web page (HTML), probably of a failed download"},
      {"\xef\xbb\xbf\n  <HTML lang=en>", "is a web page"},
      {"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML document"},
      {"Hello, world\nthis is\tnot a model\n",
       "is a text file, not a model: it starts with 'Hello, world\\nthis is\\tnot a model\\n'"},
      {"{\"model_type\": \"llama\"}", "is a text file"},
      {"日本語の文章", "is a text file, not a model: it starts with '日本語の文章'"},
      {std::string(4096, '\0'), "starts with zeros, as an unfinished download does"},
      {"", "is empty"},
      {"\xde\xad\xbe\xef\1", "is not a GGUF file: it starts with the bytes deadbeef in place of "},
      {"\xff", "is not a GGUF file: it starts with the bytes ff in"},
  };
  for (const auto& [bytes, message] : cases) {
    EXPECT_THAT(ErrorOf(bytes), HasSubstr("m.gguf: "s + message));
  }
}

// The look at the start of a text must not depend on where it is cut.
TEST(Foreign, LongTextInAnyScript) {
  for (size_t shift = 0; shift < 4; ++shift) {
    std::string text(shift, ' ');
    while (text.size() < 2000) text += "語😀é";
    EXPECT_THAT(ErrorOf(text), HasSubstr("is a text file")) << shift;
  }
}

TEST(Foreign, FromDisk) {
  testing::TempDir dir;
  const auto error = [&](const std::string& name) {
    return std::string(File::Open(dir.File(name)).status().message());
  };
  std::ofstream(dir.File("text.gguf")) << "just text";
  std::ofstream(dir.File("empty.gguf"));
  EXPECT_EQ(error("text.gguf"),
            dir.File("text.gguf") + ": is a text file, not a model: it starts with 'just text'");
  EXPECT_THAT(error("empty.gguf"), HasSubstr("empty.gguf' is empty"));
  EXPECT_TRUE(absl::IsNotFound(File::Open(dir.File("none.gguf")).status()));
  EXPECT_THAT(error("none.gguf"), HasSubstr("none.gguf': No such file"));
  EXPECT_THAT(std::string(File::Open(dir.path()).status().message()), HasSubstr("is a folder"));
}

}  // namespace
}  // namespace bantam::gguf
