// The CRC-32 of IEEE 802.3, as in zlib, PNG and ZIP: detects damage, not malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace bantam {

// Of `bytes` following those that gave `crc`; 0 to start with.
uint32_t Crc32(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace bantam
