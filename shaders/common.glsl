// What every shader shares.
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL = 64;  // invocations in a workgroup; a power of two

// A grid of one dimension, of more workgroups than one dimension may have.
uint GroupIndex() { return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x; }
uint ElementIndex() { return GroupIndex() * LOCAL + gl_LocalInvocationIndex; }

#define kInfinity uintBitsToFloat(0x7F800000u)
bool IsNan(float x) { return (floatBitsToUint(x) & 0x7FFFFFFFu) > 0x7F800000u; }
