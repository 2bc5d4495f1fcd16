#!/usr/bin/env bash
# From nothing to an answer: installs what is missing, builds Bantam, fetches a small model and asks
# it.
#
#   bash frontends/quickstart.sh "Why is the sky blue?" [options of bantam run]
set -euo pipefail

die() {
  echo "quickstart.sh: $*" >&2
  exit 1
}

prompt=${1:-}
[[ -n $prompt ]] || die 'say what to ask: bash frontends/quickstart.sh "Why is the sky blue?"'
shift

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
models=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}
model=$models/SmolLM2-135M-Instruct.Q4_1.gguf
build=$root/build

# Shows a step's output only when it failed.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

bash "$root/third_party/install.sh" build
if [[ ! -f $build/build.ninja ]]; then
  echo "building Bantam (a few minutes, once)" >&2
  (cd "$root" && quietly cmake --preset release -DBANTAM_TESTS=OFF) ||
    die "the build could not be configured; see above"
fi
quietly cmake --build "$build" --target bantam_cli || die "the build failed; see above"
bash "$root/tests/models/fetch.sh" smollm2

# So small a model now and then goes round in circles.
exec "$build/bin/bantam" run -m "$model" -p "$prompt" --dry-multiplier 0.8 "$@"
