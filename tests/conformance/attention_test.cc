// Attention, rotary embedding and writing to the KV cache.

#include "tests/conformance/harness.h"

namespace bantam::conformance {
namespace {

class AttentionOps : public ::testing::TestWithParam<std::string> {};

struct AttentionCase {
  int64_t head_dim = 64, v_dim = 64, heads = 4, kv_heads = 2, n = 1, context = 40;
  int32_t kv_length = 40;
  Type type = Type::kF32;
  graph::AttentionAttrs attrs = {.scale = 0.125f};
  bool sinks = false;
  bool gapped_q = false;
  int32_t sequences = 1;
  int32_t first_query = -1;  // its position; -1: the queries are the last cells
};

void CheckAttention(const std::string& device, const AttentionCase& a) {
  SCOPED_TRACE(absl::StrCat("head ", a.head_dim, "/", a.v_dim, " heads ", a.heads, "/", a.kv_heads,
                            " n ", a.n, " context ", a.context, " length ", a.kv_length, " ",
                            quant::Name(a.type), " gapped ", a.gapped_q));
  Case c;
  const ValueId q = c.Activations(a.gapped_q, {a.head_dim, a.heads, a.n, 1}, -3, 3);
  const ValueId k = c.Input({a.head_dim, a.kv_heads, a.context, 1}, -3, 3, a.type);
  const ValueId v = c.Input({a.v_dim, a.kv_heads, a.context, 1}, -1, 1, a.type);
  // Cells of several sequences in turn; each seventh is empty.
  std::vector<int32_t> cells, queries;
  for (int32_t i = 0; i < a.context; ++i) {
    cells.push_back(i / a.sequences);
    cells.push_back(i % 7 == 5 ? -1 : i % a.sequences);
  }
  const int32_t first =
      a.first_query >= 0 ? a.first_query : a.kv_length / a.sequences - static_cast<int32_t>(a.n);
  for (int32_t i = 0; i < a.n; ++i) {
    queries.push_back(first + i);
    queries.push_back(i % 5 == 4 ? -1 : i % a.sequences);  // each fifth is padding
  }
  std::vector<ValueId> inputs = {q,
                                 k,
                                 v,
                                 c.Ints({2, a.n, 1, 1}, queries),
                                 c.Ints({2, a.context, 1, 1}, cells),
                                 c.Ints({1, 1, 1, 1}, {a.kv_length})};
  if (a.sinks) inputs.push_back(c.Input({a.heads, 1, 1, 1}, -2, 2));
  c.Output(Op::kAttention, inputs, a.attrs);
  Check(device, c, kAttentionTolerance, {.optional = quant::Traits(a.type).is_quantized});
}

TEST_P(AttentionOps, ShapesAndTypes) {
  for (Type type : {Type::kF32, Type::kF16}) {
    for (int64_t n : {0, 1, 3, 70}) {
      for (int64_t context : {1, 40, 200}) {
        for (auto [heads, kv_heads] : {std::pair{1, 1}, {4, 4}, {6, 2}, {71, 1}}) {
          for (auto [head_dim, v_dim] : {std::pair{64, 64}, {20, 33}, {5, 2}}) {
            CheckAttention(GetParam(), {.head_dim = head_dim,
                                        .v_dim = v_dim,
                                        .heads = heads,
                                        .kv_heads = kv_heads,
                                        .n = n,
                                        .context = context,
                                        .kv_length = static_cast<int32_t>(context),
                                        .type = type,
                                        .first_query = 0});
            if (IsSkipped() || HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(AttentionOps, CachesOfBlocks) {
  for (Type type : {Type::kQ8_0, Type::kQ4_0, Type::kQ5_1}) {
    for (int64_t n : {1, 5, 40}) {
      CheckAttention(GetParam(), {.head_dim = 96,
                                  .v_dim = 64,
                                  .heads = 6,
                                  .n = n,
                                  .context = 150,
                                  .kv_length = 141,
                                  .type = type});
      if (IsSkipped() || HasFatalFailure()) return;
    }
  }
}

TEST_P(AttentionOps, WideHeads) {
  CheckAttention(GetParam(), {.head_dim = 576,
                              .v_dim = 512,
                              .heads = 16,
                              .kv_heads = 1,
                              .n = 5,
                              .context = 130,
                              .kv_length = 130,
                              .type = Type::kF16});
}

TEST_P(AttentionOps, LongCacheForOneQuery) {
  CheckAttention(GetParam(), {.heads = 8, .context = 5000, .kv_length = 4777, .type = Type::kF16});
}

// Decoding: the sizes of heads and the groups of query heads that models have, and odd ones, over
// more cells than are worked on at once.
TEST_P(AttentionOps, FewQueriesOfManyCells) {
  constexpr int64_t kGroups[] = {1, 4, 2, 3, 5, 7, 8, 9};
  int turn = 0;
  for (int64_t head_dim : {64, 80, 96, 100, 128, 256}) {
    for (Type type : {Type::kF16, Type::kF32, Type::kQ8_0, Type::kQ4_0}) {
      if (head_dim % quant::Traits(type).block_size != 0) continue;
      // Every size with every type, every size of group with most of them.
      for (int i = 0; i < 3; ++i, ++turn) {
        const int64_t group = kGroups[turn % 8];
        CheckAttention(GetParam(), {.head_dim = head_dim,
                                    .v_dim = head_dim,
                                    .heads = 3 * group,
                                    .kv_heads = 3,
                                    .n = group % 3 == 0 ? 2 : 1,
                                    .context = 340,
                                    .kv_length = static_cast<int32_t>(300 + 2 * group),
                                    .type = type});
        if (IsSkipped() || HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(AttentionOps, MasksAndCapsOfFewQueries) {
  for (int32_t window : {0, 30, 290}) {
    for (float softcap : {0.0f, 2.0f, 50.0f}) {
      for (bool sinks : {false, true}) {
        for (int32_t sequences : {1, 2}) {
          SCOPED_TRACE(absl::StrCat("window ", window, " cap ", softcap, " sinks ", sinks));
          CheckAttention(GetParam(), {.heads = 8,
                                      .n = sequences,
                                      .context = 600,
                                      .kv_length = 590,
                                      .type = Type::kF16,
                                      .attrs = {0.2f, true, window, softcap},
                                      .sinks = sinks,
                                      .sequences = sequences});
          if (IsSkipped() || HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(AttentionOps, CacheLengths) {
  for (int32_t length : {0, 1, 63, 64, 65, 130, 1000, -5}) {
    CheckAttention(GetParam(), {.n = 6, .context = 130, .kv_length = length, .first_query = 130});
  }
}

TEST_P(AttentionOps, MasksAndCaps) {
  for (bool causal : {true, false}) {
    for (int32_t window : {0, 1, 9, 100}) {
      for (float softcap : {0.0f, 2.0f}) {
        for (bool sinks : {false, true}) {
          SCOPED_TRACE(absl::StrCat("causal ", causal, " window ", window, " cap ", softcap,
                                    " sinks ", sinks));
          CheckAttention(GetParam(), {.n = 30,
                                      .context = 150,
                                      .kv_length = 140,
                                      .attrs = {0.2f, causal, window, softcap},
                                      .sinks = sinks,
                                      .gapped_q = true,
                                      .sequences = 3});
          if (IsSkipped() || HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(AttentionOps, PositionsAtTheEdgeOfIntegers) {
  for (int32_t first : {0, INT32_MAX - 2}) {
    CheckAttention(GetParam(), {.n = 2, .attrs = {0.1f, true, INT32_MAX, 0}, .first_query = first});
  }
}

TEST_P(AttentionOps, QuantizedCache) { CheckAttention(GetParam(), {.n = 3, .type = Type::kQ8_0}); }

TEST_P(AttentionOps, UnseenCellsDoNotMatter) {
  // NaN in cells that are masked, empty or past the length must not reach the output.
  Case c;
  const int64_t context = 70, width = 16;
  const ValueId q = c.Input({width, 1, 1, 1});
  const ValueId k = c.Input({width, 1, context, 1});
  const ValueId v = c.Input({width, 1, context, 1});
  auto poison = [&](ValueId id, int64_t cell) {
    for (auto& [at, bytes] : c.data) {
      if (at != id) continue;
      const std::vector<float> nan(width, NAN);
      std::memcpy(bytes.data() + cell * width * sizeof(float), nan.data(), width * sizeof(float));
    }
  };
  std::vector<int32_t> cells;
  for (int32_t i = 0; i < context; ++i) {
    cells.push_back(i);
    cells.push_back(i == 3 ? -1 : i == 4 ? 1 : 0);
  }
  for (int64_t cell : {3, 4, 50, 66, 69}) {  // empty, other sequence, future, past the length
    poison(k, cell);
    poison(v, cell);
  }
  c.Output(Op::kAttention,
           {q, k, v, c.Ints({2, 1, 1, 1}, {40, 0}), c.Ints({2, context, 1, 1}, cells),
            c.Ints({1, 1, 1, 1}, {65})},
           graph::AttentionAttrs{.scale = 0.25f});
  Check(GetParam(), c, kAttentionTolerance);
}

TEST_P(AttentionOps, KvWrite) {
  const int64_t context = 9;
  for (Type type : {Type::kF32, Type::kF16}) {
    for (bool gapped : {false, true}) {
      for (const std::vector<int32_t>& slots :
           {std::vector<int32_t>{}, {4}, {0, 8, -1, 3, 9, 3, INT32_MAX, INT32_MIN}}) {
        SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", slots.size(), " rows"));
        const auto n = static_cast<int64_t>(slots.size());
        Case c;
        const ValueId cache = c.State(type, {13, 3, context, 1});
        // From halves' subnormals to beyond their range.
        const double limit = n == 1 ? 1e-5 : 80000;
        const ValueId x =
            c.Activations(gapped, {13, 3, n, 1}, -limit, type == Type::kF16 ? limit * 0.8 : limit);
        const ValueId written =
            c.graph.Add(Op::kKvWrite, {cache, x, c.Ints({n, 1, 1, 1}, slots)}, "written");
        // Reading the output must see the write. Scaled down, an infinity would stay one.
        c.Output(Op::kDequantize, {written});
        if (type == Type::kF16 && n > 1) {
          for (auto& [id, bytes] : c.data) {
            if (c.graph.value(id).storage != Storage::kInput ||
                c.graph.value(id).type != Type::kF32)
              continue;
            for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
              float value;
              std::memcpy(&value, bytes.data() + at, sizeof(value));
              value = std::clamp(value, -65519.0f, 65519.0f);
              std::memcpy(bytes.data() + at, &value, sizeof(value));
            }
          }
        }
        Check(GetParam(), c, kExact);
        if (IsSkipped() || HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(AttentionOps, Rope) {
  struct Variant {
    const char* name;
    graph::RopeAttrs attrs;
    bool factors = false;
  };
  const Variant variants[] = {
      {"plain", {.n_dims = 64}},
      {"partial", {.n_dims = 20}},
      {"linear", {.n_dims = 64, .freq_scale = 0.25f}},
      {"llama3", {.n_dims = 64, .theta_base = 500000.0f}, true},
      {"yarn", {.n_dims = 64, .freq_scale = 0.125f, .ext_factor = 1.0f, .original_context = 512}},
      {"yarn mixed",
       {.n_dims = 48,
        .theta_base = 1e6f,
        .freq_scale = 0.25f,
        .ext_factor = 0.5f,
        .attn_factor = 1.3f,
        .beta_fast = 16.0f,
        .beta_slow = 2.0f,
        .original_context = 4096},
       true},
      {"yarn without ramp",
       {.n_dims = 4, .freq_scale = 0.5f, .ext_factor = 1.0f, .original_context = 8}},
  };
  for (const Variant& variant : variants) {
    for (graph::RopeLayout layout : {graph::RopeLayout::kInterleaved, graph::RopeLayout::kNeox}) {
      for (bool gapped : {false, true}) {
        for (const std::vector<int32_t>& positions :
             {std::vector<int32_t>{}, {0}, {7}, {0, 1, 2, 511, 4096, 131071, -3}}) {
          SCOPED_TRACE(absl::StrCat(variant.name, " n ", positions.size(), " gapped ", gapped));
          const auto n = static_cast<int64_t>(positions.size());
          Case c;
          graph::RopeAttrs attrs = variant.attrs;
          attrs.layout = layout;
          std::vector<ValueId> inputs = {c.Activations(gapped, {64, 3, n, 1}),
                                         c.Ints({n, 1, 1, 1}, positions)};
          if (variant.factors) inputs.push_back(c.Input({attrs.n_dims / 2, 1, 1, 1}, 1, 8));
          c.Output(Op::kRope, inputs, attrs);
          Check(GetParam(), c, kElementwise);
          if (IsSkipped() || HasFatalFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, AttentionOps, ::testing::ValuesIn(DevicesAndSets()),
                         DeviceTestName);

}  // namespace
}  // namespace bantam::conformance
