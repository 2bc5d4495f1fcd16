// What tests of models on two devices have in common: a card whose memory is counted to the byte
// (tests/support/capped_device.h) beside a slow host.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/engine/engine.h"
#include "tests/support/capped_device.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {

inline const device::BackendRegistration kCapped(std::make_unique<CappedBackend>());

inline std::string GoldenModel(const std::string& name) {
  return absl::StrCat(BANTAM_GOLDEN_DIR, "/models/", name, ".gguf");
}

class SplitFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(capped_memory.used, 0) << "an earlier test leaked";
    capped_memory = CappedMemory();
  }
  void TearDown() override { EXPECT_EQ(capped_memory.used, 0) << "leaked"; }

  // A fast card, so that what fits goes there.
  engine::LoadOptions OptionsFor(const std::string& device, const engine::SessionOptions& session) {
    engine::LoadOptions options;
    options.device = device;
    options.threads = 1;
    options.expected = session;
    options.profiles.resize(2);
    options.profiles[0].bandwidth = 1e12;
    options.profiles[0].operations = 1e14;
    options.profiles[0].transfer_bandwidth = 1e11;
    options.notice = [this](absl::string_view line) { notices_.emplace_back(line); };
    options.expected.notice = options.notice;
    return options;
  }
  static std::unique_ptr<engine::Session> Open(const std::string& path,
                                               const engine::LoadOptions& options) {
    auto model = engine::Model::Load(path, options);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return nullptr;
    auto session = engine::Session::Create(*std::move(model), options.expected);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *std::move(session) : nullptr;
  }

  // How often experts of a mixture were used, some far more than others.
  static std::shared_ptr<schedule::ExpertUse> RandomUse(const std::string& path,
                                                        std::mt19937& random) {
    auto use = std::make_shared<schedule::ExpertUse>();
    const auto file = gguf::File::Open(path);
    if (!file.ok()) return use;
    for (int l = 0;; ++l) {
      const auto* router = (*file)->FindTensor(absl::StrCat("blk.", l, ".ffn_gate_inp.weight"));
      if (router == nullptr) return use;
      std::vector<double>& counts = use->counts.emplace_back();
      for (int64_t e = 0; e < router->shape[1]; ++e) {
        counts.push_back(std::pow(2.0, static_cast<double>(random() % 1000) / 100));
      }
    }
  }

  TempDir dir_;
  std::vector<std::string> notices_;
};

}  // namespace bantam::testing
