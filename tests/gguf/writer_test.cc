#include "runtime/gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/gguf/builder.h"
#include "tests/support/tiny_model.h"

namespace bantam::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::shared_ptr<const MetaArray> Share(MetaArray array) {
  return std::make_shared<const MetaArray>(std::move(array));
}

// The writer wants data that lives until it writes; a deque never moves its elements.
absl::Status AddBytes(Writer& writer, const std::string& name, quant::Type type,
                      const std::vector<int64_t>& shape, std::string data) {
  static std::deque<std::string> kept;
  return writer.AddTensor(name, type, shape,
                          std::as_bytes(std::span(kept.emplace_back(std::move(data)))));
}

// The layout, byte by byte, from the format's description alone.
TEST(Writer, Layout) {
  Writer writer;
  const int32_t ints[] = {-1, 2};
  writer.Set("a", uint8_t{5});
  writer.Set("b", absl::string_view("xyz"));
  writer.SetInts("c", ints);
  writer.SetStrings("d", {"p", ""});
  const std::string first(18, '\1'), second(12, '\2');
  ASSERT_TRUE(AddBytes(writer, "t", quant::Type::kQ4_0, {32}, first).ok());
  ASSERT_TRUE(AddBytes(writer, "u", quant::Type::kF32, {3, 1}, second).ok());
  Bytes b;
  b.Header(3, 2, 4);
  b.Key("a", MetaType::kUint8).Raw("\5");
  b.Key("b", MetaType::kString).String("xyz");
  b.Key("c", MetaType::kArray).ArrayOf(MetaType::kInt32, 2).Put<int32_t>(-1).Put<int32_t>(2);
  b.Key("d", MetaType::kArray).ArrayOf(MetaType::kString, 2).String("p").String("");
  b.Tensor("t", {32}, 2, 0).Tensor("u", {3, 1}, 0, 32);
  b.Pad().Raw(first).Pad().Raw(second).Pad();
  EXPECT_EQ(*writer.Serialize(), b.str());
}

TEST(Writer, EveryTypeComesBack) {
  const uint8_t bools[] = {0, 1};
  MetaArray bool_array{MetaType::kBool, 2, std::as_bytes(std::span(bools))};
  MetaArray inner{MetaType::kString, 2, {}, {"a", "bc"}};
  MetaArray nested{MetaType::kArray, 2, {}, {}, {Share(inner), Share(bool_array)}};
  const float floats[] = {0.5f, -1};
  const std::pair<const char*, MetaValue> values[] = {
      {"u8", uint8_t{255}},     {"i8", int8_t{-128}},  {"u16", uint16_t{65535}},
      {"i16", int16_t{-1}},     {"u32", ~uint32_t{0}}, {"i32", int32_t{-7}},
      {"f32", 1.25f},           {"bool", true},        {"str", absl::string_view("\n\xff")},
      {"u64", ~uint64_t{0}},    {"i64", int64_t{-9}},  {"f64", -0.1},
      {"nested", Share(nested)}};
  Writer writer;
  for (const auto& [key, value] : values) writer.Set(key, value);
  writer.SetFloats("floats", floats);
  writer.SetStrings("none", {});
  const std::string bytes = *writer.Serialize();
  const auto file = ParseBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [key, value] : values) {
    if (TypeOf(value) == MetaType::kArray) continue;  // compared below
    ASSERT_NE((*file)->Find(key), nullptr) << key;
    EXPECT_TRUE(*(*file)->Find(key) == value) << key;
  }
  EXPECT_THAT(*(*file)->GetFloats("floats"), ElementsAre(0.5f, -1.0f));
  EXPECT_THAT(*(*file)->GetStrings("none"), ElementsAre());
  const auto array = std::get<std::shared_ptr<const MetaArray>>(*(*file)->Find("nested"));
  const auto strings = std::get<std::shared_ptr<const MetaArray>>(array->arrays.at(0));
  EXPECT_THAT(strings->strings, ElementsAre("a", "bc"));
  const auto read_bools = std::get<std::shared_ptr<const MetaArray>>(array->arrays.at(1));
  EXPECT_EQ(read_bools->At(1), MetaValue(true));
}

