#include "tests/support/graph_eval.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/graph/infer.h"

namespace bantam::testing {
namespace {

using graph::Activation;
using graph::Graph;
using graph::kNone;
using graph::Node;
using graph::Op;
using graph::Shape;
using graph::Value;
using graph::ValueId;

double Activate(Activation activation, double x) {
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:  // Hendrycks and Gimpel 2016
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kGeluQuick:
      return x * sigmoid(1.702 * x);
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kReluSquared:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::kSigmoid:
      return sigmoid(x);
    case Activation::kTanh:
      return std::tanh(x);
  }
  return x;
}

void ForEach(const Shape& shape, const std::function<void(int64_t, int64_t, int64_t, int64_t)>& f) {
  for (int64_t i3 = 0; i3 < shape[3]; ++i3)
    for (int64_t i2 = 0; i2 < shape[2]; ++i2)
      for (int64_t i1 = 0; i1 < shape[1]; ++i1)
        for (int64_t i0 = 0; i0 < shape[0]; ++i0) f(i0, i1, i2, i3);
}

void ForEachRow(const Shape& shape, const std::function<void(int64_t, int64_t, int64_t)>& f) {
  ForEach({1, shape[1], shape[2], shape[3]},
          [&](int64_t, int64_t i1, int64_t i2, int64_t i3) { f(i1, i2, i3); });
}

class Evaluator {
 public:
  Evaluator(const Graph& graph, const Tensors& inputs) : graph_(graph), inputs_(inputs) {}

  absl::StatusOr<Tensors> Run() {
    for (const auto& [id, tensor] : inputs_) {
      if (id < 0 || id >= static_cast<ValueId>(graph_.values().size())) {
        return absl::InvalidArgumentError(absl::StrCat("no value has id ", id));
      }
      BANTAM_RETURN_IF_ERROR(AddRoot(id));
    }
    for (const Node& node : graph_.nodes()) {
      for (ValueId id : node.inputs) BANTAM_RETURN_IF_ERROR(AddRoot(graph_.RootOf(id)));
      const Value& out = graph_.value(node.output);
      if (out.base == kNone) memory_[node.output].assign(graph::ElementCount(out.shape), 0.0);
      BANTAM_RETURN_IF_ERROR(RunNode(node));
    }
    for (ValueId id : graph_.outputs()) BANTAM_RETURN_IF_ERROR(AddRoot(graph_.RootOf(id)));
    Tensors result;
    for (const auto& [id, data] : memory_) result[id] = Read(id);
    for (const Node& node : graph_.nodes()) result[node.output] = Read(node.output);
    return result;
  }

 private:
  // Fills the memory of a weight, input or state.
  absl::Status AddRoot(ValueId id) {
    const Value& value = graph_.value(id);
    if (memory_.contains(id)) return absl::OkStatus();
    const auto given = inputs_.find(id);
    if (given == inputs_.end()) {
      if (value.storage != graph::Storage::kState) {
        return absl::InvalidArgumentError(absl::StrCat("no tensor for '", value.name, "'"));
      }
      memory_[id].assign(graph::ElementCount(value.shape), 0.0);
      return absl::OkStatus();
    }
    const Tensor& tensor = given->second;
    if (value.producer != kNone || value.storage == graph::Storage::kTemp) {
      return absl::InvalidArgumentError(absl::StrCat("'", value.name, "' is no input"));
    }
    if (tensor.type != value.type || tensor.shape != value.shape ||
        static_cast<int64_t>(tensor.data.size()) != graph::ElementCount(value.shape)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tensor for '", value.name, "' has another type or shape"));
    }
    memory_[id] = tensor.data;
    return absl::OkStatus();
  }

  const Shape& shape(ValueId id) const { return graph_.value(id).shape; }

  // Where an element lives in the memory of its root, counted in elements.
  double& At(ValueId id, int64_t i0, int64_t i1 = 0, int64_t i2 = 0, int64_t i3 = 0) {
    const Value& v = graph_.value(id);
    const auto& traits = quant::Traits(v.type);
    const int64_t bytes = v.byte_offset + i1 * v.strides[1] + i2 * v.strides[2] + i3 * v.strides[3];
    return memory_.at(graph_.RootOf(id)).at(bytes / traits.block_bytes * traits.block_size + i0);
  }
  int64_t IntAt(ValueId id, int64_t i0, int64_t i1 = 0) {
    return static_cast<int64_t>(At(id, i0, i1));
  }

