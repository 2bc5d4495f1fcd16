// The commands that make models smaller and measure what it cost, as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "nlohmann/json.hpp"
#include "tests/frontends/program.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::RunBantam;

class Shrink : public ::testing::Test {
 protected:
  Shrink() {
    testing::WriteTinyLlama(model_, {.weight_type = quant::Type::kF16, .tied = false});
    std::string text;
    for (int i = 0; i < 200; ++i) text += static_cast<char>('a' + i * 7 % 26);
    testing::WriteWhole(text_, text);
  }
  std::string File(const std::string& name) const { return folder_.File(name); }

  // What the command printed with --json.
  nlohmann::json Json(std::vector<std::string> args) {
    args.push_back("--json");
    const Outcome outcome = RunBantam(args);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out, nullptr, false);
  }
  void ExpectFailure(const std::vector<std::string>& args, int code, const std::string& message) {
    const Outcome outcome = RunBantam(args);
    EXPECT_EQ(outcome.code, code) << args[0];
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.error_lines(), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }

  testing::TempDir folder_;
  std::string model_ = folder_.File("m.gguf"), text_ = folder_.File("text.txt");
};

TEST_F(Shrink, PerplexityAgainstSavedPredictions) {
  const std::string saved = File("m.logits");
  const auto alone =
      Json({"perplexity", "-m", model_, "-f", text_, "-c", "32", "--save-logits", saved});
  const auto same = Json({"perplexity", "-m", model_, "--kl-base", saved});
  EXPECT_EQ(same["context"], 32);
  EXPECT_EQ(same["scored_tokens"], alone["scored_tokens"]);
  EXPECT_LT(same["kl_divergence"]["max"], 1e-4);
  EXPECT_EQ(same["same_top_token"]["value"], 1.0);
  ASSERT_EQ(RunBantam({"quantize", model_, File("q4.gguf"), "Q4_0"}).code, 0);
  const auto coarse = Json({"perplexity", "-m", File("q4.gguf"), "--kl-base", saved});
  EXPECT_GT(coarse["kl_divergence"]["value"], 1e-3);
  const Outcome table = RunBantam({"perplexity", "-m", File("q4.gguf"), "--kl-base", saved});
  for (const char* line : {"KL divergence", "99.9 %", "the same", "difference"}) {
    EXPECT_THAT(table.out, HasSubstr(line));
  }
  ExpectFailure({"perplexity", "-m", model_, "--kl-base", saved, "-c", "16"}, 1, "windows of 32");
  ExpectFailure({"perplexity", "-m", model_, "--kl-base", text_}, 1, "no file of log-prob");
  ExpectFailure({"perplexity", "-m", model_}, 2, "");
  ExpectFailure({"perplexity", "-m", model_, "-f", text_, "-c", "32", "--save-logits",
                 File("no/such/folder")},
                1, "no/such/folder");
}

TEST_F(Shrink, ImportanceAndSizes) {
  const std::string imatrix = File("m.imatrix");
  EXPECT_EQ(Json({"imatrix", "-m", model_, "-f", text_, "-c", "32", "-o", imatrix})["tensors"], 14);
  EXPECT_EQ(Json({"imatrix", "-m", model_, "-f", text_, "-c", "32", "-o", File("m.dat")})["format"],
            "dat");
  for (const std::string& file : {imatrix, File("m.dat")}) {
    const auto report = Json({"quantize", model_, File("q.gguf"), "--target-bpw", "6", "--imatrix",
                              file, "--overwrite"});
    EXPECT_LE(report["bits_per_weight"], 6.0);
    EXPECT_GT(report["bits_per_weight"], 5.5);
    EXPECT_EQ(RunBantam({"run", "-m", File("q.gguf"), "-p", "a", "-n", "2"}).code, 0);
  }
  const auto size = std::filesystem::file_size(model_) / 2;
  Json({"quantize", model_, File("s.gguf"), "--target-size", std::to_string(size)});
  EXPECT_LE(std::filesystem::file_size(File("s.gguf")), size);
  ExpectFailure({"quantize", model_, File("x"), "--target-size", "1000"}, 1, "1000");
  ExpectFailure({"quantize", model_, File("x"), "Q4_0", "--target-bpw", "5"}, 2, "RECIPE");
  ExpectFailure({"quantize", model_, File("x"), "--target-bpw", "5", "--imatrix", text_}, 1,
                "importance matrix");
  ExpectFailure({"imatrix", "-m", model_, "-f", text_, "-c", "250", "-o", File("x")}, 1,
                "one window takes 250");
  EXPECT_FALSE(std::filesystem::exists(File("x")));
}

