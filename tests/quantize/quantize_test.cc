// Recipes and the quantizer: the types people expect, values equal to the row encoder's, and
// nothing left behind when something is wrong.
#include "runtime/quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <random>

#include "runtime/gguf/writer.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
#include "runtime/quantize/recipe.h"
#include "tests/support/tiny_model.h"

namespace bantam::quantize {
namespace {

using ::bantam::testing::TempDir;
using quant::Type;
using ::testing::AllOf;
using ::testing::HasSubstr;

bool Always(const Progress&) { return true; }

// A file of architecture llama with the tensors of `layers` layers, without data to speak of.
class Shapes {
 public:
  Shapes(int layers, int64_t heads, int64_t kv_heads, int64_t columns = 256, int64_t experts = 0) {
    gguf::Writer writer;
    writer.Set("general.architecture", absl::string_view("llama"));
    writer.Set("llama.block_count", static_cast<uint32_t>(layers));
    writer.Set("llama.attention.head_count", static_cast<uint32_t>(heads));
    writer.Set("llama.attention.head_count_kv", static_cast<uint32_t>(kv_heads));
    if (experts > 0) writer.Set("llama.expert_count", static_cast<uint32_t>(experts));
    zeros_.resize(static_cast<size_t>(columns) * 2 * 2 * 8);
    Add(writer, "token_embd.weight", {columns, 2});
    Add(writer, "output.weight", {columns, 2});
    Add(writer, "output_norm.weight", {columns});
    for (int layer = 0; layer < layers; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      for (const char* name :
           {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_gate", "ffn_down"}) {
        const bool of_experts = experts > 0 && std::strncmp(name, "ffn", 3) == 0;
        if (of_experts) {
          Add(writer, block + name + "_exps.weight", {columns, 2, experts});
        } else {
          Add(writer, block + name + ".weight", {columns, 2});
        }
      }
      Add(writer, block + "attn_norm.weight", {columns});
      if (experts > 0) Add(writer, block + "ffn_gate_inp.weight", {columns, experts});
    }
    bytes_ = *writer.Serialize();
    file_ = *gguf::File::Parse(std::as_bytes(std::span(bytes_)), "shapes");
  }

  std::map<std::string, Type> Types(absl::string_view recipe, const Overrides& overrides = {},
                                    bool has_importance = false) const {
    const auto choices = ChooseTypes(*file_, *FindRecipe(recipe), overrides, has_importance);
    EXPECT_TRUE(choices.ok()) << choices.status();
    std::map<std::string, Type> types;
    for (size_t i = 0; choices.ok() && i < choices->size(); ++i) {
      types[std::string(file_->tensors()[i].name)] = (*choices)[i].type;
    }
    return types;
  }

 private:
  void Add(gguf::Writer& writer, const std::string& name, std::vector<int64_t> shape) {
    size_t bytes = 2;
    for (const int64_t n : shape) bytes *= static_cast<size_t>(n);
    ASSERT_TRUE(writer.AddTensor(name, Type::kF16, shape, std::span(zeros_.data(), bytes)).ok());
  }

  std::vector<std::byte> zeros_;
  std::string bytes_;
  std::unique_ptr<gguf::File> file_;
};

std::string Layer(int layer, const char* name) {
  return "blk." + std::to_string(layer) + "." + name + ".weight";
}

TEST(RecipeTest, Q4_K_M) {
  const auto types = Shapes(16, 8, 8).Types("q4_k_m");
  EXPECT_EQ(types.at("output.weight"), Type::kQ6_K);
  EXPECT_EQ(types.at("token_embd.weight"), Type::kQ4_K);
  EXPECT_EQ(types.at("output_norm.weight"), Type::kF16);
  for (int layer = 0; layer < 16; ++layer) {
    // Of 16 layers: the first and last two, and every third between.
    const bool more = layer < 2 || layer >= 14 || (layer - 2) % 3 == 2;
    const Type raised = more ? Type::kQ6_K : Type::kQ4_K;
    EXPECT_EQ(types.at(Layer(layer, "attn_v")), raised) << layer;
    EXPECT_EQ(types.at(Layer(layer, "ffn_down")), raised) << layer;
    EXPECT_EQ(types.at(Layer(layer, "attn_q")), Type::kQ4_K);
    EXPECT_EQ(types.at(Layer(layer, "ffn_up")), Type::kQ4_K);
  }
}

TEST(RecipeTest, OthersThatMix) {
  const Shapes plain(16, 8, 8), grouped(16, 8, 2);
  auto types = plain.Types("Q4_K_S");
  EXPECT_EQ(types.at(Layer(3, "attn_v")), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(4, "attn_v")), Type::kQ4_K);
  EXPECT_EQ(types.at(Layer(1, "ffn_down")), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(2, "ffn_down")), Type::kQ4_K);
  types = plain.Types("Q3_K_M");
  EXPECT_EQ(types.at(Layer(0, "attn_v")), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(5, "attn_v")), Type::kQ4_K);
  EXPECT_EQ(types.at(Layer(0, "ffn_down")), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(1, "ffn_down")), Type::kQ4_K);
  EXPECT_EQ(types.at(Layer(1, "attn_output")), Type::kQ4_K);
  EXPECT_EQ(plain.Types("Q2_K").at(Layer(5, "attn_v")), Type::kQ3_K);
  EXPECT_EQ(grouped.Types("Q2_K").at(Layer(5, "attn_v")), Type::kQ4_K);
  EXPECT_EQ(grouped.Types("IQ4_XS").at(Layer(5, "attn_v")), Type::kQ5_K);
  EXPECT_EQ(plain.Types("IQ4_XS").at(Layer(0, "ffn_down")), Type::kQ5_K);
  EXPECT_EQ(plain.Types("IQ4_XS", {}, true).at(Layer(0, "ffn_down")), Type::kIQ4_XS);
  types = plain.Types("IQ2_XXS");
  EXPECT_EQ(types.at("token_embd.weight"), Type::kQ2_K);
  EXPECT_EQ(types.at("output.weight"), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(5, "attn_v")), Type::kQ2_K);
  EXPECT_EQ(types.at(Layer(1, "ffn_down")), Type::kQ2_K);
  EXPECT_EQ(types.at(Layer(2, "ffn_down")), Type::kIQ2_XXS);
  types = plain.Types("IQ3_XS");
  EXPECT_EQ(types.at(Layer(5, "attn_q")), Type::kIQ3_XXS);
  EXPECT_EQ(types.at(Layer(5, "ffn_up")), Type::kIQ3_XXS);
  EXPECT_EQ(types.at(Layer(0, "ffn_up")), Type::kIQ3_S);
  types = Shapes(4, 8, 2, 256, 8).Types("MXFP4_MOE");
  EXPECT_EQ(types.at("output.weight"), Type::kQ8_0);
  EXPECT_EQ(types.at(Layer(1, "ffn_up_exps")), Type::kMXFP4);
  EXPECT_EQ(types.at(Layer(1, "attn_q")), Type::kQ8_0);
  EXPECT_EQ(types.at(Layer(1, "ffn_gate_inp")), Type::kF16);
}

