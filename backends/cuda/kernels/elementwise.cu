// Activations, arithmetic of two tensors, copies: an element to a thread.

#include "backends/cuda/kernels/common.h"

namespace bantam::cuda {
namespace {

constexpr int kThreads = 256;

struct Index {
  int i[4];
};
BANTAM_DEVICE Index IndexOf(int flat, const View& view) {
  Index index;
  BANTAM_UNROLL
  for (int d = 0; d < 3; ++d) {
    index.i[d] = flat % view.shape[d];
    flat /= view.shape[d];
  }
  index.i[3] = flat;
  return index;
}
template <typename T>
BANTAM_DEVICE T Load(const View& view, const Index& index) {
  int64_t at = 0;
  BANTAM_UNROLL
  for (int d = 0; d < 4; ++d) at += index.i[d] * view.strides[d];
  return *reinterpret_cast<const T*>(view.data + at);
}

BANTAM_KERNEL(kThreads, 1) ElementwiseKernel(ElementwiseParams p, int count) {
  const int flat = BlockX() * kThreads + ThreadX();
  if (flat >= count) return;
  Index index = IndexOf(flat, p.out);
  float* out = reinterpret_cast<float*>(p.out.data) + flat;
  if (p.op == ElementOp::kGather) {
    const int id = Load<int32_t>(p.b, index);
    index.i[0] = id;
    // Words: f32 or i32.
    *reinterpret_cast<int32_t*>(out) = id >= 0 && id < p.a.shape[0] ? Load<int32_t>(p.a, index) : 0;
    return;
  }
  float x = Load<float>(p.a, index);
  if (p.op == ElementOp::kUnary) {
    *out = Activate(p.activation, x);
    return;
  }
  if (p.op == ElementOp::kScale) {
    *out = x * p.scale + p.bias;
    return;
  }
  float y = Load<float>(p.b, index);
  switch (p.op) {
    case ElementOp::kGated:
      x = Gate(p.activation, p.scale, p.bias, x, y);
      break;
    case ElementOp::kAdd:
      x += y;
      break;
    case ElementOp::kSub:
      x -= y;
      break;
    case ElementOp::kMul:
      x *= y;
      break;
    default:
      x /= y;
  }
  *out = x;
}

template <typename T>
BANTAM_KERNEL(kThreads, 1)
PackKernel(View from, T* to, int count) {
  const int flat = BlockX() * kThreads + ThreadX();
  if (flat < count) to[flat] = Load<T>(from, IndexOf(flat, from));
}

BANTAM_KERNEL(kThreads, 1) ZeroKernel(float* out, int64_t count) {
  const int64_t at = int64_t{BlockX()} * kThreads + ThreadX();
  if (at < count) out[at] = 0;
}

int Count(const View& view) { return view.shape[0] * Rows(view); }

}  // namespace

void Elementwise(const ElementwiseParams& params, Stream stream) {
  const int count = Count(params.out);
  Launch(ElementwiseKernel, {Blocks(count, kThreads)}, kThreads, 0, stream, params, count);
}

void Pack(const View& from, void* to, int unit_bytes, Stream stream) {
  const int count = Count(from);
  const Grid grid = {Blocks(count, kThreads)};
  if (unit_bytes == 4) {
    Launch(PackKernel<uint32_t>, grid, kThreads, 0, stream, from, static_cast<uint32_t*>(to),
           count);
  } else if (unit_bytes == 2) {
    Launch(PackKernel<uint16_t>, grid, kThreads, 0, stream, from, static_cast<uint16_t*>(to),
           count);
  } else {
    Launch(PackKernel<uint8_t>, grid, kThreads, 0, stream, from, static_cast<uint8_t*>(to), count);
  }
}

void Zero(float* out, int64_t count, Stream stream) {
  Launch(ZeroKernel, {Blocks(count, kThreads)}, kThreads, 0, stream, out, count);
}

}  // namespace bantam::cuda
