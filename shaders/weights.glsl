// The bindings of weights and codebooks for quant/decode.glsl.
layout(constant_id = 1) const uint TYPE = 0;  // quant::Type
layout(binding = 0) readonly buffer Weights { uint weight_words[]; };
layout(binding = 1) readonly buffer Codebooks { uint codebook_words[]; };
#define WORD(i) weight_words[i]
#ifdef SMALL_STORAGE
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
layout(binding = 0) readonly buffer WeightHalves { uint16_t weight_halves[]; };
layout(binding = 0) readonly buffer WeightBytes { uint8_t weight_bytes[]; };
#define HALF_WORD(i) uint(weight_halves[i])
#define BYTE(i) uint(weight_bytes[i])
#endif
#define CODEBOOK(i) codebook_words[i]
#include "quant/decode.glsl"
