#!/usr/bin/env bash
# What ptxas said of the CUDA kernels when they were built: registers and spills, a line for each
# kernel and compute capability. Fails when a kernel of matrix products or attention spills.
#
#   ptxas_summary.sh REPORT... [> summary]
set -euo pipefail
summary=$(awk '
  /Compiling entry function/ { match($0, /function .[^ ]*. for/); name = substr($0, RSTART + 10, RLENGTH - 15)
                               match($0, /sm_[0-9a-z]+/); arch = substr($0, RSTART, RLENGTH) }
  /bytes stack frame/ { stores = $5; loads = $9 }
  /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5)
                            file = FILENAME; sub(/.*\//, "", file); sub(/\..*/, "", file)
                            print file, arch, registers, stores + loads, name }' "$@" | sort)
if [[ -z $summary ]]; then
  echo "ptxas_summary.sh: no kernel in the reports" >&2
  exit 1
fi
echo "# file, compute capability, registers, bytes spilled, kernel"
if command -v c++filt >/dev/null; then
  c++filt <<<"$summary" | sed 's/bantam::cuda:://g; s/bantam::quant:://g; s/(anonymous namespace):://g'
else
  echo "$summary"
fi
spilled=$(awk '$1 ~ /^(matmul|attention)/ && $4 > 0' <<<"$summary")
if [[ -n $spilled ]]; then
  printf 'ptxas_summary.sh: these spill:\n%s\n' "$spilled" >&2
  exit 1
fi
