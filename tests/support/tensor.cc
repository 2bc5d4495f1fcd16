// Numbers as the plain types hold them. Written by arithmetic, not by bits, to be independent of
// runtime/quant.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/graph_eval.h"

namespace bantam::testing {
namespace {

struct FloatFormat {
  int fraction_bits, min_exponent, max_exponent, sign_bit;
};
constexpr FloatFormat kHalf = {10, -14, 15, 15};
constexpr FloatFormat kBrain = {7, -126, 127, 15};

double RoundToFormat(const FloatFormat& format, double x) {
  if (!std::isfinite(x) || x == 0) return x;
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const double step = std::ldexp(1.0, exponent - format.fraction_bits);
  const double rounded = std::nearbyint(x / step) * step;
  const double limit = std::ldexp(2.0, format.max_exponent);
  return std::abs(rounded) >= limit ? std::copysign(INFINITY, x) : rounded;
}

// The bits of a number the format holds exactly.
uint16_t FormatBits(const FloatFormat& format, double x) {
  const uint16_t sign = std::signbit(x) ? 1u << format.sign_bit : 0;
  const int bias = format.max_exponent;
  const double magnitude = std::abs(x);
  if (!std::isfinite(x)) {
    return sign | (2 * bias + 1) << format.fraction_bits | (std::isnan(x) ? 1 : 0);
  }
  const int exponent =
      magnitude == 0 ? format.min_exponent : std::max(std::ilogb(x), format.min_exponent);
  // Counted in steps of this exponent, a normal number has its leading one at fraction_bits, where
  // adding the exponent field minus one makes the field right.
  const auto steps = static_cast<uint32_t>(std::ldexp(magnitude, format.fraction_bits - exponent));
  return sign | (((exponent + bias - 1) << format.fraction_bits) + steps);
}

template <typename T>
void Append(std::vector<std::byte>& bytes, T value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

}  // namespace

double RoundTo(quant::Type type, double x) {
  switch (type) {
    case quant::Type::kF64:
      return x;
    case quant::Type::kF32:
      return static_cast<float>(x);
    case quant::Type::kF16:
      return RoundToFormat(kHalf, x);
    case quant::Type::kBF16:
      return RoundToFormat(kBrain, x);
    default:
      return std::trunc(x);
  }
}

Tensor RandomTensor(quant::Type type, const graph::Shape& shape, std::mt19937& random, double low,
                    double high) {
  Tensor tensor{type, shape, std::vector<double>(graph::ElementCount(shape))};
  const bool is_integer = type == quant::Type::kI8 || type == quant::Type::kI16 ||
                          type == quant::Type::kI32 || type == quant::Type::kI64;
  for (double& x : tensor.data) {
    // Plain arithmetic: the distributions of <random> differ between standard libraries.
    const double unit = random() / 4294967296.0;
    const double drawn = low + (high - low) * unit;
    x = is_integer ? std::floor(drawn) : RoundTo(type, drawn);
  }
  return tensor;
}

std::vector<std::byte> EncodeTensor(const Tensor& tensor) {
  std::vector<std::byte> bytes;
  for (const double x : tensor.data) {
    switch (tensor.type) {
      case quant::Type::kF64:
        Append(bytes, x);
        break;
      case quant::Type::kF32:
        Append(bytes, static_cast<float>(x));
        break;
      case quant::Type::kF16:
        Append(bytes, FormatBits(kHalf, RoundTo(tensor.type, x)));
        break;
      case quant::Type::kBF16:
        Append(bytes, FormatBits(kBrain, RoundTo(tensor.type, x)));
        break;
      case quant::Type::kI8:
        Append(bytes, static_cast<int8_t>(x));
        break;
      case quant::Type::kI16:
        Append(bytes, static_cast<int16_t>(x));
        break;
      case quant::Type::kI32:
        Append(bytes, static_cast<int32_t>(x));
        break;
      case quant::Type::kI64:
        Append(bytes, static_cast<int64_t>(x));
        break;
      default:
        return {};  // quantized: there is no one encoding
    }
  }
  return bytes;
}

}  // namespace bantam::testing