TEST(Writer, SetReplacesInPlace) {
  Writer writer;
  writer.Set("a", uint8_t{1});
  writer.Set("b", uint8_t{2});
  writer.Set("a", absl::string_view("new"));
  const std::string bytes = *writer.Serialize();
  const auto file = ParseBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->metadata().size(), 2u);
  EXPECT_EQ((*file)->metadata()[0].key, "a");
  EXPECT_EQ(*(*file)->GetString("a"), "new");
}

TEST(Writer, ObeysTheAlignment) {
  Writer writer;
  writer.Set("general.alignment", uint32_t{256});
  ASSERT_TRUE(AddBytes(writer, "a", quant::Type::kI8, {257}, std::string(257, 'a')).ok());
  ASSERT_TRUE(AddBytes(writer, "b", quant::Type::kI8, {1}, "b").ok());
  const std::string bytes = *writer.Serialize();
  EXPECT_EQ(bytes.size(), 256u * 4);
  const auto file = ParseBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->FindTensor("a")->offset, 256u);
  EXPECT_EQ((*file)->FindTensor("b")->offset, 768u);
  writer.Set("general.alignment", uint32_t{48});
  EXPECT_THAT(std::string(writer.Serialize().status().message()),
              HasSubstr("general.alignment is 48; expected a power of two"));
  writer.Set("general.alignment", uint64_t{64});
  EXPECT_THAT(std::string(writer.Serialize().status().message()), HasSubstr("expected uint32"));
}

TEST(Writer, RefusesTensorsThatCouldNotBeRead) {
  Writer writer;
  const auto error = [&](const std::string& name, quant::Type type, std::vector<int64_t> shape) {
    const absl::Status status = AddBytes(writer, name, type, shape, "");
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  constexpr auto kF32 = quant::Type::kF32;
  EXPECT_EQ(error("", kF32, {1}), "tensor name is empty");
  EXPECT_THAT(error("a\n", kF32, {1}), HasSubstr("tensor name 'a\\n' is not plain text"));
  EXPECT_THAT(error("t", kF32, {1, 1, 1, 1, 1}), HasSubstr("has 5 dimensions"));
  EXPECT_THAT(error("t", kF32, {4, 0}), HasSubstr("a dimension is 0"));
  EXPECT_THAT(error("t", kF32, {int64_t{1} << 40, int64_t{1} << 40}), HasSubstr("2^63 elements"));
  EXPECT_THAT(error("t", quant::Type::kQ4_K, {128}), HasSubstr("blocks of 256"));
  EXPECT_THAT(error("t", static_cast<quant::Type>(5), {1}), HasSubstr("unknown type 5"));
  ASSERT_TRUE(AddBytes(writer, "t", kF32, {}, "1234").ok());
  EXPECT_THAT(error("t", kF32, {1}), HasSubstr("tensor 't' was added already"));
}

TEST(Writer, RefusesValuesThatCouldNotBeRead) {
  const auto error = [](const std::string& key, MetaValue value) {
    Writer writer;
    writer.Set(key, std::move(value));
    const auto bytes = writer.Serialize();
    EXPECT_TRUE(absl::IsInvalidArgument(bytes.status())) << bytes.status();
    return std::string(bytes.status().message());
  };
  const uint8_t bad_bool[] = {2};
  const auto raw = std::as_bytes(std::span(bad_bool));
  EXPECT_EQ(error("", uint8_t{1}), "key is empty");
  EXPECT_EQ(error("k", std::shared_ptr<const MetaArray>()), "key 'k' holds a null array");
  EXPECT_EQ(error("k", Share({MetaType::kBool, 1, raw})),
            "key 'k' holds a bool that is neither 0 nor 1");
  EXPECT_EQ(error("k", Share({MetaType::kUint8, 2, raw})),
            "key 'k' holds an array that claims 2 elements but lists 1");
  EXPECT_THAT(error("k", Share({MetaType::kUint16, 0, raw})), HasSubstr("claims 0 elements"));
  EXPECT_THAT(error("k", Share({MetaType::kString, 1})), HasSubstr("claims 1 elements"));
  EXPECT_THAT(error("k", Share({static_cast<MetaType>(13), 0})), HasSubstr("unknown type"));
  EXPECT_THAT(error("k", Share({MetaType::kArray, 1, {}, {}, {uint8_t{1}}})),
              HasSubstr("another type in it"));
  MetaValue deep = Share({MetaType::kUint8, 0});
  for (int i = 1; i < 9; ++i) deep = Share({MetaType::kArray, 1, {}, {}, {deep}});
  EXPECT_THAT(error("k", deep), HasSubstr("nests arrays more than 8 deep"));
}

class WriteToDisk : public ::testing::Test {
 protected:
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool FolderHasOnly(const std::string& name) {
    int others = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      others += entry.path().filename() != name;
    }
    return others == 0;
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.File("m.gguf");
};

TEST_F(WriteToDisk, SameAsInMemory) {
  Writer writer;
  writer.Set("a", absl::string_view("b"));
  const std::string big((3 << 20) + 5, 'x');
  ASSERT_TRUE(AddBytes(writer, "big", quant::Type::kI8, {(3 << 20) + 5}, big).ok());
  ASSERT_TRUE(AddBytes(writer, "small", quant::Type::kI8, {1}, "y").ok());
  const absl::Status written = writer.Write(path_);
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_TRUE(Read(path_) == *writer.Serialize());
  EXPECT_TRUE(FolderHasOnly("m.gguf"));
  EXPECT_TRUE(File::Open(path_).ok());
}

// One buffer serves for tensors of any total size.
TEST_F(WriteToDisk, DataIsAskedForInTurn) {
  Writer writer;
  std::vector<int> order;
  std::string buffer;
  const int64_t shape[] = {40};
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        writer
            .AddTensor(absl::StrCat("t", i), quant::Type::kI8, shape, Writer::DataFn([&, i] {
                         order.push_back(i);
                         buffer.assign(40, static_cast<char>('0' + i));
                         return absl::StatusOr<std::span<const std::byte>>(
                             std::as_bytes(std::span(buffer)));
                       }))
            .ok());
  }
  EXPECT_THAT(order, ElementsAre());
  ASSERT_TRUE(writer.Write(path_).ok());
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  for (int i = 0; i < 3; ++i) {
    const auto data = (*file)->tensors()[i].data;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()),
              std::string(40, static_cast<char>('0' + i)));
  }
}

