// The rules of the format that the reader and the writer share. See format.md.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"

namespace bantam::gguf {

static_assert(std::endian::native == std::endian::little,
              "values are copied to and from the file as they are in memory");

inline constexpr absl::string_view kMagic = "GGUF";
inline constexpr uint32_t kVersion = 3;  // what is written
inline constexpr size_t kHeaderBytes = 24;
inline constexpr absl::string_view kAlignmentKey = "general.alignment";
inline constexpr uint64_t kDefaultAlignment = 32;
inline constexpr int kMaxDims = 4;
inline constexpr size_t kMaxNameBytes = 65535;  // of a key or tensor name
inline constexpr int kMaxArrayDepth = 8;        // an array of numbers has depth 1

// The least an entry can occupy: used to refuse a count before acting on it.
inline constexpr uint64_t kMinStringBytes = 8;
inline constexpr uint64_t kMinArrayBytes = 12;
inline constexpr uint64_t kMinKeyValueBytes = 8 + 1 + 4 + 1;
inline constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;

inline bool IsValidMetaType(uint32_t id) { return id < std::variant_size_v<MetaValue>; }

// Bytes of one value; 0 for strings and arrays, which have no fixed size.
size_t FixedBytes(MetaType type);

template <typename T>
T LoadAs(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// The value of a fixed-size type stored at `at`. A bool other than 0 counts as true here; the
// parser has refused such bytes.
MetaValue LoadFixed(MetaType type, const std::byte* at);

// The value of an integer type that fits, else nothing.
std::optional<int64_t> AsInt(const MetaValue& value);
std::optional<uint64_t> AsUint(const MetaValue& value);
// The value of any number.
std::optional<double> AsFloat(const MetaValue& value);

// For messages: "the int32 -5", "the string 'gpt2'", "an array of 12 float32 values".
std::string DescribeValue(const MetaValue& value);

// The value of general.alignment, nullptr when it is absent. The error starts with the key.
absl::StatusOr<uint64_t> AlignmentFrom(const MetaValue* value);

// For a key or a tensor name; `what` ("key", "tensor name") starts the message.
absl::Status CheckName(absl::string_view name, absl::string_view what);

// Bytes of a tensor's data, below 2^63. Unused dimensions are 1. The message says what is wrong
// with the shape, not of which tensor.
absl::StatusOr<uint64_t> TensorBytes(quant::Type type, const std::array<int64_t, 4>& shape);

}  // namespace bantam::gguf
