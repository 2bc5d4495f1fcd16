#include "runtime/quant/encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/encode_blocks.h"
#include "runtime/quant/encoding.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/search.h"

namespace bantam::quant {
namespace {

using QuantizeFn = absl::Status (*)(const float* src, const float* weights, std::byte* dst,
                                    int64_t n);
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
absl::Status TooLarge(const float* x, int64_t i) {
  float largest = 0;
  for (int j = 0; j < Block::kElements; ++j) largest = std::max(largest, std::abs(x[j]));
  return absl::OutOfRangeError(
      absl::StrCat("cannot encode as ", Name(Block::kType), ": elements ", i * Block::kElements,
                   " to ", (i + 1) * Block::kElements - 1, " of the row are as large as ", largest,
                   ", more than the scales of the type can hold"));
}

template <typename Block>
absl::Status EncodeBlocks(const float* src, std::byte* dst, int64_t n) {
  if (!AllFinite(src, n)) return NotFinite(Block::kType, src, n);
  for (int64_t i = 0; i < n / Block::kElements; ++i) {
    const float* x = src + i * Block::kElements;
    Block block;
    EncodeBlock(x, block);
    if (!ScalesHold(x, block)) return TooLarge<Block>(x, i);
    std::memcpy(dst + i * sizeof(Block), &block, sizeof(Block));
  }
  return absl::OkStatus();
}

// Whether the scales of a searched block are finite, or of a type that has no infinite ones.
template <typename Block>
bool IsFinite(const Block& block) {
  for (int g = 0; g < Block::kElements / Block::kGroup; ++g) {
    if (!std::isfinite(block.Scale(g))) return false;
    if constexpr (HasOffset<Block>) {
      if (!std::isfinite(block.Offset(g))) return false;
    }
  }
  return true;
}

// Sum of w (x - decoded)^2.
template <typename Block>
double WeightedError(const float* x, const float* w, const Block& block) {
  float decoded[Block::kElements];
  DecodeBlock(block, decoded);
  double sum[4] = {};
  for (int i = 0; i < Block::kElements; i += 4) {
    for (int j = 0; j < 4; ++j) {
      const double error = static_cast<double>(x[i + j]) - decoded[i + j];
      sum[j] += w[i + j] * error * error;
    }
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Brings a block's elements and weights into the middle of the range of f32.
void MakeProblem(const float* x, const float* weights, int n, Problem& problem) {
  float largest = 0, most = 0;
  for (int i = 0; i < n; ++i) {
    largest = std::max(largest, std::abs(x[i]));
    problem.w[i] = weights == nullptr ? 1.0f : weights[i];
    most = std::max(most, problem.w[i]);
  }
  // Powers of two, so that a block and its multiple by one are encoded alike.
  const int exponent = largest > 0 ? std::clamp(std::ilogb(largest), -100, 100) : 0;
  problem.up = std::ldexp(1.0f, exponent);
  problem.down = std::ldexp(1.0f, -exponent);
  // Elements of no weight still count for a little, so that they come out near where they were.
  constexpr float kLeastWeight = 1e-5f;
  const float scale = most > 0 ? 1.0f / most : 0.0f;
  for (int i = 0; i < n; ++i) {
    problem.x[i] = x[i] * problem.down;
    problem.w[i] = most > 0 ? std::max(problem.w[i] * scale, kLeastWeight) : 1.0f;
    problem.wx[i] = problem.w[i] * problem.x[i];
  }
}

// Scales of least error make a block smaller than it was, by the share of its energy that became
// error, in every matrix of every layer alike, which costs a model more than the same error at
// random would: multiplies `d` and `dmin` so that the product of x and what it becomes is that of x
// with itself. Beyond a tenth the error that this adds is not worth it.
template <typename Block>
void RestoreSize(const float* x, const float* w, const Block& block, Encoding& encoding) {
  float decoded[Block::kElements];
  DecodeBlock(block, decoded);
  double product = 0, square = 0;
  for (int i = 0; i < Block::kElements; ++i) {
    const double weighted = static_cast<double>(w[i]) * x[i];
    product += weighted * decoded[i];
    square += weighted * x[i];
  }
  if (!(product > 0) || !(square < 1.1 * product)) return;
  const float factor = static_cast<float>(square / product);
  encoding.d *= factor;
  encoding.dmin *= factor;
}

template <typename Block>
absl::Status QuantizeBlocks(const float* src, const float* weights, std::byte* dst, int64_t n) {
  // With 16 levels around zero, or three, the scales of least error lose more of a model (7 % and
  // 10 % more divergence, SmolLM2 135M) than those that keep the largest element, though their
  // error is a fifth or a half less.
  constexpr Type kType = Block::kType;
  if constexpr (kType == Type::kQ4_0 || kType == Type::kTQ1_0 || kType == Type::kTQ2_0) {
    if (weights == nullptr) return EncodeBlocks<Block>(src, dst, n);
  }
  if (!AllFinite(src, n)) return NotFinite(Block::kType, src, n);
  const SolveFn solve = Solver(Block::kType);
  Problem problem;
  Encoding encoding;
  for (int64_t i = 0; i < n / Block::kElements; ++i) {
    const float* x = src + i * Block::kElements;
    const float* w = weights == nullptr ? nullptr : weights + i * Block::kElements;
    MakeProblem(x, w, Block::kElements, problem);
    solve(problem, encoding);
    Block block;
    Pack(encoding, block);
    RestoreSize(x, problem.w, block, encoding);
    Pack(encoding, block);
    if constexpr (HasEncoder<Block>) {
      Block quick;
      EncodeBlock(x, quick);
      if (!ScalesHold(x, quick)) return TooLarge<Block>(x, i);
      // The search looks only at so many scales, and may ask for one that is just beyond f16.
      if (!IsFinite(block) ||
          WeightedError(x, problem.w, quick) < WeightedError(x, problem.w, block)) {
        block = quick;
      }
    } else if (!IsFinite(block) || (encoding.d == 0 && problem.up > 1)) {
      return TooLarge<Block>(x, i);
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

using QuantizeTable = std::array<QuantizeFn, kTypeIdLimit>;

QuantizeTable MakeQuantizeTable() {
  QuantizeTable table{};
  AllBlocks::ForEach([&table]<typename Block>(std::type_identity<Block>) {
    if constexpr (requires(const Encoding& e, Block& block) { Pack(e, block); }) {
      table[static_cast<size_t>(Block::kType)] = QuantizeBlocks<Block>;
    }
  });
  return table;
}

absl::Status CheckLength(Type type, int64_t n) {
  const int32_t block_size = Traits(type).block_size;
  if (n >= 0 && n % block_size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot encode a row of ", n, " elements as ",
                                                 Name(type), ": expected a multiple of ",
                                                 block_size));
}

}  // namespace

absl::Status QuantizeRow(Type type, const float* src, const float* weights, void* dst, int64_t n) {
  static const QuantizeTable kTable = MakeQuantizeTable();
  const QuantizeFn quantize = kTable[static_cast<size_t>(type)];
  if (quantize == nullptr) return EncodeRow(type, src, dst, n);
  BANTAM_RETURN_IF_ERROR(CheckLength(type, n));
  return quantize(src, weights, static_cast<std::byte*>(dst), n);
}

absl::Status EncodeRow(Type type, const float* src, void* dst, int64_t n) {
  static const Table kTable = MakeTable();
  const EncodeFn encode = kTable[static_cast<size_t>(type)];
  if (encode == nullptr) {
    return absl::UnimplementedError(absl::StrCat("there is no encoder for ", Name(type)));
  }
  BANTAM_RETURN_IF_ERROR(CheckLength(type, n));
  return encode(src, static_cast<std::byte*>(dst), n);
}

}  // namespace bantam::quant
