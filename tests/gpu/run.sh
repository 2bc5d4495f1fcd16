#!/usr/bin/env bash
# What a machine with a GPU has to show: the conformance suite, SmolLM2 against the reference, and
# speed on random weights of 8B shape. With CUDA also the suite under compute-sanitizer, where that is
# installed. Runs from the folder bundle.sh made: prebuilt programs, no network. Prints a table last;
# the status is 0 when all passed.
#
#   run.sh [--peer FOLDER] [--shape 8b|1b|tiny] [--quick] [DEVICE]
#
# DEVICE: cuda, vulkan, or one of several: cuda:1; by default cuda where there is one. --peer: the
# folder of a llama.cpp build with llama-bench, which then runs the same model files beside ours, turn
# by turn. --shape: of the models speed is measured on (8b); files of up to 9 GB are made one after the
# other in $TMPDIR. --quick: no compute-sanitizer, and a quarter of the perplexity.
set -uo pipefail
peer="" shape=8b quick=0 device=""
usage() {
  sed -n '/^#   run.sh/s/^# *//p' "$0" >&2
  exit 2
}
while (($# > 0)); do
  case $1 in
    --peer | --shape) (($# >= 2)) || usage ;;&
    --peer) peer=$2; shift 2 ;;
    --shape) shape=$2; shift 2 ;;
    --quick) quick=1; shift ;;
    -*) usage ;;
    *) device=$1; shift ;;
  esac
done
if [[ -n $peer ]]; then
  peer=$(cd "$peer" 2>/dev/null && pwd)/llama-bench
  if [[ ! -x $peer ]]; then
    echo "run.sh: no program llama-bench in the folder --peer names" >&2
    exit 2
  fi
fi
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
if [[ ! -x bin/bantam ]]; then
  echo "run.sh: no bin/bantam beside it; make the folder with tests/gpu/bundle.sh" >&2
  exit 2
fi
# Only for our own programs: a peer has libraries of its own.
ours() { LD_LIBRARY_PATH=$PWD/lib BANTAM_PLUGIN_PATH=$PWD/lib/bantam BANTAM_MODELS=$PWD/models "$@"; }
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
rows=()
failed=0

ours bin/bantam devices -v
if [[ -z $device ]]; then
  device=vulkan
  ours bin/bantam devices 2>/dev/null | grep -q "^cuda:0 " && device=cuda
fi
name=$device
[[ $name == *:* ]] || name=$name:0
if ! ours bin/bantam devices | grep -q "^$name "; then
  echo "run.sh: there is no device $name here" >&2
  exit 1
