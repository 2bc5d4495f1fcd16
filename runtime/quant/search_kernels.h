// See search.h. Included by the files that compile it for an instruction set, which define
// BANTAM_SEARCH_NAMESPACE and include everything used here beforehand; hence no include guard.

// Each needs those before it.
// clang-format off
#include "runtime/quant/search_vector.h"
#include "runtime/quant/search_runs.h"
#include "runtime/quant/search_scales.h"
#include "runtime/quant/search_affine.h"
// clang-format on

namespace bantam::quant::BANTAM_SEARCH_NAMESPACE {

SolveFn Find(Type type) {
  switch (type) {
    case Type::kQ4_0:
      return SolveSingle<LevelRun<Integers<-8, 7, 550, 1050, 21>, 32>>;
    case Type::kQ5_0:
      return SolveSingle<LevelRun<Integers<-16, 15, 1350, 1850, 21>, 32>>;
    case Type::kQ8_0:
      return SolveSingle<LevelRun<Integers8, 32>>;
    case Type::kQ4_1:
      return SolveLine<15>;
    case Type::kQ5_1:
      return SolveLine<31>;
    case Type::kQ2_K:
      return SolveAffine<16, 3, 15>;
    case Type::kQ4_K:
      return SolveAffine<32, 15, 63>;
    case Type::kQ5_K:
      return SolveAffine<32, 31, 63>;
    case Type::kQ3_K:
      return SolveScaled<LevelRun<Integers<-4, 3, 240, 600, 19>, 16>, SignedMultiples<-32, 31>>;
    case Type::kQ6_K:
      return SolveScaled<LevelRun<Integers<-32, 31, 2950, 3450, 17>, 16>,
                         SignedMultiples<-128, 127>>;
    case Type::kIQ4_NL:
      return SolveSingle<LevelRun<LevelsIQ4, 32>>;
    case Type::kIQ4_XS:
      return SolveScaled<LevelRun<LevelsIQ4, 32>, SignedMultiples<-32, 31>>;
    case Type::kTQ1_0:
    case Type::kTQ2_0:
      return SolveSingle<LevelRun<Integers<-1, 1, 55, 400, 40>, 256>>;
    case Type::kMXFP4:
      return SolveMXFP4;
    case Type::kNVFP4:
      return SolveNVFP4;
    case Type::kIQ2_XXS:
      return SolveScaled<RunIQ2<ListsIQ2_XXS, 32, true>, OddMultiples<4, 15>>;
    case Type::kIQ2_XS:
      return SolveScaled<RunIQ2<ListsIQ2_XS, 16, true>, OddMultiples<4, 15>>;
    case Type::kIQ2_S:
      return SolveScaled<RunIQ2<ListsIQ2_S, 16, false>, OddMultiples<4, 15>>;
    case Type::kIQ3_XXS:
      return SolveScaled<RunIQ3<ListsIQ3_XXS, 4, 8, true>, OddMultiples<2, 15>>;
    case Type::kIQ3_S:
      return SolveScaled<RunIQ3<ListsIQ3_S, 1, 2, false>, WholeOddMultiples<15>>;
    case Type::kIQ1_S:
      return SolveScaled<RunIQ1<32, 32>, WholeOddMultiples<7>>;
    case Type::kIQ1_M:
      return SolveScaled<RunIQ1<16, 8>, WholeOddMultiples<7>>;
    default:
      return nullptr;
  }
}

}  // namespace bantam::quant::BANTAM_SEARCH_NAMESPACE