TEST_F(WriteToDisk, FailureLeavesWhatWasThere) {
  std::ofstream(path_) << "before";
  Writer failing;
  const int64_t shape[] = {1};
  ASSERT_TRUE(failing
                  .AddTensor("t", quant::Type::kI8, shape,
                             Writer::DataFn([]() -> absl::StatusOr<std::span<const std::byte>> {
                               return absl::AbortedError("interrupted");
                             }))
                  .ok());
  EXPECT_EQ(failing.Write(path_), absl::AbortedError(path_ + ": tensor 't': interrupted"));
  Writer short_of_data;
  ASSERT_TRUE(AddBytes(short_of_data, "t", quant::Type::kF32, {2}, "1234").ok());
  EXPECT_EQ(short_of_data.Write(path_),
            absl::InvalidArgumentError(
                path_ + ": tensor 't' has 4 bytes of data; its shape and type need 8"));
  EXPECT_EQ(Read(path_), "before");
  EXPECT_TRUE(FolderHasOnly("m.gguf"));
}

TEST_F(WriteToDisk, BadPathIsNamedOnce) {
  const std::string path = dir_.File("none/m.gguf");
  EXPECT_EQ(Writer().Write(path).message(),
            "cannot write '" + path + "': No such file or directory");
}

// A model may be rewritten under the name it is being read from.
TEST_F(WriteToDisk, OverTheFileBeingRead) {
  Writer writer;
  const std::string data(100000, 'x');
  ASSERT_TRUE(AddBytes(writer, "t", quant::Type::kI8, {100000}, data).ok());
  ASSERT_TRUE(writer.Write(path_).ok());
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  Writer again;
  const TensorInfo& tensor = (*file)->tensors()[0];
  ASSERT_TRUE(again
                  .AddTensor(tensor.name, tensor.type,
                             std::span(tensor.shape.data(), tensor.n_dims), tensor.data)
                  .ok());
  ASSERT_TRUE(again.Write(path_).ok());
  EXPECT_TRUE(Read(path_) == *writer.Serialize());
}

}  // namespace
}  // namespace bantam::gguf
