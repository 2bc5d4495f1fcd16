// The bindings of weights and codebooks for quant/decode.glsl.
layout(constant_id = 1) const uint TYPE = 0;  // quant::Type
layout(binding = 0) readonly buffer Weights { uint weight_words[]; };
layout(binding = 1) readonly buffer Codebooks { uint codebook_words[]; };
#define WORD(i) weight_words[i]
#define CODEBOOK(i) codebook_words[i]
#include "quant/decode.glsl"
