// Sums and maxima over the workgroup, left in every invocation.
shared float reduce_scratch[LOCAL];

float WorkgroupSum(float x) {
  barrier();
  reduce_scratch[gl_LocalInvocationIndex] = x;
  for (uint width = LOCAL / 2; width > 0; width /= 2) {
    barrier();
    if (gl_LocalInvocationIndex < width) {
      reduce_scratch[gl_LocalInvocationIndex] += reduce_scratch[gl_LocalInvocationIndex + width];
    }
  }
  barrier();
  return reduce_scratch[0];
}
float WorkgroupMax(float x) {
  barrier();
  reduce_scratch[gl_LocalInvocationIndex] = x;
  for (uint width = LOCAL / 2; width > 0; width /= 2) {
    barrier();
    if (gl_LocalInvocationIndex < width) {
      reduce_scratch[gl_LocalInvocationIndex] =
          max(reduce_scratch[gl_LocalInvocationIndex],
              reduce_scratch[gl_LocalInvocationIndex + width]);
    }
  }
  barrier();
  return reduce_scratch[0];
}
