#include "backends/cpu/simd/codebooks.h"

#include "runtime/quant/codebooks.h"

namespace bantam::cpu::simd {
namespace {

template <typename Word, size_t kCount, typename Point>
std::array<Word, kCount> Points(const Point& point) {
  std::array<Word, kCount> points;
  for (size_t i = 0; i < kCount; ++i) points[i] = static_cast<Word>(point(static_cast<int>(i)));
  return points;
}

}  // namespace

const std::array<uint64_t, 256> kPointsIQ2_XXS =
    Points<uint64_t, 256>([](int i) { return quant::PointIQ2(quant::CodeIQ2_XXS(i)); });
const std::array<uint64_t, 512> kPointsIQ2_XS =
    Points<uint64_t, 512>([](int i) { return quant::PointIQ2(quant::CodeIQ2_XS(i)); });
const std::array<uint64_t, 1024> kPointsIQ2_S =
    Points<uint64_t, 1024>([](int i) { return quant::PointIQ2(quant::CodeIQ2_S(i)); });
const std::array<uint32_t, 256> kPointsIQ3_XXS =
    Points<uint32_t, 256>([](int i) { return quant::PointIQ3_XXS(quant::CodeIQ3_XXS(i), 0); });
const std::array<uint32_t, 512> kPointsIQ3_S =
    Points<uint32_t, 512>([](int i) { return quant::PointIQ3_S(quant::CodeIQ3_S(i), 0); });
const std::array<uint64_t, 2048> kPointsIQ1 = Points<uint64_t, 2048>(
    [](int i) { return 8 * quant::SpreadPairs(quant::CodeIQ1(i)) + quant::AllBytes(2); });

}  // namespace bantam::cpu::simd
