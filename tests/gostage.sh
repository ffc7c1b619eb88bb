#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# gostage.sh STAGE MODULE [FLAG...] PACKAGE: `go test` of one package of tests/MODULE, ended by "STAGE: N passed, N failed,
# N skipped". Without Go >= 1.26, the modules or $LIBRARY everything is skipped with the reason; STRICT=1 makes that, and
# a single skipped test, a failure. $TAGS are build tags.
set -uo pipefail
stage=$1
cd "$(dirname "$0")/$2" || exit 1
shift 2
package=${!#}
all=$(cat "$package"/*_test.go | grep -E '^func Test' | grep -cv TestMain)
skip() {
        echo "SKIPPED: $stage: $1"
        echo "$stage: 0 passed, 0 failed, $all skipped"
        [ "${STRICT:-0}" != 1 ]
        exit
}
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -tags=${TAGS:-}"
command -v go >/dev/null || skip "Go is not installed (1.26 or newer is needed)"
version=$(go env GOVERSION)
[ "$(printf 'go1.26\n%s\n' "$version" | sort -V | head -n 1)" = go1.26 ] || skip "$version is too old (1.26 or newer is needed)"
[ -z "${LIBRARY:-}" ] || [[ $(/sbin/ldconfig -p) == *"$LIBRARY "* ]] || skip "$LIBRARY is not installed"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# Fetches what this package needs and no more; nothing when the cache has it. What else is wrong, the test itself says.
if ! go list -deps -test "$package" >/dev/null 2>"$out" && grep -qE 'GOPROXY|dial tcp|Get "https?:' "$out"; then
        grep -v '^go: downloading' "$out" | head -n 5
        skip "the Go modules are not in the cache and cannot be fetched"
fi
go test -v -count=1 -timeout 10m "$@" >"$out" 2>&1
status=$?
passed=$(grep -cE '^--- PASS' "$out") failed=$(grep -cE '^--- FAIL' "$out") skipped=$(grep -cE '^--- SKIP' "$out")
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
[ "$failed" = 0 ] || grep -vE '^(=== |--- PASS| +--- PASS)' "$out" | tail -n 100
grep -oE 'WAITING: .*' "$out"
echo "$stage: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
