// Every decode function inside a kernel: that the headers compile for a GPU is tested wherever
// there is a CUDA compiler, with or without a device.
#include "runtime/quant/blocks.h"

namespace bantam::quant {

// One thread block per block, one thread per element, both ways of decoding.
template <typename Block>
__global__ void Decode(const Block* blocks, float* elements, float* rows) {
  const Block& block = blocks[blockIdx.x];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * Block::kElements;
  elements[at + threadIdx.x] = DecodeElement(block, threadIdx.x);
  if (threadIdx.x == 0) DecodeBlock(block, rows + at);
}

__global__ void Convert(const float* in, uint16_t* halves, uint16_t* bfloats, float* out) {
  halves[threadIdx.x] = FloatToHalf(in[threadIdx.x]);
  bfloats[threadIdx.x] = FloatToBFloat16(in[threadIdx.x]);
  out[threadIdx.x] = HalfToFloat(halves[threadIdx.x]) + BFloat16ToFloat(bfloats[threadIdx.x]);
}

void Launch(const void* blocks, float* elements, float* rows) {
  AllBlocks::ForEach([&]<typename Block>(std::type_identity<Block>) {
    Decode<<<1, Block::kElements>>>(static_cast<const Block*>(blocks), elements, rows);
  });
  Convert<<<1, 32>>>(nullptr, nullptr, nullptr, nullptr);
}

}  // namespace bantam::quant
