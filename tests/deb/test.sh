#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# test.sh DIR: of the package in DIR. Ends with "test-deb: N passed, N failed, N skipped".
set -uo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "$0")/../.." || exit 1
here=tests/deb out=$1
# shellcheck source=tests/deb/count.sh
. "$here/count.sh"
skipped=0
skip() { # skip REASON
        echo "SKIPPED: test-deb: $1"
        skipped=$((skipped + 1))
}
finish() {
        echo "test-deb: $passed passed, $failed failed, $skipped skipped"
        [ "$failed" = 0 ] && [ "$passed" -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
        exit
}
version=$(deploy/deb/version.sh "$(cat VERSION)")
arch=$(dpkg --print-architecture)
deb=$out/sluice_${version}_$arch.deb
work=$out/test
rm -rf "$work"
mkdir -p "$work"
scratch=$(mktemp -d) # what a minimal root is in: never below a share of somebody else
trap 'rm -rf "$scratch"' EXIT
mapfile -t needs <"$here/needs.txt"
deploy/deps.sh "${needs[@]}" >"$work/deps.log" 2>&1 || true

# ---- the file ----
sorted() { # of two versions of ours the first comes first
        dpkg --compare-versions "$(deploy/deb/version.sh "$1")" lt "$(deploy/deb/version.sh "$2")" || { echo "$1 is not before $2"; return 1; }
}
versions() {
        sorted 0.1.0-dev 0.1.0-rc.1 && sorted 0.1.0-rc.1 0.1.0-rc.2 && sorted 0.1.0-rc.2 0.1.0-rc.10 && sorted 0.1.0-rc-3 0.1.0 &&
                sorted 0.1.0 0.1.0+git.5 && sorted 0.1.0+git.5 0.1.1-rc.1 && sorted 0.9.0 0.10.0 && sorted 0.10.0 1.0.0-alpha
}
contents() {
        dpkg-deb -c "$deb" | awk '$2 != "root/root" || $1 !~ /^(drwxr-xr-x|-rwxr-xr-x|-rw-r--r--|l)/ { print; bad = 1 } END { exit bad }' &&
                [ "$(dpkg-deb -I "$deb" conffiles)" = /etc/sluice/config.yaml ] && [ "$(dpkg-deb -f "$deb" Version)" = "$version" ] &&
                for file in usr/sbin/sluiced usr/sbin/sluice-hand usr/bin/sluicectl etc/sluice/config.yaml \
                        usr/lib/systemd/system/sluiced.service usr/share/man/man{1/sluicectl.1,5/sluice-config.5,8/sluiced.8,8/sluice-hand.8}.gz \
                        usr/share/doc/sluice/{copyright,changelog.gz,COPYRIGHT} usr/share/doc/sluice/licences/{libgrpc-dev,libpci-dev,libuv1-dev}.gz; do
                        dpkg-deb --fsys-tarfile "$deb" | tar -t "./$file" >/dev/null || return 1
                done
}
twice() { # packed again, by another umask, locale and place
        (umask 077; TZ=Asia/Tokyo LC_ALL=C.UTF-8 deploy/deb/build.sh build/release/bin "$work/again") >/dev/null && cmp "$deb" "$work/again/${deb##*/}"
}
rebuilt() { # built again from the sources, elsewhere
        mkdir "$scratch/tree" && git ls-files -z | xargs -0 cp --parents -t "$scratch/tree" && mkdir -p "$scratch/tree/build" &&
                cp -a build/static "$scratch/tree/build/" &&
                SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) make -C "$scratch/tree" deb >"$work/rebuild.log" 2>&1 || { tail "$work/rebuild.log"; return 1; }
        cmp "$deb" "$scratch/tree/build/deb/${deb##*/}" || { echo "is build/release older than the Makefile's flags? rm -rf build/release, and again"; return 1; }
}
counted() { # as dpkg-gencontrol does, on whatever file system it was packed
        [ "$(dpkg-deb -c "$deb" | awk '{ n += /^-/ ? int(($3 + 1023) / 1024) : 1 } END { print n }')" = "$(dpkg-deb -f "$deb" Installed-Size)" ]
}
dated() { # a git that refuses is not the same as no git
        local said
        if said=$(env -u SOURCE_DATE_EPOCH GIT_DIR=/nonexistent deploy/deb/build.sh build/release/bin "$work/undated" 2>&1); then return 1; fi
        grep -F "set SOURCE_DATE_EPOCH" <<<"$said"
}
modes() { # whatever umask who installs has, also over what is there
        mkdir -m 755 "$work/installed" &&
                (umask 077; make install-all BIN_DIR=build/release/bin DESTDIR="$work/installed" && make install-all BIN_DIR=build/release/bin DESTDIR="$work/installed") >/dev/null &&
                find "$work/installed" ! -type l ! -perm 755 ! -perm 644 -printf '%m %P\n' | awk '{ print; bad = 1 } END { exit bad }'
}
after_build() { # with -j, too: nothing is installed that is not built
        mkdir "$scratch/fresh" && git ls-files -z | xargs -0 cp --parents -t "$scratch/fresh" &&
                ! make -C "$scratch/fresh" -j4 install CC=false DESTDIR="$scratch/none" >/dev/null 2>&1 && [ ! -e "$scratch/none" ]
}
one_program() { [ "$work/root/usr/bin/sluicectl" -ef "$work/root/usr/sbin/sluiced" ]; }
dpkg-deb -x "$deb" "$work/root"
check "versions sort as they follow each other" versions
check "modes, owners, conffile and files of the package" contents
check "packing again makes the same bytes" twice
check "its size is counted as Debian does" counted
check "where git does not tell the date, that is said" dated
check "make install gives modes of its own, whatever the umask" modes
check "make -j install builds before it installs" after_build
check "one program under two names is packed once" one_program
if [ "${DEB_REBUILD:-1}" = 1 ]; then check "building again elsewhere makes the same bytes" rebuilt; else skip "DEB_REBUILD=0: a second build"; fi
if command -v lintian >/dev/null; then
        check "lintian has nothing to say" lintian --fail-on error,warning,info --allow-root --display-info "$deb"
