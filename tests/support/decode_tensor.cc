#include "runtime/quant/decode.h"
#include "tests/support/graph_eval.h"

namespace bantam::testing {

Tensor DecodeTensor(quant::Type type, const graph::Shape& shape, std::span<const std::byte> bytes) {
  Tensor tensor{type, shape, {}};
  tensor.data.reserve(graph::ElementCount(shape));
  std::vector<float> row(shape[0]);
  for (int64_t r = 0; r < graph::RowCount(shape); ++r) {
    const int64_t row_bytes = quant::RowBytes(type, shape[0]);
    quant::DecodeRow(type, bytes.data() + r * row_bytes, row.data(), shape[0]);
    tensor.data.insert(tensor.data.end(), row.begin(), row.end());
  }
  return tensor;
}

}  // namespace bantam::testing