  Tensor Read(ValueId id) {
    const Value& v = graph_.value(id);
    Tensor tensor{v.type, v.shape, {}};
    tensor.data.reserve(graph::ElementCount(v.shape));
    ForEach(v.shape, [&](int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
      tensor.data.push_back(At(id, i0, i1, i2, i3));
    });
    return tensor;
  }

  absl::Status RunNode(const Node& node) {
    switch (node.op) {
      case Op::kGatherRows:
        GatherRows(node);
        break;
      case Op::kMatMul:
        MatMul(node);
        break;
      case Op::kMatMulExpert:
        MatMulExpert(node);
        break;
      case Op::kNorm:
        Norm(node);
        break;
      case Op::kRope:
        Rope(node);
        break;
      case Op::kAttention:
        Attention(node);
        break;
      case Op::kKvWrite:
        return KvWrite(node);
      case Op::kSoftmax:
        Softmax(node);
        break;
      case Op::kTopK:
        TopK(node);
        break;
      case Op::kReshape:
      case Op::kView:
        break;  // the layout is all there is to them
      case Op::kDequantize:
      case Op::kTransfer:
        Map(node, [](double x) { return x; });
        break;
      case Op::kUnary: {
        const auto activation = std::get<graph::ActivationAttrs>(node.attrs).activation;
        Map(node, [&](double x) { return Activate(activation, x); });
        break;
      }
      case Op::kScale: {
        const auto& a = std::get<graph::ScaleAttrs>(node.attrs);
        Map(node, [&](double x) { return x * a.scale + a.bias; });
        break;
      }
      case Op::kGated: {
        const auto& a = std::get<graph::ActivationAttrs>(node.attrs);
        const double limit = a.limit == 0 ? INFINITY : a.limit;
        Map2(node, [&](double gate, double up) {
          return Activate(a.activation, std::min(gate, limit)) *
                 (std::clamp(up, -limit, limit) + a.up_offset);
        });
        break;
      }
      case Op::kGatherElements:
        ForEach(shape(node.output), [&](int64_t i, int64_t j, int64_t, int64_t) {
          const int64_t id = IntAt(node.inputs[1], i, j);
          const bool there = id >= 0 && id < shape(node.inputs[0])[0];
          At(node.output, i, j) = there ? At(node.inputs[0], id, j) : 0.0;
        });
        break;
      case Op::kBinary:
        Binary(node);
        break;
    }
    return absl::OkStatus();
  }

  void Map(const Node& node, const std::function<double(double)>& f) {
    ForEach(shape(node.output), [&](int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
      At(node.output, i0, i1, i2, i3) = f(At(node.inputs[0], i0, i1, i2, i3));
    });
  }

  // The second input is repeated along its dimensions of size 1.
  void Map2(const Node& node, const std::function<double(double, double)>& f) {
    const ValueId b = node.inputs[1];
    const Shape& sb = shape(b);
    ForEach(shape(node.output), [&](int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
      At(node.output, i0, i1, i2, i3) =
          f(At(node.inputs[0], i0, i1, i2, i3), At(b, sb[0] == 1 ? 0 : i0, sb[1] == 1 ? 0 : i1,
                                                   sb[2] == 1 ? 0 : i2, sb[3] == 1 ? 0 : i3));
    });
  }

  void Binary(const Node& node) {
    const auto op = std::get<graph::BinaryAttrs>(node.attrs).op;
    Map2(node, [&](double a, double b) {
      switch (op) {
        case graph::BinaryOp::kAdd:
          return a + b;
        case graph::BinaryOp::kSub:
          return a - b;
        case graph::BinaryOp::kMul:
          return a * b;
        case graph::BinaryOp::kDiv:
          return a / b;
      }
      return a;
    });
  }

  void GatherRows(const Node& node) {
    const ValueId table = node.inputs[0], ids = node.inputs[1];
    ForEach(shape(node.output), [&](int64_t i, int64_t j, int64_t, int64_t) {
      const int64_t row = IntAt(ids, j);
      if (row >= 0 && row < shape(table)[1]) At(node.output, i, j) = At(table, i, row);
    });
  }

  void MatMul(const Node& node) {
    const auto& attrs = std::get<graph::MatMulAttrs>(node.attrs);
    const ValueId x = node.inputs[attrs.parts];
    int64_t first_row = 0;
    for (int part = 0; part < attrs.parts; ++part) {
      const ValueId w = node.inputs[part];
      const int64_t k = shape(w)[0], m = shape(w)[1];
      ForEachRow(shape(x), [&](int64_t j, int64_t b2, int64_t b3) {
        for (int64_t i = 0; i < m; ++i) {
          double sum = 0;
          for (int64_t l = 0; l < k; ++l) sum += At(w, l, i) * At(x, l, j, b2, b3);
          if (attrs.has_bias) sum += At(node.inputs[attrs.parts + 1 + part], i);
          At(node.output, first_row + i, j, b2, b3) = Activate(attrs.activation, sum);
        }
      });
      first_row += m;
    }
  }

