#include "runtime/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "runtime/device/registry.h"
#include "runtime/engine/engine.h"
#include "runtime/gguf/layout.h"
#include "runtime/model/architecture.h"
#include "runtime/plan/budget.h"
#include "runtime/plan/sensitivity.h"
#include "runtime/quant/decode.h"
#include "runtime/quant/encode.h"
#include "runtime/quantize/recipe.h"
#include "runtime/schedule/measure.h"
#include "tests/support/tiny_model.h"

namespace bantam::plan {
namespace {

using quant::Type;

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(ParseSize, Sizes) {
  EXPECT_EQ(ParseSize("7B"), (ModelSize{7e9, 0}));
  EXPECT_EQ(ParseSize("0.5b"), (ModelSize{0.5e9, 0}));
  EXPECT_EQ(ParseSize("135m"), (ModelSize{135e6, 0}));
  EXPECT_EQ(ParseSize("30B-A3B"), (ModelSize{30e9, 3e9}));
  for (const char* text : {"", "B", "7", "7GB", "model.gguf", "1e3B", "-7B", "7.5.5B", "30B-",
                           "7B-3B", "30B-A", "3B-A30B", "30B-A0B"}) {
    EXPECT_FALSE(ParseSize(text).has_value()) << text;
  }
}

TEST(Typical, HasTheSizeAskedFor) {
  for (const char* text : {"135M", "1B", "3B", "7B", "8B", "13B", "24B", "32B", "70B", "123B",
                           "405B", "30B-A3B", "47B-A13B", "235B-A22B", "120B-A12B"}) {
    const ModelSize size = *ParseSize(text);
    const auto model = Typical(size);
    ASSERT_TRUE(model.ok()) << model.status();
    double elements = 0;
    for (const gguf::TensorInfo& tensor : (*model)->file->tensors()) {
      elements += static_cast<double>(tensor.elements());
    }
    // One layer more or less, and names are rounded ("Llama 3.2 1B" has 1.24).
    EXPECT_NEAR(elements, size.weights, 0.25 * size.weights) << text;
    EXPECT_TRUE(model::Open(*(*model)->file).ok());
  }
}

Machine Described(uint64_t ram, std::vector<uint64_t> vram = {}) {
  Machine machine;
  for (const uint64_t bytes : vram) machine.devices.push_back(TypicalCard("card", bytes));
  machine.devices.push_back(TypicalHost());
  machine.ram = ram;
  return machine;
}

const Row& Find(const Plan& plan, absl::string_view recipe) {
  for (const Row& row : plan.rows) {
    if (row.recipe == recipe) return row;
  }
  ADD_FAILURE() << recipe;
  return plan.rows[0];
}

std::string Recommended(double weights, Request request) {
  request.find_longest_context = false;
  const auto plan = PlanSize({weights}, request);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan->recommended < 0 ? "" : plan->rows[plan->recommended].recipe;
}

TEST(PlanSize, RulesOfThumb) {
  EXPECT_EQ(Recommended(8e9, {.machine = Described(64 * kGiB)}), "Q6_K");
  EXPECT_EQ(Recommended(8e9, {.machine = Described(8 * kGiB)}), "Q4_K_M");
  EXPECT_EQ(Recommended(8e9, {.machine = Described(6 * kGiB)}), "Q4_K_M");
  EXPECT_EQ(Recommended(8e9, {.machine = Described(uint64_t{3650} << 20)}), "Q2_K");
  EXPECT_EQ(Recommended(70e9, {.machine = Described(8 * kGiB)}), "");
  // What a card holds whole, else the usual.
  EXPECT_EQ(Recommended(8e9, {.machine = Described(16 * kGiB, {12 * kGiB})}), "Q6_K");
  EXPECT_EQ(Recommended(8e9, {.machine = Described(16 * kGiB, {uint64_t{6300} << 20})}), "Q5_K_M");
  EXPECT_EQ(Recommended(8e9, {.machine = Described(16 * kGiB, {4 * kGiB})}), "Q4_K_M");
  EXPECT_FALSE(PlanSize({1}, {.machine = Described(kGiB)}).ok());
  EXPECT_FALSE(PlanSize({8e9}, {.machine = Described(kGiB), .context = 1 << 20}).ok());
  EXPECT_FALSE(PlanSize({8e9}, {}).ok());
}

TEST(PlanSize, EveryByteHasItsPlace) {
  const Machine machine = Described(16 * kGiB, {6 * kGiB});
  const auto plan = PlanSize({8.03e9}, {.machine = machine});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->trained_context, 131072);
  EXPECT_EQ(plan->layers, 32);
  for (const Row& row : plan->rows) {
    ASSERT_EQ(row.placement.memory.size(), 2);
    EXPECT_LE(row.placement.memory[0].total(), 6 * kGiB);
    // Llama 3.1 8B's cache: 32 layers, K and V of 1024 in 2 bytes.
    EXPECT_EQ(row.placement.memory[0].kv_cache + row.placement.memory[1].kv_cache,
              32 * 2 * 1024 * 2 * 4096);
    EXPECT_GE(row.placement.memory[0].weights + row.placement.memory[1].weights, row.weights);
    EXPECT_EQ(row.fits, row.placement.memory[1].total() <= 16 * kGiB);
    EXPECT_GT(row.generate_speed(), 0);
    EXPECT_LE(row.longest_context, 131072);
  }
  // 8.5 bits of 8.03e9 weights
  EXPECT_NEAR(static_cast<double>(Find(*plan, "Q8_0").weights), 8.53e9, 1e7);
  EXPECT_FALSE(Find(*plan, "Q8_0").on_cards);
  // The context that is said to be the longest does fit, and what does not fit by far is not said.
  const Row& row = Find(*plan, "Q8_0");
  const auto longer = PlanSize({8.03e9}, {.machine = machine,
                                          .context = row.longest_context,
                                          .recipes = {"Q8_0"},
                                          .find_longest_context = false});
  ASSERT_TRUE(longer.ok());
  EXPECT_TRUE(Find(*longer, "Q8_0").fits);
}

// As many whole layers, the last first, as fit in 90 % of each card: bytes of weights and KV cache.
uint64_t ByWholeLayers(const ModelSize& size, const Row& row, const Machine& machine,
                       int64_t layers) {
  const auto model = Typical(size);
  const auto recipe = quantize::FindRecipe(row.recipe);
  const auto types = quantize::ChooseTypes(*(*model)->file, *recipe, {}, true);
  uint64_t kv = 0, of_layers = 0, bytes = 0;
  for (const schedule::DeviceMemory& memory : row.placement.memory) kv += memory.kv_cache;
  for (size_t i = 0; i < types->size(); ++i) {
    const gguf::TensorInfo& tensor = (*model)->file->tensors()[i];
    if (tensor.name.substr(0, 4) != "blk.") continue;
    of_layers += *gguf::TensorBytes((*types)[i].type, tensor.shape);
  }
  const uint64_t layer = (of_layers + kv) / layers;
  for (size_t d = 0; d + 1 < machine.devices.size(); ++d) {
    const auto room =
        static_cast<uint64_t>(0.9 * machine.devices[d].capacity) - row.placement.memory[d].compute;
    const uint64_t count = std::min<uint64_t>(room / layer, layers);
    layers -= static_cast<int64_t>(count);
    bytes += count * layer;
  }
  return bytes;
}

TEST(PlanSize, PlacesMoreThanWholeLayersWithAMargin) {
  for (const auto& vram :
       std::vector<std::vector<uint64_t>>{{4 * kGiB}, {12 * kGiB}, {8 * kGiB, 16 * kGiB}}) {
    const Machine machine = Described(64 * kGiB, vram);
    for (const ModelSize& size : {ModelSize{8e9}, ModelSize{14e9}, ModelSize{30e9, 3e9}}) {
      const auto plan = PlanSize(size, {.machine = machine,
                                        .context = 8192,
                                        .recipes = {"Q8_0", "Q4_K_M"},
                                        .find_longest_context = false});
      ASSERT_TRUE(plan.ok()) << plan.status();
      for (const Row& row : plan->rows) {
        EXPECT_GE(row.in_vram, ByWholeLayers(size, row, machine, plan->layers))
            << row.recipe << " of " << size.weights;
      }
    }
  }
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
  const auto plan = PlanFile(path_, {.machine = Described(ram), .context = 64, .ubatch = 16});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->exact);
  EXPECT_EQ(plan->layers, 2);
  uint64_t f16 = 0;
  for (const gguf::TensorInfo& tensor : file_->tensors()) f16 += tensor.data.size();
  EXPECT_EQ(Find(*plan, "F16").weights, f16);
  for (const Row& row : plan->rows) {
    EXPECT_EQ(row.fits, row.total <= ram) << row.recipe;
    if (row.longest_context == 0 || row.longest_context == 256) continue;
    const auto longer =
        PlanFile(path_, {.machine = Described(ram), .context = row.longest_context, .ubatch = 16});
    ASSERT_TRUE(longer.ok());
    EXPECT_TRUE(Find(*longer, row.recipe).fits);
  }
  EXPECT_FALSE(PlanFile(path_, {.machine = Described(ram), .context = 257}).ok());
}

