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

#if defined(__x86_64__) && !defined(__clang__)

// Without FMA: see search.h.
#pragma GCC push_options
#pragma GCC target("avx2")
#define BANTAM_SEARCH_NAMESPACE avx2
#include "runtime/quant/search_kernels.h"
#pragma GCC pop_options

namespace bantam::quant {

SolveFn SolverAvx2(Type type) { return avx2::Find(type); }

}  // namespace bantam::quant

#else

namespace bantam::quant {

SolveFn SolverAvx2(Type type) { return SolverPortable(type); }

}  // namespace bantam::quant

#endif
