#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# sysroot.sh ARCH DIR PACKAGE...: Debian's packages of another architecture with all they depend on, unpacked into DIR for a cross
# compiler and qemu's user emulation. Nothing is installed, no architecture is added to this machine. DIR/archives.list tells of
# each static library "PATH PACKAGE VERSION SOURCE SOURCE_VERSION".
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/static/apt.sh
. "$here/apt.sh"
arch=$1
dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
if [ -f "$dir/packages" ] && [ "$(cat "$dir/packages")" = "$*" ]; then
        touch "$dir/packages"
        exit 0
fi
apt=$dir/apt
apt_private "$apt" deb
: > "$apt/status"
apt_options+=(-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o "Dir::State::status=$apt/status")
echo "sysroot: fetching Debian's packages for $arch"
apt-get "${apt_options[@]}" update
apt-get "${apt_options[@]}" install -y --no-install-recommends --download-only "$@" >/dev/null
# Debian 12 has both names for one directory.
for name in bin sbin lib; do
        mkdir -p "$dir/usr/$name"
        ln -sfn "usr/$name" "$dir/$name"
done
: > "$dir/archives.list"
for deb in "$apt"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$dir"
        read -r package version source < <(dpkg-deb -W --showformat='${Package} ${Version} ${source:Package}|${source:Version}\n' "$deb")
        dpkg-deb --fsys-tarfile "$deb" | tar -t | sed -n 's#^\.\(/.*\.a\)$#\1#p' | sed "s#\$# $package $version ${source/|/ }#" >> "$dir/archives.list"
done
# A link to /lib/... means this tree's.
find "$dir" -type l -lname '/*' | while read -r link; do
        ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$dir$(readlink "$link")")" "$link"
done
rm -rf "$apt"
echo "$*" > "$dir/packages"
