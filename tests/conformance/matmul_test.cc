// Matrix products, gathering and decoding, for every weight type.

#include "tests/conformance/harness.h"

namespace bantam::conformance {
namespace {

constexpr Shape kRows(int64_t k, int64_t n) { return {k, n, 1, 1}; }

bool IsQuantized(Type type) { return quant::Traits(type).is_quantized; }
Tolerance ToleranceOf(Type type) { return IsQuantized(type) ? kQuantizedMatMul : kPlainMatMul; }

// Row lengths a type can have: for plain types odd ones, and around the blocks of kernels.
std::vector<int64_t> RowLengths(Type type) {
  const int64_t block = quant::Traits(type).block_size;
  if (block == 1) return {1, 3, 64, 515, 1000};
  return {block, 3 * block, (1024 / block + 1) * block};
}

class EveryType : public ::testing::TestWithParam<DeviceAndType> {
 protected:
  const std::string& device() const { return std::get<0>(GetParam()); }
  Type type() const { return std::get<1>(GetParam()); }
};

TEST_P(EveryType, MatMul) {
  for (int64_t k : RowLengths(type())) {
    for (int64_t m : {1, 2, 13, 37}) {
      for (int64_t n : {0, 1, 2, 3, 4, 5, 19}) {
        SCOPED_TRACE(absl::StrCat("k ", k, " m ", m, " n ", n));
        Case c;
        const ValueId w = c.Weight(type(), kRows(k, m));
        const ValueId x = c.Input(kRows(k, n));
        c.Output(Op::kMatMul, {w, x}, graph::MatMulAttrs{});
        const double typical_square = static_cast<double>(k) * c.MeanSquare(w) * c.MeanSquare(x);
        Check(device(), c, ToleranceOf(type()), {.typical_square = typical_square});
        if (IsSkipped() || HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(EveryType, MatMulOfGappedBatches) {
  const int64_t k = RowLengths(type())[1];
  Case c;
  const ValueId w = c.Weight(type(), kRows(k, 14));
  c.Output(Op::kMatMul, {w, c.Gapped({k, 3, 2, 2})}, graph::MatMulAttrs{});
  Check(device(), c, ToleranceOf(type()));
}

TEST_P(EveryType, MatMulOfPartsWithBiasAndActivation) {
  const int64_t k = RowLengths(type())[1];
  for (bool has_bias : {false, true}) {
    for (int64_t n : {1, 6, 20}) {
      SCOPED_TRACE(absl::StrCat("bias ", has_bias, " n ", n));
      Case c;
      std::vector<ValueId> inputs = {c.Weight(type(), kRows(k, 12)), c.Weight(type(), kRows(k, 5)),
                                     c.Weight(Type::kF32, kRows(k, 31)), c.Input(kRows(k, n))};
      if (has_bias) {
        for (int64_t m : {12, 5, 31}) inputs.push_back(c.Weight(Type::kF32, kRows(m, 1)));
      }
      c.Output(Op::kMatMul, inputs, graph::MatMulAttrs{3, has_bias, graph::Activation::kGeluTanh});
      Check(device(), c, ToleranceOf(type()));
      if (IsSkipped() || HasFatalFailure()) return;
    }
  }
}

TEST_P(EveryType, MatMulExpert) {
  const int64_t k = RowLengths(type())[1], m = 21, experts = 5, top_k = 3;
  for (int64_t n : {0, 1, 4, 15}) {
    for (int64_t rows_per_token : {int64_t{1}, top_k}) {
      for (bool gapped : {false, true}) {
        SCOPED_TRACE(absl::StrCat("n ", n, " rows ", rows_per_token, " gapped ", gapped));
        Case c;
        std::vector<int32_t> ids(top_k * n);
        // Expert 4 is never chosen, 0 often and twice by one token; -1 and 5 do not exist.
        for (size_t i = 0; i < ids.size(); ++i) {
          ids[i] = std::array<int32_t, 7>{0, 3, 0, 5, -1, 2, 1}[i % 7];
        }
        const ValueId w = c.Weight(type(), {k, m, experts, 1});
        const ValueId x = c.Activations(gapped, {k, rows_per_token, n, 1});
        c.Output(Op::kMatMulExpert, {w, x, c.Ints({top_k, n, 1, 1}, ids)});
        Check(device(), c, ToleranceOf(type()));
        if (IsSkipped() || HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(EveryType, GatherRows) {
  const int64_t k = RowLengths(type())[1];
  for (const std::vector<int32_t>& ids :
       {std::vector<int32_t>{}, {2}, {0, 6, 3, 3, -1, 7, 1, INT32_MAX, INT32_MIN}}) {
    SCOPED_TRACE(ids.size());
    Case c;
    const ValueId table = c.Weight(type(), kRows(k, 7));
    const ValueId index = c.Ints(kRows(static_cast<int64_t>(ids.size()), 1), ids);
    c.Output(Op::kGatherRows, {table, index});
    Check(device(), c, kExact);
    if (IsSkipped() || HasFatalFailure()) return;
  }
}

TEST_P(EveryType, Dequantize) {
  const int64_t k = RowLengths(type())[1];
  for (const Shape& shape : {Shape{k, 1, 1, 1}, Shape{k, 5, 2, 3}, Shape{k, 0, 1, 1}}) {
    Case c;
    c.Output(Op::kDequantize, {c.Input(shape, -8, 8, type())});
    Check(device(), c, kExact);
    if (IsSkipped() || HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, EveryType,
                         ::testing::Combine(::testing::ValuesIn(DevicesAndSets()),
                                            ::testing::ValuesIn(kAllTypes)),
                         DeviceAndTypeTestName);

class MatMulShapes : public ::testing::TestWithParam<std::string> {};

// Real sizes: sums of thousands of terms, and more rows than any tile.
TEST_P(MatMulShapes, Large) {
  struct Size {
    int64_t k, m, n;
    Type type;
  };
  for (const Size& s : {Size{4096, 40, 33, Type::kQ4_K}, Size{2049, 130, 65, Type::kF16},
                        Size{14336, 7, 3, Type::kQ8_0}, Size{64, 3000, 2, Type::kF32}}) {
    SCOPED_TRACE(absl::StrCat(s.k, " x ", s.m, " x ", s.n));
    Case c;
    const ValueId w = c.Weight(s.type, kRows(s.k, s.m));
    c.Output(Op::kMatMul, {w, c.Input(kRows(s.k, s.n))}, graph::MatMulAttrs{});
    Check(GetParam(), c, ToleranceOf(s.type));
    if (IsSkipped() || HasFatalFailure()) return;
  }
}

// A prompt's tokens: those of an expert are more than a tile's columns.
TEST_P(MatMulShapes, ManyTokensOfExperts) {
  constexpr int64_t k = 256, m = 70, experts = 3, top_k = 2, n = 90;
  Case c;
  std::vector<int32_t> ids(top_k * n);
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(i % 31 == 0 ? 99 : i * i % 7 % 4);
    if (ids[i] == experts) ids[i] = -1;
  }
  const ValueId w = c.Weight(Type::kQ4_K, {k, m, experts, 1});
  const ValueId up = c.Weight(Type::kQ5_K, {k, m, experts, 1});
  const ValueId index = c.Ints({top_k, n, 1, 1}, ids);
  const ValueId x = c.Activations(false, {k, 1, n, 1});
  c.Output(Op::kMatMulExpert, {w, x, index});
  c.Output(Op::kMatMulExpert, {up, x, index});
  c.Output(Op::kMatMulExpert, {w, c.Activations(true, {k, top_k, n, 1}), index});
  Check(GetParam(), c, kQuantizedMatMul);
}

TEST_P(MatMulShapes, NoTermsMakeZeros) {
  for (int64_t n : {3, 20}) {
    Case c;
    const ValueId w = c.Weight(Type::kF32, kRows(0, 5));
    c.Output(Op::kMatMul, {w, c.Input(kRows(0, n)), c.Weight(Type::kF32, kRows(5, 1))},
             graph::MatMulAttrs{1, true});
    Check(GetParam(), c, kExact);
  }
}

// What a device says it will need before there is anything is what it then takes.
TEST_P(MatMulShapes, ScratchIsPredicted) {
  for (const Type type : {Type::kF16, Type::kQ4_K}) {
    for (const int64_t n : {1, 70}) {
      SCOPED_TRACE(absl::StrCat(quant::Name(type), " ", n));
      Case c;
      const int64_t k = 512, m = 256, experts = 6, used = 2;
      const ValueId x = c.Input({k, n, 1, 1});
      const ValueId y =
          c.graph.Add(Op::kMatMul, {c.Weight(type, kRows(k, m)), x}, "y", graph::MatMulAttrs{});
      std::vector<int32_t> ids(used * n);
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 5) % experts;
      const ValueId row = c.graph.Add(Op::kReshape, {x}, "row", graph::ReshapeAttrs{{k, 1, n, 1}});
      c.Output(Op::kMatMulExpert,
               {c.Weight(type, {k, m, experts, 1}), row, c.Ints({used, n, 1, 1}, ids)});
      c.graph.AddOutput(y);
      Runner runner(GetParam(), c);
      runner.CompileWithOwnScratch();
      runner.Check(kQuantizedMatMul);
      if (IsSkipped() || HasFatalFailure()) return;
      const auto [found, predicted] = runner.ScratchFoundAndPredicted();
      // Memory is handed out in units.
      constexpr double kUnit = 4096;
      EXPECT_NEAR(static_cast<double>(found), static_cast<double>(predicted),
                  0.02 * static_cast<double>(predicted) + kUnit);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, MatMulShapes, ::testing::ValuesIn(DevicesAndSets()),
                         DeviceTestName);

}  // namespace
}  // namespace bantam::conformance
