#include "backends/cuda/kernels/matmul_int8.h"

namespace bantam::cuda {

BANTAM_INT8_PRODUCTS(CodebookBlocks)

}  // namespace bantam::cuda
