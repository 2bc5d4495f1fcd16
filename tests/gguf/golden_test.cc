// Files written by the PyPI package gguf, and what its own reader finds in them. See
// tests/golden/gguf/README.md.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "tests/gguf/rewrite.h"

namespace bantam::gguf {
namespace {

using nlohmann::json;

const std::string kFolder = std::string(BANTAM_GOLDEN_DIR) + "/gguf/";

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// Appends the value's types and its elements as the reference reader lists them: types down the
// first elements, nested values in one row.
void Flatten(const MetaValue& value, bool first, json& types, json& values) {
  if (first) types.push_back(std::string(MetaTypeName(TypeOf(value))));
  std::visit(
      [&](const auto& v) {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, absl::string_view>) {
          values.push_back(std::string(v));
        } else if constexpr (std::is_same_v<V, std::shared_ptr<const MetaArray>>) {
          for (uint64_t i = 0; i < v->count; ++i) {
            MetaValue element;
            if (v->element == MetaType::kString) {
              element = v->strings[i];
            } else if (v->element == MetaType::kArray) {
              element = v->arrays[i];
            } else {
              element = v->At(i);
            }
            Flatten(element, first && i == 0, types, values);
          }
        } else {
          values.push_back(v);
        }
      },
      value);
}

class GoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string bytes_ = Read(kFolder + GetParam() + ".gguf");
  const json expected_ = json::parse(Read(kFolder + GetParam() + ".json"));
};

INSTANTIATE_TEST_SUITE_P(Files, GoldenTest,
                         ::testing::Values("metadata", "types", "aligned", "version2", "empty",
                                           "small"),
                         [](const auto& info) { return info.param; });

TEST_P(GoldenTest, ReadsAsTheReferenceDoes) {
  const auto opened = File::Open(kFolder + GetParam() + ".gguf");
  ASSERT_TRUE(opened.ok()) << opened.status();
  const File& file = **opened;
  EXPECT_EQ(file.version(), expected_["version"]);
  EXPECT_EQ(file.alignment(), expected_["alignment"]);
  json fields = json::object();
  for (const KeyValue& kv : file.metadata()) {
    json types = json::array(), values = json::array();
    Flatten(kv.value, true, types, values);
    fields[std::string(kv.key)] = {{"types", types}, {"values", values}};
  }
  EXPECT_EQ(fields, expected_["fields"]);
  json tensors = json::array();
  for (const TensorInfo& t : file.tensors()) {
    const absl::string_view data(reinterpret_cast<const char*>(t.data.data()), t.data.size());
    tensors.push_back({{"name", std::string(t.name)},
                       {"type", std::string(quant::Name(t.type))},
                       {"shape", std::vector<int64_t>(t.shape.begin(), t.shape.begin() + t.n_dims)},
                       {"offset", t.offset},
                       {"data", absl::BytesToHexString(data)}});
  }
  ASSERT_EQ(tensors.size(), expected_["tensors"].size());
  for (size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(tensors[i], expected_["tensors"][i]);
}

TEST_P(GoldenTest, WritesTheSameBytes) {
  const auto file = File::Parse(std::as_bytes(std::span(bytes_)), GetParam());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto again = Rewrite(**file);
  ASSERT_TRUE(again.ok()) << again.status();
  std::string expected = bytes_;
  expected[4] = 3;  // what we write is version 3, whatever was read
  EXPECT_TRUE(*again == expected);
}

// Guards against a golden file that stopped covering what it is for.
TEST(Golden, CoversEveryType) {
  const auto types = File::Open(kFolder + "types.gguf");
  ASSERT_TRUE(types.ok()) << types.status();
  for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id) {
    // See make.py for why Q8_1 is not there.
    if (!quant::IsValidType(id) || static_cast<quant::Type>(id) == quant::Type::kQ8_1) continue;
    const absl::string_view name = quant::Name(static_cast<quant::Type>(id));
    EXPECT_NE((*types)->FindTensor(std::string(name) + ".weight"), nullptr) << name;
  }
  const auto metadata = File::Open(kFolder + "metadata.gguf");
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  std::set<MetaType> seen, elements;
  for (const KeyValue& kv : (*metadata)->metadata()) {
    seen.insert(TypeOf(kv.value));
    const auto* array = std::get_if<std::shared_ptr<const MetaArray>>(&kv.value);
    if (array != nullptr) elements.insert((*array)->element);
  }
  EXPECT_EQ(seen.size(), 13u);
  EXPECT_EQ(elements.size(), 13u);
}

TEST(Golden, BigEndian) {
  const auto file = File::Open(kFolder + "big_endian.gguf");
  EXPECT_THAT(std::string(file.status().message()),
              ::testing::HasSubstr("big_endian.gguf: is a big-endian GGUF file"));
}

TEST(Golden, Split) {
  for (const char* part : {"1", "2", "3"}) {
    const auto file = File::Open(kFolder + "split-0000" + part + "-of-00003.gguf");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->part_count(), 3);
    ASSERT_EQ((*file)->tensors().size(), 5u);
    for (int i = 0; i < 5; ++i) {
      const TensorInfo& tensor = (*file)->tensors()[i];
      EXPECT_EQ(tensor.name, "blk." + std::to_string(i) + ".weight");
      EXPECT_EQ(tensor.shape[0], 3 + i);
      EXPECT_EQ(tensor.shape[1], 2);
      float value;
      std::memcpy(&value, tensor.data.data(), sizeof(value));
      EXPECT_EQ(value, i);
    }
    EXPECT_EQ(*(*file)->GetUint("llama.block_count"), 5u);
  }
}

}  // namespace
}  // namespace bantam::gguf
