// Where a step's inputs lie.
#pragma once

#include <cstdint>

#include "runtime/base/align.h"

namespace bantam::engine {

// Laid out once for the largest step so that one upload moves them all. The cells of the KV cache
// come last: they never change after Create. `of_window`: cells of layers with a
// window; 0: no layer has one.
struct InputLayout {
  uint64_t tokens, positions, query_cells, output_rows, slots, kv_length;
  uint64_t window_slots = 0, window_length = 0, window_cells = 0;
  uint64_t kv_cells, size;

  InputLayout(int64_t max_rows, int64_t context, int64_t of_window, uint64_t alignment) {
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
    if (of_window > 0) {
      window_length = place(1);
      window_slots = place(max_rows);
      window_cells = place(2 * of_window);
    }
    kv_cells = place(2 * context);
    size = next;
  }
};

}  // namespace bantam::engine
