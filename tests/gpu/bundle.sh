#!/usr/bin/env bash
# Packs what run.sh needs into one folder that needs nothing from the machine it is taken to but a
# C library as new and a GPU driver: programs, tests, the plug-in, every other shared library.
#
#   tests/gpu/bundle.sh BUILD_FOLDER BUNDLE_FOLDER
set -euo pipefail
build=${1:?usage: bundle.sh BUILD_FOLDER BUNDLE_FOLDER}
bundle=${2:?usage: bundle.sh BUILD_FOLDER BUNDLE_FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$bundle/bin" "$bundle/lib/bantam"
programs=("$build/bin/bantam" "$build/tests/gpu_decode_bench" "$build"/tests/conformance_*_test)
cp "${programs[@]}" "$bundle/bin/"
cp "$build/lib/bantam/bantam_backend_vulkan.so" "$bundle/lib/bantam/"
cp -L "$build"/lib/libbantam.so.0 "$bundle/lib/"
# The C library and the loader stay the machine's own: the driver is built on them.
ldd "${programs[@]}" "$build/lib/bantam/bantam_backend_vulkan.so" | awk '$3 ~ /^\// {print $3}' |
  sort -u | grep -Ev '/(libc|libm|libdl|libpthread|librt|libvulkan|ld-linux[^/]*)\.so|/libbantam\.so' |
  xargs -I{} cp -L {} "$bundle/lib/"
cp "$here/run.sh" "$bundle/"
model=${BANTAM_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bantam/models}/SmolLM2-135M-Instruct.Q4_1.gguf
if [[ -s $model ]]; then mkdir -p "$bundle/models" && cp "$model" "$bundle/models/"; fi
echo "bundled: $(du -sh "$bundle" | cut -f1) in $bundle" >&2
