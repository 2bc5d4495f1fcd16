// The shaders, and what is chosen when one is made a pipeline.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>

#include "absl/strings/string_view.h"

namespace bantam::vulkan {

// The compute shaders of shaders/, by file name.
enum class Shader : uint8_t {
  kArgMax,
  kAttention,
  kAttentionMerge,
  kDecode,
  kElementwise,
  kGroupExperts,
  kHalves,
  kKvWrite,
  kMatMul,
  kMatMulHalves,
  kMatMulInt8,
  kMatMulMatrix,
  kMatVec,
  kMatVecSubgroups,
  kNorm,
  kQuantize,
  kRope,
  kSoftmax,
  kTopK,
};
inline constexpr int kShaderCount = static_cast<int>(Shader::kTopK) + 1;
absl::string_view ShaderName(Shader shader);
// How a shader reads weights and the KV cache: as words; also as 8-bit and 16-bit storage; so, and
// weights at an address. Where one does not, the first two are the same.
enum class Reads : uint8_t { kWords, kSmallStorage, kAddress };
// SPIR-V. Empty where the shader compiler did not know the language (kMatMulMatrix), and for
// kAddress of what is no product.
std::span<const uint32_t> ShaderCode(Shader shader, Reads reads);

inline constexpr int kMaxBindings = 8;
inline constexpr int kPushBytes = 128;  // what every driver has

// A shader with its specialization constants, in order of constant_id.
struct PipelineKey {
  Shader shader = Shader::kElementwise;
  uint8_t bindings = 0;
  bool by_address = false;     // weights are not bound
  uint32_t subgroup_size = 0;  // 0: any
  std::array<uint32_t, 10> constants = {};
  auto operator<=>(const PipelineKey&) const = default;
};

}  // namespace bantam::vulkan
