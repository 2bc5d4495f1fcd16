// As avx2/isa.h, for AVX-512 F, BW, DQ, VL, VNNI and VBMI besides: what processors have in common
// that have VNNI on registers of 512 bits (Intel since Ice Lake, 2019; AMD since Zen 4, 2022).
#pragma once

#define BANTAM_PRAGMA(text) _Pragma(#text)  // of a single literal, however long
#if defined(__clang__)
#define BANTAM_AVX512_BEGIN                                                     \
  BANTAM_PRAGMA(clang attribute push(                                           \
      __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl," \
                            "avx512vnni,avx512vbmi"))),                         \
      apply_to = function))
#define BANTAM_AVX512_END _Pragma("clang attribute pop")
#else
#define BANTAM_AVX512_BEGIN       \
  BANTAM_PRAGMA(GCC push_options) \
  BANTAM_PRAGMA(                  \
      GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl", "avx512vnni,avx512vbmi"))
#define BANTAM_AVX512_END _Pragma("GCC pop_options")
#endif
