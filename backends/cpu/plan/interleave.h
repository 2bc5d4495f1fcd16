// Weights laid out for products of few rows: 16 rows side by side.
//
// A row as it lies in a file is a stream of its own, and a register takes its elements from one
// row, so that 16 rows are 16 short streams and every product ends in sums across a register.
// Interleaved, 16 rows are one stream, and a register has a lane for each row: what is at byte `o`
// of a row is at byte 16 o of its group, where
//
//   a block is cut into words of 4 bytes, and the f16 (or byte) that is left over where its size is
//   no multiple of 4; a piece of all 16 rows, in their order, follows the one before it.
//
// So a group takes the bytes that its rows took, at the same place, and a matrix keeps its size.
// Its rows past a multiple of 32, which kernels take at once, stay as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/device.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/type.h"

namespace bantam::cpu {

inline constexpr int64_t kInterleaved = 16;  // rows of a group

// Where the piece that is no word begins in a block, and its bytes (0, 1 or 2).
template <typename Block>
struct OddPiece {
  static constexpr int kBytes = sizeof(Block) % 4;
  static constexpr int kAt = [] {
    if constexpr (kBytes == 2) return static_cast<int>(offsetof(Block, d));
    return 0;
  }();
};

// Not the types that look codes up in a table: they wait for that, not for memory.
using InterleavedBlocks =
    quant::BlockList<quant::BlockQ4_0, quant::BlockQ4_1, quant::BlockQ5_0, quant::BlockQ5_1,
                     quant::BlockQ8_0, quant::BlockQ2_K, quant::BlockQ3_K, quant::BlockQ4_K,
                     quant::BlockQ5_K, quant::BlockQ6_K, quant::BlockIQ4_NL, quant::BlockIQ4_XS,
                     quant::BlockMXFP4, quant::BlockNVFP4, quant::BlockTQ2_0>;

// Rows of a matrix of `rows` that are interleaved: the first ones.
inline int64_t InterleavedRows(int64_t rows) { return rows - rows % (2 * kInterleaved); }

// Whether rows of this type can be.
bool CanInterleave(quant::Type type);
// 16 rows of k elements, one after the other, to a group.
void InterleaveGroup(quant::Type type, int64_t k, const std::byte* rows, std::byte* group);
// Row `row` of a group as it was.
void ExtractRow(quant::Type type, int64_t k, const std::byte* group, int64_t row, std::byte* out);

// A weight to a HostBuffer that takes it, marked there as interleaved. Errors as LoadPlainWeight's;
// kInvalidArgument for a type that cannot be.
absl::Status LoadInterleaved(quant::Type type, const graph::Shape& shape,
                             std::span<const std::byte> data, const device::Binding& where,
                             ThreadPool& pool);

}  // namespace bantam::cpu