TEST(RecipeTest, RowsThatDoNotFit) {
  EXPECT_EQ(TypeThatFits(Type::kQ4_K, 512), Type::kQ4_K);
  EXPECT_EQ(TypeThatFits(Type::kQ4_K, 576), Type::kQ5_0);
  EXPECT_EQ(TypeThatFits(Type::kQ5_K, 576), Type::kQ5_1);
  EXPECT_EQ(TypeThatFits(Type::kQ6_K, 576), Type::kQ8_0);
  EXPECT_EQ(TypeThatFits(Type::kQ2_K, 576), Type::kQ4_0);
  EXPECT_EQ(TypeThatFits(Type::kIQ2_XXS, 576), Type::kIQ4_NL);
  EXPECT_EQ(TypeThatFits(Type::kQ4_0, 100), Type::kF16);
  const auto types = Shapes(4, 8, 8, 96).Types("Q4_K_M");
  EXPECT_EQ(types.at(Layer(1, "attn_q")), Type::kQ5_0);
  EXPECT_EQ(types.at("output.weight"), Type::kQ8_0);
}

TEST(RecipeTest, Overrides) {
  const Shapes shapes(4, 8, 8);
  quantize::Overrides overrides;
  overrides.tensor_types = {{"blk\\.[01]\\.ffn_down", Type::kQ8_0}, {"ffn", Type::kQ5_K}};
  overrides.output = Type::kBF16;
  overrides.token_embedding = Type::kQ3_K;
  const auto types = shapes.Types("Q4_K_M", overrides);
  EXPECT_EQ(types.at(Layer(1, "ffn_down")), Type::kQ8_0);
  EXPECT_EQ(types.at(Layer(2, "ffn_down")), Type::kQ5_K);
  EXPECT_EQ(types.at(Layer(2, "attn_q")), Type::kQ4_K);
  EXPECT_EQ(types.at("output.weight"), Type::kBF16);
  EXPECT_EQ(types.at("token_embd.weight"), Type::kQ3_K);
  overrides = {};
  overrides.pure = true;
  for (const auto& [name, type] : shapes.Types("Q4_K_M", overrides)) {
    const bool is_norm = name.find("norm") != std::string::npos;
    EXPECT_EQ(type, is_norm ? Type::kF16 : Type::kQ4_K) << name;
  }
}

