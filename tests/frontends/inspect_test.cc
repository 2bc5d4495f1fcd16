// The program `bantam inspect`, as a user runs it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "runtime/gguf/writer.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Result {
  int code;
  std::string out;  // standard output and standard error
};

const std::string kBantam = std::string(BANTAM_BIN_DIR) + "/bantam ";

Result Shell(const std::string& command) {
  std::FILE* pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  Result result{-1, ""};
  char buffer[4096];
  size_t n;
  while ((n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0) result.out.append(buffer, n);
  const int status = pclose(pipe);
  // A signal's number plus 128, as shells give it.
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result Bantam(const std::string& arguments) { return Shell(kBantam + arguments + " 2>&1"); }

class InspectTest : public ::testing::Test {
 protected:
  void SetUp() override {
    gguf::Writer writer;
    std::vector<int32_t> ints(1000);
    for (int i = 0; i < 1000; ++i) ints[i] = i;
    const float floats[] = {0.1f, -0.0f, std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity()};
    const std::string long_text(300000, 'x');
    writer.Set("general.architecture", absl::string_view("llama"));
    writer.Set("evil", absl::string_view("a\x1b[31m\n\xff\"\\"));
    writer.Set("long", absl::string_view(long_text));
    writer.Set("big", ~uint64_t{0});
    writer.Set("small", std::numeric_limits<int64_t>::min());
    writer.Set("double", 0.1);
    writer.Set("flag", true);
    writer.SetInts("ints", ints);
    writer.SetFloats("floats", floats);
    auto inner = std::make_shared<gguf::MetaArray>();
    inner->element = gguf::MetaType::kString;
    inner->count = 1;
    inner->strings = {"in\tner"};
    auto outer = std::make_shared<gguf::MetaArray>();
    outer->element = gguf::MetaType::kArray;
    outer->count = 1;
    outer->arrays = {std::shared_ptr<const gguf::MetaArray>(inner)};
    writer.Set("nested", std::shared_ptr<const gguf::MetaArray>(outer));
    const std::string data(1024, '\0');
    const auto bytes = std::as_bytes(std::span(data));
    const int64_t matrix[] = {64, 4}, vector[] = {6};
    ASSERT_TRUE(writer.AddTensor("w", quant::Type::kQ4_0, matrix, bytes.first(144)).ok());
    ASSERT_TRUE(writer.AddTensor("b", quant::Type::kF32, vector, bytes.first(24)).ok());
    const absl::Status written = writer.Write(path_);
    ASSERT_TRUE(written.ok()) << written;
  }
  void Write(const std::string& name, const std::string& contents) {
    std::ofstream(dir_.File(name), std::ios::binary) << contents;
  }

  testing::TempDir dir_;
  const std::string path_ = dir_.File("m.gguf");
};

TEST_F(InspectTest, Text) {
  const Result result = Bantam("inspect " + path_);
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, StartsWith(path_ + "\n"));
  for (const char* part :
       {"GGUF version 3", "alignment 32", "architecture llama", "262 parameters in 2 tensors",
        "5.13 bits per weight",  // 8 * (144 + 24) / 262
        "Metadata: 10 keys", "\"a\\u{1b}[31m\\n\\xff\"\\\\\"", "xxx...\"", "18446744073709551615",
        "int32[1000]", "[0, 1, 2, 3, 4, 5, 6, 7, ...]", "[0.1, -0, nan, -inf]", "[[\"in\\tner\"]]",
        "Q4_0", "[64, 4]", "144 B", "24 B", "85.7 %"}) {
    EXPECT_THAT(result.out, HasSubstr(part));
  }
  // Nothing from the file may steer the terminal.
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
  for (size_t at = 0, end; (end = result.out.find('\n', at)) != std::string::npos; at = end + 1) {
    EXPECT_LT(end - at, 400u);
  }
}

TEST_F(InspectTest, Json) {
  const Result result = Bantam("inspect --json " + path_);
  EXPECT_EQ(result.code, 0);
  const json all = json::parse(result.out, nullptr, false);
  ASSERT_TRUE(all.is_object()) << result.out;
  EXPECT_EQ(all["file"], path_);
  EXPECT_EQ(all["parts"], json({path_}));
  EXPECT_EQ(all["version"], 3);
  EXPECT_EQ(all["alignment"], 32);
  EXPECT_EQ(all["parameters"], 262);
  EXPECT_EQ(all["tensor_bytes"], 168);
  EXPECT_DOUBLE_EQ(all["bits_per_weight"], 8.0 * 168 / 262);
  const json& metadata = all["metadata"];
  EXPECT_EQ(metadata.size(), 10u);
  EXPECT_EQ(metadata["general.architecture"], json({{"type", "string"}, {"value", "llama"}}));
  EXPECT_EQ(metadata["evil"]["value"], "a\x1b[31m\n\xef\xbf\xbd\"\\");
  EXPECT_EQ(metadata["long"]["value"], std::string(300000, 'x'));
  EXPECT_EQ(metadata["big"]["value"], ~uint64_t{0});
  EXPECT_EQ(metadata["small"]["value"], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(metadata["double"]["value"], 0.1);
  EXPECT_EQ(metadata["flag"]["value"], true);
  EXPECT_EQ(metadata["ints"]["type"], "array");
  EXPECT_EQ(metadata["ints"]["element_type"], "int32");
  EXPECT_EQ(metadata["ints"]["value"].size(), 1000u);
  EXPECT_EQ(metadata["ints"]["value"][999], 999);
  EXPECT_EQ(metadata["floats"]["value"], json({0.1, -0.0, "NaN", "-Infinity"}));
  EXPECT_EQ(metadata["nested"]["value"], json::parse(R"([["in\tner"]])"));
  ASSERT_EQ(all["tensors"].size(), 2u);
  const json& w = all["tensors"][0];
  EXPECT_EQ(w["name"], "w");
  EXPECT_EQ(w["type"], "Q4_0");
  EXPECT_EQ(w["shape"], json({64, 4}));
  EXPECT_EQ(w["bytes"], 144);
  EXPECT_EQ(w["part"], 1);
  EXPECT_EQ(all["tensors"][1]["offset"].get<uint64_t>(), w["offset"].get<uint64_t>() + 160);
  EXPECT_EQ(all["types"]["F32"], json({{"tensors", 1}, {"parameters", 6}, {"bytes", 24}}));
}

TEST_F(InspectTest, SplitModel) {
  const std::string part = std::string(BANTAM_GOLDEN_DIR) + "/gguf/split-00002-of-00003.gguf";
  const Result text = Bantam("inspect " + part);
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("in 3 parts"));
  EXPECT_THAT(text.out, HasSubstr("split-00003-of-00003.gguf"));
  EXPECT_THAT(text.out, HasSubstr("of part 3"));
  const json all = json::parse(Bantam("inspect --json " + part).out, nullptr, false);
  ASSERT_TRUE(all.is_object());
  EXPECT_EQ(all["parts"].size(), 3u);
  EXPECT_EQ(all["tensors"].size(), 5u);
  EXPECT_EQ(all["tensors"][4]["part"], 3);
}

TEST_F(InspectTest, FileWithNothingInIt) {
  const std::string empty = std::string(BANTAM_GOLDEN_DIR) + "/gguf/empty.gguf";
  EXPECT_EQ(Bantam("inspect " + empty).code, 0);
  const json all = json::parse(Bantam("inspect --json " + empty).out, nullptr, false);
  ASSERT_TRUE(all.is_object());
  EXPECT_EQ(all["metadata"], json::object());
  EXPECT_EQ(all["tensors"], json::array());
  EXPECT_EQ(all["bits_per_weight"], 0.0);
}

TEST_F(InspectTest, BadFilesGiveOneLineAndExitCode1) {
  Write("text.gguf", "not a model\n");
  Write("empty.gguf", "");
  Write("old.bin", "tjgg" + std::string(100, '\1'));
  Write("page.gguf", "<!DOCTYPE html>\n<html></html>\n");
  std::ifstream in(path_, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  Write("cut.gguf", whole.substr(0, whole.size() - 100));
  const std::pair<std::string, const char*> cases[] = {
      {dir_.File("none.gguf"), "No such file"},
      {dir_.File("text.gguf"), "is a text file"},
      {dir_.File("empty.gguf"), "is empty"},
      {dir_.File("old.bin"), "is an old GGML model"},
      {dir_.File("page.gguf"), "is a web page"},
      {dir_.File("cut.gguf"), "bytes are missing"},
      {dir_.path(), "is a folder"},
  };
  for (const auto& [path, message] : cases) {
    for (const char* flags : {"", "--json "}) {
      const Result result = Bantam(std::string("inspect ") + flags + path);
      EXPECT_EQ(result.code, 1) << path;
      EXPECT_THAT(result.out, HasSubstr(path));
      EXPECT_THAT(result.out, HasSubstr(message));
      EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1) << result.out;
    }
  }
}

TEST_F(InspectTest, Usage) {
  EXPECT_EQ(Bantam("inspect").code, 2);
  EXPECT_EQ(Bantam("inspect --wrong " + path_).code, 2);
  EXPECT_EQ(Bantam("inspect " + path_ + " extra").code, 2);
  // The model as other commands take it.
  EXPECT_EQ(Bantam("inspect -m " + path_).out, Bantam("inspect " + path_).out);
  EXPECT_EQ(Bantam("inspect -m " + path_).code, 0);
  const Result help = Bantam("inspect --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("--json"));
  EXPECT_THAT(help.out, HasSubstr("bantam inspect"));
}

// The long string makes the JSON larger than a pipe holds, so that the writer does meet its end.
TEST_F(InspectTest, AReaderThatStopsIsNoError) {
  for (const std::string command : {"inspect ", "inspect --json "}) {
    EXPECT_EQ(Shell("( { " + kBantam + command + path_ + "; echo code $? >&2; } | true ) 2>&1").out,
              "code 0\n");
  }
}

TEST_F(InspectTest, OutputThatCannotBeWritten) {
  for (const std::string command : {"inspect ", "inspect --json "}) {
    for (const char* target : {">&-", ">/dev/full"}) {
      const Result result = Shell(kBantam + command + path_ + " 2>&1 " + target);
      EXPECT_EQ(result.code, 1) << target;
      EXPECT_THAT(result.out, HasSubstr("cannot write the output: ")) << target;
    }
  }
}

}  // namespace
}  // namespace bantam
