#!/usr/bin/env bash
# bundle.sh and run.sh from beginning to end without a GPU: the emulated CUDA device, tiny shapes, and a
# stand-in for llama-bench.
#
#   run_emulated.sh BUILD_FOLDER [with-model]
#
# with-model: SmolLM2 too, which takes some minutes.
set -euo pipefail
build=${1:?usage: run_emulated.sh BUILD_FOLDER [with-model]}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export BANTAM_BUNDLE_PLUGINS=$build/tests/cuda_emulator/plugins/bantam_backend_cuda_emulated.so
export BANTAM_CUDA_CUBLAS=$build/tests/cuda_emulator/bantam_fake_cublas.so
[[ ${2:-} == with-model ]] || export BANTAM_MODELS=$folder
"$here/bundle.sh" "$build" "$folder/bundle"
mkdir "$folder/peer"
cat >"$folder/peer/llama-bench" <<'PEER'
#!/bin/sh
echo '[ { "n_prompt": 24, "avg_ts": 100.5 }, { "n_gen": 2, "avg_ts": 10.5 } ]'
PEER
chmod +x "$folder/peer/llama-bench"
status=0
"$folder/bundle/run.sh" --peer "$folder/peer" --shape tiny --quick cuda-emulated | tee "$folder/out" ||
  status=$?
for line in '^\| conformance matmul \| passed ' '^\| conformance attention \| passed ' \
  '^\| CUDA emulator .* tiny IQ4_XS ' '^\| tiny Q8_0 \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| 100.5 \| 10.5 \|' \
  '^\| tiny BF16 \| [0-9.]+ \| [0-9.]+ \| cuBLAS [0-9.]+ \('; do
  if ! grep -qE "$line" "$folder/out"; then
    echo "run_emulated.sh: no line like $line" >&2
    status=1
  fi
done
exit "$status"
