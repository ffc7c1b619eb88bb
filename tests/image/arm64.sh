#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# arm64.sh: the programs for arm64, built here and run by qemu's user emulation: unit tests; the demo's conversation of a release
# sluiced with the stand-in kubelet; the image, and the index over both. Ends with "test-arm64: N passed, N failed, N skipped". Where
# a package cannot be had everything is skipped with the reason; STRICT=1 makes that a failure.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
skip() {
        echo "SKIPPED: test-arm64: $1"
        echo "test-arm64: 0 passed, 0 failed, 1 skipped"
        [ "${STRICT:-0}" != 1 ]
        exit
}
[ "$(dpkg --print-architecture)" = amd64 ] || skip "crosses from amd64 only"
deploy/deps.sh gcc-aarch64-linux-gnu qemu-user-static jq || skip "cross compiler or emulator cannot be installed"
make ARCH=arm64 build/sysroot-arm64/packages || skip "Debian's packages for arm64 cannot be fetched"
# The kernel starts programs for arm64 by way of qemu, for us alone: in a user namespace with a binfmt_misc of its own.
if [ "${1:-}" != inside ]; then
        unshare --user --map-root-user true 2>/dev/null || skip "no user namespaces"
        unshare --user --map-root-user --mount "$0" inside
        exit
fi
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null || skip "no user namespace with a binfmt_misc of its own (Linux 6.7 or newer)"
# ELF, 64 bit, little endian, executable or shared, EM_AARCH64; P: argv[0] is kept, F: the interpreter is opened now.
printf '%s' ':arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:PF' \
        >/proc/sys/fs/binfmt_misc/register || skip "qemu cannot be registered with binfmt_misc"
passed=0 failed=0 skipped=0
scratch=$(mktemp -d -p /tmp arm64.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
check() { # check NAME COMMAND...: succeeds = passed
        local name=$1
        shift
        if "$@" >"$scratch/said" 2>&1; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                printf 'test-arm64: %s\n' "$name"
                tail -n 60 "$scratch/said"
        fi
}
stage() { # stage NAME COMMAND...: takes the sum of what counts itself
        local name=$1 line
        shift
        "$@" >"$scratch/said" 2>&1
        line=$(grep -E "^$name: [0-9]+ passed" "$scratch/said" | tail -n 1)
        if [ -z "$line" ]; then
                failed=$((failed + 1))
                tail -n 60 "$scratch/said"
                return
        fi
        grep -E "^--- |^not ok|ERROR|^test-image: .*[^d]$|# SKIP" "$scratch/said" | head -n 60
        echo "  $line"
        read -r p f s < <(sed -E 's/^[^:]*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped.*/\1 \2 \3/' <<<"$line")
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}
# The machine is an Arm one for the tests, too: alignment, char without a sign, weaker order of memory as far as qemu shows it.
stage test-arm64-units make FLAVOUR=debug ARCH=arm64 run-arm64
check "image for both" make image-all
check "the demo's own program" make FLAVOUR=debug build/debug/bin/demo
ln -s "$PWD"/build/image/arm64/rootfs/usr/{sbin,bin}/* "$scratch/"
check "a kubelet of this machine and a sluiced of that one talk" build/debug/bin/demo "$scratch"
stage test-image env ARCH=arm64 tests/image/test.sh
echo "test-arm64: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
