#!/usr/bin/env bash
# Installs the Debian packages that Bantam needs and this machine lacks.
#
#   third_party/install.sh build|test|fuzz|arm64
#
# build: to build and run it; test: also for the tests; fuzz: also for the fuzzers; arm64: to build it
# for arm64 and run its tests in QEMU. Does nothing when all are there. README.md beside this file says what each is for.
set -euo pipefail

packages=(cmake ninja-build g++ python3 python3-pip libabsl-dev libcli11-dev libpcre2-dev
  libutf8proc-dev libvulkan-dev nlohmann-json3-dev glslc)
case "${1:-}" in
  build) ;;
  test) packages+=(libgtest-dev libgmock-dev pkg-config mesa-vulkan-drivers vulkan-validationlayers) ;;
  fuzz) packages+=(libgtest-dev libgmock-dev pkg-config clang) ;;
  arm64) packages=(cmake ninja-build g++-aarch64-linux-gnu qemu-user) ;;
  *)
    echo "usage: install.sh build|test|fuzz|arm64" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install.sh: not a Debian system; these packages or their like are needed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ $status == "install ok installed" ]] || missing+=("$package")
done
((${#missing[@]} == 0)) && exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install.sh: neither root nor sudo; run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "installing: ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  # The log is shown only when something went wrong.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "install.sh: apt-get $1 failed; is there a network, and does a Debian mirror answer?" >&2
    exit 1
  fi
}
apt update
apt install --yes --no-install-recommends "${missing[@]}"
