// Sums and maxima over teams of TEAM consecutive invocations (a power of two, at most a workgroup;
// every team calls at once). With SUBGROUPS a team is a subgroup of exactly TEAM invocations.
// Leaves the result in every invocation.

#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
uint Team() { return gl_SubgroupID; }
uint Lane() { return gl_SubgroupInvocationID; }
float TeamSum(float x) { return subgroupAdd(x); }
#else
shared float team_scratch[LOCAL];
uint Team() { return gl_LocalInvocationIndex / TEAM; }
uint Lane() { return gl_LocalInvocationIndex % TEAM; }
float TeamSum(float x) {
  barrier();
  team_scratch[gl_LocalInvocationIndex] = x;
  for (uint width = TEAM / 2; width > 0; width /= 2) {
    barrier();
    if (Lane() < width) {
      team_scratch[gl_LocalInvocationIndex] += team_scratch[gl_LocalInvocationIndex + width];
    }
  }
  barrier();
  return team_scratch[gl_LocalInvocationIndex - Lane()];
}
#endif
