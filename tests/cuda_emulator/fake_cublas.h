// A stand-in for cuBLAS on the emulator, which tests watch and tell to fail. It is a shared object
// with cuBLAS's symbols, and strict: it refuses what cuBLAS would refuse, and what cuBLAS would
// only do by allocating.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bantam::cuda::emulator {

struct FakeCublas {
  struct Product {
    int m, n, k, lda, ldb, ldc, type;
    float beta;
    const void *a, *b, *c, *workspace;
    bool operator==(const Product&) const = default;
  };
  std::vector<Product> products;   // asked for, in order
  std::vector<std::string> wrong;  // what was refused, and why
  int handles = 0;                 // there are
  int streams = 0;                 // that are known to handles
  int math_mode = 0;               // of the one made last
  // Statuses to answer with, once: of the next handle, and of the product that counts down to it.
  int fail_create = 0, fail_product = 0, fail_product_in = 0;
};

// The symbol that finds it in the shared object: FakeCublas* bantam_fake_cublas().
using FakeCublasFunction = FakeCublas*();
inline constexpr char kFakeCublasSymbol[] = "bantam_fake_cublas";

}  // namespace bantam::cuda::emulator
