// From nodes to launches of kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "backends/cuda/blas.h"
#include "backends/cuda/gpu.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/settings.h"
#include "runtime/graph/graph.h"

namespace bantam::cuda {

// OK when the backend runs `node`, else kUnimplemented with the reason; the graph is inferred.
absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node);

// A value resolved to device memory.
struct Tensor {
  std::byte* data = nullptr;  // element 0; null when empty
  quant::Type type = quant::Type::kF32;
  graph::Shape shape = {1, 1, 1, 1};
  graph::Strides strides = {};  // bytes

  bool empty() const { return graph::ElementCount(shape) == 0; }
  View view() const;
  uint64_t SpanBytes() const;
};
// Bytes of scratch, up to where more may begin.
inline uint64_t Aligned(int64_t bytes) { return (static_cast<uint64_t>(bytes) + 255) / 256 * 256; }
bool SameMemory(const Tensor& a, const Tensor& b);
bool Overlap(const Tensor& a, const Tensor& b);
// Whether none of some overlaps any of the others.
bool AreApart(const std::vector<Tensor>& some, const std::vector<Tensor>& others);
inline float* Floats(const Tensor& tensor) { return reinterpret_cast<float*>(tensor.data); }
inline int32_t* Ints(const Tensor& tensor) { return reinterpret_cast<int32_t*>(tensor.data); }

// A node to run and its values.
struct Step {
  const graph::Node* node = nullptr;
  std::vector<Tensor> inputs;
  Tensor output;
  bool is_read_once = false;  // the output: by one node, whose input it is as it is
};

// A launch, with the executable's own memory given when it is made.
struct OwnMemory {
  std::byte* constants = nullptr;
  std::byte* scratch = nullptr;
};
struct KernelLaunch {
  std::string kernel;  // for people
  uint64_t weight_bytes = 0;
  std::function<absl::Status(const OwnMemory&, Stream)> launch;
  // What it touches. Launches of one product, of parts of its output, have its number.
  enum class Scratch : uint8_t { kNo, kReads, kWrites } scratch = Scratch::kNo;
  int product = 0;  // 0: none
  std::vector<Tensor> reads, writes;
  // A library takes part, which loads what it picks when it is first asked to compute.
  bool by_library = false;
};
// Whether a product of these steps is one that cuBLAS computes where it is there.
bool WantsBlas(std::span<const Step> steps, const driver::DeviceInfo& info);
// Whether `later` may begin before `earlier` has ended.
bool MayRunBeside(const KernelLaunch& earlier, const KernelLaunch& later);

class Lowering {
 public:
  // `blas`: where WantsBlas, and there is one.
  Lowering(const driver::DeviceInfo& info, const Settings& settings, Blas* blas)
      : info_(info), settings_(settings), blas_(blas) {}

  // Appends the launches of the steps, several in one where a kernel does them together.
  void Lower(std::span<const Step> steps);

  std::vector<KernelLaunch>& launches() { return launches_; }
  // What the executable's own memory is to hold. Scratch is used again by every node.
  const std::vector<double>& constants() const { return constants_; }
  uint64_t scratch_bytes() const { return scratch_bytes_; }

 private:
  using Inputs = std::span<const Tensor>;
  // fusion.cc: each lowers the first steps of `rest` that it can do in one launch, and returns how
  // many those are.
  size_t Norm(std::span<const Step> rest);
  size_t Gated(std::span<const Step> rest);
  size_t Cache(std::span<const Step> rest);
  // Whether the next step is a product that wants `x` rounded to int8.
  static bool IsRoundedNext(std::span<const Step> rest, const Tensor& x);

  void LowerOne(std::span<const Step> rest);
  void Elementwise(const graph::Node& node, Inputs inputs, const Tensor& output);
  // `turns`: where its angles begin in the constants.
  RopeParams RopeOf(const Step& step, size_t& turns);
  void Decode(const graph::Node& node, Inputs inputs, const Tensor& output);
  void MatMul(const graph::Node& node, Inputs inputs, const Tensor& output);
  void MatMulExpert(Inputs inputs, const Tensor& output);
  void Attention(std::span<const Step> rest);

  // What columns of x are rounded to for a product.
  enum class Rounding { kInt8, kHalf, kBFloat16 };
  static int64_t RoundedBytes(const Tensor& x, Rounding rounding);
  // Rounds them at the start of scratch, unless that is what is there.
  void Prepare(const Tensor& x, Rounding rounding);
  // What another launch rounds x to is there from then on; until its memory is written.
  void MarkPrepared(const Tensor& x, Rounding rounding);
  void Forget(const Tensor& written);
  using Scratches = KernelLaunch::Scratch;
  // `launch` returns a status or nothing: what CUDA itself says of launches is asked for anyway.
  template <typename F>
  void Add(std::string kernel, Scratches scratch, F launch, uint64_t weight_bytes = 0,
           int product = 0) {
    KernelLaunch& added = launches_.emplace_back();
    added.kernel = std::move(kernel);
    added.weight_bytes = weight_bytes;
    added.scratch = scratch;
    added.product = product;
    if constexpr (std::is_void_v<std::invoke_result_t<F, const OwnMemory&, Stream>>) {
      added.launch = [launch = std::move(launch)](const OwnMemory& own, Stream stream) {
        launch(own, stream);
        return absl::OkStatus();
      };
    } else {
      added.launch = std::move(launch);
    }
  }
  // The parts of `p` by cuBLAS.
  void MatMulByBlas(const MatMulParams& p, const Tensor& x, const std::string& kernel,
                    uint64_t weight_bytes, int product);
  uint64_t Scratch(uint64_t bytes);  // makes room; returns 0, where it begins

  const driver::DeviceInfo& info_;
  const Settings settings_;
  Blas* const blas_;
  std::vector<KernelLaunch> launches_;
  std::vector<double> constants_;
  uint64_t scratch_bytes_ = 0;
  int products_ = 0;
  // The x whose rounded columns are at the start of scratch; data is null when none's are.
  Tensor prepared_;
  Rounding prepared_rounding_ = Rounding::kInt8;
};

}  // namespace bantam::cuda
