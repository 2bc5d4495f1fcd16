// Eight tables, so that eight bytes are taken at a time (Kounavis and Berry 2005, "slicing-by-8").
#include "runtime/base/crc32.h"

#include <array>

namespace bantam {
namespace {

constexpr uint32_t kPolynomial = 0xEDB88320;  // reflected
using Table = std::array<std::array<uint32_t, 256>, 8>;

// table[k][b]: the remainder of byte b followed by k zero bytes.
constexpr Table MakeTable() {
  Table table{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[0][b] = crc;
  }
  for (size_t k = 1; k < table.size(); ++k) {
    for (size_t b = 0; b < 256; ++b) {
      const uint32_t before = table[k - 1][b];
      table[k][b] = (before >> 8) ^ table[0][before & 0xFF];
    }
  }
  return table;
}

constexpr Table kTable = MakeTable();

}  // namespace

uint32_t Crc32(std::span<const std::byte> bytes, uint32_t crc) {
  crc = ~crc;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint32_t next = 0;
    for (size_t k = 0; k < 8; ++k) {
      uint32_t b = static_cast<uint32_t>(bytes[i + k]);
      if (k < 4) b ^= (crc >> (8 * k)) & 0xFF;
      next ^= kTable[7 - k][b];
    }
    crc = next;
  }
  for (; i < bytes.size(); ++i) {
    crc = (crc >> 8) ^ kTable[0][(crc ^ static_cast<uint32_t>(bytes[i])) & 0xFF];
  }
  return ~crc;
}

}  // namespace bantam
