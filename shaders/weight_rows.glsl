// Where rows of weights begin, by the push constants of a product.

#ifdef ADDRESS
uvec2 PlusProduct(uvec2 address, uint count, uint bytes) {
  uint high, low, carry;
  umulExtended(count, bytes, high, low);
  low = uaddCarry(address.x, low, carry);
  return uvec2(low, address.y + high + carry);
}
#endif

// Row `row` of expert `expert` of this dispatch, in bytes, as DecodeRun takes it; the next are
// w_row_stride apart. By address, those within 4 GiB: what is near this row has offsets of 32 bits.
uint BeginRows(uint expert, uint row) {
#ifdef ADDRESS
  uvec2 address = uvec2(p.w_address[0], p.w_address[1]);
  address = PlusProduct(PlusProduct(address, expert, p.w_expert_stride), row, p.w_row_stride);
  weight_base = uvec2(address.x & ~15u, address.y);
  return address.x & 15u;
#else
  return p.w_offset + expert * p.w_expert_stride + row * p.w_row_stride;
#endif
}