  void MatMulExpert(const Node& node) {
    const ValueId w = node.inputs[0], x = node.inputs[1], ids = node.inputs[2];
    ForEach(shape(node.output), [&](int64_t i, int64_t e, int64_t j, int64_t) {
      const int64_t expert = IntAt(ids, e, j);
      if (expert < 0 || expert >= shape(w)[2]) return;
      double sum = 0;
      for (int64_t l = 0; l < shape(w)[0]; ++l) {
        sum += At(w, l, i, expert) * At(x, l, std::min(e, shape(x)[1] - 1), j);
      }
      At(node.output, i, e, j) = sum;
    });
  }

  void Norm(const Node& node) {
    const auto& attrs = std::get<graph::NormAttrs>(node.attrs);
    const ValueId x = node.inputs[0];
    const int64_t k = shape(x)[0];
    ForEachRow(shape(x), [&](int64_t i1, int64_t i2, int64_t i3) {
      double mean = 0;
      if (attrs.kind == graph::NormKind::kLayer) {
        for (int64_t i = 0; i < k; ++i) mean += At(x, i, i1, i2, i3) / k;
      }
      double variance = 0;
      for (int64_t i = 0; i < k; ++i) variance += std::pow(At(x, i, i1, i2, i3) - mean, 2) / k;
      for (int64_t i = 0; i < k; ++i) {
        double y = (At(x, i, i1, i2, i3) - mean) / std::sqrt(variance + attrs.epsilon);
        if (node.inputs.size() > 1) y *= At(node.inputs[1], i);
        if (node.inputs.size() > 2) y += At(node.inputs[2], i);
        At(node.output, i, i1, i2, i3) = y;
      }
    });
  }

  void Rope(const Node& node) {
    const auto& a = std::get<graph::RopeAttrs>(node.attrs);
    const ValueId x = node.inputs[0], positions = node.inputs[1];
    Map(node, [](double v) { return v; });
    // YaRN (Peng et al. 2023, section 3.2): pairs that turn more than beta_fast times within the
    // original context keep their own frequency, those that turn less than beta_slow times are
    // interpolated, and a ramp joins them. Vectors grow by 0.1 ln(s) + 1.
    const double pi = std::numbers::pi;
    double low = 0, high = 0, magnitude = a.attn_factor;
    if (a.ext_factor != 0) {
      const auto pair_turning = [&](double turns) {
        return a.n_dims * std::log(a.original_context / (turns * 2 * pi)) /
               (2 * std::log(static_cast<double>(a.theta_base)));
      };
      low = std::max(0.0, std::floor(pair_turning(a.beta_fast)));
      high = std::min(a.n_dims - 1.0, std::ceil(pair_turning(a.beta_slow)));
      magnitude *= 1 + 0.1 * std::log(1 / static_cast<double>(a.freq_scale));
    }
    ForEach({a.n_dims / 2, shape(x)[1], shape(x)[2], 1}, [&](int64_t i, int64_t head, int64_t j,
                                                             int64_t) {
      double own =
          IntAt(positions, j) * std::pow(static_cast<double>(a.theta_base), -2.0 * i / a.n_dims);
      if (node.inputs.size() > 2) own /= At(node.inputs[2], i);
      const double interpolated = own * a.freq_scale;
      const double ramp = 1 - std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
      const double mix = a.ext_factor * ramp;
      const double theta = a.ext_factor == 0 ? interpolated : interpolated * (1 - mix) + own * mix;
      const bool neox = a.layout == graph::RopeLayout::kNeox;
      const int64_t first = neox ? i : 2 * i;
      const int64_t second = neox ? i + a.n_dims / 2 : 2 * i + 1;
      const double u = At(x, first, head, j), v = At(x, second, head, j);
      At(node.output, first, head, j) = magnitude * (u * std::cos(theta) - v * std::sin(theta));
      At(node.output, second, head, j) = magnitude * (u * std::sin(theta) + v * std::cos(theta));
    });
  }

