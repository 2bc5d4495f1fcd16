#!/usr/bin/env bash
# What a machine with a GPU has to show: the conformance suite, SmolLM2, and the speed of a decode
# step of 8B shape. With CUDA also the suite under compute-sanitizer, where that is installed. Runs
# from the folder bundle.sh made: prebuilt programs, no network. Prints a table last.
#
#   run.sh [DEVICE]     cuda, vulkan, or one of several: cuda:1. By default cuda where there is one
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [[ ! -x bin/bantam ]]; then
  echo "run.sh: no bin/bantam beside it; make the folder with tests/gpu/bundle.sh" >&2
  exit 2
fi
export LD_LIBRARY_PATH=$PWD/lib BANTAM_PLUGIN_PATH=$PWD/lib/bantam BANTAM_MODELS=$PWD/models
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
rows=()
failed=0

bin/bantam devices -v
device=${1:-}
if [[ -z $device ]]; then
  device=vulkan
  bin/bantam devices 2>/dev/null | grep -q "^cuda:0 " && device=cuda
fi
name=$device
[[ $name == *:* ]] || name=$name:0
if ! bin/bantam devices | grep -q "^$name "; then
  echo "run.sh: there is no device $name here" >&2
  exit 1
fi

# row NAME COMMAND...: runs it, notes whether it passed and how long it took.
row() {
  local what=$1 start=$SECONDS result=passed
  shift
  echo "== $what"
  if ! "$@" >"$log/out" 2>&1; then
    result=FAILED
    failed=1
    grep -E "Failure|FAILED|rror" -A3 "$log/out" | head -40
  fi
  rows+=("| $what | $result | $((SECONDS - start)) s |")
}

for test in bin/conformance_*_test; do
  suite=${test##*/conformance_}
  row "conformance ${suite%_test}" "$test" --gtest_filter="*${name//[:-]/_}*" --gtest_brief=1
done
if [[ $name == cuda:* ]]; then
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  if [[ -n $sanitizer ]]; then
    # A part of the suite: under the sanitizer every access takes its time.
    test_name=${name//[:-]/_}
    declare -A part=(
      [matmul]="*EveryType*/${test_name}_Q4_K:*EveryType*/${test_name}_Q6_K:*EveryType*/${test_name}_IQ2_XS:*EveryType*/${test_name}_F16"
      [attention]="*CacheLengths*$test_name:*CachesOfBlocks*$test_name:*LongCache*$test_name:*KvWrite*$test_name:*Rope*$test_name"
      [elementwise]="*Chain*$test_name:*Norm*$test_name:*Softmax*$test_name:*TopK*$test_name"
    )
    for tool in memcheck racecheck initcheck synccheck; do
      for suite in matmul attention elementwise; do
        row "compute-sanitizer $tool $suite" "$sanitizer" --tool "$tool" --error-exitcode 9 \
          "bin/conformance_${suite}_test" --gtest_filter="${part[$suite]}" --gtest_brief=1
      done
    done
  else
    rows+=("| compute-sanitizer | not installed here | |")
  fi
fi
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
speed=""
if [[ -s $model ]]; then
  prompt="The three laws of thermodynamics say that"
  greedy() {
    bin/bantam run -m "$model" --device "$1" --raw -p "$prompt" -n 64 --temp 0 --no-timings
  }
  same_text() { [[ "$(greedy reference)" == "$(greedy "$name")" ]]; }
  # Where activations are rounded to int8, as CUDA and the fast CPU kernels do, near ties fall otherwise.
  [[ $name == cuda:* ]] || row "SmolLM2: 64 greedy tokens as the reference" same_text
  perplexity() {
    bin/bantam perplexity -m "$model" --device "$1" -f wiki.txt -c 256 --json |
      grep -oE '"perplexity": *[0-9.]+' | grep -oE '[0-9.]+$'
  }
  near_perplexity() {
    local reference found
    reference=$(perplexity reference) && found=$(perplexity "$name") || return 1
    echo "perplexity: reference $reference, $name $found"
    awk -v a="$reference" -v b="$found" 'BEGIN { d = a > b ? a - b : b - a; exit !(d <= 0.003 * a) }'
  }
  row "SmolLM2: perplexity within 0.3 % of the reference" near_perplexity
  # Standard error has the speeds.
  speed=$(bin/bantam run -m "$model" --device "$name" --raw -p "$prompt" -n 256 --temp 0 \
    --ignore-eos 2>&1 >/dev/null | grep -E "^(prompt|generate)" | tr -s ' ' | tr '\n' ';')
fi
echo "== decode step, 8B shape"
bench=$(bin/gpu_decode_bench "$name" 8b 2>&1) || bench="| - | 8b: $bench |"
small=$(bin/gpu_decode_bench "$name" 1b 2>&1) || small="| - | 1b: $small |"

echo
echo "| test | result | time |"
echo "|---|---|---|"
printf '%s\n' "${rows[@]}"
[[ -z $speed ]] || echo "| SmolLM2 Q4_1 | $speed | |"
echo
echo "| device | shape | weights | step | generation | reached | copying reaches | share |"
echo "|---|---|---|---|---|---|---|---|"
echo "$bench"
echo "$small"
exit "$failed"
