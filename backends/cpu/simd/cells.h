// What attention's inner loops (attend.inc) work on.
#pragma once

#include <cmath>
#include <cstdint>

#include "runtime/quant/type.h"

namespace bantam::cpu::simd {

// The keys or values of a block of cells, of one head: n elements each.
struct CellRows {
  quant::Type type;            // F32, F16 or, where the set reads blocks, Q8_0, Q4_0
  const uint8_t* const* rows;  // count and more, to the next multiple of 16: any rows
  int64_t offset;              // in bytes, of the head in each row
  int64_t count;
  // Where the rows are that come next. With every row that is used as many bytes are fetched from
  // here on, `step` bytes further each time. It may be any address.
  uintptr_t ahead = 0;
  int64_t step = 0;
};

struct SoftmaxState {
  float highest = -INFINITY;  // score so far
  float sum = 0;              // of exp(score - highest)
};

}  // namespace bantam::cpu::simd
