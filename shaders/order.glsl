// The order of the elements of a row: descending, NaN last, equal ones by index.

// A number that orders as the float does; 0, the least, for NaN. Both zeros are equal.
uint Key(float value) {
  if (IsNan(value)) return 0;
  const uint bits = floatBitsToUint(value == 0.0 ? 0.0 : value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
// Whether candidate a = (key, index) comes before b.
bool Before(uvec2 a, uvec2 b) { return a.x > b.x || (a.x == b.x && a.y < b.y); }
const uvec2 kLast = uvec2(0, 0xFFFFFFFFu);

// The first of the workgroup's candidates, in every invocation.
shared uvec2 order_scratch[LOCAL];
uvec2 WorkgroupFirst(uvec2 mine) {
  barrier();
  order_scratch[gl_LocalInvocationIndex] = mine;
  for (uint width = LOCAL / 2; width > 0; width /= 2) {
    barrier();
    if (gl_LocalInvocationIndex < width) {
      const uvec2 other = order_scratch[gl_LocalInvocationIndex + width];
      if (Before(other, order_scratch[gl_LocalInvocationIndex])) {
        order_scratch[gl_LocalInvocationIndex] = other;
      }
    }
  }
  barrier();
  return order_scratch[0];
}
