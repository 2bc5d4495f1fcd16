// As avx2/isa.h, with the dot products of bytes that AVX-VNNI brings to processors without AVX-512
// (Intel since Alder Lake, 2021; Zen 5 has both).
#pragma once

#if defined(__clang__)
#define BANTAM_AVXVNNI_BEGIN                                                                 \
  _Pragma(                                                                                   \
      "clang attribute push(__attribute__((target(\"avx2,fma,f16c,avxvnni\"))), apply_to = " \
      "function)")
#define BANTAM_AVXVNNI_END _Pragma("clang attribute pop")
#else
#define BANTAM_AVXVNNI_BEGIN \
  _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,f16c,avxvnni\")")
#define BANTAM_AVXVNNI_END _Pragma("GCC pop_options")
#endif
