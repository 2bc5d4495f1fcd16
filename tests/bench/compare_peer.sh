#!/usr/bin/env bash
# The same models through a peer's benchmark and through ours, in turn, and the ratios of the medians.
#
#   tests/bench/compare_peer.sh --peer PATH_TO_LLAMA_BENCH [-p 512] [-n 128] [-r 3] [-t THREADS]
#                               [--depth 0] MODEL...
#
# A round is one run of each program with its own warm-up; -r rounds of every model, one after the
# other, so that what else the machine does falls on both alike. BANTAM names our program where it
# is not build/bin/bantam. Nothing is fetched or built.
set -euo pipefail

peer="" prompt=512 generate=128 rounds=3 threads=$(nproc) depth=0 models=()
while (($# > 0)); do
  case $1 in
    --peer) peer=$2; shift 2 ;;
    -p) prompt=$2; shift 2 ;;
    -n) generate=$2; shift 2 ;;
    -r) rounds=$2; shift 2 ;;
    -t) threads=$2; shift 2 ;;
    --depth) depth=$2; shift 2 ;;
    -*) echo "compare_peer.sh: unknown option $1" >&2; exit 2 ;;
    *) models+=("$1"); shift ;;
  esac
done
if [[ -z $peer || ${#models[@]} -eq 0 ]]; then
  echo "usage: compare_peer.sh --peer PATH_TO_LLAMA_BENCH [options] MODEL..." >&2
  exit 2
fi
bantam=${BANTAM:-$(dirname "$0")/../../build/bin/bantam}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for model in "${models[@]}"; do
  : >"$work/ours"
  : >"$work/theirs"
  for ((round = 0; round < rounds; ++round)); do
    "$bantam" bench -m "$model" -p "$prompt" -n "$generate" -r 1 -t "$threads" --depth "$depth" \
      --json 2>/dev/null >>"$work/ours"
    "$peer" -m "$model" -p "$prompt" -n "$generate" -r 1 -t "$threads" -d "$depth" -o jsonl \
      2>/dev/null >>"$work/theirs"
  done
  python3 - "$model" "$work/ours" "$work/theirs" <<'PYTHON'
import json, os, statistics, sys

model, ours_file, theirs_file = sys.argv[1:]
decoder, text, ours = json.JSONDecoder(), open(ours_file).read(), []
while text.strip():
    value, end = decoder.raw_decode(text.lstrip())
    ours.append(value)
    text = text.lstrip()[end:]
theirs = [json.loads(line) for line in open(theirs_file) if line.startswith("{")]
for kind, field in (("prompt", "n_prompt"), ("generate", "n_gen")):
    a = [o[kind]["tokens_per_second"] for o in ours if kind in o]
    b = [t["avg_ts"] for t in theirs if t[field] > 0]
    if not a or not b:
        continue
    ours_median, theirs_median = statistics.median(a), statistics.median(b)
    share = ""
    if kind == "generate" and "share_of_read_speed" in ours[0][kind]:
        share = statistics.median(o[kind]["share_of_read_speed"] for o in ours)
        share = f"  {100 * share:.0f} % of the read speed"
    print(
        f"{os.path.basename(model):30} {kind:8}  ours {ours_median:8.2f}  peer {theirs_median:8.2f}"
        f" tok/s  ratio {ours_median / theirs_median:.2f}{share}",
        flush=True,
    )
PYTHON
done
