#include "runtime/quant/decode.h"

#include <array>
#include <cstring>
#include <type_traits>

#include "runtime/quant/blocks.h"
#include "runtime/quant/float16.h"

namespace bantam::quant {
namespace {

template <typename Block>
void DecodeBlocks(const void* src, float* dst, int64_t n) {
  const std::byte* bytes = static_cast<const std::byte*>(src);
  for (int64_t i = 0; i < n / Block::kElements; ++i) {
    // The copy makes any alignment fine and tells the compiler that writing `dst` changes no input,
    // without which it would not vectorise.
    Block block;
    std::memcpy(&block, bytes + i * sizeof(Block), sizeof(Block));
    DecodeBlock(block, dst + i * Block::kElements);
  }
}

// T converted as the language does, to nearest for the integers and F64; a finite double beyond the
// range of f32 becomes an infinity (IEEE 754).
template <typename T>
void DecodePlain(const void* src, float* dst, int64_t n) {
  const std::byte* bytes = static_cast<const std::byte*>(src);
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    dst[i] = static_cast<float>(value);
  }
}

template <float (*kToFloat)(uint16_t)>
void Decode16(const void* src, float* dst, int64_t n) {
  const std::byte* bytes = static_cast<const std::byte*>(src);
  for (int64_t i = 0; i < n; ++i) {
    uint16_t value;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    dst[i] = kToFloat(value);
  }
}

void DecodeF32(const void* src, float* dst, int64_t n) {
  if (n > 0) std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
}

using Table = std::array<DecodeFn, kTypeIdLimit>;

Table MakeTable() {
  Table table{};
  const auto set = [&table](Type type, DecodeFn fn) { table[static_cast<size_t>(type)] = fn; };
  set(Type::kF32, DecodeF32);
  set(Type::kF16, Decode16<HalfToFloat>);
  set(Type::kBF16, Decode16<BFloat16ToFloat>);
  set(Type::kF64, DecodePlain<double>);
  set(Type::kI8, DecodePlain<int8_t>);
  set(Type::kI16, DecodePlain<int16_t>);
  set(Type::kI32, DecodePlain<int32_t>);
  set(Type::kI64, DecodePlain<int64_t>);
  AllBlocks::ForEach([&set]<typename Block>(std::type_identity<Block>) {
    set(Block::kType, DecodeBlocks<Block>);
  });
  return table;
}

}  // namespace

DecodeFn Decoder(Type type) {
  static const Table kTable = MakeTable();
  return kTable[static_cast<size_t>(type)];
}

}  // namespace bantam::quant