TEST_F(Shrink, SensitivitiesAreMeasuredOnce) {
  std::string text;
  for (int i = 0; i < 600; ++i) text += static_cast<char>('a' + i * i % 23);
  testing::WriteWhole(File("long.txt"), text);
  const auto measured =
      Json({"quantize", model_, File("a.gguf"), "--target-bpw", "6", "--calibrate",
            File("long.txt"), "--calibrate-chunks", "1", "--save-sensitivities", File("s.json")});
  EXPECT_LE(measured["bits_per_weight"], 6.0);
  EXPECT_THAT(std::string(measured["notes"][0]), HasSubstr("predicted KL divergence"));
  Json(
      {"quantize", model_, File("b.gguf"), "--target-bpw", "6", "--sensitivities", File("s.json")});
  EXPECT_EQ(testing::ReadWhole(File("a.gguf")), testing::ReadWhole(File("b.gguf")));
  // The model that was measured on is as it was.
  EXPECT_EQ(RunBantam({"run", "-m", model_, "-p", "a", "-n", "2"}).code, 0);
  ExpectFailure({"quantize", model_, File("x"), "--target-bpw", "6", "--sensitivities", text_}, 1,
                "no file of sensitivities");
  ExpectFailure({"quantize", model_, File("x"), "--target-bpw", "6", "--calibrate", text_}, 1,
                "text.txt");
  ExpectFailure(
      {"quantize", model_, File("x"), "--target-bpw", "6", "--save-sensitivities", File("y")}, 2,
      "--calibrate");
  EXPECT_FALSE(std::filesystem::exists(File("x")));
}

TEST_F(Shrink, Plans) {
  const auto plan = Json({"plan", model_, "--ram", "1GiB", "--ctx", "128"});
  EXPECT_EQ(plan["recommended"], "Q6_K");
  EXPECT_EQ(plan["exact"], true);
  EXPECT_EQ(Json({"plan", "7B", "--ram", "2GiB", "--vram", "0"}).contains("recommended"), false);
  EXPECT_THAT(RunBantam({"plan", "-m", "7B", "--ram", "16GiB"}).out, HasSubstr("recommended: "));
  ExpectFailure({"plan", "7B", "--ram", "much"}, 2, "--ram");
  ExpectFailure({"plan", File("none.gguf")}, 1, "none.gguf");
  // What it costs grows as the file shrinks, and a tenth of the weights lose more.
  const auto large = Json({"plan", "7B", "--ram", "64GiB", "--vram", "0"});
  const auto small = Json({"plan", "700M", "--ram", "64GiB", "--vram", "0"});
  double before = -1;
  for (size_t i = 0; i < large["rows"].size(); ++i) {
    const double loss = large["rows"][i]["expected_divergence"];
    EXPECT_GT(loss, before) << large["rows"][i]["recipe"];
    before = loss;
  }
  // From Q8_0 to Q5_K_M; below, more of the small model's tensors fall back to larger types.
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_GT(small["rows"][i]["expected_divergence"],
              1.5 * double{large["rows"][i]["expected_divergence"]});
  }
  EXPECT_THAT(RunBantam({"plan", "7B", "--ram", "16GiB"}).out, HasSubstr("very small"));
}

TEST_F(Shrink, ConvertNeedsAModel) {
  ExpectFailure({"convert", folder_.path(), File("x")}, 1, "config.json");
  ExpectFailure({"convert", text_, File("x")}, 1, "text.txt");
  ExpectFailure({"convert", folder_.path()}, 2, "");
  EXPECT_FALSE(std::filesystem::exists(File("x")));
}

}  // namespace
}  // namespace bantam
