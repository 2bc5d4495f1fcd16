// A value of the graph resolved to host memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/graph/graph.h"

namespace bantam::cpu {

struct Tensor {
  std::byte* data = nullptr;
  quant::Type type = quant::Type::kF32;
  graph::Shape shape = {0, 1, 1, 1};
  graph::Strides strides = {};
  bool interleaved = false;  // a weight laid out as plan/interleave.h says

  int64_t rows() const { return graph::RowCount(shape); }
  std::byte* Row(int64_t i1, int64_t i2, int64_t i3) const {
    return data + i1 * strides[1] + i2 * strides[2] + i3 * strides[3];
  }
  // Row `r` of all rows, dimension 1 fastest.
  std::byte* Row(int64_t r) const {
    if (r < shape[1]) return data + r * strides[1];  // spares two divisions
    const int64_t i1 = r % shape[1];
    r /= shape[1];
    return Row(i1, r % shape[2], r / shape[2]);
  }
  template <typename T>
  T* RowAs(int64_t r) const {
    return reinterpret_cast<T*>(Row(r));
  }
};

}  // namespace bantam::cpu
