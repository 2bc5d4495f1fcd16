#include "runtime/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/engine/engine.h"
#include "runtime/plan/budget.h"
#include "runtime/plan/sensitivity.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
#include "tests/support/tiny_model.h"

namespace bantam::plan {
namespace {

using quant::Type;

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(ParseWeights, Sizes) {
  EXPECT_EQ(ParseWeights("7B"), 7e9);
  EXPECT_EQ(ParseWeights("0.5b"), 0.5e9);
  EXPECT_EQ(ParseWeights("135m"), 135e6);
  for (const char* text : {"", "B", "7", "7GB", "model.gguf", "1e3B", "-7B", "7.5.5B"}) {
    EXPECT_FALSE(ParseWeights(text).has_value()) << text;
  }
}

const Row& Find(const Plan& plan, absl::string_view recipe) {
  for (const Row& row : plan.rows) {
    if (row.recipe == recipe) return row;
  }
  ADD_FAILURE() << recipe;
  return plan.rows[0];
}

std::string Recommended(double weights, const Request& request) {
  const auto plan = PlanSize(weights, request);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan->recommended < 0 ? "" : plan->rows[plan->recommended].recipe;
}

TEST(PlanSize, RulesOfThumb) {
  EXPECT_EQ(Recommended(8e9, {.machine = {.ram = 64 * kGiB}}), "Q6_K");
  EXPECT_EQ(Recommended(8e9, {.machine = {.ram = 8 * kGiB}}), "Q4_K_M");
  EXPECT_EQ(Recommended(8e9, {.machine = {.ram = 6 * kGiB}}), "Q4_K_M");
  EXPECT_EQ(Recommended(8e9, {.machine = {.ram = uint64_t{3500} << 20}}), "Q2_K");
  EXPECT_EQ(Recommended(70e9, {.machine = {.ram = 8 * kGiB}}), "");
  const auto plan = PlanSize(8.03e9, {.machine = {.ram = 16 * kGiB, .vram = 6 * kGiB}});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->trained_context, 131072);
  const Row& row = Find(*plan, "Q8_0");
  // 8.5 bits of 8.03e9 weights; Llama 3.1 8B's cache: 32 layers, K and V of 1024 in 2 bytes.
  EXPECT_NEAR(static_cast<double>(row.weights), 8.53e9, 1e7);
  EXPECT_EQ(row.memory.kv_cache, 32 * 2 * 1024 * 2 * 4096);
  EXPECT_TRUE(row.fits);
  EXPECT_GT(row.gpu_layers, 0);
  EXPECT_LT(row.gpu_layers, 32);
  EXPECT_LE(row.in_vram, 6 * kGiB);
  EXPECT_EQ(row.in_vram + row.in_ram, row.total());
  EXPECT_FALSE(PlanSize(1, {}).ok());
  EXPECT_FALSE(PlanSize(8e9, {.context = 1 << 20}).ok());
}

class TinyFile : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::WriteTinyLlama(path_, {.weight_type = Type::kF16, .tied = false});
    file_ = *gguf::File::Open(path_);
  }
  testing::TempDir folder_;
  std::string path_ = folder_.File("m.gguf");
  std::unique_ptr<gguf::File> file_;
  ThreadPool pool_{2};
};

TEST_F(TinyFile, MemoryIsWhatASessionTakes) {
  auto model = engine::Model::Load(path_, {.device = "cpu"});
  ASSERT_TRUE(model.ok());
  // What the compiled steps hold besides does not depend on the context.
  std::optional<uint64_t> held;
  for (const int64_t context : {33, 100, 256}) {
    engine::SessionOptions options{.context = context, .ubatch = 24};
    auto session = engine::Session::Create(*model, options);
    ASSERT_TRUE(session.ok());
    const engine::MemoryUse use = (*session)->memory();
    const auto predicted =
        engine::PredictMemory((*model)->architecture(), (*model)->device().limits(), options);
    ASSERT_TRUE(predicted.ok());
    EXPECT_EQ(predicted->kv_cache, use.kv_cache);
    ASSERT_GE(use.compute, predicted->compute);
    EXPECT_EQ(use.compute - predicted->compute, held.value_or(use.compute - predicted->compute));
    held = use.compute - predicted->compute;
  }
}

TEST_F(TinyFile, FromAFile) {
  const uint64_t ram = 400 << 10;
  const auto plan = PlanFile(path_, {.machine = {.ram = ram}, .context = 64, .ubatch = 16});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->exact);
  EXPECT_EQ(plan->layers, 2);
  uint64_t f16 = 0;
  for (const gguf::TensorInfo& tensor : file_->tensors()) f16 += tensor.data.size();
  EXPECT_EQ(Find(*plan, "F16").weights, f16);
  for (const Row& row : plan->rows) {
    EXPECT_EQ(row.fits, row.total() <= ram) << row.recipe;
    if (row.longest_context == 0 || row.longest_context == 256) continue;
    const auto longer =
        PlanFile(path_, {.machine = {.ram = ram}, .context = row.longest_context, .ubatch = 16});
    ASSERT_TRUE(longer.ok());
    EXPECT_TRUE(Find(*longer, row.recipe).fits);
  }
  EXPECT_FALSE(PlanFile(path_, {.context = 257}).ok());
}

