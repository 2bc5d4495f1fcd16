#version 450
// For an expert-indexed product of many tokens: the pairs (slot, token) of each expert together,
// cut into tiles of at most `width`. One workgroup does it all. It writes
//
//   word 0            how many tiles
//   words 1 ..        three of each tile: its expert, where in `lists` its pairs begin, how many
//   from `pairs_at`   pairs as token * slots + slot; in which order within an expert is left to
//                     chance, and changes no result
//
// Pairs whose expert does not exist come as expert EXPERTS.
#include "common.glsl"
layout(constant_id = 1) const uint EXPERTS = 8;

layout(push_constant) uniform Push {
  uint slots, tokens;
  uint ids_offset, out_offset;
  uint pairs_at;  // from out_offset
  uint width;
} p;
layout(binding = 0) readonly buffer Ids { int ids[]; };
layout(binding = 1) writeonly buffer Lists { uint lists[]; };

shared uint counts[EXPERTS + 1];
shared uint starts[EXPERTS + 1];

uint ExpertOf(uint pair) { return min(uint(ids[p.ids_offset + pair]), EXPERTS); }

void main() {
  const uint thread = gl_LocalInvocationIndex, pairs = p.slots * p.tokens;
  for (uint i = thread; i <= EXPERTS; i += LOCAL) counts[i] = 0;
  barrier();
  for (uint i = thread; i < pairs; i += LOCAL) atomicAdd(counts[ExpertOf(i)], 1);
  barrier();
  if (thread == 0) {
    uint start = p.out_offset + p.pairs_at, tiles = 0;
    for (uint e = 0; e <= EXPERTS; ++e) {
      starts[e] = start;
      for (uint done = 0; done < counts[e]; done += p.width) {
        const uint to = p.out_offset + 1 + 3 * tiles++;
        lists[to] = e;
        lists[to + 1] = start + done;
        lists[to + 2] = min(p.width, counts[e] - done);
      }
      start += counts[e];
    }
    lists[p.out_offset] = tiles;
  }
  barrier();
  for (uint i = thread; i < pairs; i += LOCAL) lists[atomicAdd(starts[ExpertOf(i)], 1)] = i;
}
