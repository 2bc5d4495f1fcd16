// Values of any type to f32: an element to a thread, the same bits as quant::DecodeRow.

#include "backends/cuda/kernels/common.h"
#include "backends/cuda/kernels/types.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 256;

// A block writes kThreads elements of a row; blocks along y, and in strides of it, are rows.
template <typename Source>
BANTAM_KERNEL(kThreads, 1)
DecodeKernel(DecodeParams p, int rows, int grid_y) {
  const int i = BlockX() * kThreads + ThreadX();
  const int k = p.x.shape[0];
  if (i >= k) return;
  for (int r = BlockY(); r < rows; r += grid_y) {
    float value = 0;
    if (p.ids == nullptr) {
      value = ElementAt<Source>(Row(p.x, r), i);
    } else if (const int id = p.ids[r]; id >= 0 && id < p.x.shape[1]) {
      value = ElementAt<Source>(p.x.data + id * p.x.strides[1], i);
    }
    p.out[int64_t{r} * k + i] = value;
  }
}

}  // namespace

void Decode(const DecodeParams& p, Stream stream) {
  const int rows = p.ids != nullptr ? p.id_count : Rows(p.x);
  const int grid_y = rows < 65535 ? rows : 65535;
  auto launch = [&]<typename Source>(std::type_identity<Source>) {
    Launch(DecodeKernel<Source>, {Blocks(p.x.shape[0], kThreads), static_cast<unsigned>(grid_y)},
           kThreads, 0, stream, p, rows, grid_y);
  };
  ForType<PlainTypes>(p.type, launch);
  ForType<quant::AllBlocks>(p.type, launch);
}

}  // namespace bantam::cuda
