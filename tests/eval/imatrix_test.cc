#include "runtime/eval/imatrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "runtime/engine/matmul_inputs.h"
#include "runtime/eval/imatrix_file.h"
#include "runtime/quant/decode.h"
#include "tests/support/tiny_model.h"

namespace bantam {
namespace {

using tokenizer::TokenId;

std::vector<float> Values(const gguf::File& file, absl::string_view name) {
  const gguf::TensorInfo* tensor = file.FindTensor(name);
  std::vector<float> values(tensor->elements());
  quant::DecodeRow(tensor->type, tensor->data.data(), values.data(), tensor->elements());
  return values;
}

class Collect : public ::testing::Test {
 protected:
  std::unique_ptr<engine::Session> Open(bool keep) {
    testing::WriteTinyLlama(folder_.File("m.gguf"), {});
    auto model = engine::Model::Load(folder_.File("m.gguf"), {.device = "reference"});
    EXPECT_TRUE(model.ok()) << model.status();
    // Steps of 5 do not divide the window: the last one is padded.
    auto session = engine::Session::Create(
        *std::move(model), {.context = 32, .ubatch = 5, .keep_matmul_inputs = keep});
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }
  testing::TempDir folder_;
};

TEST_F(Collect, SquaresOfWhatTheWeightsMultiply) {
  auto session = Open(true);
  std::mt19937 random(1);
  std::vector<TokenId> tokens(40);
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % 256);
  const auto windows = eval::CutWindows(*session, tokens, {.window = 16});
  ASSERT_TRUE(windows.ok());
  const auto imatrix =
      eval::CollectImatrix(*session, *windows, {.output = true}, [](int64_t) { return true; });
  ASSERT_TRUE(imatrix.ok()) << imatrix.status();
  EXPECT_EQ(imatrix->chunks, 2);
  EXPECT_EQ(imatrix->entries.size(), 2 * 7 + 1);
  for (const auto& [name, entry] : imatrix->entries) {
    EXPECT_THAT(entry.counts, ::testing::ElementsAre(32)) << name;
    EXPECT_EQ(entry.columns(), name.find("ffn_down") != std::string::npos ? 96 : 64) << name;
  }
  // The first layer's Q, K and V multiply the normalised embeddings.
  const gguf::File& file = session->model().file();
  const std::vector<float> table = Values(file, "token_embd.weight");
  const std::vector<float> norm = Values(file, "blk.0.attn_norm.weight");
  std::vector<double> sums(64);
  for (int i = 0; i < 32; ++i) {
    const float* x = table.data() + windows->tokens[i] * 64;
    double square = 0;
    for (int c = 0; c < 64; ++c) square += double{x[c]} * x[c] / 64;
    for (int c = 0; c < 64; ++c) sums[c] += std::pow(x[c] / std::sqrt(square + 1e-5) * norm[c], 2);
  }
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    const std::vector<double>& got = imatrix->entries.at(name).sums;
    for (int c = 0; c < 64; ++c) EXPECT_NEAR(got[c], sums[c], 1e-4 * sums[c]) << name << c;
  }
  const auto without =
      eval::CollectImatrix(*session, *windows, {}, [](int64_t done) { return done < 1; });
  ASSERT_TRUE(without.ok());
  EXPECT_EQ(without->chunks, 1);
  EXPECT_FALSE(without->entries.contains("token_embd.weight"));
}

TEST_F(Collect, NeedsASessionThatKeeps) {
  auto session = Open(false);
  const std::vector<TokenId> tokens(16, 65);
  const auto windows = eval::CutWindows(*session, tokens, {.window = 16});
  EXPECT_FALSE(eval::CollectImatrix(*session, *windows, {}, [](int64_t) { return true; }).ok());
}

