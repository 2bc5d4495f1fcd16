// The shaders, built to SPIR-V (CMakeLists.txt).

#include "backends/vulkan/shader_code.h"

namespace bantam::vulkan {
namespace {

struct Code {
  absl::string_view name;
  std::span<const uint32_t> words;
  std::span<const uint32_t> small_storage;  // the same where there is no second module
};

#define BANTAM_SHADER(name, ...) constexpr uint32_t name##_words[] =
#include "shader_words.inc"
#undef BANTAM_SHADER

// In the order of Shader.
constexpr Code kCode[] = {
#define BANTAM_SHADER_ENTRY(name, second) {#name, name##_words, second##_words},
#define BANTAM_SHADER_MISSING(name) {#name, {}, {}},
#include "shader_list.inc"
#undef BANTAM_SHADER_ENTRY
#undef BANTAM_SHADER_MISSING
};
static_assert(std::size(kCode) == kShaderCount);

}  // namespace

absl::string_view ShaderName(Shader shader) { return kCode[static_cast<size_t>(shader)].name; }
std::span<const uint32_t> ShaderCode(Shader shader, bool small_storage) {
  const Code& code = kCode[static_cast<size_t>(shader)];
  return small_storage ? code.small_storage : code.words;
}

}  // namespace bantam::vulkan
