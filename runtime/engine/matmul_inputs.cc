#include "runtime/engine/matmul_inputs.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <variant>

#include "runtime/base/status.h"

namespace bantam::engine {
namespace {

// The bytes of a value, copied to `storage` where the host cannot address them.
absl::StatusOr<const std::byte*> Fetch(const StoredValue& value, device::Buffer& temp,
                                       std::vector<std::byte>& storage) {
  if (!temp.host().empty()) return temp.host().data() + value.offset;
  storage.resize(value.bytes);
  BANTAM_RETURN_IF_ERROR(temp.Download(value.offset, storage));
  return storage.data();
}

}  // namespace

std::vector<MatMulInput> FindMatMulInputs(const graph::Graph& graph,
                                          const graph::MemoryPlan& plan) {
  auto stored = [&](graph::ValueId id) {
    const graph::Value& value = graph.value(id);
    const int64_t base = plan.offsets[graph.RootOf(id)];
    return StoredValue{static_cast<uint64_t>(base + value.byte_offset),
                       static_cast<uint64_t>(value.SpanBytes()), value.shape, value.strides};
  };
  // What a model multiplies by that is no intermediate value (an input, the cache) is not observed.
  auto is_temporary = [&](graph::ValueId id) { return plan.offsets[graph.RootOf(id)] >= 0; };
  std::vector<MatMulInput> inputs;
  for (const graph::Node& node : graph.nodes()) {
    MatMulInput input;
    if (node.op == graph::Op::kMatMul) {
      const int32_t parts = std::get<graph::MatMulAttrs>(node.attrs).parts;
      if (!is_temporary(node.inputs[parts])) continue;
      for (int32_t i = 0; i < parts; ++i) {
        input.weights.push_back(graph.value(node.inputs[i]).name);
      }
      input.x = stored(node.inputs[parts]);
    } else if (node.op == graph::Op::kMatMulExpert) {
      if (!is_temporary(node.inputs[1]) || !is_temporary(node.inputs[2])) continue;
      const graph::Value& weight = graph.value(node.inputs[0]);
      input.weights = {weight.name};
      input.experts = weight.shape[2];
      input.x = stored(node.inputs[1]);
      input.ids = stored(node.inputs[2]);
    } else {
      continue;
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}

absl::Status ReadMatMulInput(const MatMulInput& input, device::Buffer& temp, int64_t tokens,
                             Session::ObserveFn row) {
  std::vector<std::byte> x_storage, ids_storage;
  BANTAM_ASSIGN_OR_RETURN(const std::byte* x, Fetch(input.x, temp, x_storage));
  const graph::Shape& shape = input.x.shape;
  const graph::Strides& strides = input.x.strides;
  auto visit = [&](int64_t expert, int64_t i1, int64_t i2, int64_t i3) {
    const std::byte* at = x + i1 * strides[1] + i2 * strides[2] + i3 * strides[3];
    row(input.weights, expert, {reinterpret_cast<const float*>(at), static_cast<size_t>(shape[0])});
  };
  if (input.experts == 0) {
    for (int64_t i3 = 0; i3 < shape[3]; ++i3) {
      for (int64_t i2 = 0; i2 < shape[2]; ++i2) {
        for (int64_t token = 0; token < std::min(tokens, shape[1]); ++token) {
          visit(0, token, i2, i3);
        }
      }
    }
    return absl::OkStatus();
  }
  BANTAM_ASSIGN_OR_RETURN(const std::byte* ids, Fetch(input.ids, temp, ids_storage));
  for (int64_t token = 0; token < std::min(tokens, shape[2]); ++token) {
    for (int64_t e = 0; e < input.ids.shape[0]; ++e) {
      int32_t expert;
      std::memcpy(&expert, ids + e * input.ids.strides[0] + token * input.ids.strides[1],
                  sizeof(expert));
      if (expert < 0 || expert >= input.experts) continue;
      visit(expert, std::min(e, shape[1] - 1), token, 0);
    }
  }
  return absl::OkStatus();
}

}  // namespace bantam::engine
