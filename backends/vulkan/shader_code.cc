// The shaders, built to SPIR-V (CMakeLists.txt).

#include "backends/vulkan/pipelines.h"

namespace bantam::vulkan {
namespace {

struct Code {
  absl::string_view name;
  std::span<const uint32_t> words;
};

#define BANTAM_SHADER(name, ...) constexpr uint32_t name##_words[] =
#include "shader_words.inc"
#undef BANTAM_SHADER

// In the order of Shader.
constexpr Code kCode[] = {
#define BANTAM_SHADER_ENTRY(name) {#name, name##_words},
#include "shader_list.inc"
#undef BANTAM_SHADER_ENTRY
};
static_assert(std::size(kCode) == kShaderCount);

}  // namespace

absl::string_view ShaderName(Shader shader) { return kCode[static_cast<size_t>(shader)].name; }
std::span<const uint32_t> ShaderCode(Shader shader) {
  return kCode[static_cast<size_t>(shader)].words;
}

}  // namespace bantam::vulkan
