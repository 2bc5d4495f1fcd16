#!/usr/bin/env bash
# Runs every test: installs and fetches what is missing, builds, tests.
#
#   tests/run.sh [release|asan|tsan|arm64|all]
#
# release: every test. asan: all but the slow ones, under the address and undefined-behaviour
# sanitizers. tsan: what several threads do at once, under the thread sanitizer. arm64: what the CPU
# backend computes, cross-compiled and run in QEMU (arm64/run.sh). all, the default: these four, release
# last. The presets of CMakePresets.json and the labels in tests/CMakeLists.txt say
# what exactly each builds and runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-all}" in
  all) presets=(tsan asan arm64 release) ;;
  release | asan | tsan | arm64) presets=("$1") ;;
  *)
    echo "usage: tests/run.sh [release|asan|tsan|arm64|all]" >&2
    exit 2
    ;;
esac

bash third_party/install.sh test
for fetch in tests/models/fetch*.sh; do
  bash "$fetch"
done

export ASAN_OPTIONS=strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS="second_deadlock_stack=1 suppressions=\"$PWD/tests/tsan.supp\""
# The sanitizers' builds are long and nobody edits in them: common headers are precompiled, which
# ccache (where there is one) is told to look through.
export CCACHE_SLOPPINESS=pch_defines,time_macros
jobs=$(nproc)
failed=()
for preset in "${presets[@]}"; do
  echo "== $preset"
  if [[ $preset == arm64 ]]; then
    bash tests/arm64/run.sh || failed+=(arm64)
    continue
  fi
  pch=ON
  [[ $preset == release ]] && pch=OFF
  cmake --preset "$preset" -DBANTAM_WERROR=ON -DBANTAM_PCH=$pch
  cmake --build --preset "$preset" -j "$jobs"
  ctest --preset "$preset" -j "$jobs" --no-tests=error || failed+=("$preset")
done
if ((${#failed[@]} > 0)); then
  echo "tests failed: ${failed[*]}" >&2
  exit 1
fi
