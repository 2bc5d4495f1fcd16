#include "runtime/plan/sensitivities.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "runtime/plan/budget.h"
#include "tests/support/tiny_model.h"

namespace bantam::plan {
namespace {

using quant::Type;

class TwelveLayers : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::WriteTinyLlama(path_, {.layers = 12, .weight_type = Type::kF16});
    file_ = *gguf::File::Open(path_);
  }
  Gain Of(const std::string& name, double sensitivity) const {
    Gain gain;
    gain.tensor = file_->FindTensor(name);
    gain.divergence = sensitivity / 8;
    gain.error = 2;
    gain.energy = 16;
    return gain;
  }
  testing::TempDir folder_;
  std::string path_ = folder_.File("m.gguf");
  std::unique_ptr<gguf::File> file_;
};

TEST_F(TwelveLayers, SomeAreMeasured) {
  EXPECT_EQ(TensorsToMeasure(*file_, 0).size(), ChangeableTensors(*file_).size());
  EXPECT_EQ(TensorsToMeasure(*file_, 12).size(), ChangeableTensors(*file_).size());
  for (const int64_t layers : {1, 3, 5, 8, 11}) {
    std::set<std::string> seen;
    for (const gguf::TensorInfo* tensor : TensorsToMeasure(*file_, layers)) {
      if (absl::StrContains(tensor->name, "attn_v")) seen.insert(std::string(tensor->name));
    }
    EXPECT_LE(seen.size(), static_cast<size_t>(std::max<int64_t>(layers, 3)));
    EXPECT_GE(seen.size(), static_cast<size_t>(std::min<int64_t>(layers, 3)));
    EXPECT_TRUE(seen.contains("blk.0.attn_v.weight"));
    EXPECT_TRUE(seen.contains("blk.11.attn_v.weight"));
  }
}

TEST_F(TwelveLayers, WhatIsBetweenIsInterpolated) {
  const Gain measured[] = {Of("blk.1.attn_v.weight", 1), Of("blk.5.attn_v.weight", 16),
                           Of("token_embd.weight", 7)};
  const Sensitivities all = SpreadSensitivities(*file_, measured);
  EXPECT_EQ(all.size(), ChangeableTensors(*file_).size());
  EXPECT_NEAR(all.at("blk.1.attn_v.weight"), 1, 1e-9);
  EXPECT_NEAR(all.at("blk.2.attn_v.weight"), 2, 1e-9);  // evenly in the logarithm
  EXPECT_NEAR(all.at("blk.3.attn_v.weight"), 4, 1e-9);
  EXPECT_NEAR(all.at("blk.5.attn_v.weight"), 16, 1e-9);
  EXPECT_NEAR(all.at("blk.0.attn_v.weight"), 1, 1e-9);
  EXPECT_NEAR(all.at("blk.11.attn_v.weight"), 16, 1e-9);
  EXPECT_NEAR(all.at("token_embd.weight"), 7, 1e-9);
  // Of a kind that was not measured at all.
  const Sensitivities typical = TypicalSensitivities(*file_);
  EXPECT_EQ(all.at("blk.3.ffn_down.weight"), typical.at("blk.3.ffn_down.weight"));
}

TEST_F(TwelveLayers, KeptInAFile) {
  const Sensitivities all = TypicalSensitivities(*file_);
  const std::string path = folder_.File("s.json");
  ASSERT_EQ(SaveSensitivities(all, path), absl::OkStatus());
  const auto read = ReadSensitivities(path, *file_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, all);
  testing::WriteTinyLlama(folder_.File("deeper.gguf"), {.layers = 13, .weight_type = Type::kF16});
  const auto deeper = gguf::File::Open(folder_.File("deeper.gguf"));
  EXPECT_THAT(std::string(ReadSensitivities(path, **deeper).status().message()),
              ::testing::HasSubstr("blk.12."));
  EXPECT_FALSE(ReadSensitivities(path_, *file_).ok());
  EXPECT_FALSE(ReadSensitivities(folder_.File("none"), *file_).ok());
}

// The output head's errors are the model's, so that it gets more bits than the layers.
TEST_F(TwelveLayers, TheHeadIsNotStarved) {
  uint64_t elements = 0;
  for (const gguf::TensorInfo& tensor : file_->tensors()) elements += tensor.elements();
  const auto choice =
      ChooseWithinBudget(*file_, elements * 6 / 8, {}, *std::make_unique<ThreadPool>(2),
                         [](auto, auto) { return true; });
  ASSERT_TRUE(choice.ok()) << choice.status();
  double head = 0, layers = 0, of_layers = 0;
  for (size_t i = 0; i < choice->types.size(); ++i) {
    const gguf::TensorInfo& tensor = file_->tensors()[i];
    if (tensor.n_dims < 2) continue;
    const auto bits = static_cast<double>(quant::RowBytes(choice->types[i], tensor.elements())) * 8;
    if (tensor.name == "token_embd.weight") {
      head = bits / static_cast<double>(tensor.elements());
    } else {
      layers += bits;
      of_layers += static_cast<double>(tensor.elements());
    }
  }
  EXPECT_GT(head, layers / of_layers);
}

}  // namespace
}  // namespace bantam::plan
