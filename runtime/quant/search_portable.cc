#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "runtime/quant/codebook_lists.h"
#include "runtime/quant/encode_blocks.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/search.h"

// Vectors are passed only between functions that are always inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

#define BANTAM_SEARCH_NAMESPACE portable
#include "runtime/quant/search_kernels.h"

namespace bantam::quant {

SolveFn SolverPortable(Type type) { return portable::Find(type); }

SolveFn Solver(Type type) {
#if defined(__x86_64__) && !defined(__clang__)
  if (__builtin_cpu_supports("avx2")) return SolverAvx2(type);
#endif
  return SolverPortable(type);
}

}  // namespace bantam::quant
