// Attention of the CUDA backend on the emulator, beyond the conformance suite.

#include "tests/backends/cuda/fixture.h"

namespace bantam::cuda {
namespace {

TEST_F(Cuda, PartsOfALongCacheAreJoined) {
  for (bool sinks : {false, true}) {
    for (int32_t length : {0, 1, 40, 1400}) {
      for (int64_t v_dim : {64, 200, 300}) {
        SCOPED_TRACE(absl::StrCat("sinks ", sinks, " length ", length, " v_dim ", v_dim));
        constexpr int64_t kContext = 1500, kHeads = 3;
        Case c;
        std::vector<int32_t> cells;
        for (int32_t i = 0; i < kContext; ++i) {
          cells.push_back(i);
          cells.push_back(i % 7 == 5 ? -1 : 0);
        }
        std::vector<ValueId> inputs = {c.Input({64, kHeads, 1, 1}, -3, 3),
                                       c.Input({64, 1, kContext, 1}, -3, 3, Type::kF16),
                                       c.Input({v_dim, 1, kContext, 1}, -1, 1, Type::kF16),
                                       c.Ints({2, 1, 1, 1}, {1450, 0}),
                                       c.Ints({2, kContext, 1, 1}, cells),
                                       c.Ints({1, 1, 1, 1}, {length})};
        if (sinks) inputs.push_back(c.Input({kHeads, 1, 1, 1}, -2, 2));
        c.Output(Op::kAttention, inputs, graph::AttentionAttrs{.scale = 0.125f});
        Runner runner(kDevice, c);
        runner.Check(conformance::kAttentionTolerance);
        EXPECT_THAT(runner.executable().Describe(), ::testing::HasSubstr("split"));
      }
    }
  }
}

// Heads of V that take two parts, with many queries.
TEST_F(Cuda, HeadsOfMiddleWidthInPrompts) {
  Case c;
  constexpr int64_t kContext = 70, kQueries = 9;
  std::vector<int32_t> cells, queries;
  for (int32_t i = 0; i < kContext; ++i) cells.insert(cells.end(), {i, i % 2});
  for (int32_t i = 0; i < kQueries; ++i) queries.insert(queries.end(), {50 + i, i % 2});
  c.Output(
      Op::kAttention,
      {c.Input({200, 4, kQueries, 1}, -3, 3), c.Input({200, 2, kContext, 1}, -3, 3, Type::kF16),
       c.Input({200, 2, kContext, 1}, -1, 1, Type::kF16), c.Ints({2, kQueries, 1, 1}, queries),
       c.Ints({2, kContext, 1, 1}, cells), c.Ints({1, 1, 1, 1}, {65})},
      graph::AttentionAttrs{.scale = 0.1f, .window = 30});
  Check(kDevice, c, conformance::kAttentionTolerance);
}

struct TiledCase {
  int64_t head_dim = 64, v_dim = 64, heads = 4, kv_heads = 2, n = 20, context = 100;
  int32_t length = 90, sequences = 1;
  Type type = Type::kF16;
  graph::AttentionAttrs attrs = {.scale = 0.1f};
  bool sinks = false;
};
ValueId AddTiledAttention(Case& c, const TiledCase& t) {
  std::vector<int32_t> cells, queries;
  for (int32_t i = 0; i < t.context; ++i) {
    cells.insert(cells.end(), {i / t.sequences, i % 7 == 5 ? -1 : i % t.sequences});
  }
  for (int32_t i = 0; i < t.n; ++i) {
    queries.insert(queries.end(), {t.length / t.sequences - static_cast<int32_t>(t.n) / 2 + i,
                                   i % 5 == 4 ? -1 : i % t.sequences});
  }
  std::vector<ValueId> inputs = {c.Input({t.head_dim, t.heads, t.n, 1}, -3, 3),
                                 c.Input({t.head_dim, t.kv_heads, t.context, 1}, -3, 3, t.type),
                                 c.Input({t.v_dim, t.kv_heads, t.context, 1}, -1, 1, t.type),
                                 c.Ints({2, t.n, 1, 1}, queries),
                                 c.Ints({2, t.context, 1, 1}, cells),
                                 c.Ints({1, 1, 1, 1}, {t.length})};
  if (t.sinks) inputs.push_back(c.Input({t.heads, 1, 1, 1}, -2, 2));
  return c.Output(Op::kAttention, inputs, t.attrs);
}
void CheckTiledAttention(const TiledCase& t, absl::string_view kernel) {
  SCOPED_TRACE(absl::StrCat("head ", t.head_dim, "/", t.v_dim, " heads ", t.heads, " n ", t.n, " ",
                            quant::Name(t.type), " causal ", t.attrs.causal, " window ",
                            t.attrs.window, " cap ", t.attrs.softcap, " sinks ", t.sinks));
  Case c;
  AddTiledAttention(c, t);
  Runner runner(kDevice, c);
  // Q, the exponentials and V are rounded to 11 bits; scores of random blocks are in the hundreds.
  runner.Check({0, t.type == Type::kF16 ? 1e-6 : 1e-5});
  EXPECT_THAT(runner.executable().Describe(), ::testing::HasSubstr(std::string(kernel)));
}

TEST_F(Cuda, AttentionInTiles) {
  for (Type type : {Type::kF16, Type::kQ8_0, Type::kQ4_0}) {
    for (auto [head_dim, v_dim] :
         {std::pair{64, 64}, {128, 128}, {256, 256}, {96, 32}, {192, 256}, {32, 160}}) {
      CheckTiledAttention({.head_dim = head_dim, .v_dim = v_dim, .type = type}, "attention tiles");
    }
  }
  CheckTiledAttention({.heads = 71, .kv_heads = 1, .n = 3}, "attention tiles");
  CheckTiledAttention({.heads = 1, .kv_heads = 1, .n = 70}, "attention tiles");
  for (int32_t length : {0, 1, 32, 33}) {
    CheckTiledAttention({.head_dim = 40, .v_dim = 24, .length = length}, "attention tiles");
  }
  // What the other kernel does: a row of the cache is not whole words, or too wide, or few pairs.
  CheckTiledAttention({.head_dim = 68}, "attention F16");
  CheckTiledAttention({.v_dim = 320}, "attention F16");
  CheckTiledAttention({.heads = 2, .n = 15}, "attention F16");
}

TEST_F(Cuda, MasksOfAttentionInTiles) {
  for (bool causal : {true, false}) {
    for (int32_t window : {0, 1, 9, 100}) {
      for (float softcap : {0.0f, 2.0f}) {
        for (bool sinks : {false, true}) {
          CheckTiledAttention({.n = 30,
                               .context = 250,
                               .length = 240,
                               .sequences = 1 + window % 3,
                               .attrs = {0.1f, causal, window, softcap},
                               .sinks = sinks},
                              "attention tiles");
        }
      }
    }
  }
}

TEST_F(Cuda, PartsOfTilesAreJoined) {
  for (bool sinks : {false, true}) {
    CheckTiledAttention(
        {.heads = 32, .kv_heads = 1, .n = 1, .context = 1500, .length = 1400, .sinks = sinks},
        "attention tiles F16 split");
  }
}

// Q beyond the range of f16, and tiny.
TEST_F(Cuda, QueriesOfAnySizeInTiles) {
  for (double limit : {1e-6, 1e6}) {
    Case c;
    AddTiledAttention(c, {.attrs = {.scale = static_cast<float>(0.3 / limit)}});
    for (size_t at = 0; at < c.data[0].second.size(); at += sizeof(float)) {
      float value;
      std::memcpy(&value, &c.data[0].second[at], sizeof(value));
      value *= static_cast<float>(limit);
      std::memcpy(&c.data[0].second[at], &value, sizeof(value));
    }
    Check(kDevice, c, {0, 1e-6});
  }
}

TEST_F(Cuda, ANanInATileReachesOnlyWhoSeesIt) {
  for (bool in_k : {false, true}) {
    for (uint16_t bad : {0x7E00, 0x7C00}) {  // not a number, infinity
      Case c;
      constexpr TiledCase kCase = {.heads = 2, .n = 20, .length = 100};
      const ValueId out = AddTiledAttention(c, kCase);
      // Cell 93, of position 93; queries have positions 90 to 109. An infinity in K makes a
      // score of any kind.
      for (int64_t i = 0; i < 64; ++i) {
        std::memcpy(&c.data[in_k ? 1 : 2].second[2 * (93 * 2 * 64 + i)], &bad, sizeof(bad));
      }
      ASSERT_TRUE(graph::Infer(c.graph).ok());
      Runner runner(kDevice, c);
      ASSERT_TRUE(runner.Run().ok());
      const std::vector<float> found = runner.Read(out);
      for (int query = 0; query < kCase.n; ++query) {
        SCOPED_TRACE(query);
        const bool sees = query >= 3 && query % 5 != 4;
        // Head 0 is that of the KV head with the bad cell.
        const float* head = found.data() + query * 2 * 64;
        if (sees && (bad == 0x7E00 || !in_k)) {
          EXPECT_FALSE(std::isfinite(head[0]));
        }
        for (int i = 0; i < 64 && !sees; ++i) ASSERT_TRUE(std::isfinite(head[i])) << i;
        for (int i = 64; i < 128; ++i) ASSERT_TRUE(std::isfinite(head[i])) << i;
      }
    }
  }
}

// A query that does not see a cell gets nothing of a NaN there, though others of its block see it.
TEST_F(Cuda, ANanReachesOnlyWhoSeesIt) {
  Case c;
  constexpr int64_t kWidth = 16, kContext = 8;
  const ValueId q = c.Input({kWidth, 1, 2, 1});
  const ValueId k = c.Input({kWidth, 1, kContext, 1});
  const ValueId v = c.Input({kWidth, 1, kContext, 1});
  const float nan = NAN;
  std::memcpy(c.data[2].second.data() + 5 * kWidth * sizeof(float), &nan, sizeof(nan));
  std::vector<int32_t> cells;
  for (int32_t i = 0; i < kContext; ++i) cells.insert(cells.end(), {i, 0});
  const ValueId out =
      c.Output(Op::kAttention,
               {q, k, v, c.Ints({2, 2, 1, 1}, {4, 0, 6, 0}), c.Ints({2, kContext, 1, 1}, cells),
                c.Ints({1, 1, 1, 1}, {kContext})},
               graph::AttentionAttrs{});
  ASSERT_TRUE(graph::Infer(c.graph).ok());
  Runner runner(kDevice, c);
  ASSERT_TRUE(runner.Run().ok());
  const std::vector<float> found = runner.Read(out);
  for (int i = 0; i < kWidth; ++i) EXPECT_TRUE(std::isfinite(found[i])) << i;
  EXPECT_TRUE(std::isnan(found[kWidth]));
}

// Heads of whole runs are rounded where they are made, by one block or where parts are joined.
TEST_F(Cuda, AttentionIsRoundedForTheProductAfterIt) {
  for (int64_t context : {100, 1500}) {
    for (int64_t v_dim : {96, 40}) {
      for (int64_t heads : {4, 8}) {
        SCOPED_TRACE(absl::StrCat(context, " cells, ", heads, " heads of ", v_dim));
        Case c;
        const auto length = static_cast<int32_t>(context - 10);
        TiledCase t = {.v_dim = v_dim, .heads = heads, .kv_heads = 1, .n = 1};
        t.context = context;
        t.length = length;
        const ValueId y = AddTiledAttention(c, t);
        c.graph.outputs().clear();
        const int64_t width = v_dim * heads;
        const ValueId flat =
            c.graph.Add(Op::kReshape, {y}, "flat", graph::ReshapeAttrs{{width, 1, 1, 1}});
        c.Output(Op::kMatMul, {c.Weight(Type::kQ8_0, {width, 50, 1, 1}), flat},
                 graph::MatMulAttrs{});
        Runner runner(kDevice, c);
        runner.Check({0, 1e-8});
        const bool splits = context > 1000;
        EXPECT_THAT(runner.executable().Describe(),
                    ::testing::HasSubstr(v_dim == 96 && (splits || heads == 4)
                                             ? "F16" + std::string(splits ? " split" : "") +
                                                   ", quantize: 1 launch"
                                             : "cuda-emulated quantize: 1 launch"));
      }
    }
  }
}

}  // namespace
}  // namespace bantam::cuda
