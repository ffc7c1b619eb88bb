#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh DIR: the two libraries that Debian ships without a static archive (libpci, libsmartcols), from Debian's source
# packages of the installed versions, into DIR/lib and DIR/include.
#
# The sources come through a private apt configuration below DIR: the machine's own apt lists are neither edited nor filled.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cc=${CC:-gcc}
if [ -f "$dir/lib/libpci.a" ] && [ -f "$dir/lib/libsmartcols.a" ]; then
        touch "$dir/lib/libpci.a" "$dir/lib/libsmartcols.a"
        exit 0
fi
apt=$dir/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$dir/src" "$dir/lib" "$dir/include"

# The machine's binary sources of Debian itself, as source entries.
sources() {
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n 's/^deb \(.*debian.*\)$/deb-src \1/p' || true
        for file in /etc/apt/sources.list.d/*.sources; do
                [ -f "$file" ] || continue
                awk 'BEGIN { RS = ""; FS = "\n" }
                     { uri = suites = parts = key = ""; on = 1
                       for (i = 1; i <= NF; i++) {
                               if ($i ~ /^#/) continue
                               split($i, kv, ": "); v = substr($i, length(kv[1]) + 3)
                               if (kv[1] == "URIs") uri = v
                               if (kv[1] == "Suites") suites = v
                               if (kv[1] == "Components") parts = v
                               if (kv[1] == "Signed-By") key = v
                               if (kv[1] == "Enabled" && v == "no") on = 0 }
                       if (on && uri ~ /debian/) {
                               n = split(suites, s, " ")
                               for (k = 1; k <= n; k++)
                                       print "deb-src " (key ~ /^\// ? "[signed-by=" key "] " : "") uri " " s[k] " " parts } }' "$file"
        done
}
sources > "$apt/sources.list"
[ -s "$apt/sources.list" ] || { echo "static libraries: no Debian package source is configured on this machine" >&2; exit 1; }
options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
        -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)

fetch() { # fetch SOURCE BINARY: unpacks the source package of the installed BINARY into $dir/src/SOURCE
        local version
        version=$(dpkg-query -W -f '${source:Version}' "$2")
        rm -rf "$dir/src/$1" "$dir/src/$1.d"
        mkdir -p "$dir/src/$1.d"
        (cd "$dir/src/$1.d" && apt-get "${options[@]}" source --download-only "$1=$version" >/dev/null)
        dpkg-source --no-check -x "$dir/src/$1.d"/*.dsc "$dir/src/$1" >/dev/null 2>&1
}

echo "static libraries: fetching the sources of libpci and libsmartcols from Debian"
apt-get "${options[@]}" update
if [ ! -f "$dir/lib/libpci.a" ]; then
        fetch pciutils libpci-dev
        make -s -C "$dir/src/pciutils" CC="$cc" OPT="-O2 -fPIE -ffile-prefix-map=$dir/src=." ZLIB=yes DNS=no HWDB=no SHARED=no PREFIX=/usr SHAREDIR=/usr/share/misc lib/libpci.a >"$dir/libpci.log" 2>&1 ||
                { tail "$dir/libpci.log" >&2; exit 1; }
        mkdir -p "$dir/include/pci"
        cp "$dir/src/pciutils/lib/"{config,header,pci,types}.h "$dir/include/pci/"
        cp "$dir/src/pciutils/lib/libpci.a" "$dir/lib/"
fi
if [ ! -f "$dir/lib/libsmartcols.a" ]; then
        fetch util-linux libsmartcols-dev
        (cd "$dir/src/util-linux" && ./configure -q CC="$cc" CFLAGS="-O2 -fPIE -ffile-prefix-map=$dir/src=." --disable-all-programs --enable-libsmartcols --enable-static \
                --disable-shared --disable-nls >"$dir/libsmartcols.log" 2>&1 &&
                make -s AUTOMAKE=: ACLOCAL=: AUTOCONF=: AUTOHEADER=: libsmartcols.la >>"$dir/libsmartcols.log" 2>&1) ||
                { tail "$dir/libsmartcols.log" >&2; exit 1; }
        cp "$dir/src/util-linux/.libs/libsmartcols.a" "$dir/lib/"
fi
rm -rf "$dir/src" "$apt"
