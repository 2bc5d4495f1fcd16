#!/usr/bin/env bash
# Fetches the vocabularies that the tokenizer tests read: GGUF files without weights, with texts
# and the token ids expected for them, and the chat templates that the chat tests render, out of the
# source distribution of llama-cpp-python, into
# ${BANTAM_MODELS:-${XDG_CACHE_HOME:-~/.cache}/bantam/models}/vocab. When they are there already,
# nothing is done.
#
# pip brings the distribution from wherever it is set up to look and checks its SHA-256 first. It
# asks it for its name and version, for which it fetches build tools, but doesn't build it.
set -euo pipefail

package=llama-cpp-python==0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
folder=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}
stamp=.templates-too-from-$package

die() {
  echo "fetch_vocabs.sh: $*" >&2
  exit 1
}

[[ -e $folder/vocab/$stamp ]] && exit
mkdir -p "$folder" || die "cannot make the folder $folder"
# In the same folder, so that the last step is a rename.
temporary=$(mktemp -d "$folder/.vocab.XXXXXX") || die "cannot write to $folder"
trap 'rm -rf "$temporary"' EXIT

echo "fetching vocabularies (77 MB)" >&2
printf '%s --hash=sha256:%s\n' "$package" "$sha256" >"$temporary/requirements.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
  --no-binary llama-cpp-python --require-hashes --requirement "$temporary/requirements.txt" \
  --dest "$temporary/sdist" >&2 ||
  die "pip could not download $package; is there a network and room in $folder?"
mkdir "$temporary/vocab"
tar -xzf "$temporary"/sdist/*.tar.gz -C "$temporary/vocab" --strip-components=4 --wildcards \
  '*/vendor/llama.cpp/models/ggml-vocab-*.gguf*' '*/vendor/llama.cpp/models/templates/*.jinja'
[[ -s $temporary/vocab/ggml-vocab-gpt-2.gguf ]] || die "no vocabularies in $package"
touch "$temporary/vocab/$stamp"
rm -rf "$folder/vocab"
mv "$temporary/vocab" "$folder/vocab"
