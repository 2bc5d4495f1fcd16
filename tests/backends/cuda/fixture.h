// What tests of the CUDA backend on the emulator share. The backend is linked in, so that failures
// can be injected.
#pragma once

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "backends/cuda/device.h"
#include "tests/conformance/harness.h"
#include "tests/cuda_emulator/faults.h"
#include "tests/support/gpu_faults.h"

namespace bantam::cuda {

using conformance::Case;
using conformance::Check;
using conformance::Runner;
using emulator::TheFaults;
using graph::Op;
using graph::ValueId;
using quant::Type;

inline constexpr char kDevice[] = "cuda-emulated:0";

// Before any device is listed: no plug-ins, and the backend that is linked in.
inline const bool kRegistered = [] {
  setenv("BANTAM_PLUGIN_PATH", "", 1);
  device::RegisterBackend(NewBackend());
  return true;
}();

inline const testing::FaultyGpu kFaulty = {kDevice, TheFaults().allocation_in,
                                           TheFaults().launch_in};

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(kRegistered); }
  void TearDown() override {
    TheFaults().allocation_in = 0;
    TheFaults().launch_in = 0;
  }
  static absl::StatusOr<std::unique_ptr<device::Device>> Open() {
    return device::OpenDevice(kDevice, {});
  }
};

// Normalised mean squared error.
inline double Error(const std::vector<float>& expected, const std::vector<float>& found) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{expected[i]} - found[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return error / norm;
}

}  // namespace bantam::cuda
