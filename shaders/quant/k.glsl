// Blocks of 256 with quantized scales; drawn in runtime/quant/blocks_k.h.

uvec4 QuantsQ2_K(uint at, uint run) {
  const uvec4 bytes = LoadAligned(at + 16 + 32 * (run >> 3) + 16 * (run & 1u));
  return (bytes >> 2 * ((run >> 1) & 3u)) & 0x03030303u;
}
uvec4 QuantsQ3_K(uint at, uint run) {
  const uvec4 low = LoadU128(at + 32 + 32 * (run >> 3) + 16 * (run & 1u));
  const uvec4 high = LoadU128(at + 16 * (run & 1u));
  return MinusEach(((low >> 2 * ((run >> 1) & 3u)) & 0x03030303u) |
                       (((high >> (run >> 1)) & kOnes) << 2),
                   4);
}
float ScaleQ3_K(uint at, uint run) {
  const uint low = (LoadU8(at + 96 + (run & 7u)) >> 4 * (run >> 3)) & 15u;
  const uint high = (LoadU8(at + 104 + (run & 3u)) >> 2 * (run >> 2)) & 3u;
  return LoadHalf(at + 108) * float(int(low | high << 4) - 32);
}
uint SixBitScale(uint scales, uint group) {
  const uint byte = LoadU8(scales + (group < 4 ? group : group + 4));
  return group < 4 ? byte & 63u : (byte & 15u) | (LoadU8(scales + group - 4) >> 6) << 4;
}
uint SixBitMin(uint scales, uint group) {
  const uint byte = LoadU8(scales + group + 4);
  return group < 4 ? byte & 63u : byte >> 4 | (LoadU8(scales + group) >> 6) << 4;
}
uvec4 QuantsQ4_K(uint at, uint run) {
  const uvec4 bytes = LoadAligned(at + 16 + 32 * (run >> 2) + 16 * (run & 1u));
  return (bytes >> 4 * ((run >> 1) & 1u)) & 0x0F0F0F0Fu;
}
uvec4 QuantsQ5_K(uint at, uint run) {
  const uvec4 low = LoadAligned(at + 48 + 32 * (run >> 2) + 16 * (run & 1u));
  const uvec4 high = LoadAligned(at + 16 + 16 * (run & 1u));
  return ((low >> 4 * ((run >> 1) & 1u)) & 0x0F0F0F0Fu) | (((high >> (run >> 1)) & kOnes) << 4);
}
uvec4 QuantsQ6_K(uint at, uint run) {
  const uint part = run >> 3;
  const uvec4 low = LoadU128(at + 64 * part + 16 * (run & 3u));
  const uvec4 high = LoadU128(at + 128 + 32 * part + 16 * (run & 1u));
  return MinusEach(((low >> 4 * ((run >> 2) & 1u)) & 0x0F0F0F0Fu) |
                       (((high >> 2 * ((run >> 1) & 3u)) & 0x03030303u) << 4),
                   32);
}