  void Attention(const Node& node) {
    const auto& a = std::get<graph::AttentionAttrs>(node.attrs);
    const ValueId q = node.inputs[0], k = node.inputs[1], v = node.inputs[2];
    const ValueId q_cells = node.inputs[3], kv_cells = node.inputs[4];
    const int64_t heads_per_kv = shape(q)[1] / shape(k)[1];
    const int64_t kv_len = std::min(IntAt(node.inputs[5], 0), shape(k)[2]);
    const auto visible = [&](int64_t query, int64_t cell) {
      const int64_t at = IntAt(q_cells, 0, query), sequence = IntAt(q_cells, 1, query);
      const int64_t cell_at = IntAt(kv_cells, 0, cell);
      if (sequence == -1 || sequence != IntAt(kv_cells, 1, cell)) return false;
      if (a.causal && cell_at > at) return false;
      return a.window == 0 || cell_at > at - a.window;
    };
    ForEachRow(shape(q), [&](int64_t head, int64_t query, int64_t) {
      const int64_t kv_head = head / heads_per_kv;
      std::vector<std::pair<int64_t, double>> scores;  // (cell, score)
      for (int64_t cell = 0; cell < kv_len; ++cell) {
        if (!visible(query, cell)) continue;
        double score = 0;
        for (int64_t i = 0; i < shape(q)[0]; ++i) {
          score += At(q, i, head, query) * At(k, i, kv_head, cell);
        }
        score *= a.scale;
        if (a.softcap != 0) score = a.softcap * std::tanh(score / a.softcap);
        scores.emplace_back(cell, score);
      }
      if (scores.empty()) return;
      const bool has_sink = node.inputs.size() > 6;
      double highest = has_sink ? At(node.inputs[6], head) : scores[0].second;
      for (const auto& [cell, score] : scores) highest = std::max(highest, score);
      double sum = has_sink ? std::exp(At(node.inputs[6], head) - highest) : 0.0;
      for (const auto& [cell, score] : scores) sum += std::exp(score - highest);
      for (const auto& [cell, score] : scores) {
        for (int64_t i = 0; i < shape(v)[0]; ++i) {
          At(node.output, i, head, query) +=
              std::exp(score - highest) / sum * At(v, i, kv_head, cell);
        }
      }
    });
  }

  absl::Status KvWrite(const Node& node) {
    const ValueId cache = node.inputs[0], x = node.inputs[1], slots = node.inputs[2];
    const quant::Type type = graph_.value(cache).type;
    if (quant::Traits(type).is_quantized) {
      return absl::UnimplementedError("writing a quantized KV cache");
    }
    ForEach(shape(x), [&](int64_t i, int64_t head, int64_t j, int64_t) {
      const int64_t slot = IntAt(slots, j);
      if (slot < 0 || slot >= shape(cache)[2]) return;
      const double value = At(x, i, head, j);
      At(cache, i, head, slot) = type == quant::Type::kF32 ? value : RoundTo(type, value);
    });
    return absl::OkStatus();
  }

  void Softmax(const Node& node) {
    const double scale = std::get<graph::SoftmaxAttrs>(node.attrs).scale;
    const ValueId x = node.inputs[0];
    const int64_t k = shape(x)[0];
    ForEachRow(shape(x), [&](int64_t i1, int64_t i2, int64_t i3) {
      double highest = -INFINITY, sum = 0;
      for (int64_t i = 0; i < k; ++i) highest = std::max(highest, scale * At(x, i, i1, i2, i3));
      for (int64_t i = 0; i < k; ++i) sum += std::exp(scale * At(x, i, i1, i2, i3) - highest);
      for (int64_t i = 0; i < k; ++i) {
        At(node.output, i, i1, i2, i3) = std::exp(scale * At(x, i, i1, i2, i3) - highest) / sum;
      }
    });
  }

  void TopK(const Node& node) {
    const ValueId x = node.inputs[0];
    ForEachRow(shape(x), [&](int64_t j, int64_t, int64_t) {
      std::vector<bool> taken(shape(x)[0], false);
      for (int64_t rank = 0; rank < shape(node.output)[0]; ++rank) {
        int64_t best = -1;
        for (int64_t i = 0; i < shape(x)[0]; ++i) {
          if (!taken[i] && (best < 0 || At(x, i, j) > At(x, best, j))) best = i;
        }
        taken[best] = true;
        At(node.output, rank, j) = static_cast<double>(best);
      }
    });
  }

  const Graph& graph_;
  const Tensors& inputs_;
  std::map<ValueId, std::vector<double>> memory_;  // of roots, in elements
};

}  // namespace

absl::StatusOr<Tensors> Evaluate(const Graph& graph, const Tensors& inputs) {
  Graph inferred = graph;
  BANTAM_RETURN_IF_ERROR(graph::Infer(inferred));
  return Evaluator(inferred, inputs).Run();
}

}  // namespace bantam::testing
