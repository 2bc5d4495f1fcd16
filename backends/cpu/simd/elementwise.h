// The ops between the products: norm, gated activation, rotary embedding, KV write. What they do
// not cover the reference does.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/plan/step.h"
#include "backends/cpu/reference/kernels.h"

namespace bantam::cpu::simd {

// `Isa` is a set's description (avx2/set.h).
template <typename Isa>
class Elementwise {
 public:
  static void PrepareNorm(Step& step) {
    reference::PrepareNorm(step);
    const auto& attrs = std::get<graph::NormAttrs>(step.attrs);
    if (attrs.kind != graph::NormKind::kRms || step.inputs.size() > 2) return;
    step.origin = Isa::kName;
    step.run = &RunRmsNorm;
  }

  static void PrepareGated(Step& step) {
    reference::PrepareGated(step);
    const auto& attrs = std::get<graph::ActivationAttrs>(step.attrs);
    if (attrs.limit != 0 || attrs.up_offset != 0) return;
    if (Isa::ActivationOf(attrs.activation).gate == nullptr) return;
    step.origin = Isa::kName;
    step.run = &RunGated;
  }

  static void PrepareRope(Step& step) {
    reference::PrepareRope(step);
    step.origin = Isa::kName;
    step.run = &RunRope;
    step.table.push_back(reference::RopeMagnitude(std::get<graph::RopeAttrs>(step.attrs)));
  }

  static void PrepareKvWrite(Step& step) {
    reference::PrepareKvWrite(step);
    if (step.inputs[0].type != quant::Type::kF16) return;
    step.origin = Isa::kName;
    step.run = &RunKvWriteF16;
  }

 private:
  static void RunRmsNorm(const Step& step, const RunContext& context) {
    const auto& attrs = std::get<graph::NormAttrs>(step.attrs);
    const Tensor& x = step.inputs[0];
    const int64_t k = x.shape[0];
    const float* weight =
        step.inputs.size() > 1 ? reinterpret_cast<const float*>(step.inputs[1].data) : nullptr;
    context.pool.ParallelFor(x.rows(), Grain(k), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const float* in = x.RowAs<const float>(r);
        const double mean = Isa::SumOfSquares(in, k) / static_cast<double>(k);
        const auto scale = static_cast<float>(1.0 / std::sqrt(mean + attrs.epsilon));
        Isa::ScaleBy(in, scale, weight, step.output.RowAs<float>(r), k);
      }
    });
  }

  static void RunGated(const Step& step, const RunContext& context) {
    const Tensor& gate = step.inputs[0];
    const Tensor& up = step.inputs[1];
    const int64_t n = gate.shape[0];
    const auto& attrs = std::get<graph::ActivationAttrs>(step.attrs);
    const auto multiply = Isa::ActivationOf(attrs.activation).gate;
    // In pieces that stay in the first-level cache, and that one row can be split into.
    constexpr int64_t kPiece = 1024;
    const int64_t pieces = (n + kPiece - 1) / kPiece;
    context.pool.ParallelFor(gate.rows() * pieces, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t r = i / pieces, at = i % pieces * kPiece, count = std::min(kPiece, n - at);
        multiply(gate.RowAs<const float>(r) + at, up.RowAs<const float>(r) + at,
                 step.output.RowAs<float>(r) + at, count);
      }
    });
  }

  // One task is a token: its sines and cosines are computed once for all heads.
  static void RunRope(const Step& step, const RunContext& context) {
    const auto& attrs = std::get<graph::RopeAttrs>(step.attrs);
    const Tensor& x = step.inputs[0];
    const auto* positions = reinterpret_cast<const int32_t*>(step.inputs[1].data);
    const float* factors =
        step.inputs.size() > 2 ? reinterpret_cast<const float*>(step.inputs[2].data) : nullptr;
    const int64_t pairs = attrs.n_dims / 2, heads = x.shape[1];
    // The table ends with the magnitude.
    const double magnitude = step.table[pairs];
    auto rotate_token = [&](int64_t token, float* cosines) {
      float* sines = cosines + pairs;
      Isa::Angles(positions[token], step.table.data(), factors, magnitude, pairs, cosines, sines);
      for (int64_t head = 0; head < heads; ++head) {
        const float* in = reinterpret_cast<const float*>(x.Row(head, token, 0));
        float* out = reinterpret_cast<float*>(step.output.Row(head, token, 0));
        if (attrs.layout == graph::RopeLayout::kNeox) {
          Isa::RotateHalves(in, in + pairs, cosines, sines, pairs, out, out + pairs);
        } else {
          Isa::RotateNeighbours(in, cosines, sines, pairs, out);
        }
        if (attrs.n_dims < x.shape[0]) {
          std::memcpy(out + attrs.n_dims, in + attrs.n_dims,
                      (x.shape[0] - attrs.n_dims) * sizeof(float));
        }
      }
    };
    constexpr int64_t kAngleCost = 4;
    context.pool.ParallelFor(x.shape[2], Grain(pairs * (kAngleCost + heads)),
                             [&](int64_t begin, int64_t end, int worker) {
                               for (int64_t token = begin; token < end; ++token) {
                                 rotate_token(token, context.Scratch(worker));
                               }
                             });
  }

  static void RunKvWriteF16(const Step& step, const RunContext& context) {
    const Tensor& cache = step.inputs[0];
    const Tensor& x = step.inputs[1];
    const auto* slots = reinterpret_cast<const int32_t*>(step.inputs[2].data);
    const int64_t d = x.shape[0], heads = x.shape[1], n = x.shape[2];
    // By head, so that two rows for one slot are written in order by one thread.
    context.pool.ParallelFor(heads, Grain(n * d), [&](int64_t begin, int64_t end, int) {
      for (int64_t head = begin; head < end; ++head) {
        for (int64_t i = 0; i < n; ++i) {
          if (slots[i] < 0 || slots[i] >= cache.shape[2]) continue;
          Isa::FloatsToHalves(reinterpret_cast<const float*>(x.Row(head, i, 0)),
                              reinterpret_cast<uint16_t*>(cache.Row(head, slots[i], 0)), d);
        }
      }
    });
  }
};

}  // namespace bantam::cpu::simd
