#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [136|134|133|130]...: the tests of this module against each kubelet (136 alone if none is named) and $SLUICE_BIN/sluiced,
# ended by "$STAGE: N passed, N failed, N skipped". Without Go >= 1.26, its modules (there is no network and the cache is empty)
# or mount namespaces everything is skipped with the reason; STRICT=1 makes that, and a single skipped test, a failure.
# RUN: a regular expression of tests. KUBELET_RESTARTS, BOTH_RESTARTS, KUBELET_SEED: how many, and the same ones again.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
stage=${STAGE:-test-kubelet}
[ $# -gt 0 ] || set -- 136
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

skip() {
        echo "SKIPPED: $stage: $1"
        skipped=$((skipped + $(cat ./*_test.go | grep -E '^func Test' | grep -cv TestMain) * $2))
}
finish() {
        echo "$stage: $passed passed, $failed failed, $skipped skipped"
        [ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
        exit
}

export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0
if ! command -v go >/dev/null; then
        skip "Go is not installed (1.26 or newer is needed)" $#
        finish
fi
version=$(go env GOVERSION)
if [ "$(printf 'go1.26\n%s\n' "$version" | sort -V | head -n 1)" != go1.26 ]; then
        skip "$version is too old (1.26 or newer is needed)" $#
        finish
fi
if ! unshare -m true 2>/dev/null && ! unshare -rm true 2>/dev/null; then
        skip "mount namespaces cannot be made here" $#
        finish
fi

for v; do
        modules=()
        [ "$v" = 136 ] || modules=(-modfile="k$v.mod" -tags "k$v")
        # Fetches what is needed and no more; nothing when the cache has it. What else is wrong, the build says.
        if ! go list -deps -test "${modules[@]}" . >/dev/null 2>"$out" && grep -qE 'GOPROXY|dial tcp|Get "https?:' "$out"; then
                grep -v '^go: downloading' "$out" | head -n 5
                skip "the Go modules of kubelet 1.${v#1} are not in the cache and cannot be fetched" 1
                continue
        fi
        binary=../../build/kubelet/k$v.test
        go test -c -vet=off -ldflags "-s -w" "${modules[@]}" -o "$binary" . || {
                failed=$((failed + 1))
                continue
        }
        KUBELET_VERSION=1.${v#1} "$binary" -test.v -test.timeout 20m ${RUN:+-test.run "$RUN"} >"$out" 2>&1
        status=$?
        p=$(grep -cE '^--- PASS' "$out") f=$(grep -cE '^--- FAIL' "$out") s=$(grep -cE '^--- SKIP' "$out")
        [ "$status" = 0 ] || [ "$f" != 0 ] || f=1
        # The logs of daemon and kubelet are long: what was expected stands after them once more.
        [ "$f" = 0 ] || { grep -vE '^(=== RUN|--- PASS| +--- PASS)' "$out" | tail -n 200; grep -E '^ *(--- FAIL|[a-z_]+_test\.go:[0-9]+: )' "$out"; }
        grep '^# ' "$out"
        echo "kubelet 1.${v#1}: $p passed, $f failed, $s skipped"
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
finish
