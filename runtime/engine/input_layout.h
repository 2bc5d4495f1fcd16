// Where a step's inputs lie.
#pragma once

#include <cstdint>

#include "runtime/base/align.h"

namespace bantam::engine {

// Laid out once for the largest step so that one upload moves them all. The cells of the KV cache
// come last: they never change after Create.
struct InputLayout {
  uint64_t tokens, positions, slots, query_cells, kv_length, output_rows, kv_cells, size;

  InputLayout(int64_t max_rows, int64_t context, uint64_t alignment) {
    uint64_t next = 0;
    auto place = [&](int64_t count) {
      const uint64_t at = next;
      next = AlignUp(next + count * sizeof(int32_t), alignment);
      return at;
    };
    kv_length = place(1);
    tokens = place(max_rows);
    positions = place(max_rows);
    slots = place(max_rows);
    query_cells = place(2 * max_rows);
    output_rows = place(max_rows);
    kv_cells = place(2 * context);
    size = next;
  }
};

}  // namespace bantam::engine