TEST(RecipeTest, Names) {
  EXPECT_EQ(FindRecipe("q4_k")->name, "Q4_K_M");
  EXPECT_EQ(FindRecipe("iq3_xs")->file_type, 22u);
  const absl::Status status = FindRecipe("Q4_K_X").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("Q4_K_X"), HasSubstr("IQ2_XXS")));
}

// --- Files
// -----------------------------------------------------------------------------------------

std::vector<float> RandomValues(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

class QuantizeTest : public ::testing::Test {
 protected:
  // Three matrices and a norm; `bad` becomes element 700 of blk.0.ffn_up.weight.
  void WriteSource(const std::string& path, Type type = Type::kF32, float bad = 0) {
    gguf::Writer writer;
    writer.Set("general.architecture", absl::string_view("llama"));
    writer.Set("general.file_type", uint32_t{0});
    writer.Set("general.name", absl::string_view("three matrices"));
    std::vector<std::vector<std::byte>> keep;
    for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
             {"token_embd.weight", {512, 40}},
             {"blk.0.attn_norm.weight", {512}},
             {"blk.0.ffn_up.weight", {512, 30}},
             {"blk.0.ffn_down_exps.weight", {256, 6, 3}}}) {
      size_t n = 1;
      for (const int64_t d : shape) n *= static_cast<size_t>(d);
      std::vector<float> values = RandomValues(n, static_cast<uint32_t>(n));
      if (bad != 0 && name == "blk.0.ffn_up.weight") values[700] = bad;
      const Type stored = shape.size() == 1 ? Type::kF32 : type;
      keep.emplace_back(static_cast<size_t>(quant::RowBytes(stored, static_cast<int64_t>(n))));
      ASSERT_TRUE(
          quant::EncodeRow(stored, values.data(), keep.back().data(), static_cast<int64_t>(n))
              .ok());
      ASSERT_TRUE(writer.AddTensor(name, stored, shape, keep.back()).ok());
    }
    ASSERT_TRUE(writer.Write(path).ok());
  }

  absl::StatusOr<Report> Run(const std::string& recipe_name, const Options& options = {},
                             ProgressFn progress = Always) {
    const auto file = gguf::File::Open(dir_.File("in.gguf"));
    if (!file.ok()) return file.status();
    const Recipe recipe = *FindRecipe(recipe_name);
    const auto choices = ChooseTypes(**file, recipe, {}, options.importance != nullptr);
    if (!choices.ok()) return choices.status();
    std::vector<Type> types;
    for (const Choice& choice : *choices) types.push_back(choice.type);
    Options with_type = options;
    with_type.file_type = recipe.file_type;
    return QuantizeFile(**file, dir_.File("out.gguf"), types, with_type, progress);
  }

  // The names of files in the folder but the source.
  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.path().filename() != "in.gguf") names.push_back(entry.path().filename());
    }
    return names;
  }

  TempDir dir_;
};

// Every recipe, and every tensor as the row encoder makes it.
TEST_F(QuantizeTest, EveryRecipe) {
  WriteSource(dir_.File("in.gguf"));
  const auto source = gguf::File::Open(dir_.File("in.gguf"));
  ASSERT_TRUE(source.ok());
  for (const Recipe& recipe : Recipes()) {
    Options options;
    options.overwrite = true;
    options.threads = 2;
    const auto report = Run(std::string(recipe.name), options);
    ASSERT_TRUE(report.ok()) << recipe.name << ": " << report.status();
    const auto file = gguf::File::Open(dir_.File("out.gguf"));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(*(*file)->GetUint("general.file_type"), recipe.file_type);
    EXPECT_EQ(*(*file)->GetUint("general.quantization_version"), 2u);
    EXPECT_EQ(*(*file)->GetString("general.name"), "three matrices");
    EXPECT_EQ(report->bytes_after, (*file)->file_bytes());
    for (size_t i = 0; i < report->tensors.size(); ++i) {
      const gguf::TensorInfo& before = (*source)->tensors()[i];
      const gguf::TensorInfo& after = (*file)->tensors()[i];
      EXPECT_EQ(before.name, after.name);
      EXPECT_EQ(before.shape, after.shape);
      EXPECT_EQ(after.type, report->tensors[i].to);
      std::vector<std::byte> expected(after.data.size());
      for (int64_t at = 0; at < before.elements(); at += before.shape[0]) {
        const auto* row = reinterpret_cast<const float*>(before.data.data()) + at;
        ASSERT_TRUE(quant::QuantizeRow(after.type, row, nullptr,
                                       expected.data() + quant::RowBytes(after.type, at),
                                       before.shape[0])
                        .ok());
      }
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), after.data.begin()))
          << recipe.name << " " << after.name;
    }
  }
  EXPECT_EQ(Left().size(), 1u);
}

