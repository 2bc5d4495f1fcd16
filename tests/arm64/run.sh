#!/usr/bin/env bash
# Cross-compiles for arm64 and runs in QEMU what the CPU backend computes: the conformance suite and
# the backend's own tests, with every set of kernels, and the choice among the sets.
#
#   tests/arm64/run.sh
#
# It tells whether results are right, and nothing of speed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bash third_party/install.sh arm64
bash tests/arm64/sysroot.sh build-arm64/sysroot
# Kernels ask for -O3 themselves (backends/cpu/CMakeLists.txt); the rest is only to be built quickly.
export CCACHE_SLOPPINESS=pch_defines,time_macros
cmake --preset arm64 -DBANTAM_WERROR=ON -DBANTAM_PCH=ON -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG"
cmake --build --preset arm64 -j "$(nproc)"
ctest --preset arm64 -j "$(nproc)" --no-tests=error

# A processor is offered the sets it has the instructions of, and gets the last of them.
offers() { # PROCESSOR SETS
  local found
  found=$(qemu-aarch64 -cpu "$1" -L build-arm64/sysroot \
    build-arm64/tests/backends_cpu_cpu_simd_test \
    --gtest_filter='CpuDevice.ChoosesTheFastestSet:*/VectorSet.SaysWhatItRuns/avx2')
  if ! grep -q "there is: $2)" <<<"$found" ||
    ! grep -q '^\[  PASSED  \] 1 test' <<<"$found"; then
    printf 'QEMU with -cpu %s: expected the sets %s, found\n%s\n' "$1" "$2" "$found" >&2
    return 1
  fi
}
offers cortex-a72 portable
offers neoverse-n1 "portable, neon"
offers max "portable, neon, neoni8mm"
