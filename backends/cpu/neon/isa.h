// As avx2/isa.h, for what is not in every arm64 processor: dot products of bytes (optional in
// Armv8.2, in all processors for phones, laptops and servers since about 2018) and products of
// matrices of bytes (Armv8.6, since about 2021). All other instructions of NEON are baseline.
#pragma once

#if defined(__clang__)
#define BANTAM_DOTPROD_BEGIN \
  _Pragma("clang attribute push(__attribute__((target(\"dotprod\"))), apply_to = function)")
#define BANTAM_I8MM_BEGIN \
  _Pragma("clang attribute push(__attribute__((target(\"i8mm\"))), apply_to = function)")
#define BANTAM_DOTPROD_END _Pragma("clang attribute pop")
#else
#define BANTAM_DOTPROD_BEGIN \
  _Pragma("GCC push_options") _Pragma("GCC target(\"arch=armv8.2-a+dotprod\")")
#define BANTAM_I8MM_BEGIN _Pragma("GCC push_options") _Pragma("GCC target(\"arch=armv8.2-a+i8mm\")")
#define BANTAM_DOTPROD_END _Pragma("GCC pop_options")
#endif
#define BANTAM_I8MM_END BANTAM_DOTPROD_END