// Of a device that is here: with its own size of steps, and what its programs need besides.
TEST_F(TinyFile, OnADeviceThatIsHere) {
  Machine machine;
  machine.open.push_back(*device::OpenDevice("cpu", {.threads = 1}));
  machine.ram = kGiB;
  schedule::DescribeDevice(*machine.open[0], machine.devices.emplace_back());
  const auto plan = PlanFile(path_, {.machine = machine, .context = 256, .recipes = {"F16"}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  auto model = engine::Model::Load(path_, {.device = "cpu", .threads = 1, .repack = false});
  ASSERT_TRUE(model.ok());
  const auto ubatch = std::min<int64_t>(256, machine.open[0]->limits().ubatch);
  auto session = engine::Session::Create(*model, {.context = 256, .ubatch = ubatch});
  ASSERT_TRUE(session.ok());
  const schedule::DeviceMemory& predicted = plan->rows[0].placement.memory[0];
  const schedule::DeviceMemory taken = (*session)->device_memory()[0];
  EXPECT_EQ(plan->rows[0].placement.prompt_rows, ubatch);
  EXPECT_EQ(predicted.kv_cache, taken.kv_cache);
  EXPECT_EQ(predicted.inputs, taken.inputs);
  EXPECT_EQ(predicted.compute, taken.compute);
  EXPECT_GT(predicted.scratch, 0);
  EXPECT_EQ(predicted.scratch, taken.scratch);
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
