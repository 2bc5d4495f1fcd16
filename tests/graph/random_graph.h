// Random graphs that are valid by construction, with data to run them on.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/graph/graph.h"
#include "tests/support/graph_eval.h"

namespace bantam::testing {

// Draws nodes that transformers are made of, in orders they are not: readers of intermediate
// values, outputs in the middle, states read before and after they are written.
class RandomGraph {
 public:
  explicit RandomGraph(uint32_t seed) : random_(seed) {
    n_ = std::vector<int64_t>{0, 1, 1, 2, 3, 5}[Draw(6)];
    state_ = Root(graph::Storage::kState, quant::Type::kF32, {4, 2, kContext, 1});
    half_state_ = Root(graph::Storage::kState, quant::Type::kF16, {4, 2, kContext, 1});
    slots_ = Ints({n_, 1, 1, 1}, -1, kContext);
    positions_ = Ints({n_, 1, 1, 1}, 0, 50);
    q_cells_ = Ints({2, n_, 1, 1}, -1, 4);
    kv_cells_ = Ints({2, kContext, 1, 1}, -1, 3);
    kv_len_ = Ints({1, 1, 1, 1}, 0, kContext + 1);
    for (int i = 0; i < 2; ++i) {
      Keep(Root(graph::Storage::kInput, quant::Type::kF32, {kWidth, n_, 1, 1}), kWidth);
    }
    const int steps = 3 + Draw(10);
    for (int i = 0; i < steps; ++i) Step();
    const int outputs = 1 + Draw(3);
    for (int i = 0; i < outputs; ++i) graph_.AddOutput(Pick().id);
    if (Draw(4) == 0) graph_.AddOutput(state_);
  }

  const graph::Graph& graph() const { return graph_; }
  const Tensors& inputs() const { return inputs_; }

 private:
  static constexpr int64_t kWidth = 8;
  static constexpr int64_t kContext = 6;
  using Id = graph::ValueId;
  using Op = graph::Op;

  // A {width, n} value in f32. A packed one may be reshaped.
  struct Row {
    Id id;
    int64_t width;
    bool packed;
  };

  int Draw(int limit) { return static_cast<int>(random_() % limit); }
  std::string Name() { return absl::StrCat("v", graph_.values().size()); }
  Row Pick() { return rows_[Draw(static_cast<int>(rows_.size()))]; }
  Row PickWidth(int64_t width) {
    for (int tries = 0; tries < 8; ++tries) {
      const Row row = Pick();
      if (row.width == width) return row;
    }
    Keep(Root(graph::Storage::kInput, quant::Type::kF32, {width, n_, 1, 1}), width);
    return rows_.back();
  }
  Row PickPacked() {
    for (;;) {
      const Row row = Pick();
      if (row.packed) return row;
    }
  }
  Id Keep(Id id, int64_t width, bool packed = true) {
    rows_.push_back({id, width, packed});
    return id;
  }
  Id Root(graph::Storage storage, quant::Type type, const graph::Shape& shape) {
    const Id id = storage == graph::Storage::kWeight  ? graph_.AddWeight(Name(), type, shape)
                  : storage == graph::Storage::kInput ? graph_.AddInput(Name(), type, shape)
                                                      : graph_.AddState(Name(), type, shape);
    inputs_[id] = RandomTensor(type, shape, random_);
    return id;
  }
  Id Weight(const graph::Shape& shape, quant::Type type = quant::Type::kF32) {
    return Root(graph::Storage::kWeight, type, shape);
  }
  Id Ints(const graph::Shape& shape, int low, int high) {
    const Id id = graph_.AddInput(Name(), quant::Type::kI32, shape);
    inputs_[id] = RandomTensor(quant::Type::kI32, shape, random_, low, high);
    return id;
  }
  Id Add(Op op, std::vector<Id> inputs, graph::Attrs attrs = {}) {
    return graph_.Add(op, std::move(inputs), Name(), std::move(attrs));
  }
  Id Reshape(Id x, const graph::Shape& shape) {
    return Add(Op::kReshape, {x}, graph::ReshapeAttrs{shape});
  }
  // The value whose memory a view or reshape shows.
  Id Source(Id id) const {
    for (;;) {
      const graph::NodeId n = graph_.value(id).producer;
      if (n == graph::kNone) return id;
      const graph::Node& node = graph_.nodes()[n];
      if (node.op != Op::kView && node.op != Op::kReshape) return id;
      id = node.inputs[0];
    }
  }
  graph::Activation AnyActivation() { return static_cast<graph::Activation>(Draw(9)); }

