// Models of real shapes with random weights: what the benchmarks that run.sh takes along share.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/type.h"

namespace bantam::gpu {

using quant::Type;

// Those of Llama 3: 8B and 3.2 1B.
struct ModelShape {
  int64_t layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary;
};
inline absl::StatusOr<ModelShape> ShapeOf(const std::string& name) {
  if (name == "8b") return ModelShape{32, 4096, 32, 8, 128, 14336, 128256};
  if (name == "1b") return ModelShape{16, 2048, 32, 8, 64, 8192, 128256};
  if (name == "tiny") return ModelShape{2, 256, 4, 2, 64, 512, 1000};
  return absl::InvalidArgumentError(absl::StrCat("shape '", name, "'; expected 8b, 1b or tiny"));
}

// The types of a model's matrices.
struct Mixture {
  Type usual, finer, output;
  // Of V and the down projection: Q4_K_M has the finer type in the first and last eighth of the
  // layers, and in each third between.
  Type Finer(int64_t layer, int64_t layers) const {
    const int64_t first = layers / 8, last = 7 * layers / 8;
    return layer < first || layer >= last || (layer - first) % 3 == 2 ? finer : usual;
  }
};
inline absl::StatusOr<Mixture> MixtureOf(const std::string& name) {
  if (name == "Q4_K_M") return Mixture{Type::kQ4_K, Type::kQ6_K, Type::kQ6_K};
  const auto type = quant::TypeFromName(name);
  if (!type.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("no type '", name, "'"));
  }
  const bool is_small = quant::RowBytes(*type, 256) < quant::RowBytes(Type::kQ6_K, 256);
  return Mixture{*type, *type, is_small ? Type::kQ6_K : *type};
}

// Random bits with small scales: whole blocks, at most 16 MiB.
inline std::vector<std::byte> Pattern(Type type, uint64_t bytes) {
  std::mt19937 random(1);
  const auto block = static_cast<uint64_t>(quant::Traits(type).block_bytes);
  std::vector<std::byte> data(std::min<uint64_t>(bytes, (16 << 20) / block * block));
  if (!quant::Traits(type).is_quantized) {
    // Ones, for norms; small numbers of F16 and BF16 would do as well.
    const float one = 1;
    const uint16_t half = quant::FloatToHalf(0.01f), brain = quant::FloatToBFloat16(0.01f);
    for (size_t at = 0; at + block <= data.size(); at += block) {
      std::memcpy(&data[at],
                  type == Type::kF16    ? static_cast<const void*>(&half)
                  : type == Type::kBF16 ? static_cast<const void*>(&brain)
                                        : static_cast<const void*>(&one),
                  std::min<size_t>(block, sizeof(one)));
    }
    return data;
  }
  for (size_t i = 0; i + 4 <= data.size(); i += 4) {
    const uint32_t bits = random();
    std::memcpy(&data[i], &bits, 4);
  }
  quant::AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    if (Block::kType != type) return;
    const uint16_t scale = quant::FloatToHalf(1e-4f);
    for (size_t at = 0; at + sizeof(Block) <= data.size(); at += sizeof(Block)) {
      Block b;
      std::memcpy(&b, &data[at], sizeof(Block));
      if constexpr (requires { b.d; }) {
        if constexpr (std::is_same_v<decltype(Block::d), uint16_t>) b.d = scale;
      }
      if constexpr (requires { b.m = scale; }) b.m = scale;
      if constexpr (requires { b.dmin = scale; }) b.dmin = scale;
      std::memcpy(&data[at], &b, sizeof(Block));
    }
  });
  return data;
}

// The pattern over and over, `bytes` in all.
inline absl::Status ForPattern(Type type, uint64_t bytes,
                               absl::FunctionRef<absl::Status(std::span<const std::byte>)> write) {
  const std::vector<std::byte> pattern = Pattern(type, bytes);
  for (uint64_t at = 0; at < bytes; at += pattern.size()) {
    const uint64_t count = std::min<uint64_t>(pattern.size(), bytes - at);
    const absl::Status status = write(std::span(pattern).first(count));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace bantam::gpu
