// Steps in a row that one kernel does: fewer launches, and values used while they are at hand.

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

// Q turned, K turned and written to the cache, V written: as much of that as comes in a row.
size_t Lowering::Cache(std::span<const Step> rest) {
  auto is = [&](size_t i, Op op) { return i < rest.size() && rest[i].node->op == op; };
  const Step *q = nullptr, *k = nullptr, *write_k = nullptr, *write_v = nullptr;
  size_t used = 0;
  if (is(0, Op::kRope) && is(1, Op::kRope) && is(2, Op::kKvWrite) &&
      IsWriteOf(rest[2], rest[1].output)) {
    q = &rest[used++];
  }
  if (is(used, Op::kRope)) {
    if (is(used + 1, Op::kKvWrite) && IsWriteOf(rest[used + 1], rest[used].output)) {
      k = &rest[used++];
      write_k = &rest[used++];
    } else {
      q = &rest[used++];
    }
  }
  if (is(used, Op::kKvWrite) &&
      (write_k == nullptr || rest[used].inputs[0].type == write_k->inputs[0].type)) {
    write_v = &rest[used++];
  }
  if (used == 0) return 0;
  // They run side by side, each as if the others had not.
  const Step* const steps[] = {q, k, write_v};
  auto independent = [&](const Step* a, const Step* b) {
    if (a == nullptr || b == nullptr || a == b) return true;
    for (const Tensor& input : b->inputs) {
      if (Overlap(a->output, input)) return false;
    }
    return !Overlap(a->output, b->output);
  };
  bool together =
      write_k == nullptr || write_v == nullptr ||
      (!Overlap(write_k->output, write_v->inputs[1]) && !Overlap(write_k->output, write_v->output));
  for (const Step* a : steps) {
    for (const Step* b : steps) together = together && independent(a, b);
  }
  if (!together) {
    // One at a time: the first alone, or with its write.
    const size_t first = q != nullptr || k == nullptr ? 1 : 2;
    if (first < used) return Cache(rest.first(first));
  }

  CacheParams p{};
  std::string kernel;
  size_t q_turns = 0, k_turns = 0;
  if (q != nullptr) {
    p.q = RopeOf(*q, q_turns);
    kernel = p.q.neox ? "rope neox" : "rope interleaved";
  }
  if (k != nullptr) {
    p.k = RopeOf(*k, k_turns);
    if (q == nullptr) kernel = p.k.neox ? "rope neox" : "rope interleaved";
  }
  for (const auto& [step, to] : {std::pair{write_k, &p.write_k}, {write_v, &p.write_v}}) {
    if (step == nullptr) continue;
    *to = {step->inputs[0].view(), step->inputs[1].view(), Ints(step->inputs[2])};
    p.cache_type = step->inputs[0].type;
  }
  if (write_k != nullptr || write_v != nullptr) {
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