fi
test_name=${name//[:-]/_}

# row NAME COMMAND...: runs it, notes whether it passed and how long it took, and its last line where
# that begins with "note: ".
row() {
  local what=$1 start=$SECONDS result=passed note
  shift
  echo "== $what"
  if ! "$@" >"$log/out" 2>&1; then
    result=FAILED
    failed=1
    grep -E "Failure|FAILED|rror" -A3 "$log/out" | head -40
  fi
  note=$(sed -n '$s/^note: / (/p' "$log/out")
  rows+=("| $what | $result${note:+$note)} | $((SECONDS - start)) s |")
}

for test in bin/conformance_*_test; do
  suite=${test##*/conformance_}
  row "conformance ${suite%_test}" ours "$test" --gtest_filter="*$test_name*" --gtest_brief=1
done

if [[ $name == cuda* && $quick == 0 ]]; then
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
  if [[ -n $sanitizer ]]; then
    # A part of the suite: under the sanitizer every access takes its time.
    declare -A part=(
      [matmul]="*EveryType*/${test_name}_Q4_K:*EveryType*/${test_name}_Q6_K:*EveryType*/${test_name}_IQ2_XS:*EveryType*/${test_name}_F16:*EveryType*/${test_name}_BF16"
      [attention]="*CacheLengths*$test_name:*CachesOfBlocks*$test_name:*LongCache*$test_name:*KvWrite*$test_name:*Rope*$test_name"
      [elementwise]="*Chain*$test_name:*Norm*$test_name:*Softmax*$test_name:*TopK*$test_name"
    )
    for tool in memcheck racecheck initcheck synccheck; do
      for suite in matmul attention elementwise; do
        row "compute-sanitizer $tool $suite" ours "$sanitizer" --tool "$tool" --error-exitcode 9 \
          "bin/conformance_${suite}_test" --gtest_filter="${part[$suite]}" --gtest_brief=1
      done
    done
  else
    rows+=("| compute-sanitizer | not installed here | |")
  fi
fi

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ -s $model ]]; then
  prompt="The three laws of thermodynamics say that"
  greedy() {
    ours bin/bantam run -m "$model" --device "$1" --raw -p "$prompt" -n 64 --temp 0 --no-timings
  }
  same_text() {
    local expected found
    expected=$(greedy reference 2>/dev/null) && found=$(greedy "$name" 2>/dev/null) || return 1
    [[ -n $expected && $expected == "$found" ]] && return
    printf 'FAILED\nreference: %s\n%s: %s\n' "$expected" "$name" "$found"
    return 1
  }
  row "SmolLM2: 64 greedy tokens as the reference" same_text
  chunks=()
  ((quick)) && chunks=(--chunks 3 --ubatch 64)
  perplexity() {
    ours bin/bantam perplexity -m "$model" --device "$1" -f wiki.txt -c 256 "${chunks[@]}" --json \
      2>/dev/null | grep -oE '"perplexity": *[0-9.]+' | grep -oE '[0-9.]+$'
  }
  near_perplexity() {
    local expected found
    expected=$(perplexity reference) && found=$(perplexity "$name") || return 1
    echo "note: reference $expected, $name $found"
    awk -v a="$expected" -v b="$found" 'BEGIN { d = a > b ? a - b : b - a; exit !(d <= 0.003 * a) }'
  }
  row "SmolLM2: perplexity within 0.3 % of the reference" near_perplexity
else
  rows+=("| SmolLM2 | not bundled | |")
fi

# Speed. The kernels alone, beside what copying reaches; then whole programs on a file.
types=(Q4_K_M Q8_0 Q6_K IQ4_XS)
kernels=()
for type in "${types[@]}"; do
  echo "== kernels: $shape $type"
  if line=$(ours bin/gpu_decode_bench "$name" "$shape" "$type" 2>"$log/err"); then
    kernels+=("$line")
  else
    kernels+=("| $name | $shape $type | $(tail -n 1 "$log/err") | | | | | | |")
  fi
done

# speeds PROGRAM...: runs it, and prints tokens per second of the prompt and of generation. Both
# programs tell JSON.
our_speeds() {
  ours bin/bantam bench -m "$1" --device "$name" -p "$2" -n "$3" -r 3 --json 2>"$log/err" |
    tr -d ' \n' | grep -oE '"(prompt|generate)":\{[^}]*"tokens_per_second":[0-9.e+]+' |
    grep -oE '[0-9.e+]+$' | tr '\n' ' '
}
peer_speeds() {
  "$peer" -m "$1" -p "$2" -n "$3" -r 3 -ngl 99 -fa 1 -o json 2>"$log/err" | tr -d ' \n' |
    grep -oE '"avg_ts":[0-9.e+]+' | grep -oE '[0-9.e+]+$' | tr '\n' ' '
}
best() { awk -v a="${1:-0}" -v b="${2:-0}" 'BEGIN { printf "%.1f", (a > b ? a : b) }'; }
ratio() { awk -v a="${1:-0}" -v b="${2:-0}" 'BEGIN { if (b > 0) printf "%.2f", a / b; else printf "-" }'; }
n_prompt=512 n_generate=128 rounds=2
[[ $shape == tiny ]] && n_prompt=24 n_generate=2 rounds=1
programs=()
for type in "${types[@]}"; do
  file=$log/random.gguf
  echo "== programs: $shape $type"
  if ! ours bin/gpu_random_model "$file" "$shape" "$type" 2>"$log/err"; then
    programs+=("| $shape $type | $(tail -n 1 "$log/err") | | | | | |")
    failed=1
    continue
  fi
  our_prompt=0 our_generate=0 peer_prompt=0 peer_generate=0
  for ((round = 0; round < rounds; ++round)); do
    read -r p g <<<"$(our_speeds "$file" "$n_prompt" "$n_generate")"
    our_prompt=$(best "$our_prompt" "$p") our_generate=$(best "$our_generate" "$g")
    [[ -n $peer ]] || continue
    read -r p g <<<"$(peer_speeds "$file" "$n_prompt" "$n_generate")"
    peer_prompt=$(best "$peer_prompt" "$p") peer_generate=$(best "$peer_generate" "$g")
  done
  fast=-
  if [[ $name == cuda* ]]; then
    # Prompts in one plane of int8: less precise, and faster.
    read -r fast _ <<<"$(BANTAM_CUDA_PLANES=1 our_speeds "$file" "$n_prompt" 0)"
    fast=$(best "$fast")
  fi
  rm -f "$file"
  if [[ $our_generate == 0* && $our_generate != *[1-9]* ]]; then
    echo "no speeds: $(tail -n 1 "$log/err")"
    failed=1
  fi
  line="| $shape $type | $our_prompt | ${fast:--} | $our_generate |"
  if [[ -n $peer ]]; then
    line+=" $peer_prompt | $peer_generate | $(ratio "$our_prompt" "$peer_prompt") |"
    line+=" $(ratio "$our_generate" "$peer_generate") |"
  fi
  programs+=("$line")
