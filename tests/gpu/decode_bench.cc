// One decode step of a model's shape with random weights on a device, without a file: time, and the
// share of the device's memory bandwidth it reaches.
//
//   decode_bench [DEVICE] [8b|1b|tiny]
//
// Shapes are those of Llama 3: 8B and 3.2 1B, with the types Q4_K_M gives the tensors. The
// bandwidth compared with is that of copying a buffer on the same device (bytes read plus bytes
// written).

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/device/registry.h"
#include "runtime/graph/infer.h"
#include "runtime/graph/memory_plan.h"
#include "runtime/graph/passes.h"
#include "runtime/quant/float16.h"

namespace bantam {
namespace {

using graph::Op;
using graph::ValueId;
using quant::Type;

struct ModelShape {
  int64_t layers, width, heads, kv_heads, feed_forward, vocabulary, context;
};

constexpr int64_t kHeadDim = 64;

graph::Graph DecodeGraph(const ModelShape& s, int64_t head_dim) {
  graph::Graph g;
  auto weight = [&](Type type, int64_t k, int64_t m) {
    return g.AddWeight(absl::StrCat("w", g.values().size()), type, {k, m, 1, 1});
  };
  auto matmul = [&](Type type, int64_t m, ValueId x, int64_t k) {
    return g.Add(Op::kMatMul, {weight(type, k, m), x}, "matmul", graph::MatMulAttrs{});
  };
  const ValueId position = g.AddInput("position", Type::kI32, {1, 1, 1, 1});
  const ValueId slot = g.AddInput("slot", Type::kI32, {1, 1, 1, 1});
  const ValueId length = g.AddInput("length", Type::kI32, {1, 1, 1, 1});
  const ValueId q_cell = g.AddInput("q_cell", Type::kI32, {2, 1, 1, 1});
  const ValueId kv_cells = g.AddInput("kv_cells", Type::kI32, {2, s.context, 1, 1});
  ValueId x = g.AddInput("x", Type::kF32, {s.width, 1, 1, 1});
  const int64_t kv_width = s.kv_heads * head_dim;
  graph::RopeAttrs rope;
  rope.n_dims = static_cast<int32_t>(head_dim);
  rope.theta_base = 500000;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    // Q4_K_M: V and the down projection are Q6_K in half of the layers.
    const Type finer = layer % 2 == 0 ? Type::kQ6_K : Type::kQ4_K;
    auto norm = [&](ValueId v) {
      return g.Add(Op::kNorm, {v, weight(Type::kF32, s.width, 1)}, "norm", graph::NormAttrs{});
    };
    auto heads = [&](ValueId v, int64_t count) {
      return g.Add(Op::kReshape, {v}, "heads", graph::ReshapeAttrs{{head_dim, count, 1, 1}});
    };
    auto cache = [&](const char* name) {
      return g.AddState(name, Type::kF16, {head_dim, s.kv_heads, s.context, 1});
    };
    const ValueId h = norm(x);
    const ValueId q = g.Add(
        Op::kRope, {heads(matmul(Type::kQ4_K, s.heads * head_dim, h, s.width), s.heads), position},
        "q", rope);
    const ValueId k =
        g.Add(Op::kRope, {heads(matmul(Type::kQ4_K, kv_width, h, s.width), s.kv_heads), position},
              "k", rope);
    const ValueId v = heads(matmul(finer, kv_width, h, s.width), s.kv_heads);
    const ValueId keys = g.Add(Op::kKvWrite, {cache("k"), k, slot}, "keys");
    const ValueId values = g.Add(Op::kKvWrite, {cache("v"), v, slot}, "values");
    const ValueId attended = g.Add(Op::kAttention, {q, keys, values, q_cell, kv_cells, length},
                                   "attention", graph::AttentionAttrs{.scale = 0.1f});
    const ValueId flat =
        g.Add(Op::kReshape, {attended}, "flat", graph::ReshapeAttrs{{s.heads * head_dim, 1, 1, 1}});
    x = g.Add(Op::kBinary, {x, matmul(Type::kQ4_K, s.width, flat, s.heads * head_dim)}, "residual",
              graph::BinaryAttrs{});
    const ValueId f = norm(x);
    const ValueId gated = g.Add(Op::kGated,
                                {matmul(Type::kQ4_K, s.feed_forward, f, s.width),
                                 matmul(Type::kQ4_K, s.feed_forward, f, s.width)},
                                "gated", graph::ActivationAttrs{});
    x = g.Add(Op::kBinary, {x, matmul(finer, s.width, gated, s.feed_forward)}, "residual",
              graph::BinaryAttrs{});
  }
  const ValueId logits = matmul(Type::kQ6_K, s.vocabulary, x, s.width);
  g.AddOutput(g.Add(Op::kTopK, {logits}, "token", graph::TopKAttrs{1}));
  return g;
}

// Random bits with small scales: a pattern of whole blocks, at most 16 MiB.
std::vector<std::byte> Pattern(Type type, uint64_t bytes) {
  std::mt19937 random(1);
  const auto block = static_cast<uint64_t>(quant::Traits(type).block_bytes);
  std::vector<std::byte> data(std::min<uint64_t>(bytes, (16 << 20) / block * block));
  if (type == Type::kF32) {
    const float one = 1;
    for (size_t i = 0; i + 4 <= data.size(); i += 4) std::memcpy(&data[i], &one, 4);
    return data;
  }
  for (size_t i = 0; i + 4 <= data.size(); i += 4) {
    const uint32_t bits = random();
    std::memcpy(&data[i], &bits, 4);
  }
  const uint16_t scale = quant::FloatToHalf(1e-4f);
  for (size_t at = 0; at + block <= data.size(); at += block) {
    if (type == Type::kQ4_K) {
      std::memcpy(&data[at], &scale, 2);
      std::memcpy(&data[at + 2], &scale, 2);
    } else if (type == Type::kQ6_K) {
      std::memcpy(&data[at + 208], &scale, 2);
    }
  }
  return data;
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
      const std::vector<std::byte> pattern = Pattern(value.type, bytes);
      for (uint64_t at = 0; at < bytes; at += pattern.size()) {
        const uint64_t count = std::min<uint64_t>(pattern.size(), bytes - at);
        BANTAM_RETURN_IF_ERROR(buffer->Upload(at, std::span(pattern).first(count)));
      }
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

absl::Status Run(const std::string& name, const std::string& size) {
  BANTAM_ASSIGN_OR_RETURN(const auto device, device::OpenDevice(name, {}));
  ModelShape shape{32, 4096, 32, 8, 14336, 128256, 1024};
  int64_t head_dim = 128;
  if (size == "1b") {
    shape = {16, 2048, 32, 8, 8192, 128256, 1024};
    head_dim = kHeadDim;
  } else if (size == "tiny") {
    shape = {2, 256, 4, 2, 512, 1000, 1024};
    head_dim = kHeadDim;
  }
  graph::Graph copy;
  const int64_t copied = size == "tiny" ? 1 << 16 : 1 << 26;  // elements
  copy.AddOutput(copy.Add(Op::kTransfer,
                          {copy.AddInput("from", Type::kF32, {4096, copied / 4096, 1, 1})}, "to",
                          graph::TransferAttrs{}));
  BANTAM_ASSIGN_OR_RETURN(Prepared copying, Prepare(*device, copy));
  BANTAM_ASSIGN_OR_RETURN(const double copy_seconds, Time(copying, 1));
  copying = {};
  const double bandwidth = 2.0 * static_cast<double>(copied) * sizeof(float) / copy_seconds;
  BANTAM_ASSIGN_OR_RETURN(Prepared step, Prepare(*device, DecodeGraph(shape, head_dim)));
  BANTAM_ASSIGN_OR_RETURN(const double seconds, Time(step, 5));
  const double reached = static_cast<double>(step.weight_bytes) / seconds;
  std::printf(
      "| %s | %s Q4_K_M | %.2f GB | %.2f ms | %.1f tok/s | %.0f GB/s | %.0f GB/s | %.0f %% |\n",
      device->description().c_str(), size.c_str(), static_cast<double>(step.weight_bytes) / 1e9,
      seconds * 1e3, 1 / seconds, reached / 1e9, bandwidth / 1e9, 100 * reached / bandwidth);
  return absl::OkStatus();
}

}  // namespace
}  // namespace bantam

int main(int argc, char** argv) {
  const absl::Status status = bantam::Run(argc > 1 ? argv[1] : "vulkan", argc > 2 ? argv[2] : "8b");
  if (status.ok()) return 0;
  std::fprintf(stderr, "decode_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
