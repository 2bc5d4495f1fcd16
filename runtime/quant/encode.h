// Rows of f32 to any tensor type that can be encoded, on the host.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/quant/type.h"

namespace bantam::quant {

// Encodes `n` elements at `src` to RowBytes(type, n) bytes at `dst`, which needs no alignment. Each
// element goes to its nearest representable value, under scales taken from the extremes of its
// block: quick and predictable, but not the least error a type can reach.
//
// Errors, after which `dst` holds nothing of use:
//   kUnimplemented    the type has no encoder (the IQ1, IQ2 and IQ3 types)
//   kInvalidArgument  n is no multiple of the block size, or an element is not finite and the type
//                     cannot say so (all but F32 F16 BF16 F64)
//   kOutOfRange       elements too large for the type's scales, or for an integer type
absl::Status EncodeRow(Type type, const float* src, void* dst, int64_t n);

// The same with scales and quants searched for the least weighted error, the sum of
// weights[i] (x[i] - decoded[i])^2; every block type but Q8_1 and Q8_K (whose nearest values are
// the best there are for what they serve) is searched, IQ1, IQ2 and IQ3 too. `weights` holds n
// finite values that are not negative, of which only ratios within a block matter; nullptr is all
// the same weight. The sum is never above that of EncodeRow. (Blocks keep the size they
// had, for which a little of what the search gains is given up: see RestoreSize.) The same bits on
// every processor. Thread-safe. Errors as EncodeRow.
absl::Status QuantizeRow(Type type, const float* src, const float* weights, void* dst, int64_t n);

}  // namespace bantam::quant
