#!/usr/bin/env bash
# The same models through a peer's benchmark and through ours, in turn, and the ratios of the best.
#
#   tests/bench/compare_peer.sh --peer PATH_TO_LLAMA_BENCH [-p 512] [-n 128] [-r 3] [-t THREADS]
#                               [--depth 0] [--cpu-isa NAME] [--limit SECONDS] [--log FILE]
#                               [--cpu-time] MODEL...
#
# A round is one run of each program with its own warm-up; -r rounds of every model, one after the
# other, so that what else the machine does falls on both alike. Of each program's runs the best
# counts, because what else the machine does only ever slows one down; the medians follow in brackets,
# and the load of the machine before the first round and after the last.
#
# --cpu-time is for a busy machine: one thread, and the processor time it took instead of the time that
# passed, which is what a second repetition adds to that of a program. The least of all rounds counts.
#
# A run that fails or takes more than --limit seconds (300) is told on standard error and left out;
# the status is then 1. Every run is also a line of JSON in --log, where one is named: lines already
# there count, so that a comparison that was broken off goes on where it was. BANTAM names our program
# where it is not build/bin/bantam. Nothing is fetched or built.
set -euo pipefail

peer="" prompt=512 generate=128 rounds=3 threads=$(nproc) depth=0 isa="" limit=300 log="" cpu=0 models=()
while (($# > 0)); do
  case $1 in
    --peer | -p | -n | -r | -t | --depth | --cpu-isa | --limit | --log)
      if (($# < 2)); then
        echo "compare_peer.sh: $1 needs a value" >&2
        exit 2
      fi ;;&
    --peer) peer=$2; shift 2 ;;
    -p) prompt=$2; shift 2 ;;
    -n) generate=$2; shift 2 ;;
    -r) rounds=$2; shift 2 ;;
    -t) threads=$2; shift 2 ;;
    --depth) depth=$2; shift 2 ;;
    --cpu-isa) isa=$2; shift 2 ;;
    --limit) limit=$2; shift 2 ;;
    --log) log=$2; shift 2 ;;
    --cpu-time) cpu=1 threads=1; shift ;;
    -*) echo "compare_peer.sh: unknown option $1" >&2; exit 2 ;;
    *) models+=("$1"); shift ;;
  esac
done
if [[ -z $peer || ${#models[@]} -eq 0 ]]; then
  echo "usage: compare_peer.sh --peer PATH_TO_LLAMA_BENCH [options] MODEL..." >&2
  exit 2
fi
bantam=${BANTAM:-$(dirname "$0")/../../build/bin/bantam}
for program in "$bantam" "$peer"; do
  if [[ ! -x $program ]]; then
    echo "compare_peer.sh: no program $program" >&2
    exit 2
  fi
done
exec python3 - "$bantam" "$peer" "$prompt" "$generate" "$rounds" "$threads" "$depth" "$isa" \
  "$limit" "$log" "$cpu" "${models[@]}" <<'PYTHON'
import json, os, resource, statistics, subprocess, sys

bantam, peer, prompt, generate, rounds, threads, depth, isa, limit, log, cpu, *models = sys.argv[1:]
by_cpu = cpu == "1"
settings = [prompt, generate, threads, depth, isa, cpu]
KINDS = ("prompt", "generate")
failed = False


def output_of(command):
    """What a program prints, or None and a line on standard error."""
    global failed
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=float(limit))
    except subprocess.TimeoutExpired:
        reason = f"took more than {limit} s"
    else:
        if done.returncode == 0:
            return done.stdout
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = f"failed ({done.returncode}): {lines[-1] if lines else 'without a word'}"
    failed = True
    model = command[command.index("-m") + 1]
    print(f"{command[0]} on {os.path.basename(model)} {reason}", file=sys.stderr, flush=True)
    return None


def ours_command(model, p, n, repetitions):
    command = [bantam, "bench", "-m", model, "-p", p, "-n", n, "-r", repetitions, "-t", threads]
    command += ["--depth", depth, "--device", "cpu", "--json"]
    return command + (["--cpu-isa", isa] if isa else [])


def peer_command(model, p, n, repetitions):
    command = [peer, "-m", model, "-p", p, "-n", n, "-r", repetitions, "-t", threads]
    return command + ["-d", depth, "-o", "jsonl"]


def ours(model):
    text = output_of(ours_command(model, prompt, generate, "1"))
    if text is None:
        return None
    found = json.loads(text)
    return {kind: found[kind]["tokens_per_second"] for kind in KINDS if kind in found} | {
        "share": found.get("generate", {}).get("share_of_read_speed")
    }


def theirs(model):
    text = output_of(peer_command(model, prompt, generate, "1"))
    if text is None:
        return None
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {
        kind: run["avg_ts"]
        for run in found
        for kind, field in (("prompt", "n_prompt"), ("generate", "n_gen"))
        if run[field] > 0
    }


def cpu_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if output_of(command) is None:
        return None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def cpu_times(command_of, model):
    """Processor seconds of one repetition and of two, by kind."""
    times = {}
    for kind, p, n in (("prompt", prompt, "0"), ("generate", "0", generate)):
        if p == n:
            continue
        times[kind] = [cpu_seconds(command_of(model, p, n, r)) for r in ("1", "2")]
        if None in times[kind]:
            return None
    return times


def rates(results, kind):
    """Tokens per second of each run; by processor time, one for all."""
    found = [result[kind] for result in results if kind in result]
    if not by_cpu or not found:
        return found
    one, two = (min(times[i] for times in found) for i in (0, 1))
    tokens = int(prompt if kind == "prompt" else generate)
    return [tokens / (two - one)] if two > one else []


runs = []  # [settings, model, program, result]
if log and os.path.exists(log):
    runs = [json.loads(line) for line in open(log)]


def known(model, program):
    name = os.path.basename(model)
    return [run[3] for run in runs if run[:3] == [settings, name, program]]


def load():
    return os.getloadavg()[0]


for model in models:
    before = load()
    for step in range(int(rounds)):
        for program, measure, command in (
            ("ours", ours, ours_command),
            ("peer", theirs, peer_command),
        ):
            if len(known(model, program)) > step:
                continue
            result = cpu_times(command, model) if by_cpu else measure(model)
            if result is None:
                continue
            runs.append([settings, os.path.basename(model), program, result])
            if log:
                with open(log, "a") as file:
                    print(json.dumps(runs[-1]), file=file)
    for kind in KINDS:
        a = rates(known(model, "ours"), kind)
        b = rates(known(model, "peer"), kind)
        if not a or not b:
            if by_cpu and known(model, "ours") and known(model, "peer"):
                print(f"{os.path.basename(model)} {kind}: too short to tell from noise", file=sys.stderr)
                failed = True
            continue
        line = (
            f"{os.path.basename(model):30} {kind:8}  ours {max(a):8.2f} ({statistics.median(a):.2f})"
            f"  peer {max(b):8.2f} ({statistics.median(b):.2f}) tok/s  ratio {max(a) / max(b):.2f}"
            f" ({statistics.median(a) / statistics.median(b):.2f})  load {before:.1f} to {load():.1f}"
        )
        shares = [run["share"] for run in known(model, "ours") if run.get("share") is not None]
        if kind == "generate" and shares:
            line += f"  {100 * statistics.median(shares):.0f} % of the read speed"
        print(line, flush=True)
sys.exit(1 if failed else 0)
PYTHON
