#version 450
// Rows of x to slots of the cache, rounded or quantized to its type. An invocation writes a unit of
// one head: an element of F32, two of F16, a block of Q8_0 or Q4_0. Of two rows for one slot the
// later is written. Units share words where rows are not whole words: parts of words are written
// as half words, or with atomics where there are none.
#include "common.glsl"
layout(constant_id = 1) const uint TYPE = 0;  // quant::Type of the cache

layout(push_constant) uniform Push {
  uint width, heads, rows;
  uint x_head_stride, x_row_stride;          // elements
  uint cache_head_stride, cache_slot_stride;  // bytes
  uint x_offset, slots_offset, cache_offset;
  uint first_slot, slots;  // what this dispatch may write
} p;
layout(binding = 0) buffer Cache { uint cache[]; };
#ifdef SMALL_STORAGE
#extension GL_EXT_shader_16bit_storage : require
layout(binding = 0) writeonly buffer CacheHalves { uint16_t cache_halves[]; };
#endif
layout(binding = 1) readonly buffer X { float x[]; };
layout(binding = 2) readonly buffer Slots { int slot_of[]; };

const uint kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ8_0 = 8;

#include "half.glsl"

void StoreHalf(uint at, uint bits) {
#ifdef SMALL_STORAGE
  cache_halves[at >> 1] = uint16_t(bits);
#else
  const uint shift = (at & 2u) << 3;
  atomicAnd(cache[at >> 2], ~(0xFFFFu << shift));
  atomicOr(cache[at >> 2], bits << shift);
#endif
}

// q = x / d rounded away from zero at ties, d = max |x| / 127.
void StoreQ8_0(uint at, uint from) {
  float peak = 0.0;
  for (uint i = 0; i < 32; ++i) peak = max(peak, abs(x[from + i]));
  const float d = peak / 127.0;
  const float inverse = d > 0.0 ? 1.0 / d : 0.0;
  StoreHalf(at, ToHalf(d));
  for (uint i = 0; i < 32; i += 2) {
    uint pair = 0;
    for (uint j = 0; j < 2; ++j) {
      const float scaled = x[from + i + j] * inverse;
      pair |= (uint(int(scaled + (scaled < 0.0 ? -0.5 : 0.5))) & 0xFFu) << 8 * j;
    }
    StoreHalf(at + 2 + i, pair);
  }
}

// The element of largest magnitude becomes -8.
void StoreQ4_0(uint at, uint from) {
  float peak = 0.0;
  for (uint i = 0; i < 32; ++i) {
    if (abs(x[from + i]) > abs(peak)) peak = x[from + i];
  }
  const float d = peak / -8.0;
  const float inverse = d != 0.0 ? 1.0 / d : 0.0;
  StoreHalf(at, ToHalf(d));
  for (uint i = 0; i < 16; i += 2) {
    uint pair = 0;
    for (uint j = 0; j < 4; ++j) {
      // Elements i and i + 1 in the low nibbles, those 16 further on in the high ones.
      const uint element = i + (j >> 1) + 16 * (j & 1u);
      pair |= uint(clamp(int(x[from + element] * inverse + 8.5), 0, 15)) << 4 * j;
    }
    StoreHalf(at + 2 + i, pair);
  }
}

void main() {
  const uint unit_width = TYPE == kF32 ? 1u : TYPE == kF16 ? 2u : 32u;
  const uint units = (p.width + unit_width - 1) / unit_width;
  uint index = ElementIndex();
  if (index >= units * p.heads * p.rows) return;
  const uint unit = index % units;
  index /= units;
  const uint head = index % p.heads, row = index / p.heads;
  const int slot = slot_of[p.slots_offset + row];
  if (slot < 0 || uint(slot) < p.first_slot || uint(slot) - p.first_slot >= p.slots) return;
  for (uint later = row + 1; later < p.rows; ++later) {
    if (slot_of[p.slots_offset + later] == slot) return;
  }
  const uint from = p.x_offset + head * p.x_head_stride + row * p.x_row_stride + unit * unit_width;
  const uint to = p.cache_offset + head * p.cache_head_stride +
                  (uint(slot) - p.first_slot) * p.cache_slot_stride;
  if (TYPE == kF32) {
    cache[(to >> 2) + unit] = floatBitsToUint(x[from]);
  } else if (TYPE == kF16) {
    const uint at = to + 4 * unit;
    const bool both = 2 * unit + 1 < p.width;
    if (both && (at & 3u) == 0) {
      cache[at >> 2] = ToHalf(x[from]) | ToHalf(x[from + 1]) << 16;
    } else {
      StoreHalf(at, ToHalf(x[from]));
      if (both) StoreHalf(at + 2, ToHalf(x[from + 1]));
    }
  } else if (TYPE == kQ8_0) {
    StoreQ8_0(to + 34 * unit, from);
  } else {
    StoreQ4_0(to + 18 * unit, from);
  }
}
