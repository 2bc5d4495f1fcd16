// Reading well-formed files built by hand: every metadata type, the look-ups, both versions.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/gguf/builder.h"

namespace bantam::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One key of every fixed-size type, named after it, plus strings and arrays.
std::string EveryType(uint32_t version) {
  Bytes b;
  b.Header(version, 0, 18);
  b.Key("uint8", MetaType::kUint8).Put<uint8_t>(200);
  b.Key("int8", MetaType::kInt8).Put<int8_t>(-100);
  b.Key("uint16", MetaType::kUint16).Put<uint16_t>(60000);
  b.Key("int16", MetaType::kInt16).Put<int16_t>(-30000);
  b.Key("uint32", MetaType::kUint32).Put<uint32_t>(4000000000);
  b.Key("int32", MetaType::kInt32).Put<int32_t>(-2000000000);
  b.Key("float32", MetaType::kFloat32).Put<float>(1.5f);
  b.Key("bool", MetaType::kBool).Put<uint8_t>(1);
  b.Key("string", MetaType::kString).String("any\n\xff bytes");
  b.Key("uint64", MetaType::kUint64).Put<uint64_t>(~uint64_t{0});
  b.Key("int64", MetaType::kInt64).Put<int64_t>(std::numeric_limits<int64_t>::min());
  b.Key("float64", MetaType::kFloat64).Put<double>(1e300);
  b.Key("ints", MetaType::kArray).ArrayOf(MetaType::kInt16, 2).Put<int16_t>(-5).Put<int16_t>(7);
  b.Key("floats", MetaType::kArray).ArrayOf(MetaType::kFloat64, 1).Put<double>(0.25);
  b.Key("bools", MetaType::kArray).ArrayOf(MetaType::kBool, 3).Raw(std::string("\1\0\1", 3));
  b.Key("strings", MetaType::kArray).ArrayOf(MetaType::kString, 2).String("a").String("");
  b.Key("nested", MetaType::kArray).ArrayOf(MetaType::kArray, 2);
  b.ArrayOf(MetaType::kUint8, 2).Raw("\1\2").ArrayOf(MetaType::kString, 1).String("x");
  b.Key("empty", MetaType::kArray).ArrayOf(MetaType::kFloat32, 0);
  return b.str();
}

class EveryTypeTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    auto file = ParseBytes(bytes_);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }

  const std::string bytes_ = EveryType(GetParam());
  std::unique_ptr<File> file_;
};

INSTANTIATE_TEST_SUITE_P(Versions, EveryTypeTest, ::testing::Values(2, 3));

TEST_P(EveryTypeTest, Values) {
  EXPECT_EQ(file_->version(), GetParam());
  EXPECT_EQ(file_->alignment(), 32u);
  EXPECT_EQ(file_->file_bytes(), bytes_.size());
  EXPECT_EQ(file_->path(), "m.gguf");
  EXPECT_THAT(file_->part_paths(), ElementsAre("m.gguf"));
  ASSERT_EQ(file_->metadata().size(), 18u);
  for (const KeyValue& kv : file_->metadata()) {
    if (file_->Find(kv.key) != &kv.value) ADD_FAILURE() << kv.key;
    if (TypeOf(kv.value) == MetaType::kArray) continue;
    EXPECT_EQ(MetaTypeName(TypeOf(kv.value)), kv.key);
  }
  EXPECT_EQ(*file_->Find("uint8"), MetaValue(uint8_t{200}));
  EXPECT_EQ(*file_->Find("int8"), MetaValue(int8_t{-100}));
  EXPECT_EQ(*file_->Find("uint16"), MetaValue(uint16_t{60000}));
  EXPECT_EQ(*file_->Find("int16"), MetaValue(int16_t{-30000}));
  EXPECT_EQ(*file_->Find("uint32"), MetaValue(uint32_t{4000000000}));
  EXPECT_EQ(*file_->Find("int32"), MetaValue(int32_t{-2000000000}));
  EXPECT_EQ(*file_->Find("float32"), MetaValue(1.5f));
  EXPECT_EQ(*file_->Find("bool"), MetaValue(true));
  EXPECT_EQ(*file_->Find("string"), MetaValue(absl::string_view("any\n\xff bytes")));
  EXPECT_EQ(*file_->Find("uint64"), MetaValue(~uint64_t{0}));
  EXPECT_EQ(*file_->Find("int64"), MetaValue(std::numeric_limits<int64_t>::min()));
  EXPECT_EQ(*file_->Find("float64"), MetaValue(1e300));
  EXPECT_EQ(file_->Find("none"), nullptr);
  EXPECT_EQ(file_->FindTensor("none"), nullptr);
}

