// A decode step and a prompt of 512 tokens of a model's shape with random weights on a device,
// without a file: time, and for decoding the share of the device's memory bandwidth it reaches.
//
//   gpu_decode_bench [DEVICE] [8b|1b|tiny] [TYPE]
//
// TYPE as gpu_random_model takes it. The bandwidth compared with is that of copying a buffer on the
// same device (bytes read plus bytes written).

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/graph/passes.h"
#include "tests/gpu/shapes.h"

namespace bantam {
namespace {

using graph::Op;
using graph::ValueId;
using quant::Type;

constexpr int64_t kContext = 1024, kPrompt = 512;

// A step of `n` tokens; of several none is chosen.
graph::Graph StepGraph(const gpu::ModelShape& s, const gpu::Mixture& types, int64_t n) {
  graph::Graph g;
  auto weight = [&](Type type, int64_t k, int64_t m) {
    return g.AddWeight(absl::StrCat("w", g.values().size()), type, {k, m, 1, 1});
  };
  auto matmul = [&](Type type, int64_t m, ValueId x, int64_t k) {
    return g.Add(Op::kMatMul, {weight(type, k, m), x}, "matmul", graph::MatMulAttrs{});
  };
  const ValueId position = g.AddInput("position", Type::kI32, {n, 1, 1, 1});
  const ValueId slot = g.AddInput("slot", Type::kI32, {n, 1, 1, 1});
  const ValueId length = g.AddInput("length", Type::kI32, {1, 1, 1, 1});
  const ValueId q_cell = g.AddInput("q_cell", Type::kI32, {2, n, 1, 1});
  const ValueId kv_cells = g.AddInput("kv_cells", Type::kI32, {2, kContext, 1, 1});
  ValueId x = g.AddInput("x", Type::kF32, {s.width, n, 1, 1});
  const int64_t kv_width = s.kv_heads * s.head_dim;
  graph::RopeAttrs rope;
  rope.n_dims = static_cast<int32_t>(s.head_dim);
  rope.theta_base = 500000;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const Type finer = types.Finer(layer, s.layers);
    auto norm = [&](ValueId v) {
      return g.Add(Op::kNorm, {v, weight(Type::kF32, s.width, 1)}, "norm", graph::NormAttrs{});
    };
    auto heads = [&](ValueId v, int64_t count) {
      return g.Add(Op::kReshape, {v}, "heads", graph::ReshapeAttrs{{s.head_dim, count, n, 1}});
    };
    auto cache = [&](const char* name) {
      return g.AddState(name, Type::kF16, {s.head_dim, s.kv_heads, kContext, 1});
    };
    const ValueId h = norm(x);
    const ValueId q =
        g.Add(Op::kRope,
              {heads(matmul(types.usual, s.heads * s.head_dim, h, s.width), s.heads), position},
              "q", rope);
    const ValueId k =
        g.Add(Op::kRope, {heads(matmul(types.usual, kv_width, h, s.width), s.kv_heads), position},
              "k", rope);
    const ValueId v = heads(matmul(finer, kv_width, h, s.width), s.kv_heads);
    const ValueId keys = g.Add(Op::kKvWrite, {cache("k"), k, slot}, "keys");
    const ValueId values = g.Add(Op::kKvWrite, {cache("v"), v, slot}, "values");
    const ValueId attended = g.Add(Op::kAttention, {q, keys, values, q_cell, kv_cells, length},
                                   "attention", graph::AttentionAttrs{.scale = 0.1f});
    const ValueId flat = g.Add(Op::kReshape, {attended}, "flat",
                               graph::ReshapeAttrs{{s.heads * s.head_dim, n, 1, 1}});
    x = g.Add(Op::kBinary, {x, matmul(types.usual, s.width, flat, s.heads * s.head_dim)},
              "residual", graph::BinaryAttrs{});
    const ValueId f = norm(x);
    const ValueId gated = g.Add(Op::kGated,
                                {matmul(types.usual, s.feed_forward, f, s.width),
                                 matmul(types.usual, s.feed_forward, f, s.width)},
                                "gated", graph::ActivationAttrs{});
    x = g.Add(Op::kBinary, {x, matmul(finer, s.width, gated, s.feed_forward)}, "residual",
              graph::BinaryAttrs{});
  }
  if (n > 1) {
    g.AddOutput(x);
    return g;
  }
  const ValueId logits = matmul(types.output, s.vocabulary, x, s.width);
  g.AddOutput(g.Add(Op::kTopK, {logits}, "token", graph::TopKAttrs{1}));
  return g;
}

struct Prepared {
  std::vector<std::unique_ptr<device::Buffer>> buffers;
  std::unique_ptr<device::Buffer> temp;
  std::unique_ptr<device::Stream> stream;
  std::unique_ptr<device::Executable> executable;
  uint64_t weight_bytes = 0;
};

absl::StatusOr<Prepared> Prepare(device::Device& device, graph::Graph graph) {
  BANTAM_RETURN_IF_ERROR(graph::Infer(graph));
  BANTAM_ASSIGN_OR_RETURN(graph, graph::Optimize(graph));
  const graph::MemoryPlan plan =
      graph::PlanMemory(graph, static_cast<int64_t>(device.limits().alignment));
  Prepared p;
  std::vector<device::Binding> bindings(graph.values().size());
  for (size_t id = 0; id < bindings.size(); ++id) {
    const graph::Value& value = graph.values()[id];
    if (value.base != graph::kNone || value.storage == graph::Storage::kTemp) continue;
    const auto bytes = static_cast<uint64_t>(value.SpanBytes());
    BANTAM_ASSIGN_OR_RETURN(auto buffer, device.Allocate(bytes));
    if (value.storage == graph::Storage::kWeight) {
      p.weight_bytes += bytes;
      uint64_t at = 0;
      BANTAM_RETURN_IF_ERROR(
          gpu::ForPattern(value.type, bytes, [&](std::span<const std::byte> piece) -> absl::Status {
            BANTAM_RETURN_IF_ERROR(buffer->Upload(at, piece));
            at += piece.size();
            return absl::OkStatus();
          }));
    } else if (value.name == "length") {
      const int32_t length = 512;
      BANTAM_RETURN_IF_ERROR(buffer->Upload(0, std::as_bytes(std::span(&length, 1))));
    }
    bindings[id] = {buffer.get(), 0};
    p.buffers.push_back(std::move(buffer));
  }
  BANTAM_ASSIGN_OR_RETURN(p.temp, device.Allocate(std::max<int64_t>(plan.size, 1)));
  BANTAM_ASSIGN_OR_RETURN(p.executable, device.Compile({graph, plan, bindings, {p.temp.get(), 0}}));
  BANTAM_ASSIGN_OR_RETURN(p.stream, device.NewStream());
  return p;
}

// The least time of one run in seconds.
absl::StatusOr<double> Time(Prepared& p, double budget) {
  double best = 1e9, total = 0;
  for (int run = 0; run < 50 && (run < 3 || total < budget); ++run) {
    const auto start = std::chrono::steady_clock::now();
    BANTAM_RETURN_IF_ERROR(p.executable->Run(*p.stream));
    BANTAM_RETURN_IF_ERROR(p.stream->Synchronize());
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (run > 0) best = std::min(best, seconds);  // the first one warms up
    total += seconds;
  }
  return best;
}

absl::Status Run(const std::string& name, const std::string& size, const std::string& mixture) {
  BANTAM_ASSIGN_OR_RETURN(const gpu::ModelShape shape, gpu::ShapeOf(size));
  BANTAM_ASSIGN_OR_RETURN(const gpu::Mixture types, gpu::MixtureOf(mixture));
  BANTAM_ASSIGN_OR_RETURN(const auto device, device::OpenDevice(name, {}));
  graph::Graph copy;
  const int64_t copied = size == "tiny" ? 1 << 16 : 1 << 26;  // elements
  copy.AddOutput(copy.Add(Op::kTransfer,
                          {copy.AddInput("from", Type::kF32, {4096, copied / 4096, 1, 1})}, "to",
                          graph::TransferAttrs{}));
  BANTAM_ASSIGN_OR_RETURN(Prepared copying, Prepare(*device, copy));
  BANTAM_ASSIGN_OR_RETURN(const double copy_seconds, Time(copying, 1));
  copying = {};
  const double bandwidth = 2.0 * static_cast<double>(copied) * sizeof(float) / copy_seconds;
  BANTAM_ASSIGN_OR_RETURN(Prepared step, Prepare(*device, StepGraph(shape, types, 1)));
  BANTAM_ASSIGN_OR_RETURN(const double seconds, Time(step, 5));
  const auto bytes = static_cast<double>(step.weight_bytes);
  step = {};
  const int64_t tokens = size == "tiny" ? 40 : kPrompt;
  BANTAM_ASSIGN_OR_RETURN(Prepared prompt, Prepare(*device, StepGraph(shape, types, tokens)));
  BANTAM_ASSIGN_OR_RETURN(const double prompt_seconds, Time(prompt, 5));
  const double reached = bytes / seconds;
  std::printf(
      "| %s | %s %s | %.2f GB | %.2f ms | %.1f tok/s | %.0f GB/s | %.0f GB/s | %.0f %% | %.0f "
      "tok/s "
      "|\n",
      device->description().c_str(), size.c_str(), mixture.c_str(), bytes / 1e9, seconds * 1e3,
      1 / seconds, reached / 1e9, bandwidth / 1e9, 100 * reached / bandwidth,
      static_cast<double>(tokens) / prompt_seconds);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Run(argc > 1 ? argv[1] : "vulkan", argc > 2 ? argv[2] : "8b",
                                          argc > 3 ? argv[3] : "Q4_K_M");
  if (status.ok()) return 0;
  std::fprintf(stderr, "decode_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