TEST_F(QuantizeTest, ImportancePerColumnAndExpert) {
  WriteSource(dir_.File("in.gguf"), Type::kF16);
  quant::Importance importance;
  std::vector<float>& weights = importance.weights["blk.0.ffn_down_exps.weight"];
  for (int i = 0; i < 256 * 3; ++i) weights.push_back(static_cast<float>(1 + i % 7 + i / 256));
  Options options;
  options.importance = &importance;
  ASSERT_TRUE(Run("Q4_K_S", options).ok());
  const auto source = gguf::File::Open(dir_.File("in.gguf"));
  const auto file = gguf::File::Open(dir_.File("out.gguf"));
  ASSERT_TRUE(source.ok() && file.ok());
  const auto* before = (*source)->FindTensor("blk.0.ffn_down_exps.weight");
  const auto* after = (*file)->FindTensor("blk.0.ffn_down_exps.weight");
  // Row 13 is of the last expert.
  std::vector<float> row(256);
  quant::DecodeRow(Type::kF16, before->data.data() + 13 * 512, row.data(), 256);
  std::vector<std::byte> expected(static_cast<size_t>(quant::RowBytes(after->type, 256)));
  ASSERT_TRUE(
      quant::QuantizeRow(after->type, row.data(), weights.data() + 512, expected.data(), 256).ok());
  EXPECT_EQ(
      std::memcmp(expected.data(), after->data.data() + 13 * expected.size(), expected.size()), 0);
  options.overwrite = true;
  weights.resize(100);
  const absl::Status status = Run("Q4_K_S", options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("blk.0.ffn_down_exps.weight"), HasSubstr("100")));
}

TEST_F(QuantizeTest, NotFiniteWeights) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    WriteSource(dir_.File("in.gguf"), Type::kF32, bad);
    for (const char* recipe : {"Q4_K_M", "F16", "F32"}) {
      const absl::Status status = Run(recipe).status();
      ASSERT_FALSE(status.ok()) << recipe;
      EXPECT_THAT(status.message(), HasSubstr("blk.0.ffn_up.weight"));
      // Element 700 is 188 of row 1.
      EXPECT_THAT(status.message(), HasSubstr(std::string(recipe) == "F32" ? "700" : "188"));
      EXPECT_TRUE(Left().empty());
    }
  }
  // Finite, but beyond f16.
  WriteSource(dir_.File("in.gguf"), Type::kF32, 1e6f);
  EXPECT_EQ(Run("F16").status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(Left().empty());
  EXPECT_TRUE(Run("BF16").ok());
}

TEST_F(QuantizeTest, QuantizedSource) {
  WriteSource(dir_.File("in.gguf"), Type::kQ8_0);
  const absl::Status status = Run("Q4_K_M").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("token_embd.weight"), HasSubstr("Q8_0"),
                                      HasSubstr("--allow-requantize")));
  EXPECT_TRUE(Left().empty());
  Options options;
  options.overwrite = true;
  EXPECT_TRUE(Run("F16", options).ok());   // loses nothing more
  EXPECT_TRUE(Run("Q8_0", options).ok());  // copied
  options.allow_requantize = true;
  EXPECT_TRUE(Run("Q4_K_M", options).ok());
}

