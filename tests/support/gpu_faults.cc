#include "tests/support/gpu_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "runtime/engine/engine.h"
#include "tests/support/tiny_model.h"

namespace bantam::testing {

void CheckThatAllocationFailuresAreStatuses(const FaultyGpu& gpu) {
  TempDir folder;
  const std::string path = folder.File("model.gguf");
  WriteTinyLlama(path);
  int failures = 0;
  for (int fault = 1; fault < 100; ++fault) {
    gpu.allocation_in = fault;
    auto model = engine::Model::Load(path, {.device = gpu.device});
    absl::Status status = model.status();
    if (model.ok()) {
      status = engine::Session::Create(*model, {.context = 64, .ubatch = 2}).status();
    }
    if (status.ok()) break;
    ++failures;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
  gpu.allocation_in = 0;
  EXPECT_GE(failures, 4);  // weights, inputs, cache, intermediate values
}

void CheckThatALostGpuIsAStatus(const FaultyGpu& gpu, const std::function<void()>& let_go) {
  TempDir folder;
  const std::string path = folder.File("model.gguf");
  WriteTinyLlama(path);
  const std::vector<int32_t> prompt = {1, 2, 3};
  std::vector<float> expected;
  for (int round = 0; round < 3; ++round) {
    auto model = engine::Model::Load(path, {.device = gpu.device});
    ASSERT_TRUE(model.ok()) << model.status();
    auto session = engine::Session::Create(*model, {.context = 64, .ubatch = 4});
    ASSERT_TRUE(session.ok()) << session.status();
    absl::Status status = (*session)->Decode(prompt);
    ASSERT_TRUE(status.ok()) << status;
    const auto logits = (*session)->Logits();
    if (expected.empty()) expected.assign(logits.begin(), logits.end());
    EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), expected);
    gpu.start_in = 1;
    for (int call = 0; call < 2; ++call) {
      status = (*session)->Decode(prompt);
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("lost"));
    }
    EXPECT_FALSE(engine::Session::Create(*model, {.context = 64}).ok());
    let_go();
  }
}

}  // namespace bantam::testing
