// bantam quantize as a user runs it, and as he interrupts it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/gguf/file.h"
#include "runtime/gguf/writer.h"
#include "tests/frontends/program.h"
#include "tests/gguf/builder.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {
namespace {

using ::testing::HasSubstr;

class QuantizeCommandTest : public ::testing::Test {
 protected:
  bool Exists(const std::string& name) { return std::filesystem::exists(dir_.File(name)); }
  size_t Files() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir_.path()), {}));
  }

  // A model that takes seconds to quantize, and the program at it, its output begun.
  std::unique_ptr<Process> StartLong() {
    const std::vector<std::byte> zeros(size_t{48} << 20, std::byte{0x11});
    gguf::Writer writer;
    writer.Set("general.architecture", absl::string_view("llama"));
    const std::vector<int64_t> shape = {4096, 6144};
    EXPECT_TRUE(writer.AddTensor("blk.0.ffn_up.weight", quant::Type::kF16, shape, zeros).ok());
    EXPECT_TRUE(writer.Write(dir_.File("long.gguf")).ok());
    auto process = std::make_unique<Process>(std::vector<std::string>{
        Program(), "quantize", dir_.File("long.gguf"), dir_.File("out.gguf"), "IQ3_S", "-t", "1"});
    // A file without a name shows as "#<number>", one with a name as "out.gguf...".
    const auto begun = [&] {
      return process->HasOpen(dir_.File("#")) || process->HasOpen(dir_.File("out.gguf"));
    };
    for (int i = 0; i < 3000 && !begun(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(begun()) << "no output";
    return process;
  }

  TempDir dir_;
};

TEST_F(QuantizeCommandTest, SmallerAndStillAModel) {
  TinyLlamaOptions options;
  options.embedding = 256;
  options.feed_forward = 512;
  WriteTinyLlama(dir_.File("in.gguf"), options);
  const Outcome outcome = RunBantam({"quantize", dir_.File("in.gguf"), dir_.File("out.gguf"),
                                     "q4_k_m", "--json", "--tensor-type", "ffn_down=Q8_0"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["bytes_after"], std::filesystem::file_size(dir_.File("out.gguf")));
  EXPECT_GT(json["ratio"], 2);
  const auto file = gguf::File::Open(dir_.File("out.gguf"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->FindTensor("blk.1.ffn_down.weight")->type, quant::Type::kQ8_0);
  EXPECT_EQ((*file)->FindTensor("blk.0.ffn_up.weight")->type, quant::Type::kQ4_K);
  const Outcome answer = RunBantam({"run", "-m", dir_.File("out.gguf"), "-p", "a", "-n", "2"});
  EXPECT_EQ(answer.code, 0) << answer.err;
}

TEST_F(QuantizeCommandTest, Mistakes) {
  WriteTinyLlama(dir_.File("in.gguf"));
  const std::string in = dir_.File("in.gguf"), out = dir_.File("out.gguf");
  const std::pair<std::vector<std::string>, std::string> kCases[] = {
      {{in, out, "Q4_K_X"}, "expected one of"},
      {{in, in, "Q8_0", "--overwrite"}, "is the model to quantize"},
      {{dir_.File("none.gguf"), out, "Q8_0"}, "none.gguf"},
      {{in, out, "Q8_0", "--tensor-type", "ffn"}, "REGEX=TYPE"},
      {{in, out, "Q8_0", "--tensor-type", "(=Q8_0"}, "regular expression"},
      {{in, out, "Q8_0", "--tensor-type", "a=Q8_1"}, "no tensor type"}};
  for (auto [args, message] : kCases) {
    args.insert(args.begin(), "quantize");
    const Outcome outcome = RunBantam(args);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(outcome.error_lines(), 1);
    EXPECT_EQ(Files(), 1u);
  }
  // Rows of 64 do not fill a block of 256, which the summary says.
  const Outcome fallback = RunBantam({"quantize", in, out, "Q4_K_M", "--dry-run"});
  EXPECT_THAT(fallback.out, HasSubstr("Q5_0 instead of Q4_K"));
  EXPECT_EQ(Files(), 1u);
}

// Files with holes, one matrix that is encoded and one that is copied, take no room on the disk
// and no time to make.
TEST_F(QuantizeCommandTest, MemoryIsBoundedWhateverTheSize) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps what was freed and has memory of its own";
#endif
  std::vector<int64_t> peaks;
  for (const int64_t rows : {int64_t{1} << 13, int64_t{1} << 17}) {
    constexpr int64_t kColumns = 2048;
    const uint64_t half = static_cast<uint64_t>(rows) * kColumns * sizeof(uint16_t);
    gguf::Bytes bytes;
    bytes.Header(3, 2, 1).Key("general.architecture", gguf::MetaType::kString).String("llama");
    bytes.Tensor("blk.0.ffn_up.weight", {kColumns, rows}, 1, 0);
    bytes.Tensor("blk.1.ffn_up.weight", {kColumns, rows / 4}, 1, half).Pad();
    WriteWhole(dir_.File("in.gguf"), bytes.str());
    std::filesystem::resize_file(dir_.File("in.gguf"), bytes.str().size() + half + half / 4);
    const Outcome outcome =
        RunBantam({"quantize", dir_.File("in.gguf"), dir_.File("out.gguf"), "Q4_0", "--tensor-type",
                   "blk.1=F16", "--overwrite", "--json", "-t", "2"});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto json = nlohmann::json::parse(outcome.out);
    peaks.push_back(json["peak_resident_bytes"]);
    EXPECT_LT(json["bytes_after"], json["bytes_before"]);
  }
  // Files of 40 and 640 MiB. Pages that happen to be read ahead make some difference.
  EXPECT_LT(peaks[1], 128 << 20);
  EXPECT_LT(peaks[1], peaks[0] + (32 << 20));
}

TEST_F(QuantizeCommandTest, SignalsThatEndItLeaveNothing) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const auto process = StartLong();
    process->Signal(signal);
    const Outcome outcome = process->Wait();
    EXPECT_EQ(outcome.signal, signal) << outcome.err;
    EXPECT_EQ(Files(), 1u);
  }
}

