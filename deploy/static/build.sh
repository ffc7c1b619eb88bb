#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh DIR: the two libraries that Debian ships without a static archive (libpci, libsmartcols), from Debian's source
# packages of the installed versions, into DIR/lib and DIR/include. CC is the compiler; HOST the triplet of the machine that it
# compiles for, when that is another one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/static/apt.sh
. "$here/apt.sh"
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cc=${CC:-gcc}
if [ -f "$dir/lib/libpci.a" ] && [ -f "$dir/lib/libsmartcols.a" ]; then
        touch "$dir/lib/libpci.a" "$dir/lib/libsmartcols.a"
        exit 0
fi
apt=$dir/apt
mkdir -p "$dir/src" "$dir/lib" "$dir/include"
apt_private "$apt" deb-src
pci=() smartcols=()
if [ -n "${HOST:-}" ]; then
        pci=("CROSS_COMPILE=$HOST-" "HOST=${HOST%-gnu}")
        smartcols=("--host=$HOST")
fi

fetch() { # fetch SOURCE BINARY: unpacks the source package of the installed BINARY into $dir/src/SOURCE
        local version
        version=$(dpkg-query -W -f '${source:Version}' "$2")
        rm -rf "$dir/src/$1" "$dir/src/$1.d"
        mkdir -p "$dir/src/$1.d"
        (cd "$dir/src/$1.d" && apt-get "${apt_options[@]}" source --download-only "$1=$version" >/dev/null)
        dpkg-source --no-check -x "$dir/src/$1.d"/*.dsc "$dir/src/$1" >/dev/null 2>&1
}

echo "static libraries: fetching the sources of libpci and libsmartcols from Debian"
apt-get "${apt_options[@]}" update
if [ ! -f "$dir/lib/libpci.a" ]; then
        fetch pciutils libpci-dev
        make -s -C "$dir/src/pciutils" CC="$cc" OPT="-O2 -fPIE -ffile-prefix-map=$dir/src=." ZLIB=yes DNS=no HWDB=no SHARED=no \
                PREFIX=/usr SHAREDIR=/usr/share/misc "${pci[@]}" lib/libpci.a >"$dir/libpci.log" 2>&1 ||
                { tail "$dir/libpci.log" >&2; exit 1; }
        mkdir -p "$dir/include/pci"
        cp "$dir/src/pciutils/lib/"{config,header,pci,types}.h "$dir/include/pci/"
        cp "$dir/src/pciutils/lib/libpci.a" "$dir/lib/"
fi
if [ ! -f "$dir/lib/libsmartcols.a" ]; then
        fetch util-linux libsmartcols-dev
        (cd "$dir/src/util-linux" && ./configure -q CC="$cc" CFLAGS="-O2 -fPIE -ffile-prefix-map=$dir/src=." "${smartcols[@]}" \
                --disable-all-programs --enable-libsmartcols --enable-static --disable-shared --disable-nls >"$dir/libsmartcols.log" 2>&1 &&
                make -s AUTOMAKE=: ACLOCAL=: AUTOCONF=: AUTOHEADER=: libsmartcols.la >>"$dir/libsmartcols.log" 2>&1) ||
                { tail "$dir/libsmartcols.log" >&2; exit 1; }
        cp "$dir/src/util-linux/.libs/libsmartcols.a" "$dir/lib/"
fi
rm -rf "$dir/src" "$apt"