absl::Status Encode(Type type, const float* src, const float* weights, void* dst, int64_t n) {
  return quant::QuantizeRow(type, src, weights, dst, n);
}

TEST_F(TinyFile, WeightedErrorEqualsItsDefinition) {
  const gguf::TensorInfo& tensor = *file_->FindTensor("blk.0.ffn_up.weight");
  std::vector<float> weights(64);
  std::mt19937 random(1);
  for (float& w : weights) w = static_cast<float>(random() % 100);
  double expected = 0;
  std::vector<float> row(64), rounded(64);
  std::vector<std::byte> blocks(quant::RowBytes(Type::kQ4_0, 64));
  for (int64_t r = 0; r < 96; ++r) {
    quant::DecodeRow(Type::kF16, tensor.data.data() + r * 128, row.data(), 64);
    ASSERT_TRUE(
        quant::QuantizeRow(Type::kQ4_0, row.data(), weights.data(), blocks.data(), 64).ok());
    quant::DecodeRow(Type::kQ4_0, blocks.data(), rounded.data(), 64);
    for (int c = 0; c < 64; ++c) {
      expected += double{weights[c]} * std::pow(double{row[c]} - rounded[c], 2);
    }
  }
  const auto error = WeightedError(tensor, Type::kQ4_0, weights, Encode, pool_);
  ASSERT_TRUE(error.ok());
  EXPECT_NEAR(*error, expected, 1e-9 * expected);
  const auto sampled = WeightedError(tensor, Type::kQ4_0, weights, Encode, pool_, 48);
  EXPECT_NEAR(*sampled, expected, 0.25 * expected);  // half of the rows
  EXPECT_FALSE(WeightedError(tensor, Type::kQ4_0, std::span(weights).first(3), Encode, pool_).ok());
}

TEST_F(TinyFile, GainsPredictTheDivergenceOfOneTensor) {
  auto model = engine::Model::Load(path_, {.device = "cpu", .writable_weights = true});
  ASSERT_TRUE(model.ok()) << model.status();
  auto session = engine::Session::Create(*model, {.context = 32, .ubatch = 16});
  ASSERT_TRUE(session.ok());
  std::vector<tokenizer::TokenId> tokens(64);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 256);
  const auto windows = eval::CutWindows(**session, tokens, {.window = 32});
  ASSERT_TRUE(windows.ok());
  const std::vector<const gguf::TensorInfo*> tensors = ChangeableTensors((*model)->file());
  EXPECT_EQ(tensors.size(), 2 * 7 + 2);
  const auto measure = [&](Type type) {
    return MeasureGains(*model, *windows, tensors, {[type](auto&) { return type; }, nullptr},
                        Encode, **session, pool_, [](int64_t) { return true; });
  };
  const auto fine = measure(Type::kQ8_0), coarse = measure(Type::kQ5_0);
  ASSERT_TRUE(fine.ok() && coarse.ok()) << fine.status() << coarse.status();
  double ratio = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_GT((*fine)[i].divergence, 0) << tensors[i]->name;
    EXPECT_GT((*coarse)[i].error, 10 * (*fine)[i].error);
    ratio +=
        std::log((*coarse)[i].value() / (*fine)[i].value()) / static_cast<double>(tensors.size());
  }
  // Divergence in proportion to the weighted error, over a factor of 64: to second order only, and
  // on 30 tokens.
  EXPECT_NEAR(ratio, 0, std::log(2.0));
  // The model is as it was.
  const auto again = measure(Type::kF16);
  ASSERT_TRUE(again.ok());
  for (const Gain& gain : *again) EXPECT_LT(gain.divergence, 1e-6) << gain.tensor->name;
}

TEST_F(TinyFile, WithinABudget) {
  uint64_t elements = 0;
  for (const gguf::TensorInfo& tensor : file_->tensors()) elements += tensor.elements();
  double before = -1;
  for (const double bits : {16.5, 9.0, 6.0, 5.2}) {
    const auto budget = static_cast<uint64_t>(bits * static_cast<double>(elements) / 8);
    const auto choice =
        ChooseWithinBudget(*file_, budget, {}, pool_, [](int64_t, int64_t) { return true; });
    ASSERT_TRUE(choice.ok()) << choice.status();
    uint64_t bytes = 0;
    for (size_t i = 0; i < choice->types.size(); ++i) {
      const gguf::TensorInfo& tensor = file_->tensors()[i];
      bytes += quant::RowBytes(choice->types[i], tensor.shape[0]) * tensor.shape[1];
      EXPECT_TRUE(tensor.n_dims > 1 || choice->types[i] == Type::kF32) << tensor.name;
    }
    EXPECT_EQ(choice->bytes, bytes);
    EXPECT_LE(bytes, budget);
    EXPECT_GT(choice->cost, before);
    before = choice->cost;
    EXPECT_TRUE(bits < 16 || choice->cost == 0);  // nothing needs to change
  }
  const auto none = ChooseWithinBudget(*file_, 1000, {}, pool_, [](auto, auto) { return true; });
  EXPECT_TRUE(absl::IsResourceExhausted(none.status())) << none.status();
}

}  // namespace
}  // namespace bantam::plan
