// As avx2/isa.h, for AVX-512 as the set avx512vnni has it, its conversions to bf16, and AMX's tiles
// (Intel Xeon since Sapphire Rapids, 2023).
#pragma once

#define BANTAM_PRAGMA(text) _Pragma(#text)  // of a single literal, however long
#if defined(__clang__)
#define BANTAM_AMX_BEGIN                                                        \
  BANTAM_PRAGMA(clang attribute push(                                           \
      __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl," \
                            "avx512vnni,avx512vbmi,avx512bf16,amx-tile,"        \
                            "amx-int8,amx-bf16"))),                             \
      apply_to = function))
#define BANTAM_AMX_END _Pragma("clang attribute pop")
#else
#define BANTAM_AMX_BEGIN                                                       \
  BANTAM_PRAGMA(GCC push_options)                                              \
  BANTAM_PRAGMA(GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl", \
                           "avx512vnni,avx512vbmi,avx512bf16,amx-tile,amx-int8,amx-bf16"))
#define BANTAM_AMX_END _Pragma("GCC pop_options")
#endif
