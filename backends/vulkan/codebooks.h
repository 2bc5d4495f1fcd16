// The codebooks of the IQ types for the shaders: those of runtime/quant, packed.
#pragma once

#include <cstdint>
#include <vector>

namespace bantam::vulkan {

// Four words with the 16 levels of IQ4, an int8 each; then two 16-bit points to a word, of IQ2_XXS,
// IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S and IQ1 in turn.
std::vector<uint32_t> CodebookWords();

}  // namespace bantam::vulkan
