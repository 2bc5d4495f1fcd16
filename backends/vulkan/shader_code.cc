// The shaders, built to SPIR-V (CMakeLists.txt).

#include "backends/vulkan/shader_code.h"

namespace bantam::vulkan {
namespace {

struct Code {
  absl::string_view name;
  std::span<const uint32_t> modules[3];  // by Reads
};

#define BANTAM_SHADER(name, ...) constexpr uint32_t name##_words[] =
#include "shader_words.inc"
#undef BANTAM_SHADER

// In the order of Shader.
constexpr Code kCode[] = {
#define BANTAM_SHADER_ENTRY(name, second, ...) {#name, {name##_words, second##_words, __VA_ARGS__}},
#define BANTAM_SHADER_MISSING(name) {#name, {}},
#include "shader_list.inc"
#undef BANTAM_SHADER_ENTRY
#undef BANTAM_SHADER_MISSING
};
static_assert(std::size(kCode) == kShaderCount);

}  // namespace

absl::string_view ShaderName(Shader shader) { return kCode[static_cast<size_t>(shader)].name; }
std::span<const uint32_t> ShaderCode(Shader shader, Reads reads) {
  return kCode[static_cast<size_t>(shader)].modules[static_cast<size_t>(reads)];
}

}  // namespace bantam::vulkan
