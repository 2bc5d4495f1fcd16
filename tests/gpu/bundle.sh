#!/usr/bin/env bash
# Packs what run.sh needs into one folder that needs nothing from the machine it is taken to but a
# C library as new and a GPU driver: programs, tests, the plug-ins, every other shared library.
# For CUDA build with the preset `distribution`, or with BANTAM_CUDA_ARCHITECTURES of the GPU.
#
#   tests/gpu/bundle.sh BUILD_FOLDER BUNDLE_FOLDER
set -euo pipefail
build=${1:?usage: bundle.sh BUILD_FOLDER BUNDLE_FOLDER}
bundle=${2:?usage: bundle.sh BUILD_FOLDER BUNDLE_FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$bundle/bin" "$bundle/lib/bantam"
programs=("$build/bin/bantam" "$build"/tests/gpu_{decode_bench,random_model}
  "$build"/tests/conformance_*_test)
cp "${programs[@]}" "$bundle/bin/"
# $BANTAM_BUNDLE_PLUGINS: the plug-ins to take, where a test takes another.
read -ra candidates <<<"${BANTAM_BUNDLE_PLUGINS:-$build/lib/bantam/bantam_backend_vulkan.so
  $build/lib/bantam/bantam_backend_cuda.so}"
plugins=()
for file in "${candidates[@]}"; do
  [[ -e $file ]] && plugins+=("$file")
done
if [[ ${#plugins[@]} == 0 ]]; then
  echo "bundle.sh: no GPU plug-in in $build/lib/bantam" >&2
  exit 1
fi
cp "${plugins[@]}" "$bundle/lib/bantam/"
cp -L "$build"/lib/libbantam.so.0 "$bundle/lib/"
# The C library and the loader stay the machine's own: the driver is built on them.
ldd "${programs[@]}" "${plugins[@]}" | awk '$3 ~ /^\// {print $3}' |
  sort -u | grep -Ev '/(libc|libm|libdl|libpthread|librt|libvulkan|libcuda|ld-linux[^/]*)\.so|/libbantam\.so' |
  xargs -I{} cp -L {} "$bundle/lib/"
cp "$here/run.sh" "$bundle/"
cp "$here/../golden/wikitext/wiki.test.excerpt.txt" "$bundle/wiki.txt"
model=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ -s $model ]]; then mkdir -p "$bundle/models" && cp "$model" "$bundle/models/"; fi
echo "bundled: $(du -sh "$bundle" | cut -f1) in $bundle" >&2
