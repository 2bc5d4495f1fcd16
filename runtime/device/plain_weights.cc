#include "runtime/device/plain_weights.h"

#include "absl/strings/str_cat.h"

namespace bantam::device {

uint64_t PlainWeightBytes(quant::Type type, const graph::Shape& shape) {
  return static_cast<uint64_t>(quant::RowBytes(type, shape[0]) * graph::RowCount(shape));
}

absl::Status LoadPlainWeight(quant::Type type, const graph::Shape& shape,
                             std::span<const std::byte> data, const Binding& where) {
  const uint64_t expected = PlainWeightBytes(type, shape);
  if (data.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("a weight has ", data.size(), " bytes; expected ", expected));
  }
  if (where.buffer == nullptr) return absl::InvalidArgumentError("a weight has no buffer");
  return where.buffer->Upload(where.offset, data);
}

}  // namespace bantam::device
