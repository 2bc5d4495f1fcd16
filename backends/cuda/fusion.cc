// Steps in a row that one kernel does: fewer launches, and values used while they are at hand.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cuda/lowering.h"

namespace bantam::cuda {

using graph::Op;

namespace {

bool IsAdd(const Step& step) {
  return step.node->op == Op::kBinary &&
         std::get<graph::BinaryAttrs>(step.node->attrs).op == graph::BinaryOp::kAdd &&
         step.inputs[0].shape == step.output.shape && step.inputs[1].shape == step.output.shape;
}

bool IsWriteOf(const Step& step, const Tensor& x) {
  return step.node->op == Op::kKvWrite && SameMemory(step.inputs[1], x);
}

}  // namespace

bool Overlap(const Tensor& a, const Tensor& b) {
  return a.data < b.data + b.SpanBytes() && b.data < a.data + a.SpanBytes();
}

bool AreApart(const std::vector<Tensor>& some, const std::vector<Tensor>& others) {
  return std::none_of(some.begin(), some.end(), [&](const Tensor& one) {
    return std::any_of(others.begin(), others.end(),
                       [&](const Tensor& other) { return Overlap(one, other); });
  });
}

bool SameMemory(const Tensor& a, const Tensor& b) {
  return a.data == b.data && a.shape == b.shape && a.strides == b.strides;
}

bool Lowering::IsRoundedNext(std::span<const Step> rest, const Tensor& x) {
  if (rest.empty() || x.shape[0] == 0) return false;
  const Step& next = rest.front();
  if (next.node->op == Op::kMatMulExpert) {
    return quant::Traits(next.inputs[0].type).is_quantized && SameMemory(next.inputs[1], x);
  }
  if (next.node->op != Op::kMatMul) return false;
  const int32_t parts = std::get<graph::MatMulAttrs>(next.node->attrs).parts;
  for (int32_t part = 0; part < parts; ++part) {
    if (!quant::Traits(next.inputs[part].type).is_quantized) return false;
  }
  return SameMemory(next.inputs[parts], x);
}

// x + y, the norm of the sum, and the norm rounded for the product after it: as much of that as
// there is.
size_t Lowering::Norm(std::span<const Step> rest) {
  const bool adds = IsAdd(rest[0]);
  if (adds && (rest.size() < 2 || rest[1].node->op != Op::kNorm ||
               !SameMemory(rest[1].inputs[0], rest[0].output))) {
    return 0;
  }
  const Step& norm = rest[adds ? 1 : 0];
  if (norm.node->op != Op::kNorm) return 0;
  const auto attrs = std::get<graph::NormAttrs>(norm.node->attrs);
  NormParams p{};
  p.x = rest[0].inputs[0].view();
  p.out = Floats(norm.output);
  p.layer = attrs.kind == graph::NormKind::kLayer;
  p.epsilon = attrs.epsilon;
  p.weight = norm.inputs.size() > 1 ? Floats(norm.inputs[1]) : nullptr;
  p.bias = norm.inputs.size() > 2 ? Floats(norm.inputs[2]) : nullptr;
  std::string kernel = "norm";
  if (adds) {
    // A block writes its row of the norm when it has read its rows of what is added, and when
    // others may not have.
    for (const Tensor& added : rest[0].inputs) {
      if (Overlap(added, norm.output) && !SameMemory(added, norm.output) &&
          graph::RowCount(norm.output.shape) > 1) {
        return 0;
      }
    }
    p.y = rest[0].inputs[1].view();
    p.sum = Floats(rest[0].output);
    kernel = "add, norm";
    Forget(rest[0].output);
  }
  Forget(norm.output);
  const size_t used = adds ? 2 : 1;
  const bool rounds = IsRoundedNext(rest.subspan(used), norm.output);
  if (rounds) {
    kernel += ", quantize";
    MarkPrepared(norm.output, Rounding::kInt8);
  }
  const int64_t k = norm.output.shape[0], columns = graph::RowCount(norm.output.shape);
  Add(kernel, rounds ? Scratches::kWrites : Scratches::kNo,
      [=](const OwnMemory& own, Stream stream) {
        NormParams params = p;
        if (rounds) params.rounded = QuantizedAt(own.scratch, k, columns);
        cuda::Norm(params, stream);
      });
  return used;
}

// A gated activation, rounded for the product after it.
size_t Lowering::Gated(std::span<const Step> rest) {
  const Step& step = rest.front();
  if (step.node->op != Op::kGated || !IsRoundedNext(rest.subspan(1), step.output)) return 0;
  const auto& attrs = std::get<graph::ActivationAttrs>(step.node->attrs);
  GatedParams p{};
  p.gate = step.inputs[0].view();
  p.up = step.inputs[1].view();
  p.out = Floats(step.output);
  p.activation = attrs.activation;
  p.limit = attrs.limit;
  p.up_offset = attrs.up_offset;
  Forget(step.output);
  MarkPrepared(step.output, Rounding::kInt8);
  const int64_t k = step.output.shape[0], columns = graph::RowCount(step.output.shape);
  Add(absl::StrCat("gated ", graph::ActivationName(attrs.activation), ", quantize"),
      Scratches::kWrites, [=](const OwnMemory& own, Stream stream) {
        GatedParams params = p;
        params.rounded = QuantizedAt(own.scratch, k, columns);
        cuda::Gated(params, stream);
      });
  return 1;
}

namespace {

// A rotation, and the norm of the heads before it where there is one.
struct Turn {
  std::span<const Step> steps;

