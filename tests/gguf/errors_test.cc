// Damaged files: each error is one line that names the file, the place, what was found and what
// was expected.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gguf/builder.h"

namespace bantam::gguf {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& bytes) {
  const auto file = ParseBytes(bytes);
  if (file.ok()) return "no error";
  const std::string message(file.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_EQ(message.substr(0, 6), "m.gguf") << message;
  return message;
}

// A file with one key whose value `value` holds, type included.
std::string WithValue(const Bytes& value) {
  return Bytes().Header(3, 0, 1).String("k").Raw(value.str()).str();
}

// A valid tensor list with this in place of the first of two; their data is zeros.
std::string WithTensor(const Bytes& tensor) {
  return Bytes()
      .Header(3, 2, 0)
      .Raw(tensor.str())
      .Tensor("other", {8}, 0, 4096)
      .Pad()
      .Raw(std::string(4096 + 32, '\0'))
      .str();
}

TEST(HeaderErrors, Truncated) {
  const std::string whole = Bytes().Header(3, 0, 0).str();
  ASSERT_EQ(ErrorOf(whole), "no error");
  for (size_t size = 1; size < whole.size(); ++size) {
    EXPECT_EQ(ErrorOf(whole.substr(0, size)),
              "m.gguf: the file is truncated: its header takes 24 bytes, but the file has " +
                  std::to_string(size) + " (at least " + std::to_string(24 - size) +
                  " bytes are missing)");
  }
}

TEST(HeaderErrors, Versions) {
  const std::pair<uint32_t, const char*> cases[] = {
      {0, "is damaged: its GGUF version is 0; expected 2 or 3"},
      {1, "is GGUF version 1, which was replaced"},
      {4, "is GGUF version 4; this version of Bantam reads 2 and 3, a newer one may"},
      {0x03000000, "is a big-endian GGUF file (its version reads as 50331648); Bantam reads "},
      {0x02000000, "is a big-endian GGUF file"},
      {0xFFFFFFFF, "is GGUF version 4294967295"},
  };
  for (const auto& [version, message] : cases) {
    EXPECT_THAT(ErrorOf(Bytes().Header(version, 0, 0).str()), HasSubstr(message));
  }
  EXPECT_THAT(ErrorOf("FUGG" + std::string(20, '\0')), HasSubstr("big-endian"));
}

TEST(HeaderErrors, CountsTheFileCannotHold) {
  const std::string rest(280, '\0');
  EXPECT_EQ(ErrorOf(Bytes().Header(3, 0, 21).Raw(rest).str()),
            "m.gguf: the file is truncated or damaged: its header claims 21 metadata entries, for "
            "which the 280 bytes after it are too few");
  EXPECT_EQ(ErrorOf(Bytes().Header(3, 12, 0).Raw(rest).str()),
            "m.gguf: the file is truncated or damaged: its header claims 12 tensors, for which the "
            "280 bytes after it are too few");
  EXPECT_THAT(ErrorOf(Bytes().Header(3, ~uint64_t{0}, ~uint64_t{0}).str()), HasSubstr("too few"));
}

TEST(MetadataErrors, Keys) {
  const auto file = [](const std::string& key) {
    return Bytes().Header(3, 0, 1).Key(key, MetaType::kUint32).U32(1).str();
  };
  ASSERT_EQ(ErrorOf(file("k")), "no error");
  ASSERT_EQ(ErrorOf(file(std::string(65535, 'k'))), "no error");
  EXPECT_EQ(ErrorOf(file("")), "m.gguf: metadata entry 0: the key is empty");
  EXPECT_EQ(ErrorOf(file("a\nb\x1b")),
            "m.gguf: metadata entry 0: the key 'a\\nb\\u{1b}' is not plain text: it holds control "
            "characters or invalid UTF-8");
  EXPECT_THAT(ErrorOf(file("\xff")), HasSubstr("'\\xff' is not plain text"));
  EXPECT_EQ(ErrorOf(file(std::string(65536, 'k'))),
            "m.gguf: metadata entry 0: the key '" + std::string(40, 'k') +
                "...' has 65536 bytes; at most 65535 are allowed");
  Bytes twice;
  twice.Header(3, 0, 2).Key("k", MetaType::kUint8).Raw("x").Key("k", MetaType::kUint8).Raw("y");
  EXPECT_EQ(ErrorOf(twice.str()), "m.gguf: key 'k' occurs twice");
}

TEST(MetadataErrors, Values) {
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(13).U64(0))),
            "m.gguf: key 'k' has value type 13; expected 0 to 12");
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(9).U32(77).U64(0))),
            "m.gguf: key 'k' has value type 77; expected 0 to 12");
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(7).Raw("\2"))),
            "m.gguf: key 'k' holds a bool with the value 2; expected 0 or 1");
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(9).ArrayOf(MetaType::kBool, 2).Raw("\1\xff"))),
            "m.gguf: key 'k' holds a bool with the value 255; expected 0 or 1");
}

