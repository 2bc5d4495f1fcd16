// Weights and codebooks for quant/decode.glsl: bound; or, with ADDRESS, weights of any size from
// `weight_base` on, which weight_rows.glsl sets.
layout(constant_id = 1) const uint TYPE = 0;  // quant::Type
layout(binding = 1) readonly buffer Codebooks { uint codebook_words[]; };
#ifdef ADDRESS
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
uvec2 weight_base;
#define WEIGHTS(name, type) \
  layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer name { type at[]; }
#define WEIGHT(name, i) name(weight_base).at[i]
#else
#define WEIGHTS(name, type) layout(binding = 0) readonly buffer name { type at[]; } in##name
#define WEIGHT(name, i) in##name.at[i]
#endif
WEIGHTS(Words, uint);
#define WORD(i) WEIGHT(Words, i)
#ifdef SMALL_STORAGE
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
WEIGHTS(HalfWords, uint16_t);
WEIGHTS(Bytes, uint8_t);
#define HALF_WORD(i) uint(WEIGHT(HalfWords, i))
#define BYTE(i) uint(WEIGHT(Bytes, i))
#endif
#define CODEBOOK(i) codebook_words[i]
#include "quant/decode.glsl"