TEST_F(QuantizeCommandTest, KilledLeavesNothingOnceRunAgain) {
  const auto process = StartLong();
  process->Signal(SIGKILL);
  EXPECT_EQ(process->Wait().signal, SIGKILL);
  EXPECT_FALSE(Exists("out.gguf"));
  EXPECT_EQ(RunBantam({"quantize", dir_.File("long.gguf"), dir_.File("out.gguf"), "Q8_0"}).code, 0);
  EXPECT_EQ(Files(), 2u);
}

// A file without read permission is readable to root all the same, so that root skips that part.
TEST_F(QuantizeCommandTest, UnreadableInput) {
  WriteTinyLlama(dir_.File("in.gguf"));
  const std::string out = dir_.File("out.gguf");
  std::filesystem::resize_file(dir_.File("in.gguf"),
                               std::filesystem::file_size(dir_.File("in.gguf")) - 1);
  const Outcome cut = RunBantam({"quantize", dir_.File("in.gguf"), out, "Q8_0"});
  EXPECT_EQ(cut.code, 1);
  EXPECT_EQ(cut.error_lines(), 1) << cut.err;
  EXPECT_THAT(cut.err, HasSubstr("in.gguf"));
  EXPECT_EQ(Files(), 1u);
  const Outcome folder = RunBantam({"quantize", dir_.path(), out, "Q8_0"});
  EXPECT_EQ(folder.code, 1);
  EXPECT_EQ(folder.error_lines(), 1) << folder.err;
  if (geteuid() == 0) return;
  std::filesystem::permissions(dir_.File("in.gguf"), std::filesystem::perms::none);
  const Outcome closed = RunBantam({"quantize", dir_.File("in.gguf"), out, "Q8_0"});
  EXPECT_EQ(closed.code, 1);
  EXPECT_THAT(closed.err, HasSubstr("in.gguf"));
}

}  // namespace
}  // namespace bantam::testing
