#!/usr/bin/env bash
# Fills a folder with the arm64 libraries that Bantam links, for building and running it on another
# processor:  tests/arm64/sysroot.sh FOLDER
#
# The packages are those of the release this Debian system is of. They are only unpacked, and apt
# keeps its lists, cache and status of them in FOLDER, so that nothing installed here is touched.
set -euo pipefail

folder=${1:?usage: sysroot.sh FOLDER}
packages=(libabsl-dev libcli11-dev libgmock-dev libgtest-dev libpcre2-dev libutf8proc-dev
  nlohmann-json3-dev libstdc++6)
stamp=$folder/complete
[[ -f $stamp && $(cat "$stamp") == "${packages[*]}" ]] && exit 0

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
own=$folder/apt
mkdir -p "$own/lists/partial" "$own/archives/partial"
touch "$own/status"
cat >"$own/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$own";
Dir::State::lists "$own/lists";
Dir::State::status "$own/status";
Dir::Cache "$own";
Dir::Cache::archives "$own/archives";
DPkg::Post-Invoke "";
APT::Update::Post-Invoke "";
END
export APT_CONFIG=$own/apt.conf
apt-get -qq update
# No package counts as installed: what these need comes along, down to the C library to run with.
apt-get -qq install --yes --no-install-recommends --download-only "${packages[@]}" >/dev/null
for package in "$own"/archives/*.deb; do
  case $(basename "$package") in
    # The cross compiler has its own, and two on one include path get in each other's way.
    libc6-dev_* | linux-libc-dev_*) continue ;;
  esac
  dpkg-deb -x "$package" "$folder"
done
rm -rf "$own"
echo "${packages[*]}" >"$stamp"