  bool empty() const { return steps.empty(); }
  size_t size() const { return steps.size(); }
  const Step& rope() const { return steps.back(); }
  const Step* norm() const { return steps.size() > 1 ? &steps.front() : nullptr; }
};

// Norms that only the rotation after them reads stay within the kernel.
bool StaysInside(const Step& norm) { return norm.is_read_once; }

// The one that `rest` begins with, if it does.
Turn TurnAt(std::span<const Step> rest) {
  if (rest.empty()) return {};
  if (rest[0].node->op == Op::kRope) return {rest.first(1)};
  if (rest.size() < 2 || rest[0].node->op != Op::kNorm || rest[1].node->op != Op::kRope) return {};
  const Step &norm = rest[0], &rope = rest[1];
  const Tensor& x = norm.inputs[0];
  if (std::get<graph::NormAttrs>(norm.node->attrs).kind != graph::NormKind::kRms ||
      norm.inputs.size() > 2 || !SameMemory(norm.output, rope.inputs[0]) || x.shape[3] != 1 ||
      x.shape[0] > 2 * kMaxHead) {
    return {};
  }
  // A block writes results of its heads when others may not have read theirs.
  const auto apart_or_same = [](const Tensor& a, const Tensor& b) {
    return SameMemory(a, b) || !Overlap(a, b);
  };
  if (!apart_or_same(rope.output, x)) return {};
  if (!StaysInside(norm)) {
    if (!apart_or_same(norm.output, x) || Overlap(norm.output, rope.output)) return {};
    for (const Tensor& input : std::span(rope.inputs).subspan(1)) {
      if (Overlap(norm.output, input)) return {};
    }
  }
  return {rest.first(2)};
}

// What steps in a row that one kernel does read and write.
struct Touched {
  std::vector<Tensor> reads, writes;
};
Touched TouchedBy(std::span<const Step> steps) {
  Touched touched;
  bool inside = false;  // the first input
  for (const Step& step : steps) {
    touched.reads.insert(touched.reads.end(), step.inputs.begin() + (inside ? 1 : 0),
                         step.inputs.end());
    inside = step.node->op == Op::kNorm && StaysInside(step);
    if (!inside) touched.writes.push_back(step.output);
  }
  return touched;
}

// Whether the steps of `a` and those of `b` may be done in any order.
bool AreIndependent(std::span<const Step> a, std::span<const Step> b) {
  const Touched by_a = TouchedBy(a), by_b = TouchedBy(b);
  return AreApart(by_a.writes, by_b.writes) && AreApart(by_a.writes, by_b.reads) &&
         AreApart(by_a.reads, by_b.writes);
}

}  // namespace

// Q turned, K turned and written to the cache, V written: as much of that as comes in a row. The
// heads of Q and of K may be normalised first.
size_t Lowering::Cache(std::span<const Step> rest) {
  const auto is_write_of = [&](size_t at, const Turn& turn) {
    return !turn.empty() && at < rest.size() && IsWriteOf(rest[at], turn.rope().output);
  };
  Turn q, k = TurnAt(rest);
  const Step* write_k = nullptr;
  size_t used = k.size();
  if (!is_write_of(used, k)) {
    q = k;
    k = TurnAt(rest.subspan(used));
    if (!is_write_of(used + k.size(), k)) k = {};
    used += k.size();
  }
  if (!k.empty()) write_k = &rest[used++];
  std::span<const Step> write_v;
  if (used < rest.size() && rest[used].node->op == Op::kKvWrite &&
      (write_k == nullptr || rest[used].inputs[0].type == write_k->inputs[0].type)) {
    write_v = rest.subspan(used++, 1);
  }
  if (used == 0) return 0;
  // They run side by side, each as if the others had not, and a block to a token.
  const auto with_k = rest.subspan(q.size(), k.empty() ? 0 : k.size() + 1);
  int64_t tokens = -1;
  const auto are_as_many = [&](int64_t others) {
    if (tokens < 0) tokens = others;
    return tokens == others;
  };
  if ((!q.empty() && !are_as_many(q.rope().output.shape[2])) ||
      (!k.empty() && !are_as_many(k.rope().output.shape[2])) ||
      (!write_v.empty() && !are_as_many(write_v[0].inputs[1].shape[2])) ||
      !AreIndependent(q.steps, with_k) || !AreIndependent(q.steps, write_v) ||
      !AreIndependent(with_k, write_v)) {
    // One at a time: the first alone, or with its write.
    return Cache(rest.first(q.empty() ? with_k.size() : q.size()));
  }

  CacheParams p{};
  std::string kernel;
  size_t q_turns = 0, k_turns = 0;
  const auto lower = [&](const Turn& turn, RopeParams& to, size_t& turns) {
    if (turn.empty()) return;
    to = RopeOf(turn.rope(), turns);
    kernel = to.neox ? "rope neox" : "rope interleaved";
    if (const Step* norm = turn.norm()) {
      to.x = norm->inputs[0].view();
      to.norms = true;
      to.normed = StaysInside(*norm) ? nullptr : Floats(norm->output);
      to.norm_weight = norm->inputs.size() > 1 ? Floats(norm->inputs[1]) : nullptr;
      to.epsilon = std::get<graph::NormAttrs>(norm->node->attrs).epsilon;
    }
  };
  lower(k, p.k, k_turns);
  lower(q, p.q, q_turns);
  if (p.q.norms || p.k.norms) kernel = absl::StrCat("norm, ", kernel);
  const Step* const step_v = write_v.empty() ? nullptr : &write_v.front();
  for (const auto& [step, to] : {std::pair{write_k, &p.write_k}, {step_v, &p.write_v}}) {
    if (step == nullptr) continue;
    *to = {step->inputs[0].view(), step->inputs[1].view(), Ints(step->inputs[2])};
    p.cache_type = step->inputs[0].type;
  }
  if (write_k != nullptr || step_v != nullptr) {
    absl::StrAppend(&kernel, kernel.empty() ? "" : ", ", "kv_write ", quant::Name(p.cache_type));
  }
  for (size_t i = 0; i < used; ++i) Forget(rest[i].output);
  Add(kernel, Scratches::kNo, [=](const OwnMemory& own, Stream stream) {
    CacheParams params = p;
    const auto* turns = reinterpret_cast<const double*>(own.constants);
    params.q.turns = turns + q_turns;
    params.k.turns = turns + k_turns;
    cuda::Cache(params, stream);
  });
  return used;
}

}  // namespace bantam::cuda
