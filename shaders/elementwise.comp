#version 450
// Unary, gated, binary, scale, copy: out = f(a, b); gather: out = a[b]. An element to an invocation.
#include "common.glsl"
layout(constant_id = 1) const uint OP = 0;          // kUnary..kGather below
layout(constant_id = 2) const uint ACTIVATION = 0;  // graph::Activation
#include "activation.glsl"

const uint kUnary = 0, kGated = 1, kAdd = 2, kSub = 3, kMul = 4, kDiv = 5, kScale = 6, kCopy = 7,
           kGather = 8;

layout(push_constant) uniform Push {
  uvec4 shape;      // of out, and of a but for a gather
  uvec4 a_strides;  // in words
  uvec4 b_strides;  // 0 where b is broadcast
  uint a_offset, b_offset, out_offset;
  float scale, bias;  // kGated: the limit (0: none) and what is added to b
  uint width;         // kGather: of a
} p;
layout(binding = 0) readonly buffer A { uint a[]; };
layout(binding = 1) readonly buffer B { uint b[]; };
layout(binding = 2) writeonly buffer Out { uint result[]; };

uint At(uvec4 index, uvec4 strides) {
  return index.x * strides.x + index.y * strides.y + index.z * strides.z + index.w * strides.w;
}

void main() {
  uint i = ElementIndex();
  if (i >= p.shape.x * p.shape.y * p.shape.z * p.shape.w) return;
  const uint out_at = p.out_offset + i;
  uvec4 index;
  index.x = i % p.shape.x;
  i /= p.shape.x;
  index.y = i % p.shape.y;
  i /= p.shape.y;
  index.z = i % p.shape.z;
  index.w = i / p.shape.z;
  if (OP == kGather) {
    const uint id = b[p.b_offset + At(index, p.b_strides)];
    index.x = id;
    result[out_at] = id < p.width ? a[p.a_offset + At(index, p.a_strides)] : 0;
    return;
  }
  const uint bits = a[p.a_offset + At(index, p.a_strides)];
  if (OP == kCopy) {
    result[out_at] = bits;
    return;
  }
  float x = uintBitsToFloat(bits);
  float y = 0.0;
  switch (OP) {
    case kGated: case kAdd: case kSub: case kMul: case kDiv:
      y = uintBitsToFloat(b[p.b_offset + At(index, p.b_strides)]);
  }
  float value;
  switch (OP) {
    case kUnary: value = Activate(ACTIVATION, x); break;
    case kGated:
      if (p.scale != 0.0) {
        x = x > p.scale ? p.scale : x;
        y = y > p.scale ? p.scale : y < -p.scale ? -p.scale : y;
      }
      value = Activate(ACTIVATION, x) * (y + p.bias);
      break;
    case kAdd: value = x + y; break;
    case kSub: value = x - y; break;
    case kMul: value = x * y; break;
    case kDiv: value = x / y; break;
    default: value = x * p.scale + p.bias;
  }
  result[out_at] = floatBitsToUint(value);
}