TEST(MetadataErrors, TruncatedValues) {
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(10).U32(5))),
            "m.gguf: the file is truncated or damaged: the value of key 'k' takes 8 bytes from "
            "byte 37 on, but the file ends at byte 41 (4 bytes are missing)");
  EXPECT_EQ(ErrorOf(WithValue(Bytes().U32(8).U64(10).Raw("abc"))),
            "m.gguf: the file is truncated or damaged: the value of key 'k' takes 10 bytes from "
            "byte 45 on, but the file ends at byte 48 (7 bytes are missing)");
  EXPECT_THAT(ErrorOf(WithValue(Bytes().U32(8).U64(~uint64_t{0}))),
              HasSubstr("takes 18446744073709551615 bytes"));
  for (MetaType element :
       {MetaType::kUint8, MetaType::kInt64, MetaType::kString, MetaType::kArray}) {
    for (uint64_t count : {uint64_t{17}, uint64_t{1} << 61, ~uint64_t{0}}) {
      EXPECT_THAT(
          ErrorOf(WithValue(Bytes().U32(9).ArrayOf(element, count).Raw(std::string(16, '\0')))),
          HasSubstr("claims an array of " + std::to_string(count) +
                    " elements at byte 49, for which the 16 bytes left are too few"));
    }
  }
  EXPECT_THAT(
      ErrorOf(WithValue(Bytes().U32(9).ArrayOf(MetaType::kString, 2).String("a").U64(9).Raw("x"))),
      HasSubstr("an array element of key 'k' takes 9 bytes from byte 66 on"));
}

// Whatever the place, a file that ends early is an error and not a crash.
TEST(MetadataErrors, CutAnywhere) {
  Bytes b;
  b.Header(3, 1, 2);
  b.Key("a", MetaType::kArray).ArrayOf(MetaType::kArray, 2);
  b.ArrayOf(MetaType::kString, 1).String("xyz").ArrayOf(MetaType::kBool, 2).Raw("\1\1");
  b.Key("b", MetaType::kFloat64).Put<double>(1);
  b.Tensor("t", {8}, 0, 0).Pad().Raw(std::string(32, '\1'));
  ASSERT_EQ(ErrorOf(b.str()), "no error");
  for (size_t size = 1; size < b.str().size(); ++size) {
    EXPECT_THAT(ErrorOf(b.str().substr(0, size)), HasSubstr("truncated")) << size;
  }
}

TEST(MetadataErrors, Alignment) {
  const auto file = [](MetaType type, uint64_t value) {
    Bytes b;
    b.Header(3, 0, 1).Key("general.alignment", type);
    return type == MetaType::kUint64 ? b.U64(value).str()
                                     : b.U32(static_cast<uint32_t>(value)).str();
  };
  EXPECT_EQ(ErrorOf(file(MetaType::kUint32, 8)), "no error");
  EXPECT_EQ(ErrorOf(file(MetaType::kUint32, 1u << 31)), "no error");
  EXPECT_EQ(ErrorOf(file(MetaType::kUint64, 32)),
            "m.gguf: general.alignment has type uint64; expected uint32");
  EXPECT_THAT(ErrorOf(file(MetaType::kInt32, 32)), HasSubstr("has type int32; expected uint32"));
  for (uint32_t value : {0u, 1u, 4u, 33u, 48u, 0xFFFFFFFFu}) {
    EXPECT_EQ(ErrorOf(file(MetaType::kUint32, value)),
              "m.gguf: general.alignment is " + std::to_string(value) +
                  "; expected a power of two that is at least 8");
  }
}

TEST(TensorErrors, Names) {
  ASSERT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {8}, 0, 0))), "no error");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("", {8}, 0, 0))),
            "m.gguf: tensor 0: the name is empty");
  EXPECT_THAT(ErrorOf(WithTensor(Bytes().Tensor("a\rb", {8}, 0, 0))),
              HasSubstr("tensor 0: the name 'a\\rb' is not plain text"));
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("other", {8}, 0, 0))),
            "m.gguf: tensor 'other' occurs twice");
}