done

# Weights that are not quantized: prompts by cuBLAS, where it is installed, and by own kernels.
plain=()
plain_shape=1b
[[ $shape == tiny ]] && plain_shape=tiny
if [[ $name == cuda* ]]; then
  for type in F16 BF16; do
    file=$log/random.gguf
    echo "== plain weights: $plain_shape $type"
    if ! ours bin/gpu_random_model "$file" "$plain_shape" "$type" 2>"$log/err"; then
      plain+=("| $plain_shape $type | $(tail -n 1 "$log/err") | | |")
      failed=1
      continue
    fi
    by=$(ours bin/bantam bench -m "$file" --device "$name" -p 16 -n 0 -r 1 -v 2>&1 >/dev/null |
      sed -n 's/.* plain weights: //p' | head -n 1)
    found=0 own=0
    for ((round = 0; round < rounds; ++round)); do
      read -r p _ <<<"$(our_speeds "$file" "$n_prompt" 0)"
      found=$(best "$found" "$p")
      read -r p _ <<<"$(BANTAM_CUDA_CUBLAS=0 our_speeds "$file" "$n_prompt" 0)"
      own=$(best "$own" "$p")
    done
    rm -f "$file"
    plain+=("| $plain_shape $type | $found | $own | $by |")
  done
fi

echo
echo "| test | result | time |"
echo "|---|---|---|"
printf '%s\n' "${rows[@]}"
echo
echo "Kernels: a decode step against copying (wanted: 75 %), and a prompt of 512 tokens."
echo
echo "| device | model | weights | step | generation | reached | copying reaches | share | prompt |"
echo "|---|---|---|---|---|---|---|---|---|"
printf '%s\n' "${kernels[@]}"
echo
echo "Programs: tokens per second, the best of $rounds rounds (wanted: prompts at 1.1 times the peer's)."
echo
head="| model | prompt $n_prompt | prompt in one plane | generation |" line="|---|---|---|---|"
if [[ -n $peer ]]; then
  head+=" llama.cpp prompt | llama.cpp generation | prompt ratio | generation ratio |"
  line+="---|---|---|---|"
fi
echo "$head"
echo "$line"
printf '%s\n' "${programs[@]}"
if ((${#plain[@]} > 0)); then
  echo
  echo "Weights that are not quantized: prompts of $n_prompt in tokens per second."
  echo
  echo "| model | as installed | own kernels | what is installed |"
  echo "|---|---|---|---|"
  printf '%s\n' "${plain[@]}"
fi
exit "$failed"
