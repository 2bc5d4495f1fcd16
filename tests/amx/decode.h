// What an AMX instruction says, from its bytes: those with a VEX prefix of Sapphire Rapids.
//
//   C4  R X B m  W v L pp  opcode  ModRM  [SIB  [displacement]]
//
// All have map 2 (0F38), W0 and L0. (Intel's Software Developer's Manual, volume 2.)
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

namespace bantam::amx_emulator {

enum class Op {
  kLoadConfig,
  kStoreConfig,
  kRelease,
  kZero,
  kLoad,
  kStore,
  kDotBf16,
  kDotSS,  // of bytes: signed by signed, ...
  kDotSU,
  kDotUS,
  kDotUU,
};

struct Instruction {
  Op op;
  int length;            // bytes
  int tile = 0;          // loaded, stored or added to
  int a = 0, b = 0;      // tiles multiplied
  uint64_t address = 0;  // of memory, without the index
  uint64_t stride = 0;   // what the index comes to: from row to row
};

// `registers`: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 .. r15. Nothing for another instruction.
inline std::optional<Instruction> Decode(const uint8_t* code,
                                         const std::array<uint64_t, 16>& registers) {
  if (code[0] != 0xC4) return std::nullopt;
  const bool r = (code[1] & 0x80) == 0, x = (code[1] & 0x40) == 0, b = (code[1] & 0x20) == 0;
  if ((code[1] & 0x1F) != 2 || (code[2] & 0x84) != 0) return std::nullopt;  // map, W, L
  const int vvvv = ~code[2] >> 3 & 15, prefix = code[2] & 3, opcode = code[3];
  const int mod = code[4] >> 6, reg = code[4] >> 3 & 7, rm = code[4] & 7;
  enum { kNone, k66, kF3, kF2 };
  Instruction found = {Op::kRelease, 5};

  if (opcode == 0x5C || opcode == 0x5E) {
    constexpr Op kOfBytes[] = {Op::kDotUU, Op::kDotUS, Op::kDotSU, Op::kDotSS};
    if (mod != 3 || r || b || vvvv > 7 || (opcode == 0x5C && prefix != kF3)) return std::nullopt;
    found.op = opcode == 0x5C ? Op::kDotBf16 : kOfBytes[prefix];
    found.tile = reg;
    found.a = rm;
    found.b = vvvv;
    const bool distinct = reg != rm && reg != vvvv && rm != vvvv;
    return distinct ? std::optional(found) : std::nullopt;
  }
  if (vvvv != 0) return std::nullopt;
  if (opcode == 0x49 && mod == 3) {
    if (rm != 0 || r || b) return std::nullopt;
    if (prefix == kNone && reg == 0) return found;
    if (prefix != kF2) return std::nullopt;
    found.op = Op::kZero;
    found.tile = reg;
    return found;
  }
  if (opcode == 0x49) {
    if (reg != 0 || (prefix != kNone && prefix != k66)) return std::nullopt;
    found.op = prefix == kNone ? Op::kLoadConfig : Op::kStoreConfig;
  } else if (opcode == 0x4B) {
    if (mod == 3 || rm != 4 || r || prefix == kNone) return std::nullopt;  // wants an index
    found.op = prefix == kF3 ? Op::kStore : Op::kLoad;
    found.tile = reg;
  } else {
    return std::nullopt;
  }

  int base = rm + 8 * b;
  bool has_base = true;
  if (rm == 4) {
    const uint8_t sib = code[found.length++];
    const int index = (sib >> 3 & 7) + 8 * x;
    base = (sib & 7) + 8 * b;
    if (index != 4) found.stride = registers[index] << (sib >> 6);
    has_base = mod != 0 || (sib & 7) != 5;
  } else if (mod == 0 && rm == 5) {
    has_base = false;  // relative to the next instruction
  }
  int64_t displacement = 0;
  if (mod == 1) {
    displacement = static_cast<int8_t>(code[found.length]);
    found.length += 1;
  } else if (mod == 2 || !has_base) {
    int32_t four;
    std::memcpy(&four, code + found.length, sizeof(four));
    displacement = four;
    found.length += 4;
  }
  found.address = static_cast<uint64_t>(displacement);
  if (has_base) {
    found.address += registers[base];
  } else if (rm == 5) {
    found.address += reinterpret_cast<uint64_t>(code) + found.length;
  }
  if (opcode == 0x49) {  // no rows: the index is a part of the address
    found.address += found.stride;
    found.stride = 0;
  }
  return found;
}

}  // namespace bantam::amx_emulator
