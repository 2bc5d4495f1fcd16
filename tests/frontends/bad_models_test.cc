// What `bantam run` says about files it cannot use: one line each, exit code 1, nothing on stdout.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class BadModels : public ::testing::Test {
 protected:
  std::string Path(const std::string& name = "model.gguf") const { return folder_.File(name); }

  std::string Write(const std::string& bytes) {
    WriteWhole(Path(), bytes);
    return Path();
  }

  std::string TinyBytes(const TinyLlamaOptions& options = {}) {
    WriteTinyLlama(Path("good.gguf"), options);
    return ReadWhole(Path("good.gguf"));
  }

  // The one line, with checks of everything else.
  static std::string ErrorOf(const std::string& path, std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"run", "-m", path, "-p", "hello", "-n", "4"};
    args.insert(args.end(), more.begin(), more.end());
    const Outcome outcome = RunBantam(args);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.signal, 0);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_THAT(outcome.err, StartsWith("bantam: "));
    return outcome.err;
  }

  TempDir folder_;
};

TEST_F(BadModels, Missing) {
  EXPECT_THAT(ErrorOf(Path("none.gguf")), AllOf(HasSubstr("none.gguf"), HasSubstr("o such file")));
}

TEST_F(BadModels, Folder) { EXPECT_THAT(ErrorOf(folder_.path()), HasSubstr(folder_.path())); }

TEST_F(BadModels, Empty) { EXPECT_THAT(ErrorOf(Write("")), HasSubstr("empty")); }

TEST_F(BadModels, TruncatedAnywhere) {
  const std::string whole = TinyBytes();
  for (const double share : {0.0001, 0.01, 0.05, 0.3, 0.9, 0.9999}) {
    const std::string path =
        Write(whole.substr(0, static_cast<size_t>(static_cast<double>(whole.size()) * share)));
    EXPECT_THAT(ErrorOf(path), HasSubstr(path)) << share;
  }
}

TEST_F(BadModels, Text) {
  EXPECT_THAT(ErrorOf(Write("This is no model.\nIt has two lines.\n")),
              AllOf(HasSubstr(Path()), HasSubstr("text file")));
}

TEST_F(BadModels, OldGgml) {
  EXPECT_THAT(ErrorOf(Write("lmgg" + std::string(4096, '\1'))), HasSubstr("GGML"));
  EXPECT_THAT(ErrorOf(Write("tjgg" + std::string(4096, '\1'))),
              AllOf(HasSubstr("ggjt"), HasSubstr("GGML")));
}

TEST_F(BadModels, UnknownArchitecture) {
  WriteTinyLlama(Path(), {.architecture = "unheard-of"});
  EXPECT_THAT(ErrorOf(Path()), HasSubstr("unheard-of"));
}

TEST_F(BadModels, UnknownTensorType) {
  std::string bytes = TinyBytes();
  // A tensor's description: name, n_dims u32, n_dims sizes u64, type u32.
  const std::string name = "token_embd.weight";
  const size_t type_at = bytes.find(name) + name.size() + 4 + 2 * 8;
  const uint32_t type = 4711;
  std::memcpy(bytes.data() + type_at, &type, sizeof(type));
  EXPECT_THAT(ErrorOf(Write(bytes)), AllOf(HasSubstr("4711"), HasSubstr(name)));
}

TEST_F(BadModels, NotANumber) {
  WriteTinyLlama(Path(), {.nan_tensor = "blk.1.ffn_down.weight"});
  EXPECT_THAT(ErrorOf(Path()), AllOf(HasSubstr(Path()), HasSubstr("blk.1.ffn_down.weight")));
  EXPECT_THAT(ErrorOf(Path(), {"--json"}), HasSubstr("blk.1.ffn_down.weight"));
}

TEST_F(BadModels, TooLargeAContext) {
  WriteTinyLlama(Path(), {.context = 256});
  EXPECT_THAT(ErrorOf(Path(), {"-c", "100000"}), AllOf(HasSubstr("100000"), HasSubstr("256")));
}

TEST_F(BadModels, PromptLargerThanTheContext) {
  WriteTinyLlama(Path(), {.context = 256});
  EXPECT_THAT(ErrorOf(Path(), {"-c", "8"}), AllOf(HasSubstr("tokens"), HasSubstr("-c 256")));
}

TEST_F(BadModels, NoPermission) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  WriteTinyLlama(Path());
  std::filesystem::permissions(Path(), std::filesystem::perms::none);
  EXPECT_THAT(ErrorOf(Path()), AllOf(HasSubstr(Path()), HasSubstr("ermission")));
}

TEST_F(BadModels, NoChatTemplate) {
  WriteTinyLlama(Path(), {.chat_template = false});
  EXPECT_THAT(ErrorOf(Path()), AllOf(HasSubstr("chat template"), HasSubstr("--raw")));
  EXPECT_EQ(RunBantam({"run", "-m", Path(), "--raw", "-p", "hello", "-n", "4"}).code, 0);
}

TEST_F(BadModels, UnknownDevice) {
  WriteTinyLlama(Path());
  EXPECT_THAT(ErrorOf(Path(), {"--device", "abacus"}),
              AllOf(HasSubstr("abacus"), HasSubstr("cpu")));
}

TEST_F(BadModels, NamesWithControlCharactersStayOnOneLine) {
  const std::string error = ErrorOf(Path("two\nlines\x1b[2J"));
  EXPECT_THAT(error, HasSubstr("two\\nlines\\x1b[2J"));
}

TEST_F(BadModels, GpuOptionsOnACpu) {
  WriteTinyLlama(Path());
  EXPECT_THAT(ErrorOf(Path(), {"--device", "cpu", "--gpu-layers", "3"}),
              AllOf(HasSubstr("--gpu-layers 3"), HasSubstr("cpu")));
  EXPECT_THAT(ErrorOf(Path(), {"--device", "cpu", "--vram", "4GiB"}), HasSubstr("--vram 4GiB"));
  for (const char* layers : {"auto", "0"}) {
    EXPECT_EQ(RunBantam({"run", "-m", Path(), "-p", "a", "-n", "1", "--device", "cpu",
                         "--gpu-layers", layers})
                  .code,
              0);
  }
}

}  // namespace
}  // namespace bantam::testing
