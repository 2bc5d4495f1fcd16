#version 450
// Rotary embedding: an invocation computes the angle of one pair of one token and turns that pair
// in every head.
//
// The angle is exact: a table holds each pair's frequency in turns per position as a fixed-point
// number of 32 integer and 64 fractional bits; times the position, and the whole turns dropped, it
// is the fraction of a turn to 2^-32, however far the position. Frequency factors divide the table
// by long division.
#include "common.glsl"
layout(constant_id = 1) const bool NEOX = false;
layout(constant_id = 2) const bool FACTORS = false;

layout(push_constant) uniform Push {
  uint pairs, heads, tokens, head_dim;
  uint x_head_stride, x_token_stride;  // in elements
  uint x_offset, out_offset, position_offset, factor_offset, table_offset;
  float magnitude;
} p;
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Positions { int positions[]; };
layout(binding = 2) readonly buffer Factors { float factors[]; };
layout(binding = 3) readonly buffer Table { uint table[]; };  // three words a pair, highest first
layout(binding = 4) writeonly buffer Out { float result[]; };

// (high, middle, low) / factor, modulo 2^96. The factor is m 2^e with m of 24 bits.
uvec3 Divide(uvec3 number, float factor) {
  const uint bits = floatBitsToUint(factor);
  const uint m = (bits & 0x007FFFFFu) | 0x00800000u;
  const int e = int((bits >> 23) & 0xFFu) - 127 - 23;
  // number * 2^24 / m, a byte at a time, has 24 more bits than number; then 2^-24-e is left.
  uint quotient[5] = uint[5](0, 0, 0, 0, 0);  // highest first
  uint remainder = 0;
  for (int i = 0; i < 20; ++i) {
    const int digit = i - 1;  // the numerator is a zero byte, 12 bytes of number, then zeros
    uint byte = 0;
    if (digit >= 0 && digit < 12) byte = (number[digit >> 2] >> (24 - 8 * (digit & 3))) & 0xFFu;
    remainder = (remainder << 8) | byte;
    quotient[i >> 2] |= (remainder / m) << (24 - 8 * (i & 3));
    remainder %= m;
  }
  // The quotient's 160 bits are number / m with 40 integer and 120 fractional bits. It is 2^e times
  // too large, so that the 96 bits wanted start at:
  const int start = 8 - e;
  uvec3 result;
  for (int i = 0; i < 3; ++i) {
    const int at = start + 32 * i;
    const int word = at >> 5, shift = at & 31;
    const uint high = word >= 0 && word < 5 ? quotient[word] : 0;
    const uint low = word + 1 >= 0 && word + 1 < 5 ? quotient[word + 1] : 0;
    result[i] = shift == 0 ? high : high << shift | low >> (32 - shift);
  }
  return result;
}

// sine and cosine of a fraction of a turn, in units of 2^-32.
vec2 SineCosine(uint turn) {
  // The nearest quarter, and the rest in [-1/8, 1/8] of a turn.
  const uint quarter = (turn + 0x20000000u) >> 30;
  const float y = float(int(turn - (quarter << 30))) * (6.283185307179586 / 4294967296.0);
  const float s = y * y;
  const float sine =
      y + y * s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880))));
  const float cosine =
      1.0 + s * (-0.5 + s * (1.0 / 24 + s * (-1.0 / 720 + s * (1.0 / 40320))));
  switch (quarter & 3u) {
    case 0: return vec2(sine, cosine);
    case 1: return vec2(cosine, -sine);
    case 2: return vec2(-sine, -cosine);
    default: return vec2(-cosine, sine);
  }
}

void main() {
  // Past the pairs, an invocation copies elements that pass through.
  const uint rest = p.head_dim - 2 * p.pairs;
  const uint per_token = p.pairs + rest;
  const uint index = ElementIndex();
  if (index >= per_token * p.tokens) return;
  const uint token = index / per_token, i = index % per_token;
  uint from = p.x_offset + token * p.x_token_stride;
  uint to = p.out_offset + token * p.heads * p.head_dim;
  if (i >= p.pairs) {
    for (uint head = 0; head < p.heads; ++head) {
      result[to + p.pairs + i] = x[from + p.pairs + i];
      from += p.x_head_stride;
      to += p.head_dim;
    }
    return;
  }
  const uint entry = p.table_offset + 3 * i;
  uvec3 turns = uvec3(table[entry], table[entry + 1], table[entry + 2]);
  if (FACTORS) turns = Divide(turns, factors[p.factor_offset + i]);
  // The fraction of position * turns: modulo 2^64, where negative positions come out right too.
  const int position = positions[p.position_offset + token];
  uint high, low;
  umulExtended(turns.z, uint(position), high, low);
  uint fraction = turns.y * uint(position) + high;
  if (position < 0) fraction -= turns.z;
  const vec2 turn = SineCosine(fraction) * p.magnitude;
  const uint first = NEOX ? i : 2 * i;
  const uint second = NEOX ? i + p.pairs : 2 * i + 1;
  for (uint head = 0; head < p.heads; ++head) {
    const float a = x[from + first], b = x[from + second];
    result[to + first] = a * turn.y - b * turn.x;
    result[to + second] = a * turn.x + b * turn.y;
    from += p.x_head_stride;
    to += p.head_dim;
  }
}