  void Step() {
    switch (Draw(12)) {
      case 0:
      case 1:
        return Linears();
      case 2:
        return Norm();
      case 3:
        return Elementwise();
      case 4:
        return Heads();
      case 5:
      case 6:
        return Views();
      case 7:
        return Cache();
      case 8:
        return ReadState();
      case 9:
        return Rows();
      case 10:
        return Experts();
      case 11:
        return Batches();
    }
  }

  // A weight of the model, or one that is computed.
  Id Matrix(int64_t in, int64_t out) {
    switch (Draw(4)) {
      case 0:
        return Add(Op::kDequantize, {Weight({in, out, 1, 1}, quant::Type::kF16)});
      case 1:
        return Weight({in, out, 1, 1}, quant::Type::kF16);
      default:
        return Weight({in, out, 1, 1});
    }
  }

  void Linears() {
    const Row x = Pick();
    const int count = 1 + Draw(3);
    for (int i = 0; i < count; ++i) {
      const int64_t out = Draw(2) == 0 ? kWidth : kWidth / 2;
      Id y = Add(Op::kMatMul, {Matrix(x.width, out), x.id}, graph::MatMulAttrs{});
      if (Draw(3) == 0) Keep(y, out);
      if (Draw(2) == 0) {
        const Id bias = Draw(4) == 0 ? PickWidth(out).id : Weight({out, 1, 1, 1});
        y = Add(Op::kBinary, {y, bias}, graph::BinaryAttrs{graph::BinaryOp::kAdd});
      }
      if (Draw(3) == 0) y = Add(Op::kUnary, {y}, graph::ActivationAttrs{AnyActivation()});
      Keep(y, out);
    }
  }

  void Norm() {
    const Row x = Pick();
    Id y = Add(Op::kNorm, {x.id}, graph::NormAttrs{static_cast<graph::NormKind>(Draw(2)), 1e-3f});
    if (Draw(4) == 0) Keep(y, x.width);
    if (Draw(4) != 0) {
      y = Add(Op::kBinary, {y, Draw(5) == 0 ? PickWidth(x.width).id : Weight({x.width, 1, 1, 1})},
              graph::BinaryAttrs{graph::BinaryOp::kMul});
      if (Draw(4) == 0) Keep(y, x.width);
      if (Draw(2) == 0) {
        y = Add(Op::kBinary, {y, Weight({x.width, 1, 1, 1})},
                graph::BinaryAttrs{graph::BinaryOp::kAdd});
      }
    }
    Keep(y, x.width);
  }

  void Elementwise() {
    const Row a = Pick();
    const Row b = PickWidth(a.width);
    switch (Draw(6)) {
      case 0:
        Keep(Add(Op::kUnary, {a.id}, graph::ActivationAttrs{AnyActivation()}), a.width);
        return;
      case 1:
        Keep(Add(Op::kGated, {a.id, b.id}, graph::ActivationAttrs{AnyActivation()}), a.width);
        return;
      case 2:
        Keep(Add(Op::kBinary, {a.id, b.id}, graph::BinaryAttrs{graph::BinaryOp(Draw(3))}), a.width);
        return;
      case 3:
        Keep(Add(Op::kScale, {a.id}, graph::ScaleAttrs{0.5f, 0.25f}), a.width);
        return;
      case 4:
        Keep(Add(Op::kSoftmax, {a.id}, graph::SoftmaxAttrs{0.7f}), a.width);
        return;
      case 5:
        Keep(Add(Op::kTransfer, {a.id}, graph::TransferAttrs{Draw(2)}), a.width);
        return;
    }
  }

  void Heads() {
    const Row x = PickPacked();
    const Id heads = Reshape(x.id, {4, x.width / 4, n_, 1});
    graph::RopeAttrs rope;
    rope.n_dims = Draw(2) == 0 ? 4 : 2;
    rope.layout = static_cast<graph::RopeLayout>(Draw(2));
    rope.ext_factor = Draw(2) == 0 ? 1.0f : 0.0f;
    rope.freq_scale = 0.5f;
    rope.original_context = 64;
    const Id rotated = Add(Op::kRope, {heads, positions_}, rope);
    Keep(Reshape(rotated, {x.width, n_, 1, 1}), x.width);
  }