else
        skip "lintian is not installed"
fi

# ---- completions, in the shells themselves ----
for shell in bash zsh fish; do
        if command -v "$shell" >/dev/null; then
                check "$shell completes every verb and option" "$here/completions.sh" "$shell" "$work/root"
        else
                skip "$shell is not installed: its completions"
        fi
done

# ---- an older version, whose configuration file differs ----
dpkg-deb -R "$deb" "$work/old" && sed -i "s/^Version: .*/Version: $version~older/" "$work/old/DEBIAN/control" &&
        echo "# of an older version" >>"$work/old/etc/sluice/config.yaml" && dpkg-deb --root-owner-group -Znone -b "$work/old" "$work/older.deb" >/dev/null
cp "$deb" "$work/newer.deb"

# ---- a minimal root ----
[ "$(id -u)" = 0 ] || { skip "a minimal root takes root"; finish; }
unshare --mount --pid --fork true 2>/dev/null || { skip "no new namespaces are to be had here: the minimal root"; finish; }
root=$out/minimal-$(sha256sum "$here/root.sh" | head -c 8).tar
if [ ! -s "$root" ] && ! "$here/root.sh" "$root" >"$work/minimal.log" 2>&1; then
        skip "no minimal Debian 12 can be made: $(grep -E '^(E:|.*not found)' "$work/minimal.log" | tail -n 1)"
        finish
fi
mkdir "$scratch/root"
tar -xf "$root" -C "$scratch/root"
mkdir "$scratch/root/test"
cp "$work"/{older,newer}.deb "$here"/{inside.sh,count.sh} tests/fixtures/hosts/l40s-8.capture "$scratch/root/test/"
unshare --mount --pid --net --fork --kill-child bash -c 'mount --make-rprivate / && mount -t proc proc "$1/proc" && mount -t tmpfs run "$1/run" &&
        mount --bind /dev "$1/dev" && timeout 300 chroot "$1" /test/inside.sh; exit' _ "$scratch/root" | tee "$work/inside.log"
read -r p f < <(sed -nE 's/^inside: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$work/inside.log")
passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))

# ---- under systemd, on a real kernel ----
if [ "${DEB_GUEST:-1}" != 1 ]; then
        skip "DEB_GUEST=0: systemd in a guest"
        finish
fi
"$here/guest.sh" "$root" "$work" build/debug/tests/vm/vm-runner build/debug/tests/vm/xpci.so | tee "$work/guest.log"
if grep -q '^SKIPPED: ' "$work/guest.log"; then
        skipped=$((skipped + 1))
else
        read -r p f < <(sed -nE 's/^[a-z-]*: ([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$work/guest.log" | tail -n 1)
        passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
fi
finish
