// An interpreter of graphs in double precision: slow, plain, and written apart from every backend,
// so that it can judge them. It follows the text of runtime/graph/graph.h and nothing else.
#pragma once

#include <cstddef>
#include <map>
#include <random>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/graph/graph.h"
#include "runtime/quant/type.h"

namespace bantam::testing {

// A packed tensor, decoded: one number per element, dimension 0 fastest, whatever `type` is.
struct Tensor {
  quant::Type type = quant::Type::kF32;
  graph::Shape shape = {0, 1, 1, 1};
  std::vector<double> data;

  double at(int64_t i0, int64_t i1 = 0, int64_t i2 = 0, int64_t i3 = 0) const {
    return data.at(((i3 * shape[2] + i2) * shape[1] + i1) * shape[0] + i0);
  }
};

// By ValueId.
using Tensors = std::map<graph::ValueId, Tensor>;

// Runs `graph` (Infer need not have run) in node order. `inputs` holds a tensor of the right type
// and shape for every weight and input that is used, and the contents of the states before the run;
// a state left out starts as zeros. Returns every root that was given or used and every node's
// output, as they read after the run: a state, and each view of it, with everything written.
//
// Arithmetic is double throughout and intermediate values are not rounded; only a KV write rounds,
// to the type of the cache. kUnimplemented: a KV write to a quantized cache.
absl::StatusOr<Tensors> Evaluate(const graph::Graph& graph, const Tensors& inputs);

// `x` as `type` (a float or integer type, not quantized) holds it: to nearest even, integers
// truncated.
double RoundTo(quant::Type type, double x);

// Uniform in [low, high), rounded to `type` (not quantized), so that a backend can be given exactly
// the same numbers. Integers are drawn from low .. high - 1.
Tensor RandomTensor(quant::Type type, const graph::Shape& shape, std::mt19937& random,
                    double low = -1, double high = 1);

// The bytes a backend is given for `tensor`: packed, little-endian; not for quantized types.
std::vector<std::byte> EncodeTensor(const Tensor& tensor);
// The reverse, for every type (quantized ones through quant::DecodeRow).
Tensor DecodeTensor(quant::Type type, const graph::Shape& shape, std::span<const std::byte> bytes);

}  // namespace bantam::testing
