// Functions defined between BANTAM_AVX2_BEGIN and BANTAM_AVX2_END, which stand outside of any
// function and have no #include between them, are compiled for AVX2, FMA and F16C. A compiler flag
// for the whole file would do the same to every inline function of the headers it includes, and the
// linker could pick those copies for code that runs on any processor.
//
// GCC does not extend this to lambdas: no intrinsics in those.
#pragma once

#if defined(__clang__)
#define BANTAM_AVX2_BEGIN \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c\"))), apply_to = function)")
#define BANTAM_AVX2_END _Pragma("clang attribute pop")
#else
#define BANTAM_AVX2_BEGIN _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,f16c\")")
#define BANTAM_AVX2_END _Pragma("GCC pop_options")
#endif
