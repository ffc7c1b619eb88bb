#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh NAME BINARY...: runs cmocka programs (TAP) and corpus replays, JOBS at a time (one for each processor), shows what failed,
# counts. A test skips itself ("# skipped: why") only where something it needs is missing on this machine: with STRICT=1 that is a
# failure.
set -uo pipefail
name=$1
shift
[ $# -gt 0 ] || { echo "$name: 0 passed, 0 failed, 0 skipped"; exit 1; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
one() {
        f=$1/$(tr / _ <<<"$2")
        args=()
        [[ $2 != *-replay ]] || args=("tests/fuzz/corpus/$(basename "${2%-replay}")")
        timeout 300 "$2" "${args[@]}" >"$f.out" 2>&1 </dev/null
        echo $? >"$f.rc"
}
export -f one
printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c 'one "$@"' _ "$out" {}
passed=0 failed=0 skipped=0
for t in "$@"; do
        f=$out/$(tr / _ <<<"$t")
        rc=$(cat "$f.rc" 2>/dev/null || echo 99)
        # cmocka says "not ok N # SKIP name" for a test that skips itself.
        s=$(grep -cE '^(not )?ok .*# SKIP' "$f.out")
        p=$(grep -E '^ok ' "$f.out" | grep -vc '# SKIP') b=$(grep -E '^not ok ' "$f.out" | grep -vc '# SKIP')
        if [ "$rc" != 0 ] && [ "$b" = 0 ]; then b=1; fi
        if [ "$rc" = 0 ] && [ $((p + s + b)) = 0 ]; then b=1; echo "$t ran no test"; fi
        if [ "$b" != 0 ]; then
                echo "--- $t (exit $rc)"
                # What a failed test has left behind, because it was left by a jump, says nothing.
                if grep -E '^not ok ' "$f.out" | grep -qv '# SKIP'; then sed -i '/ERROR: LeakSanitizer/,$d' "$f.out"; fi
                grep -vE '^ok ' "$f.out" | tail -n 60
        fi
        passed=$((passed + p)) failed=$((failed + b)) skipped=$((skipped + s))
        grep -hE '# SKIP|^# skipped: ' "$f.out" | sed 's/^/  /'
done
echo "$name: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
