// Steps on memory with fences, to see that kernels stay within what they were given: every piece
// ends where a page begins that cannot be touched, and begins behind bytes that must not change.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "backends/cpu/plan/kernels.h"
#include "backends/cpu/plan/step.h"
#include "runtime/base/thread_pool.h"
#include "tests/conformance/harness.h"

namespace bantam::cpu {

class Fenced {
 public:
  explicit Fenced(int64_t bytes) : bytes_(bytes) {
    size_ = (bytes + kFence + kPage - 1) / kPage * kPage + kPage;
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
    std::memset(memory_, kMark, size_ - kPage);
    EXPECT_EQ(mprotect(memory_ + size_ - kPage, kPage, PROT_NONE), 0);
  }
  ~Fenced() {
    const std::byte* const from = memory_;
    EXPECT_TRUE(std::all_of(from, static_cast<const std::byte*>(data()),
                            [](std::byte b) { return b == std::byte{kMark}; }));
    munmap(memory_, size_);
  }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  std::byte* data() const { return memory_ + size_ - kPage - bytes_; }
  int64_t size() const { return bytes_; }

 private:
  static constexpr int64_t kPage = 4096, kFence = 256;
  static constexpr uint8_t kMark = 0xA5;
  int64_t bytes_, size_;
  std::byte* memory_;
};

inline Tensor TensorAt(const Fenced& memory, quant::Type type, const graph::Shape& shape) {
  return {memory.data(), type, shape, graph::ContiguousStrides(type, shape)};
}
inline int64_t BytesOf(quant::Type type, const graph::Shape& shape) {
  return static_cast<int64_t>(quant::RowBytes(type, shape[0])) * graph::RowCount(shape);
}
inline void Fill(const Fenced& memory, const std::vector<std::byte>& bytes) {
  ASSERT_EQ(memory.size(), static_cast<int64_t>(bytes.size()));
  std::copy(bytes.begin(), bytes.end(), memory.data());
}

// Runs a step of a set on two threads; all of its results are written.
inline void RunFenced(const KernelSet& set, Step& step) {
  ThreadPool pool(2);
  set.prepare[static_cast<size_t>(step.op)](step);
  auto lines = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  const int64_t worker_scratch = lines(step.worker_scratch);
  const Fenced scratch(worker_scratch * pool.size()), shared(lines(step.shared_scratch));
  const RunContext context = {pool, scratch.data(), worker_scratch, shared.data()};
  step.run(step, context);
  const int64_t count = step.output.shape[0] * step.output.rows();
  const auto* results = reinterpret_cast<const float*>(step.output.data);
  float mark;
  std::memset(&mark, 0xA5, sizeof(mark));
  EXPECT_EQ(std::count(results, results + count, mark), 0);
}

// The same of a product of random weights {k, m} with n columns; returns whose kernel ran ...
inline absl::string_view RunFencedProduct(const KernelSet& set, quant::Type type, int64_t k,
                                          int64_t m, int64_t n, std::mt19937& random) {
  using quant::Type;
  const graph::Shape weights = {k, m, 1, 1}, columns = {k, n, 1, 1}, results = {m, n, 1, 1};
  const Fenced w(BytesOf(type, weights)), x(BytesOf(Type::kF32, columns)),
      out(BytesOf(Type::kF32, results));
  Fill(w, conformance::RandomBytes(type, weights, random, -1, 1));
  Fill(x, conformance::RandomBytes(Type::kF32, columns, random, -1, 1));
  Step step;
  step.op = graph::Op::kMatMul;
  step.attrs = graph::MatMulAttrs{};
  step.inputs = {TensorAt(w, type, weights), TensorAt(x, Type::kF32, columns)};
  step.output = TensorAt(out, Type::kF32, results);
  RunFenced(set, step);
  return step.origin;
}

// ... and of experts, two for each of n tokens: most choose the first; some none.
inline absl::string_view RunFencedExperts(const KernelSet& set, quant::Type type, int64_t k,
                                          int64_t experts, int64_t n, std::mt19937& random) {
  using quant::Type;
  const int64_t m = 41, top_k = 2;
  const graph::Shape weights = {k, m, experts, 1}, columns = {k, 1, n, 1};
  const graph::Shape chosen = {top_k, n, 1, 1}, results = {m, top_k, n, 1};
  const Fenced w(BytesOf(type, weights)), x(BytesOf(Type::kF32, columns)),
      ids(BytesOf(Type::kI32, chosen)), out(BytesOf(Type::kF32, results));
  Fill(w, conformance::RandomBytes(type, weights, random, -1, 1));
  Fill(x, conformance::RandomBytes(Type::kF32, columns, random, -1, 1));
  auto* id = reinterpret_cast<int32_t*>(ids.data());
  for (int64_t i = 0; i < top_k * n; ++i) {
    id[i] = i % 11 == 0 ? -1 : static_cast<int32_t>(i % 5 == 0 ? i / 5 % experts : 0);
  }
  Step step;
  step.op = graph::Op::kMatMulExpert;
  step.inputs = {TensorAt(w, type, weights), TensorAt(x, Type::kF32, columns),
                 TensorAt(ids, Type::kI32, chosen)};
  step.output = TensorAt(out, Type::kF32, results);
  RunFenced(set, step);
  return step.origin;
}

}  // namespace bantam::cpu
