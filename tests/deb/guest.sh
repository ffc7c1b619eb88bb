#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest.sh ROOT_TAR WORK RUNNER XPCI: boots the minimal root with its systemd in the rig of tests/vm, and has booted.sh run in it.
# Last line: "NAME: N passed, N failed, N skipped", or "SKIPPED: ...".
set -uo pipefail
export LC_ALL=C
here=tests/deb root=$1 work=$2 runner=$3 xpci=$4
tests/vm/prepare.sh build/vm >"$work/prepare.log" 2>&1
status=$?
if [ "$status" = 77 ]; then
        echo "SKIPPED: test-deb: $(tail -n 1 "$work/prepare.log")"
        exit 0
fi
[ "$status" = 0 ] || { tail "$work/prepare.log"; echo "guest: 0 passed, 1 failed, 0 skipped"; exit 1; }
mkdir -p "$work/kernel" "$work/share" "$work/guest-log"
ln -sf "$PWD/build/vm/current/vmlinux" "$work/kernel/vmlinux"
# A second archive behind the first one: its init replaces that one's.
install -D -m 755 "$here/guest-init" "$work/initramfs/init"
{ cat build/vm/current/initramfs.cpio.gz; (cd "$work/initramfs" && echo init | cpio --quiet -o -H newc -R 0:0 | gzip -1); } >"$work/kernel/initramfs.cpio.gz"
ln -f "$root" "$work/share/root.tar"
cp "$work"/{older,newer}.deb "$here"/{booted.sh,count.sh,test.service} "$work/share/"
exec "$runner" --jobs 1 --kernel "$work/kernel" --share "$work/share" --xpci "$PWD/$xpci" --logs "$work/guest-log" "$here/deb.args"
