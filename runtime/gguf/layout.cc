#include "runtime/gguf/layout.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/printable.h"

namespace bantam::gguf {

absl::string_view MetaTypeName(MetaType type) {
  static constexpr std::array<absl::string_view, 13> kNames = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  const auto id = static_cast<uint32_t>(type);
  return IsValidMetaType(id) ? kNames[id] : "unknown";
}

size_t FixedBytes(MetaType type) {
  static constexpr std::array<uint8_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<size_t>(type)];
}

MetaValue LoadFixed(MetaType type, const std::byte* at) {
  switch (type) {
    case MetaType::kUint8:
      return LoadAs<uint8_t>(at);
    case MetaType::kInt8:
      return LoadAs<int8_t>(at);
    case MetaType::kUint16:
      return LoadAs<uint16_t>(at);
    case MetaType::kInt16:
      return LoadAs<int16_t>(at);
    case MetaType::kUint32:
      return LoadAs<uint32_t>(at);
    case MetaType::kInt32:
      return LoadAs<int32_t>(at);
    case MetaType::kFloat32:
      return LoadAs<float>(at);
    case MetaType::kBool:
      return *at != std::byte{0};
    case MetaType::kUint64:
      return LoadAs<uint64_t>(at);
    case MetaType::kInt64:
      return LoadAs<int64_t>(at);
    case MetaType::kFloat64:
      return LoadAs<double>(at);
    case MetaType::kString:
    case MetaType::kArray:
      break;
  }
  return uint8_t{0};
}

absl::StatusOr<uint64_t> AlignmentFrom(const MetaValue* value) {
  if (value == nullptr) return kDefaultAlignment;
  const uint32_t* alignment = std::get_if<uint32_t>(value);
  if (alignment == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        kAlignmentKey, " has type ", MetaTypeName(TypeOf(*value)), "; expected uint32"));
  }
  if (*alignment < 8 || !std::has_single_bit(*alignment)) {
    return absl::InvalidArgumentError(absl::StrCat(kAlignmentKey, " is ", *alignment,
                                                   "; expected a power of two that is at least 8"));
  }
  return *alignment;
}

absl::Status CheckName(absl::string_view name, absl::string_view what) {
  if (name.empty()) return absl::InvalidArgumentError(absl::StrCat(what, " is empty"));
  if (name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat(what, " '", Printable(name, 40), "' has ",
                                                   name.size(), " bytes; at most ", kMaxNameBytes,
                                                   " are allowed"));
  }
  if (!IsPlainText(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " '", Printable(name),
                     "' is not plain text: it holds control characters or invalid UTF-8"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> TensorBytes(quant::Type type, const std::array<int64_t, 4>& shape) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  int64_t elements = 1;
  for (int64_t dim : shape) {
    if (dim < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a dimension is ", dim, "; expected at least 1"));
    }
    if (dim > kMax / elements) {
      return absl::InvalidArgumentError("its dimensions multiply to more than 2^63 elements");
    }
    elements *= dim;
  }
  const quant::TypeTraits& traits = quant::Traits(type);
  if (shape[0] % traits.block_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("rows of ", shape[0],
                                                   " elements cannot be stored as ", traits.name,
                                                   ", which has blocks of ", traits.block_size));
  }
  const int64_t blocks = elements / traits.block_size;
  if (blocks > kMax / traits.block_bytes) {
    return absl::InvalidArgumentError("its data would take more than 2^63 bytes");
  }
  return static_cast<uint64_t>(blocks * traits.block_bytes);
}

}  // namespace bantam::gguf
