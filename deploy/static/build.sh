#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh DIR: the two libraries that Debian ships without a static archive (libpci, libsmartcols), from Debian's source
# packages of the installed versions, into DIR/lib and DIR/include; again when another version is installed. What an archive was made
# from is beside it, ARCHIVE.package: "PACKAGE VERSION SOURCE SOURCE_VERSION". CC is the compiler; HOST the triplet of the machine
# that it compiles for, when that is another one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/static/apt.sh
. "$here/apt.sh"
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cc=${CC:-gcc}
installed() { dpkg-query -W -f '${Package} ${Version} ${source:Package} ${source:Version}\n' "$1"; }
current() { # current ARCHIVE PACKAGE: is it of the installed version?
        [ -f "$dir/lib/$1" ] && [ -s "$dir/lib/$1.package" ] && [ "$(cat "$dir/lib/$1.package")" = "$(installed "$2")" ]
}
if current libpci.a libpci-dev && current libsmartcols.a libsmartcols-dev; then
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

fetch() { # fetch PACKAGE: unpacks the source package of the installed PACKAGE into $dir/src/SOURCE
        local source version
        read -r _ _ source version < <(installed "$1")
        rm -rf "$dir/src/$source" "$dir/src/$source.d"
        mkdir -p "$dir/src/$source.d"
        (cd "$dir/src/$source.d" && apt-get "${apt_options[@]}" source --download-only "$source=$version" >/dev/null)
        dpkg-source --no-check -x "$dir/src/$source.d"/*.dsc "$dir/src/$source" >/dev/null 2>&1
}
keep() { # keep FILE PACKAGE: the archive that was made from the sources of the installed PACKAGE
        rm -f "$dir/lib/${1##*/}.package"
        cp "$1" "$dir/lib/"
        installed "$2" >"$dir/lib/${1##*/}.package"
}

echo "static libraries: fetching the sources of libpci and libsmartcols from Debian"
apt-get "${apt_options[@]}" update
if ! current libpci.a libpci-dev; then
        fetch libpci-dev
        make -s -C "$dir/src/pciutils" CC="$cc" OPT="-O2 -fPIE -ffile-prefix-map=$dir/src=." ZLIB=yes DNS=no HWDB=no SHARED=no \
                PREFIX=/usr SHAREDIR=/usr/share/misc "${pci[@]}" lib/libpci.a >"$dir/libpci.log" 2>&1 ||
                { tail "$dir/libpci.log" >&2; exit 1; }
        mkdir -p "$dir/include/pci"
        cp "$dir/src/pciutils/lib/"{config,header,pci,types}.h "$dir/include/pci/"
        keep "$dir/src/pciutils/lib/libpci.a" libpci-dev
fi
if ! current libsmartcols.a libsmartcols-dev; then
        fetch libsmartcols-dev
        (cd "$dir/src/util-linux" && ./configure -q CC="$cc" CFLAGS="-O2 -fPIE -ffile-prefix-map=$dir/src=." "${smartcols[@]}" \
                --disable-all-programs --enable-libsmartcols --enable-static --disable-shared --disable-nls >"$dir/libsmartcols.log" 2>&1 &&
                make -s AUTOMAKE=: ACLOCAL=: AUTOCONF=: AUTOHEADER=: libsmartcols.la >>"$dir/libsmartcols.log" 2>&1) ||
                { tail "$dir/libsmartcols.log" >&2; exit 1; }
        keep "$dir/src/util-linux/.libs/libsmartcols.a" libsmartcols-dev
fi
rm -rf "$dir/src" "$apt"
