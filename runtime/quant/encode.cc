#include "runtime/quant/encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/encode_blocks.h"
#include "runtime/quant/float16.h"

namespace bantam::quant {
namespace {

using EncodeFn = absl::Status (*)(const float* src, std::byte* dst, int64_t n);

absl::Status NotFinite(Type type, const float* src, int64_t n) {
  int64_t i = 0;
  while (i < n && std::isfinite(src[i])) ++i;
  return absl::InvalidArgumentError(absl::StrCat("cannot encode as ", Name(type), ": element ", i,
                                                 " of the row is ", src[i],
                                                 ", expected finite numbers"));
}

bool AllFinite(const float* x, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) finite &= std::abs(x[i]) <= std::numeric_limits<float>::max();
  return finite;
}

bool IsFiniteHalf(uint16_t half) { return (half & 0x7FFF) < 0x7C00; }

// Whether the scales could hold what the block's elements asked for.
template <typename Block>
bool ScalesHold(const float* x, const Block& block) {
  if constexpr (requires { block.dmin; }) {
    return IsFiniteHalf(block.d) && IsFiniteHalf(block.dmin);
  } else if constexpr (requires { block.m; }) {
    return IsFiniteHalf(block.d) && IsFiniteHalf(block.m);
  } else if constexpr (requires { block.s; }) {
    return IsFiniteHalf(block.d) && IsFiniteHalf(block.s);
  } else if constexpr (Block::kType == Type::kNVFP4) {
    constexpr float kLargest = 6.0f * 448.0f;
    bool fits = true;
    for (int i = 0; i < Block::kElements; ++i) fits &= std::abs(x[i]) <= kLargest;
    return fits;
  } else if constexpr (Block::kType == Type::kMXFP4 || Block::kType == Type::kQ8_K) {
    return true;  // as wide as f32
  } else {
    return IsFiniteHalf(block.d);
  }
}

template <typename Block>
absl::Status EncodeBlocks(const float* src, std::byte* dst, int64_t n) {
  if (!AllFinite(src, n)) return NotFinite(Block::kType, src, n);
  for (int64_t i = 0; i < n / Block::kElements; ++i) {
    const float* x = src + i * Block::kElements;
    Block block;
    EncodeBlock(x, block);
    if (!ScalesHold(x, block)) {
      float largest = 0;
      for (int j = 0; j < Block::kElements; ++j) largest = std::max(largest, std::abs(x[j]));
      return absl::OutOfRangeError(
          absl::StrCat("cannot encode as ", Name(Block::kType), ": elements ", i * Block::kElements,
                       " to ", (i + 1) * Block::kElements - 1, " of the row are as large as ",
                       largest, ", more than the scales of the type can hold"));
    }
    std::memcpy(dst + i * sizeof(Block), &block, sizeof(Block));
  }
  return absl::OkStatus();
}

template <uint16_t (*kFromFloat)(float)>
absl::Status Encode16(const float* src, std::byte* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t value = kFromFloat(src[i]);
    std::memcpy(dst + i * sizeof(value), &value, sizeof(value));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status EncodeFloats(const float* src, std::byte* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const T value = src[i];
    std::memcpy(dst + i * sizeof(T), &value, sizeof(T));
  }
  return absl::OkStatus();
}

// To the nearest integer, ties to even.
template <typename T, Type kType>
absl::Status EncodeIntegers(const float* src, std::byte* dst, int64_t n) {
  if (!AllFinite(src, n)) return NotFinite(kType, src, n);
  // -min is a power of two and so exact as f32, unlike max.
  constexpr float kMin = static_cast<float>(std::numeric_limits<T>::min());
  for (int64_t i = 0; i < n; ++i) {
    const float rounded = std::nearbyint(src[i]);
    if (rounded < kMin || rounded >= -kMin) {
      return absl::OutOfRangeError(absl::StrCat(
          "cannot encode as ", Name(kType), ": element ", i, " of the row is ", src[i],
          ", expected ", std::numeric_limits<T>::min(), " to ", std::numeric_limits<T>::max()));
    }
    const T value = static_cast<T>(rounded);
    std::memcpy(dst + i * sizeof(T), &value, sizeof(T));
  }
  return absl::OkStatus();
}

using Table = std::array<EncodeFn, kTypeIdLimit>;

Table MakeTable() {
  Table table{};
  const auto set = [&table](Type type, EncodeFn fn) { table[static_cast<size_t>(type)] = fn; };
  set(Type::kF32, EncodeFloats<float>);
  set(Type::kF16, Encode16<FloatToHalf>);
  set(Type::kBF16, Encode16<FloatToBFloat16>);
  set(Type::kF64, EncodeFloats<double>);
  set(Type::kI8, EncodeIntegers<int8_t, Type::kI8>);
  set(Type::kI16, EncodeIntegers<int16_t, Type::kI16>);
  set(Type::kI32, EncodeIntegers<int32_t, Type::kI32>);
  set(Type::kI64, EncodeIntegers<int64_t, Type::kI64>);
  AllBlocks::ForEach([&set]<typename Block>(std::type_identity<Block>) {
    if constexpr (HasEncoder<Block>) set(Block::kType, EncodeBlocks<Block>);
  });
  return table;
}

}  // namespace

absl::Status EncodeRow(Type type, const float* src, void* dst, int64_t n) {
  static const Table kTable = MakeTable();
  const EncodeFn encode = kTable[static_cast<size_t>(type)];
  if (encode == nullptr) {
    return absl::UnimplementedError(absl::StrCat("there is no encoder for ", Name(type)));
  }
  const int32_t block_size = Traits(type).block_size;
  if (n < 0 || n % block_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot encode a row of ", n, " elements as ",
                                                   Name(type), ": expected a multiple of ",
                                                   block_size));
  }
  return encode(src, static_cast<std::byte*>(dst), n);
}

}  // namespace bantam::quant