  void Views() {
    const Row x = Pick();
    switch (Draw(4)) {
      case 0: {  // half of each row, from a packed value: its layout is known here
        const Row y = PickPacked();
        if (y.width != kWidth) return;
        const int64_t row = kWidth * 4;
        const Id half =
            Add(Op::kView, {y.id},
                graph::ViewAttrs{
                    {kWidth / 2, n_, 1, 1}, {4, row, row * n_, row * n_}, Draw(2) * row / 2});
        Keep(half, kWidth / 2, n_ <= 1);
        if (Draw(2) == 0) {  // a view of the view: the same once more
          const Id again =
              Add(Op::kView, {half},
                  graph::ViewAttrs{{kWidth / 2, n_, 1, 1}, {4, row, row * n_, row * n_}, 0});
          Keep(again, kWidth / 2, n_ <= 1);
        }
        return;
      }
      case 1: {
        const Row y = PickPacked();
        Keep(Reshape(y.id, {y.width, n_, 1, 1}), y.width);  // changes nothing
        return;
      }
      case 2: {
        const Row y = PickPacked();
        const Id flat = Reshape(y.id, {y.width * n_, 1, 1, 1});  // joins the rows
        Keep(Reshape(Reshape(flat, {2, y.width / 2, n_, 1}), {y.width, n_, 1, 1}), y.width);
        return;
      }
      case 3:
        Keep(Add(Op::kDequantize, {x.id}), x.width);  // packs
        return;
    }
  }

  void Cache() {
    const Row x = PickPacked();
    if (x.width != kWidth) return;
    const Id heads = Reshape(x.id, {4, 2, n_, 1});
    const Id cache = Draw(2) == 0 && Source(heads) != state_ ? state_ : half_state_;
    const Id written = Add(Op::kKvWrite, {cache, heads, slots_});
    graph::AttentionAttrs attrs;
    attrs.scale = 0.5f;
    attrs.causal = Draw(2) == 0;
    attrs.window = Draw(3);
    attrs.softcap = Draw(2) == 0 ? 0.0f : 5.0f;
    std::vector<Id> inputs = {
        heads, Draw(2) == 0 ? written : half_state_, written, q_cells_, kv_cells_, kv_len_};
    if (Draw(2) == 0) inputs.push_back(Weight({2, 1, 1, 1}));
    const Id attended = Add(Op::kAttention, std::move(inputs), attrs);
    Keep(Reshape(attended, {kWidth, n_, 1, 1}), kWidth);
  }

  // The first rows of the f32 state as they are at this point.
  void ReadState() {
    if (n_ > kContext) return;
    const graph::ViewAttrs view{
        {kWidth, n_, 1, 1}, {4, kWidth * 4, kWidth * 4 * n_, kWidth * 4 * n_}, 0};
    const Id seen = Add(Op::kView, {state_}, view);
    if (Draw(2) == 0) {
      Keep(seen, kWidth);
    } else {
      Keep(Add(Op::kMatMul, {Matrix(kWidth, kWidth), seen}, graph::MatMulAttrs{}), kWidth);
    }
  }

  void Rows() {
    const Row x = Pick();
    if (Draw(2) == 0) {
      Keep(Add(Op::kGatherRows, {x.id, Ints({n_, 1, 1, 1}, -1, static_cast<int>(n_) + 1)}),
           x.width);
      return;
    }
    const Id best = Add(Op::kTopK, {x.id}, graph::TopKAttrs{1});  // {1, n}
    const Id ids = Reshape(best, {n_, 1, 1, 1});
    Keep(Add(Op::kGatherRows, {Weight({x.width, x.width, 1, 1}, quant::Type::kF16), ids}), x.width);
  }

  void Experts() {
    const Row x = PickPacked();
    const Id scores = Add(Op::kMatMul, {Weight({x.width, 4, 1, 1}), x.id}, graph::MatMulAttrs{});
    const Id ids = Add(Op::kTopK, {scores}, graph::TopKAttrs{2});  // {2, n}
    const Id out = Add(Op::kMatMulExpert, {Weight({x.width, kWidth / 2, 3, 1}),
                                           Reshape(x.id, {x.width, 1, n_, 1}), ids});
    Keep(Reshape(out, {kWidth, n_, 1, 1}), kWidth);
  }

  // Matmuls over four dimensions.
  void Batches() {
    const Row x = PickPacked();
    const Id batch = Reshape(x.id, {x.width / 2, 1, 2, n_});
    std::vector<Id> outs;
    for (int i = 0; i < 2; ++i) {
      outs.push_back(Add(Op::kMatMul, {Matrix(x.width / 2, 4), batch}, graph::MatMulAttrs{}));
    }
    const Id gated = Add(Op::kGated, {outs[0], outs[1]}, graph::ActivationAttrs{});
    Keep(Reshape(gated, {kWidth, n_, 1, 1}), kWidth);
    Keep(Reshape(outs[Draw(2)], {kWidth, n_, 1, 1}), kWidth);
  }

  std::mt19937 random_;
  graph::Graph graph_;
  Tensors inputs_;
  std::vector<Row> rows_;
  int64_t n_ = 1;
  Id state_, half_state_, slots_, positions_, q_cells_, kv_cells_, kv_len_;
};

}  // namespace bantam::testing