TEST(TensorErrors, Shapes) {
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {1, 1, 1, 1, 1}, 0, 0))),
            "m.gguf: tensor 't' has 5 dimensions; expected 0 to 4");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().String("t").U32(0xFFFFFFFF))),
            "m.gguf: tensor 't' has 4294967295 dimensions; expected 0 to 4");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {2, 0}, 0, 0))),
            "m.gguf: tensor 't': a dimension is 0; expected at least 1");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {-4}, 0, 0))),
            "m.gguf: tensor 't': a dimension is -4; expected at least 1");
  const int64_t big = int64_t{1} << 21;
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {big, big, big, 1}, 0, 0))),
            "m.gguf: tensor 't': its dimensions multiply to more than 2^63 elements");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {big, big, big / 2}, 28, 0))),
            "m.gguf: tensor 't': its data would take more than 2^63 bytes");
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {33}, 2, 0))),
            "m.gguf: tensor 't': rows of 33 elements cannot be stored as Q4_0, which has blocks of "
            "32");
  // The row is what counts, not the number of elements.
  EXPECT_THAT(ErrorOf(WithTensor(Bytes().Tensor("t", {16, 2}, 2, 0))), HasSubstr("rows of 16"));
}

TEST(TensorErrors, Types) {
  const std::pair<uint32_t, const char*> cases[] = {
      {4, "convert the model again"},
      {31, "download the plain Q4_0 file"},
      {36, "download the plain IQ4_NL file"},
      {41, "Q1_0"},
      {quant::kTypeIdLimit + 10, "a newer version may read it"},
      {137, "ik_llama.cpp"},
      {0xFFFFFFFF, "no version of Bantam reads it"},
  };
  for (const auto& [id, advice] : cases) {
    const std::string bytes = WithTensor(Bytes().Tensor("t", {8}, id, 0));
    EXPECT_TRUE(absl::IsUnimplemented(ParseBytes(bytes).status()));
    EXPECT_THAT(ErrorOf(bytes), HasSubstr("tensor 't' has the unknown type " + std::to_string(id)));
    EXPECT_THAT(ErrorOf(bytes), HasSubstr(advice));
  }
}

TEST(TensorErrors, Offsets) {
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {8}, 0, 16))),
            "m.gguf: tensor 't' has the offset 16, which is not a multiple of the alignment 32");
  EXPECT_THAT(ErrorOf(WithTensor(Bytes().Tensor("t", {8}, 0, ~uint64_t{31}))),
              HasSubstr("beyond any file"));
  EXPECT_EQ(ErrorOf(WithTensor(Bytes().Tensor("t", {1025}, 0, 0))),
            "m.gguf: tensors 't' and 'other' overlap: the first ends at byte 4196, the second "
            "starts at 4192");
  // Same place, and one that starts after but lies inside an earlier one.
  EXPECT_THAT(ErrorOf(WithTensor(Bytes().Tensor("t", {8}, 0, 4096))), HasSubstr("overlap"));
  Bytes inside;
  inside.Header(3, 3, 0).Tensor("a", {64}, 0, 0).Tensor("b", {8}, 0, 512).Tensor("c", {8}, 0, 32);
  inside.Pad().Raw(std::string(1024, '\0'));
  EXPECT_THAT(ErrorOf(inside.str()), HasSubstr("tensors 'a' and 'c' overlap"));
}

TEST(TensorErrors, TruncatedDataSaysHowMuchIsMissing) {
  Bytes b;
  b.Header(3, 2, 0).Tensor("last", {100}, 0, 64).Tensor("first", {8}, 0, 0).Pad();
  const size_t start = b.str().size();
  b.Raw(std::string(64 + 400, '\0'));
  ASSERT_EQ(ErrorOf(b.str()), "no error");
  const size_t end = start + 464;
  EXPECT_EQ(ErrorOf(b.str().substr(0, end - 1)),
            "m.gguf: the file is truncated: 1 bytes are missing (it has " +
                std::to_string(end - 1) + ", and tensor 'last' ends at byte " +
                std::to_string(end) + "); download it again");
  EXPECT_TRUE(absl::IsDataLoss(ParseBytes(b.str().substr(0, end - 1)).status()));
  EXPECT_THAT(ErrorOf(b.str().substr(0, start + 10)),
              HasSubstr("truncated: 454 bytes are missing"));
  // Sizes near 2^63 are not added up wrongly.
  const int64_t huge = int64_t{1} << 60;
  EXPECT_THAT(ErrorOf(WithTensor(Bytes().Tensor("t", {huge}, 0, 0))),
              HasSubstr("tensor 't' ends at byte 4611686018427388"));
}

}  // namespace
}  // namespace bantam::gguf
