// exp and log from additions, multiplications and divisions alone. The C library's differ in the
// last bit from one machine to another, and with them the tokens a seed would give.
#pragma once

#include <bit>
#include <cstdint>

namespace bantam::sample {

// e^x for x <= 700 within 2 units in the last place; 0 below -700, where the true value is under
// 1e-304.
inline double Exp(double x) {
  if (x < -700) return 0;
  // x = k ln 2 + r with |r| <= ln 2 / 2; ln 2 is split so that k times its high part is exact.
  constexpr double kInverseLn2 = 1.4426950408889634074;
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const double scaled = x * kInverseLn2;
  const auto k = static_cast<int64_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  const double r = (x - static_cast<double>(k) * kLn2High) - static_cast<double>(k) * kLn2Low;
  // Taylor's series: the first term left out is below 2^-57.
  double sum = 1;
  for (int n = 13; n >= 1; --n) sum = 1 + sum * r / n;
  return sum * std::bit_cast<double>(static_cast<uint64_t>(k + 1023) << 52);
}

// The natural logarithm of a normal x > 0, within 4 units in the last place or 1e-16.
inline double Log(double x) {
  // x = m 2^k with m between sqrt(1/2) and sqrt(2); log m = 2 atanh((m - 1) / (m + 1)).
  const auto bits = std::bit_cast<uint64_t>(x);
  auto k = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++k;
  }
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double sum = 0;
  for (int n = 23; n >= 1; n -= 2) sum = sum * square + 1.0 / n;
  constexpr double kLn2 = 0.693147180559945309417;
  return static_cast<double>(k) * kLn2 + 2 * s * sum;
}

}  // namespace bantam::sample