TEST_P(EveryTypeTest, Integers) {
  EXPECT_EQ(*file_->GetUint("uint8"), 200u);
  EXPECT_EQ(*file_->GetUint("uint16"), 60000u);
  EXPECT_EQ(*file_->GetUint("uint32"), 4000000000u);
  EXPECT_EQ(*file_->GetUint("uint64"), ~uint64_t{0});
  EXPECT_EQ(*file_->GetInt("uint8"), 200);
  EXPECT_EQ(*file_->GetInt("int8"), -100);
  EXPECT_EQ(*file_->GetInt("int16"), -30000);
  EXPECT_EQ(*file_->GetInt("int32"), -2000000000);
  EXPECT_EQ(*file_->GetInt("int64"), std::numeric_limits<int64_t>::min());
  for (const char* key : {"int8", "int16", "int32", "int64", "float32", "bool", "string", "ints"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(file_->GetUint(key).status())) << key;
  }
  for (const char* key : {"uint64", "float64", "bool", "string", "nested"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(file_->GetInt(key).status())) << key;
  }
}

TEST_P(EveryTypeTest, OtherScalars) {
  EXPECT_EQ(*file_->GetFloat("float32"), 1.5);
  EXPECT_EQ(*file_->GetFloat("float64"), 1e300);
  EXPECT_EQ(*file_->GetFloat("int16"), -30000);
  EXPECT_EQ(*file_->GetFloat("uint64"), 18446744073709551616.0);
  EXPECT_TRUE(absl::IsInvalidArgument(file_->GetFloat("bool").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(file_->GetFloat("string").status()));
  EXPECT_EQ(*file_->GetBool("bool"), true);
  EXPECT_TRUE(absl::IsInvalidArgument(file_->GetBool("uint8").status()));
  EXPECT_EQ(*file_->GetString("string"), "any\n\xff bytes");
  EXPECT_TRUE(absl::IsInvalidArgument(file_->GetString("strings").status()));
}

TEST_P(EveryTypeTest, Arrays) {
  EXPECT_THAT(*file_->GetInts("ints"), ElementsAre(-5, 7));
  EXPECT_THAT(*file_->GetFloats("ints"), ElementsAre(-5, 7));
  EXPECT_THAT(*file_->GetFloats("floats"), ElementsAre(0.25f));
  EXPECT_THAT(*file_->GetFloats("empty"), ElementsAre());
  EXPECT_THAT(*file_->GetStrings("strings"), ElementsAre("a", ""));
  for (const char* key : {"floats", "bools", "strings", "nested", "int8"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(file_->GetInts(key).status())) << key;
  }
  for (const char* key : {"bools", "strings", "nested", "float32"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(file_->GetFloats(key).status())) << key;
  }
  for (const char* key : {"ints", "nested", "string"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(file_->GetStrings(key).status())) << key;
  }
  const auto bools = std::get<std::shared_ptr<const MetaArray>>(*file_->Find("bools"));
  ASSERT_EQ(bools->count, 3u);
  EXPECT_EQ(bools->At(1), MetaValue(false));
  EXPECT_EQ(bools->At(2), MetaValue(true));
  const auto nested = std::get<std::shared_ptr<const MetaArray>>(*file_->Find("nested"));
  EXPECT_EQ(nested->element, MetaType::kArray);
  EXPECT_EQ(nested->count, 2u);
  ASSERT_EQ(nested->arrays.size(), 2u);
  const auto first = std::get<std::shared_ptr<const MetaArray>>(nested->arrays[0]);
  EXPECT_EQ(first->At(1), MetaValue(uint8_t{2}));
  const auto second = std::get<std::shared_ptr<const MetaArray>>(nested->arrays[1]);
  EXPECT_THAT(second->strings, ElementsAre("x"));
}

TEST_P(EveryTypeTest, ErrorsNameFileKeyAndValue) {
  EXPECT_TRUE(absl::IsNotFound(file_->GetUint("none").status()));
  EXPECT_EQ(file_->GetUint("none").status().message(), "m.gguf: key 'none' is missing");
  EXPECT_EQ(file_->GetUint("int8").status().message(),
            "m.gguf: key 'int8' is the int8 -100; expected an integer that is not negative");
  EXPECT_EQ(
      file_->GetInt("string").status().message(),
      "m.gguf: key 'string' is the string 'any\\n\\xff bytes'; expected an integer below 2^63");
  EXPECT_EQ(file_->GetBool("strings").status().message(),
            "m.gguf: key 'strings' is an array of 2 string values; expected a bool");
  for (const absl::Status& status :
       {file_->GetInt("none").status(), file_->GetFloat("none").status(),
        file_->GetBool("none").status(), file_->GetString("none").status(),
        file_->GetInts("none").status(), file_->GetFloats("none").status(),
        file_->GetStrings("none").status()}) {
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
  }
}

TEST_P(EveryTypeTest, OrGivesTheFallbackOnlyWhenAbsent) {
  EXPECT_EQ(*Or(file_->GetUint("none"), uint64_t{5}), 5u);
  EXPECT_EQ(*Or(file_->GetUint("uint8"), uint64_t{5}), 200u);
  EXPECT_TRUE(absl::IsInvalidArgument(Or(file_->GetUint("string"), uint64_t{5}).status()));
}

TEST(ReadTest, ElementsOutOfRangeAreNamed) {
  Bytes b;
  b.Header(3, 0, 2);
  b.Key("big", MetaType::kArray).ArrayOf(MetaType::kUint64, 2).U64(1).U64(~uint64_t{0});
  b.Key("wide", MetaType::kArray).ArrayOf(MetaType::kFloat64, 3);
  b.Put<double>(std::numeric_limits<double>::infinity())
      .Put<double>(std::nan(""))
      .Put<double>(-1e39);
  const auto file = ParseBytes(b.str());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(std::string((*file)->GetInts("big").status().message()),
              HasSubstr("with the uint64 18446744073709551615 at index 1"));
  EXPECT_THAT(std::string((*file)->GetFloats("wide").status().message()),
              HasSubstr("with the float64 -1e+39 at index 2"));
}

TEST(ReadTest, Tensors) {
  for (uint32_t version : {2u, 3u}) {
    Bytes b;
    b.Header(version, 4, 1);
    b.Key("general.alignment", MetaType::kUint32).U32(64);
    // Not in the order of their data, with a gap, and bytes after the last.
    b.Tensor("second", {32, 2}, 2, 64);  // Q4_0: 2 blocks of 18 bytes
    b.Tensor("first", {3}, 0, 0);
    b.Tensor("scalar", {}, 28, 192);  // F64
    b.Tensor("four", {2, 1, 3, 2}, 24, 256);
    b.Pad(64);
    const size_t start = b.str().size();
    std::string bytes = b.str() + std::string(300, '\0');
    for (size_t i = start; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i - start);
    const auto file = ParseBytes(bytes);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->alignment(), 64u);
    ASSERT_EQ((*file)->tensors().size(), 4u);
    const TensorInfo& second = (*file)->tensors()[0];
    EXPECT_EQ(second.name, "second");
    EXPECT_EQ(second.type, quant::Type::kQ4_0);
    EXPECT_EQ(second.n_dims, 2);
    EXPECT_THAT(second.shape, ElementsAre(32, 2, 1, 1));
    EXPECT_EQ(second.elements(), 64);
    EXPECT_EQ(second.offset, start + 64);
    EXPECT_EQ(second.data.size(), 36u);
    EXPECT_EQ(second.data[0], std::byte{64});
    EXPECT_EQ((*file)->FindTensor("second"), &second);
    EXPECT_EQ((*file)->FindTensor("first")->data.size(), 12u);
    const TensorInfo& scalar = *(*file)->FindTensor("scalar");
    EXPECT_EQ(scalar.n_dims, 0);
    EXPECT_EQ(scalar.elements(), 1);
    EXPECT_EQ(scalar.data.size(), 8u);
    EXPECT_THAT((*file)->FindTensor("four")->shape, ElementsAre(2, 1, 3, 2));
  }
}

TEST(ReadTest, NoTensorsNeedNoPadding) {
  const std::string bytes = Bytes().Header(3, 0, 0).str();
  const auto file = ParseBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
  EXPECT_TRUE((*file)->metadata().empty());
}

TEST(ReadTest, ArraysNestEightDeep) {
  for (int depth : {8, 9}) {
    Bytes b;
    b.Header(3, 0, 1).Key("k", MetaType::kArray);
    for (int i = 1; i < depth; ++i) b.ArrayOf(MetaType::kArray, 1);
    b.ArrayOf(MetaType::kUint8, 1).Raw("x");
    const auto file = ParseBytes(b.str());
    EXPECT_EQ(file.ok(), depth == 8) << file.status();
    if (depth == 9) {
      EXPECT_EQ(file.status().message(), "m.gguf: key 'k' nests arrays more than 8 deep");
    }
  }
}

}  // namespace
}  // namespace bantam::gguf
