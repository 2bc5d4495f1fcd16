#!/bin/sh
# Runs nvcc and keeps what ptxas says of registers and spills, which tests/cuda reads, in a file:
#
#   nvcc.sh PTXAS_REPORT COMMAND...
report=$1
shift
"$@" >"$report.tmp" 2>&1
status=$?
# Anything else is for people.
grep -vE '^ptxas info|^    [0-9]+ bytes stack frame|^$' "$report.tmp" >&2
mv "$report.tmp" "$report"
exit $status