class HostMemory : public device::Buffer {
 public:
  explicit HostMemory(size_t bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  std::span<std::byte> host() override { return bytes_; }
  absl::Status Upload(uint64_t, std::span<const std::byte>) override { return absl::OkStatus(); }
  absl::Status Download(uint64_t, std::span<std::byte>) override { return absl::OkStatus(); }

 private:
  std::vector<std::byte> bytes_;
};

TEST(MatMulInputs, RowsGoToTheExpertsThatTookThem) {
  // Two tokens (and a third, padding) of 3 elements, shared by both of their experts.
  HostMemory memory(256);
  const float x[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const int32_t ids[6] = {3, 0, 0, -1, 1, 1};
  std::memcpy(memory.host().data(), x, sizeof(x));
  std::memcpy(memory.host().data() + 64, ids, sizeof(ids));
  engine::MatMulInput input{
      {"w"}, {0, 36, {3, 1, 3, 1}, {4, 12, 12, 36}}, {64, 24, {2, 3, 1, 1}, {4, 8, 24, 24}}, 4};
  std::vector<std::pair<int64_t, float>> got;
  ASSERT_TRUE(
      engine::ReadMatMulInput(input, memory, 2,
                              [&](auto weights, int64_t expert, std::span<const float> row) {
                                EXPECT_EQ(weights[0], "w");
                                EXPECT_EQ(row.size(), 3);
                                got.emplace_back(expert, row[0]);
                              })
          .ok());
  EXPECT_THAT(got,
              ::testing::ElementsAre(std::pair(3, 1.0f), std::pair(0, 1.0f), std::pair(0, 4.0f)));
}

eval::Imatrix Example() {
  eval::Imatrix imatrix;
  imatrix.datasets = {"text.txt"};
  imatrix.chunks = 3;
  imatrix.chunk_size = 512;
  imatrix.entries["blk.0.attn_q.weight"] = {{1.5, 0, 7}, {1536}};
  imatrix.entries["blk.0.ffn_up_exps.weight"] = {{1, 2, 0, 0, 5, 6}, {100, 0, 1436}};
  return imatrix;
}

TEST(ImatrixFile, BothFormsKeepTheMeans) {
  testing::TempDir folder;
  const eval::Imatrix imatrix = Example();
  const quant::Importance expected = eval::ImportanceOf(imatrix);
  EXPECT_THAT(expected.weights.at("blk.0.ffn_up_exps.weight"),
              ::testing::ElementsAre(0.01f, 0.02f, 1, 1, 5.0f / 1436, 6.0f / 1436));
  for (const auto format : {eval::ImatrixFormat::kGguf, eval::ImatrixFormat::kBinary}) {
    const std::string path = folder.File("m");
    ASSERT_EQ(eval::WriteImatrix(path, imatrix, format), absl::OkStatus());
    const auto read = eval::ReadImatrix(path);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->chunks, 3);
    EXPECT_EQ(read->datasets, imatrix.datasets);
    if (format == eval::ImatrixFormat::kGguf) {
      EXPECT_EQ(read->chunk_size, 512);
      EXPECT_EQ(read->entries.at("blk.0.ffn_up_exps.weight").counts,
                imatrix.entries.at("blk.0.ffn_up_exps.weight").counts);
    }
    const quant::Importance got = eval::ImportanceOf(*read);
    ASSERT_EQ(got.weights.size(), expected.weights.size());
    for (const auto& [name, weights] : expected.weights) {
      EXPECT_THAT(got.weights.at(name), ::testing::Pointwise(::testing::FloatEq(), weights));
    }
  }
}

TEST(ImatrixFile, BinaryLayout) {
  // By hand, from the layout in imatrix_file.h.
  testing::TempDir folder;
  ASSERT_EQ(eval::WriteImatrix(folder.File("m"), Example(), eval::ImatrixFormat::kBinary),
            absl::OkStatus());
  std::ifstream in(folder.File("m"), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  std::string expected;
  const auto put = [&](auto value) {
    expected.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  put(int32_t{2});
  put(int32_t{19});
  expected += "blk.0.attn_q.weight";
  put(int32_t{3});  // 1536 rows in chunks of 512
  put(int32_t{3});
  for (float mean : {1.5f / 1536, 0.0f, 7.0f / 1536}) put(mean * 3);
  EXPECT_EQ(bytes.substr(0, expected.size()), expected);
}

TEST(ImatrixFile, NothingMalformedIsTaken) {
  testing::TempDir folder;
  std::mt19937 random(3);
  for (const auto format : {eval::ImatrixFormat::kGguf, eval::ImatrixFormat::kBinary}) {
    const std::string path = folder.File("m");
    ASSERT_EQ(eval::WriteImatrix(path, Example(), format), absl::OkStatus());
    std::ifstream in(path, std::ios::binary);
    const std::string good(std::istreambuf_iterator<char>(in), {});
    for (int i = 0; i < 200; ++i) {
      std::string bytes = good.substr(0, i % 2 == 0 ? good.size() : 1 + random() % good.size());
      bytes[random() % bytes.size()] = static_cast<char>(random());
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
      const auto read = eval::ReadImatrix(path);
      if (!read.ok()) {
        EXPECT_EQ(std::string(read.status().message()).find(path), 0) << read.status();
      }
    }
  }
  eval::Imatrix bad = Example();
  bad.entries["blk.0.attn_q.weight"].sums[1] = NAN;
  ASSERT_EQ(eval::WriteImatrix(folder.File("bad"), bad, eval::ImatrixFormat::kGguf),
            absl::OkStatus());
  EXPECT_FALSE(eval::ReadImatrix(folder.File("bad")).ok());
  EXPECT_FALSE(eval::WriteImatrix(folder.File("none"), {}, eval::ImatrixFormat::kGguf).ok());
}

}  // namespace
}  // namespace bantam