TEST_F(QuantizeTest, OutputsThatAreInTheWay) {
  WriteSource(dir_.File("in.gguf"));
  ASSERT_TRUE(Run("Q8_0").ok());
  const auto size = std::filesystem::file_size(dir_.File("out.gguf"));
  EXPECT_EQ(Run("Q4_0").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(std::filesystem::file_size(dir_.File("out.gguf")), size);
  std::filesystem::remove(dir_.File("out.gguf"));
  std::filesystem::create_symlink(dir_.File("in.gguf"), dir_.File("out.gguf"));
  Options options;
  options.overwrite = true;
  const absl::Status status = Run("Q4_0", options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("is the model to quantize"));
  EXPECT_TRUE(gguf::File::Open(dir_.File("in.gguf")).ok());
}

TEST_F(QuantizeTest, DryRunWritesNothing) {
  WriteSource(dir_.File("in.gguf"));
  Options options;
  options.dry_run = true;
  const auto planned = Run("Q5_K_M", options);
  ASSERT_TRUE(planned.ok());
  EXPECT_TRUE(Left().empty());
  const auto written = Run("Q5_K_M");
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(planned->bytes_after, written->bytes_after);
  EXPECT_EQ(planned->bytes_after, std::filesystem::file_size(dir_.File("out.gguf")));
}

TEST_F(QuantizeTest, CancelledLeavesNothing) {
  WriteSource(dir_.File("in.gguf"));
  int calls = 0;
  const absl::Status status = Run("Q4_K_M", {}, [&](const Progress& progress) {
                                EXPECT_LE(progress.bytes, progress.of_bytes);
                                return ++calls < 3;
                              }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
  EXPECT_TRUE(Left().empty());
}

// A limit on the size of files stands for a disk that fills up in the middle of the data.
TEST_F(QuantizeTest, FullDiskLeavesNothing) {
  WriteSource(dir_.File("in.gguf"));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 8192;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = Run("Q8_0").status();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("out.gguf"));
  EXPECT_TRUE(Left().empty());
}

TEST_F(QuantizeTest, TargetThatCannotBeWritten) {
  WriteSource(dir_.File("in.gguf"));
  const auto file = gguf::File::Open(dir_.File("in.gguf"));
  std::vector<Type> types;
  for (const auto& tensor : (*file)->tensors()) types.push_back(tensor.type);
  const absl::Status missing =
      QuantizeFile(**file, dir_.File("no/such/out.gguf"), types, {}, Always).status();
  EXPECT_FALSE(missing.ok());
  EXPECT_THAT(missing.message(), HasSubstr("no/such/out.gguf"));
  const absl::Status folder = QuantizeFile(**file, dir_.path(), types, {}, Always).status();
  EXPECT_EQ(folder.code(), absl::StatusCode::kInvalidArgument);
  if (geteuid() != 0) {  // root may write anywhere
    ASSERT_EQ(mkdir(dir_.File("closed").c_str(), 0555), 0);
    EXPECT_FALSE(QuantizeFile(**file, dir_.File("closed/out.gguf"), types, {}, Always).ok());
  }
  types.pop_back();
  EXPECT_FALSE(QuantizeFile(**file, dir_.File("out.gguf"), types, {}, Always).ok());
}

TEST_F(QuantizeTest, SplitModels) {
  const std::string golden = std::string(BANTAM_GOLDEN_DIR) + "/gguf/split-00001-of-00003.gguf";
  const auto source = gguf::File::Open(golden);
  ASSERT_TRUE(source.ok()) << source.status();
  std::vector<Type> types;
  for (const auto& tensor : (*source)->tensors()) types.push_back(tensor.type);
  Options options;
  ASSERT_TRUE(QuantizeFile(**source, dir_.File("one.gguf"), types, options, Always).ok());
  options.keep_split = true;
  const auto report = QuantizeFile(**source, dir_.File("many.gguf"), types, options, Always);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->outputs, ::testing::ElementsAre(dir_.File("many-00001-of-00003.gguf"),
                                                      dir_.File("many-00002-of-00003.gguf"),
                                                      dir_.File("many-00003-of-00003.gguf")));
  const auto one = gguf::File::Open(dir_.File("one.gguf"));
  const auto many = gguf::File::Open(report->outputs[1]);
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_EQ((*one)->Find("split.count"), nullptr);
  EXPECT_EQ((*one)->part_count(), 1);
  EXPECT_EQ((*many)->part_count(), 3);
  ASSERT_EQ((*one)->tensors().size(), (*source)->tensors().size());
  ASSERT_EQ((*many)->tensors().size(), (*source)->tensors().size());
  for (size_t i = 0; i < types.size(); ++i) {
    const auto& expected = (*source)->tensors()[i];
    for (const auto& file : {one->get(), many->get()}) {
      const auto& tensor = file->tensors()[i];
      EXPECT_EQ(tensor.name, expected.name);
      EXPECT_TRUE(std::equal(tensor.data.begin(), tensor.data.end(), expected.data.begin(),
                             expected.data.end()));
    }
    EXPECT_EQ((*many)->tensors()[i].part, expected.part);
  }
}

}  // namespace
}  // namespace bantam::quantize
